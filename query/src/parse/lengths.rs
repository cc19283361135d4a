//! Lengths of time: windows, steps and offsets, written as durations, numbers or expressions of both.

use super::ParseError;
use super::ast::BinaryOp;
use super::cursor::{Cursor, Parsed};
use super::duration::{DurationExpr, DurationFunction, DurationOp, Length, fixed_ms, out_of_range};
use super::fault::{Cause, Fault};
use super::lexer::{Keyword, Token};
use super::span::Span;

/// What waits for the operand to its right.
enum Pending {
    Minus(Span),
    Operator(DurationExpr, DurationOp, Span),
}

impl Pending {
    fn precedence(&self) -> u8 {
        match self {
            Self::Minus(_) => DurationOp::Mul.precedence(),
            Self::Operator(_, op, _) => op.precedence(),
        }
    }

    fn binds_before(&self, next: DurationOp) -> bool {
        let (mine, its) = (self.precedence(), next.precedence());
        mine > its || (mine == its && next != DurationOp::Pow)
    }
}

impl DurationOp {
    fn precedence(self) -> u8 {
        match self {
            Self::Add | Self::Sub => 1,
            Self::Mul | Self::Div | Self::Mod => 2,
            Self::Pow => 3,
        }
    }

    fn of(op: BinaryOp) -> Option<Self> {
        Some(match op {
            BinaryOp::Add => Self::Add,
            BinaryOp::Sub => Self::Sub,
            BinaryOp::Mul => Self::Mul,
            BinaryOp::Div => Self::Div,
            BinaryOp::Mod => Self::Mod,
            BinaryOp::Pow => Self::Pow,
            _ => return None,
        })
    }
}

/// The words of the complaint about what is no length.
#[derive(Clone, Copy)]
struct Wanted {
    place: &'static str,
    expected: &'static str,
}

impl Cursor<'_> {
    /// The length of a window or step: greater than zero, where that is known already.
    pub(super) fn window_length(&mut self, place: &'static str, expected: &'static str) -> Parsed<Length> {
        let expr = self.duration_expression(Wanted { place, expected })?;
        if let DurationExpr::Number { seconds, span, .. } = expr
            && fixed_ms(seconds).0 <= 0
        {
            self.note_after_lookahead(ParseError::not_positive(span).into());
        }
        Ok(length(expr))
    }

    /// The length of an offset. A number, a call or a parenthesis with one sign ends there, so that operators behind
    /// it join the shifted series: `x offset 5m + 1`. Only an unsigned parenthesis or a second sign goes on as an
    /// expression, as in the reference.
    pub(super) fn offset_length(&mut self) -> Parsed<Length> {
        let wanted = Wanted { place: "offset", expected: "number, duration, step(), or range()" };
        if self.peek() == Token::LeftParen {
            return Ok(length(closed(self.duration_expression(wanted)?)));
        }
        let sign = self.peek_span();
        let minus = self.peek() == Token::Op(BinaryOp::Sub);
        if minus || self.peek() == Token::Op(BinaryOp::Add) {
            self.bump();
        }
        if matches!(self.peek(), Token::Op(BinaryOp::Add | BinaryOp::Sub)) {
            // A second sign begins an expression again.
            let outer = if minus { vec![Pending::Minus(sign)] } else { Vec::new() };
            return Ok(length(closed(self.duration_expression_behind(outer, wanted)?)));
        }
        let operand = self.duration_operand(wanted)?;
        Ok(length(if minus { negated(operand, sign) } else { operand }))
    }

    fn duration_expression(&mut self, wanted: Wanted) -> Parsed<DurationExpr> {
        self.duration_expression_behind(Vec::new(), wanted)
    }

    /// An expression with what waits for its first operand.
    fn duration_expression_behind(
        &mut self,
        mut pending: Vec<Pending>,
        wanted: Wanted,
    ) -> Parsed<DurationExpr> {
        // A row of operators is a tree as deep on its left side, and is walked by recursion later.
        for operators in 0.. {
            self.check_depth(operators)?;
            self.duration_signs(&mut pending)?;
            let mut left = self.duration_operand(wanted)?;
            let op = match self.peek() {
                Token::Op(op) => DurationOp::of(op),
                _ => None,
            };
            while let Some(top) = pending.pop_if(|top| op.is_none_or(|op| top.binds_before(op))) {
                left = self.join_lengths(top, left);
            }
            let Some(op) = op else { return Ok(left) };
            self.gate_duration(left.span());
            let span = self.bump();
            pending.push(Pending::Operator(left, op, span));
        }
        Err(self.unexpected(wanted.place, wanted.expected))
    }

    /// The signs before an operand, as few as have their effect.
    fn duration_signs(&mut self, pending: &mut Vec<Pending>) -> Parsed<()> {
        let mut minus: Option<Span> = None;
        loop {
            match self.peek() {
                Token::Op(BinaryOp::Add) => _ = self.bump(),
                Token::Op(BinaryOp::Sub) => {
                    let span = self.bump();
                    minus = if minus.is_some() { None } else { Some(span) };
                }
                _ => break,
            }
        }
        pending.extend(minus.map(Pending::Minus));
        self.check_depth(pending.len())
    }

    fn duration_operand(&mut self, wanted: Wanted) -> Parsed<DurationExpr> {
        match self.peek() {
            Token::Number | Token::Duration => {
                let number = self.number();
                if out_of_range(number.value) {
                    self.note(ParseError::out_of_range(number.span).into());
                }
                Ok(DurationExpr::Number {
                    seconds: number.value,
                    duration: number.duration,
                    span: number.span,
                })
            }
            Token::Keyword(Keyword::Step) => self.duration_call(DurationFunction::Step, wanted),
            Token::Keyword(Keyword::Range) => self.duration_call(DurationFunction::Range, wanted),
            Token::Keyword(Keyword::MinOf) => self.duration_call(DurationFunction::MinOf, wanted),
            Token::Keyword(Keyword::MaxOf) => self.duration_call(DurationFunction::MaxOf, wanted),
            Token::LeftParen => self.nested(|p| p.duration_paren(wanted)),
            _ => Err(self.unexpected(wanted.place, wanted.expected)),
        }
    }

    fn duration_call(&mut self, function: DurationFunction, wanted: Wanted) -> Parsed<DurationExpr> {
        let start = self.bump();
        let expected = |p: &mut Self, token| p.expect(token, wanted.place, wanted.expected);
        expected(self, Token::LeftParen)?;
        let args = match function {
            DurationFunction::Step | DurationFunction::Range => None,
            DurationFunction::MinOf | DurationFunction::MaxOf => Some(Box::new(self.nested(|p| {
                let first = p.duration_expression(wanted)?;
                expected(p, Token::Comma)?;
                Ok((first, p.duration_expression(wanted)?))
            })?)),
        };
        expected(self, Token::RightParen)?;
        let span = self.span_from(start);
        self.gate_duration(span);
        Ok(DurationExpr::Call { function, args, span })
    }

    fn duration_paren(&mut self, wanted: Wanted) -> Parsed<DurationExpr> {
        let start = self.bump();
        let expr = self.duration_expression(wanted)?;
        self.expect(Token::RightParen, wanted.place, wanted.expected)?;
        self.gate_duration(expr.span());
        let span = self.span_from(start);
        Ok(match expr {
            DurationExpr::Number { seconds, duration, .. } => {
                DurationExpr::Number { seconds, duration, span }
            }
            expr => DurationExpr::Paren { expr: Box::new(expr), span },
        })
    }

    /// Refuses arithmetic where it is switched off.
    fn gate_duration(&mut self, span: Span) {
        if !self.features.duration_expressions {
            let cause = Cause::plain(
                "write the duration itself, or put `duration-expressions` into the setting query.features",
            );
            self.note(Fault::new(span, "experimental duration expression is not enabled", cause));
        }
    }

    fn join_lengths(&mut self, top: Pending, right: DurationExpr) -> DurationExpr {
        let (left, op, op_span) = match top {
            Pending::Minus(sign) => return negated(right, sign),
            Pending::Operator(left, op, span) => (left, op, span),
        };
        let by_zero = matches!(right, DurationExpr::Number { seconds, .. } if seconds == 0.0);
        match op {
            DurationOp::Div if by_zero => {
                self.note_after_lookahead(ParseError::by_zero(op_span, "division").into())
            }
            DurationOp::Mod if by_zero => {
                self.note_after_lookahead(ParseError::by_zero(op_span, "modulo").into())
            }
            _ => {}
        }
        let span = left.span().to(right.span());
        DurationExpr::Binary { op, sides: Box::new((left, right)), span }
    }
}

/// In parentheses, if it would read as something else behind `offset` without them.
fn closed(expr: DurationExpr) -> DurationExpr {
    use DurationExpr::{Call, Negated, Number, Paren};
    let span = expr.span();
    match &expr {
        Number { .. } | Call { .. } | Paren { .. } => expr,
        Negated { expr: inner, .. } if matches!(**inner, Call { .. } | Paren { .. }) => expr,
        _ => Paren { expr: Box::new(expr), span },
    }
}

fn negated(expr: DurationExpr, sign: Span) -> DurationExpr {
    let span = sign.to(expr.span());
    match expr {
        DurationExpr::Number { seconds, duration, .. } => {
            DurationExpr::Number { seconds: -seconds, duration, span }
        }
        expr => DurationExpr::Negated { expr: Box::new(expr), span },
    }
}

/// A number is known now; anything else when the query runs.
fn length(expr: DurationExpr) -> Length {
    match expr {
        DurationExpr::Number { seconds, span, .. } => Length::Fixed { length: fixed_ms(seconds), span },
        expr => Length::Computed(Box::new(expr)),
    }
}
