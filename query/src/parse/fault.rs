//! A mistake as the lexer, parser or type check met it, before the advice is put into words.

use super::span::Span;
use crate::error::QueryLimit;

/// A mistake: where, what, and what is known about its cause.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) cause: Cause,
}

impl Fault {
    pub(super) fn new(span: Span, message: impl Into<String>, cause: Cause) -> Self {
        Self { span, message: message.into(), cause }
    }
}

/// What lies behind a mistake, as far as it helps to say what to do.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// Nothing beyond this advice.
    Plain(String),
    /// The text goes beyond a limit; what to do about it.
    Limit(QueryLimit, &'static str),
    /// A character that begins no token.
    Character(char),
    /// This closing bracket is missing at the end.
    Unclosed(&'static str),
    /// A closing parenthesis without partner, before the place of the fault.
    ExtraParen,
    /// A quote without partner.
    OpenQuote(char),
    /// `by` or `without` after an expression that takes none.
    Grouping {
        /// The expression before it.
        operand: Span,
        /// Where the expression is an aggregation with a grouping: that grouping's list of labels.
        grouped: Option<Span>,
    },
    /// A token that does not fit, after a complete expression or in place of one.
    Token,
    /// A window of samples where single values are wanted.
    WindowAsValue {
        /// The window.
        operand: Span,
    },
    /// Single values where a function wants a window.
    NeedsWindow {
        /// The argument.
        operand: Span,
        /// Whether it is a selector, rather than an expression that needs a subquery.
        selector: bool,
    },
    /// A function of this name does not exist.
    UnknownFunction(String),
    /// Two numbers are compared without `bool`.
    NeedsBool {
        /// The operator.
        op: Span,
    },
    /// A trailing comma in the arguments of a call.
    TrailingComma,
}

impl Cause {
    /// Only this advice.
    pub(super) fn plain(advice: impl Into<String>) -> Self {
        Self::Plain(advice.into())
    }
}
