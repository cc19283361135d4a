//! PromQL: parser, evaluator and results.

mod cache;
mod engine;
mod error;
mod eval;
pub mod explain;
pub mod native;
mod options;
pub mod parse;
mod plan;
pub mod source;
mod value;

pub use cache::CacheStats;
pub use engine::{Engine, EngineOptions};
pub use error::{Position, QueryError, QueryLimit};
pub use options::{CancelToken, Limits, Progress, QueryOptions};
pub use value::{MatrixSeries, Output, QueryStats, SampleValue, StepSamples, Value, VectorSample};
