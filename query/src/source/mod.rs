//! What the evaluator reads from: series with their samples, in independent parts.

mod error;

pub use error::SourceError;
