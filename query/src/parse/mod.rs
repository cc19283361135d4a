//! Parser of PromQL: from text to a typed syntax tree, or to an error that says where and what to do.
//!
//! The language is that of Prometheus 3.14, with everything that is behind a flag there: [`Features`] switches it.
//! A text goes through the `lexer`, the `cursor` that keeps one token of lookahead, the grammar
//! (`parser`, `selector`, `modifiers`, `lengths`) and the type `check`; a mistake of any of them becomes a
//! [`ParseError`] with `advice`. Time is linear in the length of the text.

mod advice;
pub mod ast;
mod check;
mod cursor;
mod display;
mod duration;
mod error;
mod fault;
pub mod functions;
mod lengths;
mod lexer;
mod literal;
mod modifiers;
mod parser;
mod selector;
mod span;
#[cfg(test)]
mod tests;

pub use ast::Expr;
pub use duration::{DurationExpr, DurationFunction, DurationOp, Length, LengthUse, QueryTimes};
pub use error::ParseError;
pub use functions::{Function, FunctionId};
pub use span::{Span, ValueType};

use crate::error::QueryLimit;
use ast::Matcher;
use cursor::{Cursor, Parsed};
use fault::{Cause, Fault};
use lexer::Token;

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

/// Parses an expression within the default limits.
pub fn parse(query: &str, features: &Features) -> Result<Expr, ParseError> {
    parse_within(query, features, &ParseLimits::default())
}

/// Parses an expression.
pub fn parse_within(query: &str, features: &Features, limits: &ParseLimits) -> Result<Expr, ParseError> {
    parse_text(query, *features, limits).map_err(|fault| advice::explain(fault, query, *features, limits))
}

/// Parses a selector alone, as in the parameter `match[]`: name and conditions, no window, no modifier. Whether it selects
/// anything in particular is the caller's to ask.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let (features, limits) = (Features::default(), ParseLimits::default());
    selector_of(text, features, &limits).map_err(|fault| advice::explain(fault, text, features, &limits))
}

/// The text of a query that came as bytes; queries are UTF-8.
pub fn query_text(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let start = u32::try_from(error.valid_up_to()).unwrap_or(u32::MAX);
        let end = start.saturating_add(error.error_len().unwrap_or(1) as u32);
        ParseError::new(Span { start, end }, "invalid UTF-8", "send the query as UTF-8")
    })
}

/// Parses without advice.
fn parse_text(query: &str, features: Features, limits: &ParseLimits) -> Result<Expr, Fault> {
    let expr = whole(query, features, limits, |cursor| {
        if cursor.peek() == Token::End {
            let cause = Cause::plain("write one, such as `up`");
            return Err(cursor.stop(Fault::new(Span::default(), "no expression found in input", cause)));
        }
        cursor.expression()
    })?;
    check::check(&expr)?;
    Ok(expr)
}

fn selector_of(text: &str, features: Features, limits: &ParseLimits) -> Result<Vec<Matcher>, Fault> {
    let mut selector = whole(text, features, limits, |cursor| {
        let name = match cursor.peek() {
            Token::LeftBrace => None,
            Token::Identifier
            | Token::MetricIdentifier
            | Token::Aggregate(_)
            | Token::Keyword(_)
            | Token::Op(_) => Some(cursor.metric_name()?),
            _ => return Err(cursor.unexpected("", "a metric or conditions in braces")),
        };
        cursor.vector_selector(name)
    })?;
    // Two names are no mistake here: they select nothing.
    selector.name = None;
    Ok(selector.matchers)
}

/// Runs `grammar` on the whole of `text`.
fn whole<T>(
    text: &str,
    features: Features,
    limits: &ParseLimits,
    grammar: impl FnOnce(&mut Cursor<'_>) -> Parsed<T>,
) -> Result<T, Fault>
where
    T: Whole,
{
    if text.len() > limits.query_bytes_max.min(u32::MAX as usize) {
        let message = format!("query is {} bytes long, the limit is {}", text.len(), limits.query_bytes_max);
        let cause = Cause::Limit(QueryLimit::QueryBytes, "shorten it, or split it into several queries");
        return Err(Fault::new(Span::default(), message, cause));
    }
    let mut cursor = Cursor::new(text, features, limits);
    let result = grammar(&mut cursor).and_then(|parsed| match cursor.peek() {
        Token::End => Ok(parsed),
        _ => Err(parsed.unexpected_after(&mut cursor)),
    });
    match (result, cursor.first) {
        (_, Some(fault)) => Err(fault),
        (result, None) => Ok(result.expect("whatever stops the parser leaves its fault")),
    }
}

/// What a whole text may be.
trait Whole {
    /// Complains about what follows it.
    fn unexpected_after(&self, cursor: &mut Cursor<'_>) -> cursor::Stop;
}

impl Whole for Expr {
    fn unexpected_after(&self, cursor: &mut Cursor<'_>) -> cursor::Stop {
        cursor.unexpected_after(self)
    }
}

impl Whole for ast::VectorSelector {
    fn unexpected_after(&self, cursor: &mut Cursor<'_>) -> cursor::Stop {
        cursor.unexpected("", "end of input")
    }
}
