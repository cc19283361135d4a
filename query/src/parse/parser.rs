//! Expressions: operands, signs and operators with their precedences, calls and aggregations.
//!
//! Operators are put in order with an explicit stack, so that only brackets recurse: a sum of any length takes
//! linear time and constant stack.

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, NumberLiteral, Paren, Sign,
    StringLiteral, Unary, VectorMatching,
};
use super::cursor::{Cursor, Parsed, Stop};
use super::fault::{Cause, Fault};
use super::functions::Function;
use super::lexer::{Keyword, Token};
use super::literal::{self, BadDuration};
use super::span::{Span, ValueType};

/// What waits for the operand to its right.
enum Pending {
    /// A sign; binds like a multiplication.
    Sign(Sign, Span),
    /// An operator with its left side.
    Operator(Box<(Expr, Operator)>),
}

/// An operator with its modifiers.
struct Operator {
    op: BinaryOp,
    op_span: Span,
    return_bool: bool,
    matching: VectorMatching,
}

impl Pending {
    fn precedence(&self) -> u8 {
        match self {
            Self::Sign(..) => BinaryOp::Mul.precedence(),
            Self::Operator(waiting) => waiting.1.op.precedence(),
        }
    }

    /// Whether this takes the operand between it and `next`.
    fn binds_before(&self, next: BinaryOp) -> bool {
        let (mine, its) = (self.precedence(), next.precedence());
        mine > its || (mine == its && !next.is_right_associative())
    }
}

impl Cursor<'_> {
    /// A whole expression: up to a token that cannot continue it.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        let mut pending: Vec<Pending> = Vec::new();
        loop {
            self.signs(&mut pending)?;
            let operand = self.operand()?;
            let mut left = self.modifiers(operand)?;
            let Token::Op(op) = self.peek() else {
                while let Some(top) = pending.pop() {
                    left = self.join(top, left);
                }
                return Ok(left);
            };
            while let Some(top) = pending.pop_if(|top| top.binds_before(op)) {
                left = self.join(top, left);
            }
            let operator = self.operator(op)?;
            pending.push(Pending::Operator(Box::new((left, operator))));
            self.check_depth(pending.len())?;
        }
    }

    /// The signs before an operand. Plus changes nothing, and a minus undoes the one two places before it (the first
    /// one drops the metric name, which stays dropped): at most two are kept, so that no row of signs nests.
    fn signs(&mut self, pending: &mut Vec<Pending>) -> Parsed<()> {
        let mut minuses: Vec<Span> = Vec::new();
        let mut plus = None;
        let first = self.peek_span();
        loop {
            match self.peek() {
                Token::Op(BinaryOp::Add) => plus = Some(self.bump()),
                Token::Op(BinaryOp::Sub) => {
                    let span = self.bump();
                    match minuses.len() {
                        2 => _ = minuses.pop(),
                        _ => minuses.push(span),
                    }
                }
                _ => break,
            }
        }
        if !minuses.is_empty() {
            pending.extend(minuses.into_iter().map(|span| Pending::Sign(Sign::Minus, span)));
        } else if plus.is_some() {
            pending.push(Pending::Sign(Sign::Plus, first));
        }
        self.check_depth(pending.len())
    }

    /// What waited, with its operand.
    fn join(&mut self, top: Pending, right: Expr) -> Expr {
        match (top, right) {
            (Pending::Sign(sign, span), Expr::Number(n)) => Expr::Number(NumberLiteral {
                value: if sign == Sign::Minus { -n.value } else { n.value },
                span: span.to(n.span),
                ..n
            }),
            (Pending::Sign(sign, span), expr) => {
                let span = span.to(expr.span());
                Expr::Unary(Unary { sign, expr: Box::new(expr), span })
            }
            (Pending::Operator(waiting), right) => {
                let (left, operator) = *waiting;
                Expr::Binary(operator.between(left, right))
            }
        }
    }

    /// The operator to come, with its modifiers.
    fn operator(&mut self, op: BinaryOp) -> Parsed<Operator> {
        let op_span = self.bump();
        let return_bool = self.accept_keyword(Keyword::Bool).is_some();
        let mut matching = VectorMatching::default();
        let on = self.peek() == Token::Keyword(Keyword::On);
        if on || self.peek() == Token::Keyword(Keyword::Ignoring) {
            self.bump();
            matching.on = on;
            matching.labels = self.grouping_labels()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching, op_span)?;
        Ok(Operator { op, op_span, return_bool, matching })
    }

    /// `group_left` or `group_right`, with or without labels.
    fn group_modifier(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        matching.card = match self.peek() {
            Token::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            Token::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.bump();
        if self.peek() == Token::LeftParen {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    /// `fill(1)`, or `fill_left(1)` and `fill_right(2)` in either order.
    fn fill_modifiers(&mut self, matching: &mut VectorMatching, op: Span) -> Parsed<()> {
        let first = self.peek();
        match first {
            Token::Keyword(Keyword::Fill) => {
                let value = self.fill_value()?;
                (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            }
            Token::Keyword(Keyword::FillLeft) => {
                matching.fill_left = Some(self.fill_value()?);
                if self.peek() == Token::Keyword(Keyword::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Token::Keyword(Keyword::FillRight) => {
                matching.fill_right = Some(self.fill_value()?);
                if self.peek() == Token::Keyword(Keyword::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => return Ok(()),
        }
        if !self.features.fill {
            self.note(Fault::new(
                op,
                "fill modifiers are not enabled",
                Cause::plain("put `fill` into the setting query.features"),
            ));
        }
        Ok(())
    }

    /// A number in parentheses, after the keyword to come.
    fn fill_value(&mut self) -> Parsed<f64> {
        self.bump();
        self.expect(Token::LeftParen, "fill modifier", "\"(\"")?;
        let value = self.signed_number("fill modifier", "number")?;
        self.expect(Token::RightParen, "fill modifier", "\")\"")?;
        Ok(value)
    }

    /// A number or duration with an optional sign.
    pub(super) fn signed_number(&mut self, place: &str, expected: &str) -> Parsed<f64> {
        let minus = self.peek() == Token::Op(BinaryOp::Sub);
        if minus || self.peek() == Token::Op(BinaryOp::Add) {
            self.bump();
        }
        if !matches!(self.peek(), Token::Number | Token::Duration) {
            return Err(self.unexpected(place, expected));
        }
        let value = self.number().value;
        Ok(if minus { -value } else { value })
    }

    /// The number or duration to come.
    pub(super) fn number(&mut self) -> NumberLiteral {
        let duration = self.peek() == Token::Duration;
        let span = self.bump();
        let text = span.text(self.text);
        let value = if duration {
            literal::duration_seconds(text).map_err(|bad| match bad {
                BadDuration::Malformed => (
                    format!("not a valid duration string: {text:?}"),
                    "write the units once each and in this order: 1y2w3d4h5m6s7ms",
                ),
                BadDuration::TooLong => ("duration out of range".into(), "the longest is about 292 years"),
            })
        } else {
            let reason = (
                format!("error parsing number: {text:?} is malformed or out of range"),
                "write a number such as 1.5, 1e3 or 0x1f",
            );
            literal::number(text).ok_or(reason)
        };
        let value = value.unwrap_or_else(|(message, advice)| {
            self.note(Fault::new(span, message, Cause::plain(advice)));
            1.0
        });
        NumberLiteral { value, duration, span }
    }

    /// What operators join: everything without its own modifiers.
    fn operand(&mut self) -> Parsed<Expr> {
        match self.peek() {
            Token::Number | Token::Duration => Ok(Expr::Number(self.number())),
            Token::String => Ok(self.string()),
            Token::LeftParen => self.nested(Self::paren),
            Token::LeftBrace => self.selector(None),
            Token::Aggregate(op) => self.aggregate_or_name(op),
            Token::Identifier
            | Token::Keyword(
                Keyword::Start
                | Keyword::End
                | Keyword::Step
                | Keyword::Range
                | Keyword::MaxOf
                | Keyword::MinOf,
            ) => self.call_or_name(),
            _ => {
                let name = self.metric_name()?;
                self.selector(Some(name))
            }
        }
    }

    /// A metric's name: a word without meaning here, or one of the keywords that may be names.
    pub(super) fn metric_name(&mut self) -> Parsed<Span> {
        match self.peek() {
            Token::Op(BinaryOp::Atan2)
            | Token::Keyword(
                Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight,
            ) => Err(self.unexpected("", "")),
            Token::Identifier
            | Token::MetricIdentifier
            | Token::Aggregate(_)
            | Token::Keyword(_)
            | Token::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => Ok(self.bump()),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn string(&mut self) -> Expr {
        let span = self.bump();
        let bytes = literal::unquoted(span.text(self.text));
        let value = String::from_utf8_lossy(&bytes);
        Expr::String(StringLiteral { lossy: value.as_bytes() != bytes, value: value.into_owned(), span })
    }

    fn paren(&mut self) -> Parsed<Expr> {
        let start = self.bump();
        let expr = Box::new(self.expression()?);
        self.close_paren(&expr)?;
        Ok(Expr::Paren(Paren { expr, span: self.span_from(start) }))
    }

    /// The parenthesis after `last`.
    fn close_paren(&mut self, last: &Expr) -> Parsed<()> {
        match self.accept(Token::RightParen) {
            Some(_) => Ok(()),
            None => Err(self.unexpected_after(last)),
        }
    }

    /// Reports that the token to come cannot follow the complete expression `last`.
    pub(super) fn unexpected_after(&mut self, last: &Expr) -> Stop {
        let cause = match self.peek() {
            Token::Keyword(Keyword::By | Keyword::Without) => {
                let grouped = match last {
                    Expr::Aggregate(a) => a.grouping_span,
                    _ => None,
                };
                Cause::Grouping { operand: last.span(), grouped }
            }
            _ => Cause::Token,
        };
        self.unexpected_because("", "", cause)
    }

    /// `name(arguments)`, or a metric.
    fn call_or_name(&mut self) -> Parsed<Expr> {
        let name = self.bump();
        if self.peek() == Token::LeftParen {
            return self.nested(|p| p.call(name));
        }
        self.selector(Some(name))
    }

    fn call(&mut self, name: Span) -> Parsed<Expr> {
        let args = self.arguments()?;
        let span = self.span_from(name);
        let text = name.text(self.text);
        let Some(function) = Function::named(text) else {
            let message = format!("unknown function with name {text:?}");
            self.note(Fault::new(name, message, Cause::UnknownFunction(text.to_owned())));
            // Never seen: the note makes the whole parse fail.
            return Ok(Expr::Number(NumberLiteral { value: 0.0, duration: false, span }));
        };
        if function.experimental && !self.features.experimental_functions {
            let cause = Cause::plain("put `experimental-functions` into the setting query.features");
            self.note(Fault::new(name, format!("function {text:?} is not enabled"), cause));
        }
        Ok(Expr::Call(Call { function, args, span }))
    }

    /// Arguments in parentheses.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.bump();
        let mut args = Vec::new();
        if self.accept(Token::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if !self.another_argument(args.last())? {
                return Ok(args);
            }
        }
    }

    /// Takes what stands after the argument `last`: whether another one follows.
    fn another_argument(&mut self, last: Option<&Expr>) -> Parsed<bool> {
        let mut comma_seen = false;
        while let Some(comma) = self.accept(Token::Comma) {
            comma_seen = true;
            if !self.begins_expression() {
                let message = "trailing commas not allowed in function call args";
                self.note(Fault::new(comma, message, Cause::TrailingComma));
            }
        }
        match (self.accept(Token::RightParen), last) {
            (Some(_), _) => Ok(false),
            (None, Some(last)) if !comma_seen => Err(self.unexpected_after(last)),
            _ => Ok(true),
        }
    }

    /// Whether the token to come may begin an expression; the lexer's fault speaks for itself.
    fn begins_expression(&self) -> bool {
        match self.peek() {
            Token::Op(op) => {
                matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
            }
            Token::Keyword(k) => !matches!(
                k,
                Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight
            ),
            Token::Fault
            | Token::Number
            | Token::Duration
            | Token::String
            | Token::Identifier
            | Token::MetricIdentifier
            | Token::LeftParen
            | Token::LeftBrace
            | Token::Aggregate(_) => true,
            _ => false,
        }
    }

    /// An aggregation, or a metric of that name.
    fn aggregate_or_name(&mut self, op: AggregateOp) -> Parsed<Expr> {
        let name = self.bump();
        match self.peek() {
            Token::LeftParen | Token::Keyword(Keyword::By | Keyword::Without) => {
                self.nested(|p| p.aggregate(op, name))
            }
            _ => self.selector(Some(name)),
        }
    }

    fn aggregate(&mut self, op: AggregateOp, name: Span) -> Parsed<Expr> {
        let mut grouping = self.aggregate_modifier()?;
        if self.peek() != Token::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let args = self.arguments()?;
        if grouping.is_none() {
            // What follows was looked at for a modifier: if it is no token, that comes before what is wrong here.
            if self.peek() == Token::Fault {
                return Err(self.unexpected("", ""));
            }
            grouping = self.aggregate_modifier()?;
        }
        let span = self.span_from(name);
        let (without, grouping, grouping_span) = match grouping {
            Some((without, labels, span)) => (without, labels, Some(span)),
            None => (false, Vec::new(), None),
        };
        let Some((param, expr)) = self.aggregate_arguments(op, args, span) else {
            return Ok(Expr::Number(NumberLiteral { value: 0.0, duration: false, span }));
        };
        Ok(Expr::Aggregate(Aggregate { op, expr, param, without, grouping, grouping_span, span }))
    }

    /// `by (a, b)` or `without (a, b)`.
    fn aggregate_modifier(&mut self) -> Parsed<Option<(bool, Vec<String>, Span)>> {
        let without = match self.peek() {
            Token::Keyword(Keyword::By) => false,
            Token::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.bump();
        let start = self.peek_span();
        let labels = self.grouping_labels()?;
        Ok(Some((without, labels, self.span_from(start))))
    }

    /// Parameter and expression of an aggregation; `None` if their number is wrong, which is noted.
    fn aggregate_arguments(
        &mut self,
        op: AggregateOp,
        mut args: Vec<Expr>,
        span: Span,
    ) -> Option<(Option<Box<Expr>>, Box<Expr>)> {
        let wanted = if op.param().is_some() { 2 } else { 1 };
        let name = op.name();
        if args.is_empty() {
            let cause = Cause::plain(match wanted {
                2 => format!("write a parameter and an expression: `{name}(5, up)`"),
                _ => format!("write the expression to aggregate: `{name}(up)`"),
            });
            self.note(Fault::new(span, "no arguments for aggregate expression provided", cause));
            return None;
        }
        if op.experimental() && !self.features.experimental_functions {
            let cause = Cause::plain("put `experimental-functions` into the setting query.features");
            self.note(Fault::new(span, format!("{name}() is experimental and not enabled"), cause));
            return None;
        }
        if args.len() != wanted {
            let given = args.len();
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
            );
            let cause = Cause::plain(match wanted {
                2 => format!("`{name}` takes a parameter and an expression"),
                _ => format!("`{name}` takes one expression; its labels stand in `by (…)`"),
            });
            self.note(Fault::new(span, message, cause));
            return None;
        }
        let expr = args.pop().map(Box::new)?;
        Some((args.pop().map(Box::new), expr))
    }

    /// A list of labels in parentheses.
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        const PLACE: &str = "grouping opts";
        self.expect(Token::LeftParen, PLACE, "\"(\"")?;
        let mut labels = Vec::new();
        while self.accept(Token::RightParen).is_none() {
            labels.push(self.grouping_label()?);
            if self.accept(Token::Comma).is_none() && self.peek() != Token::RightParen {
                return Err(self.unexpected(PLACE, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        match self.peek() {
            Token::String => {
                let span = self.bump();
                let name = self.label_text(span);
                if name.is_empty() {
                    let cause = Cause::plain("name a label that is not empty");
                    self.note(Fault::new(span, "invalid label name for grouping: \"\"", cause));
                }
                Ok(name)
            }
            Token::Identifier
            | Token::MetricIdentifier
            | Token::Aggregate(_)
            | Token::Keyword(_)
            | Token::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => {
                let span = self.bump();
                Ok(span.text(self.text).to_owned())
            }
            _ => Err(self.unexpected("grouping opts", "label")),
        }
    }

    /// The text of a string token that names a label or is compared with one; labels hold UTF-8 only.
    pub(super) fn label_text(&mut self, span: Span) -> String {
        String::from_utf8(literal::unquoted(span.text(self.text))).unwrap_or_else(|_| {
            let cause = Cause::plain("labels hold UTF-8 only: nothing can be equal to it");
            self.note(Fault::new(span, "string is not valid UTF-8", cause));
            String::new()
        })
    }
}

impl Operator {
    /// The operator with its two sides; set operators pair many with many.
    fn between(self, left: Expr, right: Expr) -> Binary {
        let types = (left.value_type(), right.value_type());
        let span = left.span().to(right.span());
        let mut matching = self.matching;
        if self.op.is_set() && matching.card == Cardinality::OneToOne {
            matching.card = Cardinality::ManyToMany;
        }
        // What was written for other types than vectors stays, for the type check to refuse.
        let written = !matching.labels.is_empty() || matching.fills();
        let vectors = types == (ValueType::Vector, ValueType::Vector);
        Binary {
            op: self.op,
            lhs: Box::new(left),
            rhs: Box::new(right),
            return_bool: self.return_bool,
            matching: (vectors || written).then_some(matching),
            value_type: match types {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            op_span: self.op_span,
            span,
        }
    }
}
