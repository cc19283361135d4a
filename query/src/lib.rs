//! PromQL: parser, evaluator and results.

mod error;
mod options;
pub mod parse;
pub mod source;
mod value;

pub use error::{Position, QueryError};
pub use options::{CancelToken, Limits, QueryOptions};
pub use value::{MatrixSeries, Output, QueryStats, Value, VectorSample};
