//! Parser of PromQL: from text to a typed syntax tree, or to an error that says where and what to do.

pub mod ast;
mod duration;
mod error;
pub mod functions;

pub use ast::{Expr, Span, ValueType};
pub use duration::{DurationExpr, DurationFunction, DurationOp, Length, LengthUse, QueryTimes};
pub use error::ParseError;
pub use functions::{Function, FunctionId};

/// Which parts of the language that the reference calls experimental are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The functions and aggregations that the reference gates.
    pub experimental_functions: bool,
    /// Arithmetic in windows, steps and offsets: `[2 * step()]`.
    pub duration_expressions: bool,
    /// `anchored` and `smoothed` after a selector.
    pub extended_ranges: bool,
    /// `fill`, `fill_left` and `fill_right` between vectors.
    pub fill: bool,
}

impl Default for Features {
    /// Everything on.
    fn default() -> Self {
        Self { experimental_functions: true, duration_expressions: true, extended_ranges: true, fill: true }
    }
}

/// What bounds the work on one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    /// The longest text in bytes; default 1 MiB: far beyond what a dashboard writes, and parsed in milliseconds.
    pub query_bytes_max: usize,
    /// The deepest nesting of parentheses, calls and right-hand operators; default 200: generated queries stay
    /// below 50, and recursion so deep fits a small thread's stack.
    pub depth_max: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { query_bytes_max: 1 << 20, depth_max: 200 }
    }
}
