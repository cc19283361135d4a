//! What stands behind an operand: windows, subqueries, `offset`, `@`, `anchored` and `smoothed`.

use super::ast::{At, BinaryOp, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use super::cursor::{Cursor, Parsed};
use super::duration::Length;
use super::fault::{Cause, Fault};
use super::lexer::{Keyword, Token};
use super::span::Span;
use cardinal_storage::model::{DurationMs, TimestampMs};

impl Cursor<'_> {
    /// All modifiers of an operand; they bind tighter than any operator.
    pub(super) fn modifiers(&mut self, operand: Expr) -> Parsed<Expr> {
        let mut expr = operand;
        let mut windows = 0;
        loop {
            expr = match self.peek() {
                Token::LeftBracket => {
                    windows += 1;
                    self.check_depth(windows)?;
                    self.window(expr)?
                }
                Token::Keyword(Keyword::Offset) => self.offset(expr)?,
                Token::At => self.at(expr)?,
                Token::Keyword(Keyword::Anchored) => self.edges(expr, Edges::Anchored),
                Token::Keyword(Keyword::Smoothed) => self.edges(expr, Edges::Smoothed),
                _ => return Ok(expr),
            }
        }
    }

    /// `[range]` or `[range:step]`.
    fn window(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.bump();
        let range =
            self.window_length("subquery or range selector", "number, duration, step(), or range()")?;
        if self.accept(Token::RightBracket).is_some() {
            return Ok(self.matrix_selector(expr, range, open));
        }
        self.expect(Token::Colon, "subquery or range", "\":\" or \"]\"")?;
        let step = match self.peek() {
            Token::RightBracket => None,
            _ => {
                Some(self.window_length("subquery selector", "number, duration, step(), range(), or \"]\"")?)
            }
        };
        self.expect(Token::RightBracket, "subquery selector", "\"]\"")?;
        let span = self.span_from(expr.span());
        Ok(Expr::Subquery(Subquery { expr: Box::new(expr), range, step, offset: None, at: None, span }))
    }

    fn matrix_selector(&mut self, expr: Expr, range: Length, open: Span) -> Expr {
        let bracket = self.span_from(open);
        let mistake = match &expr {
            Expr::Vector(v) if is_offset(v.offset.as_ref()) => Some((
                "no offset modifiers allowed before range",
                "write it behind the window: `[5m] offset 1h`",
            )),
            Expr::Vector(v) if v.at.is_some() => {
                Some(("no @ modifiers allowed before range", "write it behind the window: `[5m] @ end()`"))
            }
            Expr::Vector(_) => None,
            _ => Some((
                "ranges only allowed for vector selectors",
                "put the window on the selector, or make it a subquery with a colon: `[5m:]`",
            )),
        };
        if let Some((message, advice)) = mistake {
            self.note(Fault::new(bracket, message, Cause::plain(advice)));
        }
        let span = self.span_from(expr.span());
        match expr {
            Expr::Vector(selector) => Expr::Matrix(MatrixSelector { selector, range, span }),
            other => other,
        }
    }

    fn offset(&mut self, expr: Expr) -> Parsed<Expr> {
        self.bump();
        let length = self.offset_length()?;
        let whole = expr.span();
        Ok(self.modify(expr, "offset", |slots| {
            if is_offset(slots.offset.as_ref()) {
                let cause = Cause::plain("add the offsets up");
                return Err(Fault::new(whole, "offset may not be set multiple times", cause));
            }
            *slots.offset = Some(length);
            Ok(())
        }))
    }

    fn at(&mut self, expr: Expr) -> Parsed<Expr> {
        self.bump();
        let whole = expr.span();
        let at = match self.peek() {
            Token::Keyword(Keyword::Start) => self.preprocessor(At::Start)?,
            Token::Keyword(Keyword::End) => self.preprocessor(At::End)?,
            Token::Number | Token::Duration | Token::Op(BinaryOp::Add | BinaryOp::Sub) => {
                let seconds = self.signed_number("@", "timestamp")?;
                if !(seconds > i64::MIN as f64 && seconds < i64::MAX as f64) {
                    let message = format!("timestamp out of bounds for @ modifier: {seconds}");
                    self.note(Fault::new(
                        whole,
                        message,
                        Cause::plain("write seconds since 1970, `start()` or `end()`"),
                    ));
                }
                At::Time(TimestampMs((seconds * 1000.0).round() as i64))
            }
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        Ok(self.modify(expr, "@", |slots| {
            if slots.at.is_some() {
                let cause = Cause::plain("keep one of them");
                return Err(Fault::new(whole, "@ <timestamp> may not be set multiple times", cause));
            }
            *slots.at = Some(at);
            Ok(())
        }))
    }

    fn preprocessor(&mut self, at: At) -> Parsed<At> {
        self.bump();
        self.expect(Token::LeftParen, "@", "timestamp")?;
        self.expect(Token::RightParen, "@", "timestamp")?;
        Ok(at)
    }

    /// Changes a modifier of `expr` and lets its span end here.
    fn modify(
        &mut self,
        mut expr: Expr,
        name: &str,
        change: impl FnOnce(Slots<'_>) -> Result<(), Fault>,
    ) -> Expr {
        let span = self.span_from(expr.span());
        let changed = match &mut expr {
            Expr::Vector(v) => {
                let changed = change(Slots { offset: &mut v.offset, at: &mut v.at });
                v.span = span;
                changed
            }
            Expr::Matrix(m) => {
                m.span = span;
                change(Slots { offset: &mut m.selector.offset, at: &mut m.selector.at })
            }
            Expr::Subquery(s) => {
                s.span = span;
                change(Slots { offset: &mut s.offset, at: &mut s.at })
            }
            other => Err(not_modifiable(other.span(), name)),
        };
        if let Err(fault) = changed {
            self.note(fault);
        }
        expr
    }

    fn edges(&mut self, mut expr: Expr, edges: Edges) -> Expr {
        self.bump();
        let name = match edges {
            Edges::Anchored => "anchored",
            Edges::Smoothed => "smoothed",
        };
        if let Err((message, advice)) = self.set_edges(&mut expr, edges, name) {
            self.note(Fault::new(expr.span(), message, Cause::plain(advice)));
        }
        expr
    }

    fn set_edges(&self, expr: &mut Expr, edges: Edges, name: &str) -> Result<(), (String, &'static str)> {
        if !self.features.extended_ranges {
            return Err((
                format!("{name} modifier is experimental and not enabled"),
                "put `extended-ranges` into the setting query.features",
            ));
        }
        let selector: &mut VectorSelector = match expr {
            Expr::Vector(v) => v,
            Expr::Matrix(m) => &mut m.selector,
            Expr::Subquery(_) => {
                return Err((
                    format!("{name} modifier is not supported for subqueries"),
                    "put it on a selector",
                ));
            }
            _ => {
                return Err((
                    format!("{name} modifier not implemented"),
                    "put it behind a selector or its window",
                ));
            }
        };
        let old = selector.edges.replace(edges);
        if old.is_some_and(|old| old != edges) {
            let message = "anchored and smoothed modifiers cannot be used together".to_owned();
            return Err((message, "keep one of them"));
        }
        Ok(())
    }
}

/// The modifiers that selectors and subqueries share.
struct Slots<'e> {
    offset: &'e mut Option<Length>,
    at: &'e mut Option<At>,
}

/// Whether an offset is set to anything but a plain zero: the reference takes that for none.
fn is_offset(offset: Option<&Length>) -> bool {
    offset.is_some_and(|o| !matches!(o, Length::Fixed { length: DurationMs(0), .. }))
}

fn not_modifiable(span: Span, name: &str) -> Fault {
    let modifier = if name == "@" { "@ modifier" } else { "offset modifier" };
    let message = format!(
        "{modifier} must be preceded by an instant vector selector or range vector selector or a subquery"
    );
    Fault::new(span, message, Cause::plain("put it directly behind the selector"))
}
