//! Selectors of series: a metric name, conditions in braces, or both.

use super::ast::BinaryOp;
use super::ast::{Expr, MatchOp, Matcher, VectorSelector};
use super::cursor::{Cursor, Parsed};
use super::fault::{Cause, Fault};
use super::lexer::Token;
use super::span::Span;
use cardinal_storage::model::excerpt;
use regex_automata::util::syntax;

/// The label that holds a metric's name.
pub(super) const METRIC_NAME: &str = "__name__";

const PLACE: &str = "label matching";

impl Cursor<'_> {
    /// A selector whose name, if it has one, was just taken.
    pub(super) fn selector(&mut self, name: Option<Span>) -> Parsed<Expr> {
        Ok(Expr::Vector(self.vector_selector(name)?))
    }

    /// Like [`Cursor::selector`].
    pub(super) fn vector_selector(&mut self, name: Option<Span>) -> Parsed<VectorSelector> {
        let start = name.unwrap_or(self.peek_span());
        let mut matchers = match self.accept(Token::LeftBrace) {
            Some(_) => self.matchers()?,
            None => Vec::new(),
        };
        let text = name.map(|span| span.text(self.text).to_owned());
        if let (Some(span), Some(value)) = (name, text.clone()) {
            matchers.push(Matcher { name: METRIC_NAME.into(), op: MatchOp::Equal, value, span });
        }
        let span = self.span_from(start);
        Ok(VectorSelector { name: text, matchers, offset: None, at: None, edges: None, span })
    }

    /// The conditions behind an opened brace, and its partner.
    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        let mut matchers = Vec::new();
        while self.accept(Token::RightBrace).is_none() {
            matchers.push(self.matcher()?);
            if self.accept(Token::Comma).is_none() && self.peek() != Token::RightBrace {
                return Err(self.unexpected(PLACE, "\",\" or \"}\""));
            }
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let (label, quoted) = match self.peek() {
            Token::Identifier => (self.bump(), false),
            Token::String => (self.bump(), true),
            _ => return Err(self.unexpected(PLACE, "identifier or \"}\"")),
        };
        let name = if quoted { self.label_text(label) } else { label.text(self.text).to_owned() };
        let op = match self.peek() {
            Token::Equal => MatchOp::Equal,
            Token::Op(BinaryOp::Ne) => MatchOp::NotEqual,
            Token::MatchRegex => MatchOp::Regex,
            Token::MatchNotRegex => MatchOp::NotRegex,
            // A quoted name alone is that of the metric.
            _ if quoted => {
                return Ok(Matcher {
                    name: METRIC_NAME.into(),
                    op: MatchOp::Equal,
                    value: name,
                    span: label,
                });
            }
            _ => return Err(self.unexpected(PLACE, "label matching operator")),
        };
        self.bump();
        let value_span = self.expect(Token::String, PLACE, "string")?;
        let value = self.label_text(value_span);
        let matcher = Matcher { name, op, value, span: label.to(value_span) };
        self.check_regex(&matcher);
        Ok(matcher)
    }

    /// Notes a regular expression that is none. Its syntax alone is looked at: compiling it is the storage's work.
    fn check_regex(&mut self, matcher: &Matcher) {
        if !matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex) {
            return;
        }
        if let Err(error) = syntax::parse(&matcher.value) {
            let reason = error.to_string();
            // The last line says what is wrong; those before it draw where.
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("invalid regular expression {:?}: {reason}", excerpt(&matcher.value));
            self.note(Fault::new(
                matcher.span,
                message,
                Cause::plain("escape the characters meant literally with `\\\\`"),
            ));
        }
    }
}

impl Matcher {
    /// Whether the condition holds for a label that is not there.
    pub(super) fn matches_empty(&self) -> bool {
        match self.op {
            MatchOp::Equal => self.value.is_empty(),
            MatchOp::NotEqual => !self.value.is_empty(),
            MatchOp::Regex => regex_matches_empty(&self.value),
            MatchOp::NotRegex => !regex_matches_empty(&self.value),
        }
    }
}

/// Whether an anchored regular expression matches the empty text.
fn regex_matches_empty(pattern: &str) -> bool {
    let Ok(hir) = syntax::parse(pattern) else { return false };
    let properties = hir.properties();
    if properties.minimum_len() != Some(0) {
        return false;
    }
    // Without assertions such as `\b`, what may be empty is matched by the empty text.
    properties.look_set().is_empty() || {
        let compiled = regex_automata::meta::Regex::new(pattern);
        compiled.is_ok_and(|regex| regex.is_match(""))
    }
}
