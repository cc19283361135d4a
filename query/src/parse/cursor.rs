//! The parser's hold on the token stream: one token of lookahead, the first mistake, and the depth of nesting.

use super::fault::{Cause, Fault};
use super::lexer::{Keyword, Lexeme, Lexer, Token};
use super::span::Span;
use super::{Features, ParseLimits};
use crate::error::QueryLimit;

/// Ends parsing: the fault is kept in the cursor.
#[derive(Debug)]
pub(super) struct Stop;

/// The result of every step of the parser.
pub(super) type Parsed<T> = Result<T, Stop>;

/// A place in a token stream.
pub(super) struct Cursor<'q> {
    pub(super) text: &'q str,
    pub(super) features: Features,
    lexer: Lexer<'q>,
    next: Lexeme,
    /// The fault of the lexer, while `next` is [`Token::Fault`].
    lexer_fault: Option<Fault>,
    /// The first mistake. Those that leave the structure clear do not end parsing: a later one of the lexer or the
    /// grammar is not looked for, but a nested one that is found first is the one to report.
    pub(super) first: Option<Fault>,
    /// The end of the token before `next`.
    end: u32,
    depth: usize,
    depth_max: usize,
}

impl<'q> Cursor<'q> {
    pub(super) fn new(text: &'q str, features: Features, limits: &ParseLimits) -> Self {
        let nothing = Lexeme { token: Token::End, span: Span::default() };
        let mut cursor = Self {
            text,
            features,
            lexer: Lexer::new(text),
            next: nothing,
            lexer_fault: None,
            first: None,
            end: 0,
            depth: 0,
            depth_max: limits.depth_max,
        };
        cursor.advance();
        cursor
    }

    fn advance(&mut self) {
        match self.lexer.next() {
            Ok(lexeme) => self.next = lexeme,
            Err(fault) => {
                self.next = Lexeme { token: Token::Fault, span: fault.span };
                self.lexer_fault = Some(fault);
            }
        }
    }

    /// The token to come.
    pub(super) fn peek(&self) -> Token {
        self.next.token
    }

    /// The place of the token to come.
    pub(super) fn peek_span(&self) -> Span {
        self.next.span
    }

    /// Takes the token to come; gives its place.
    pub(super) fn bump(&mut self) -> Span {
        let span = self.next.span;
        self.end = span.end;
        self.advance();
        span
    }

    /// Takes the token to come if it is `token`.
    pub(super) fn accept(&mut self, token: Token) -> Option<Span> {
        (self.next.token == token).then(|| self.bump())
    }

    /// Takes the token to come if it is this keyword.
    pub(super) fn accept_keyword(&mut self, keyword: Keyword) -> Option<Span> {
        self.accept(Token::Keyword(keyword))
    }

    /// Takes `token`, or complains with the words of [`Cursor::unexpected`].
    pub(super) fn expect(&mut self, token: Token, place: &str, expected: &str) -> Parsed<Span> {
        match self.accept(token) {
            Some(span) => Ok(span),
            None => Err(self.unexpected(place, expected)),
        }
    }

    /// From `start` to the end of the token taken last.
    pub(super) fn span_from(&self, start: Span) -> Span {
        Span { start: start.start, end: self.end }
    }

    /// Reports that the token to come does not fit; `place` and `expected` may be empty.
    pub(super) fn unexpected(&mut self, place: &str, expected: &str) -> Stop {
        self.unexpected_because(place, expected, Cause::Token)
    }

    /// Like [`Cursor::unexpected`], where the cause is known.
    pub(super) fn unexpected_because(&mut self, place: &str, expected: &str, cause: Cause) -> Stop {
        if let Some(fault) = self.lexer_fault.take() {
            return self.stop(fault);
        }
        let mut message = format!("unexpected {}", describe(self.next, self.text));
        if !place.is_empty() {
            message.push_str(&format!(" in {place}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.stop(Fault::new(self.next.span, message, cause))
    }

    /// Notes a mistake that leaves the structure clear, and goes on.
    pub(super) fn note(&mut self, fault: Fault) {
        self.first.get_or_insert(fault);
    }

    /// Like [`Cursor::note`], for a mistake that is only met when the token to come is known: if that is none, this
    /// is the first mistake.
    pub(super) fn note_after_lookahead(&mut self, fault: Fault) {
        let first = self.lexer_fault.clone().unwrap_or(fault);
        self.note(first);
    }

    /// Notes a mistake and ends parsing.
    pub(super) fn stop(&mut self, fault: Fault) -> Stop {
        self.note(fault);
        Stop
    }

    /// Runs `inner` one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.check_depth(1)?;
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Refuses to go `more` levels deeper where that is too deep.
    pub(super) fn check_depth(&mut self, more: usize) -> Parsed<()> {
        if self.depth + more <= self.depth_max {
            return Ok(());
        }
        let message = format!("expression is nested more than {} levels deep", self.depth_max);
        let cause = Cause::Limit(QueryLimit::QueryDepth, "split it into several queries or recording rules");
        Err(self.stop(Fault::new(self.next.span, message, cause)))
    }
}

/// A token as error messages name it.
fn describe(lexeme: Lexeme, text: &str) -> String {
    let word = lexeme.span.text(text);
    match lexeme.token {
        Token::End => "end of input".into(),
        Token::Fault => "character".into(),
        Token::Op(op) => match op.symbol() {
            symbol @ ("and" | "or" | "unless" | "atan2") => format!("<{symbol}>"),
            symbol => format!("<op:{symbol}>"),
        },
        Token::At => "<op:@>".into(),
        Token::Aggregate(op) => format!("<aggr:{}>", op.name()),
        Token::Keyword(_) => format!("<{}>", word.to_ascii_lowercase()),
        Token::Identifier => format!("identifier {word:?}"),
        Token::MetricIdentifier => format!("metric identifier {word:?}"),
        Token::Number => format!("number {word:?}"),
        Token::Duration => format!("duration {word:?}"),
        Token::String => format!("string {word}"),
        _ => format!("{word:?}"),
    }
}
