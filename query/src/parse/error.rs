//! Why a query is no PromQL, where, and what to write instead.

use std::fmt;

use super::fault::{Cause, Fault};
use super::span::Span;
use crate::error::{Position, QueryLimit};

/// A mistake in the text of a query: the first one found, in the order in which the reference reports them.
///
/// Its display is the message alone; [`ParseError::position`] says where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes at fault; empty at the end of the input.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do about it: a half-sentence.
    pub advice: String,
    /// A whole expression that says what was probably meant, where that can be known. It parses.
    pub suggestion: Option<String>,
    /// The limit that the text goes beyond, if that is the mistake.
    pub limit: Option<QueryLimit>,
}

impl ParseError {
    /// An error with advice.
    pub(super) fn new(span: Span, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { span, message: message.into(), advice: advice.into(), suggestion: None, limit: None }
    }

    /// A window or step that is zero or negative.
    pub(super) fn not_positive(span: Span) -> Self {
        Self::new(span, "duration must be greater than 0", "write 1ms or more, such as 5m")
    }

    /// A length beyond what a duration may have.
    pub(super) fn out_of_range(span: Span) -> Self {
        Self::new(span, "duration out of range", "the longest is about 292 years")
    }

    /// A division or modulo by zero in a duration expression.
    pub(super) fn by_zero(span: Span, what: &str) -> Self {
        Self::new(span, format!("{what} by zero"), "write a divisor other than 0")
    }

    /// Line and column of the place in `query`, in bytes, both from 1.
    pub fn position(&self, query: &str) -> Position {
        Position::of(query, self.span.start as usize)
    }
}

impl From<ParseError> for Fault {
    fn from(error: ParseError) -> Self {
        Self::new(error.span, error.message, Cause::Plain(error.advice))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.advice)?;
        match &self.suggestion {
            Some(expression) => write!(f, ": {expression}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}
