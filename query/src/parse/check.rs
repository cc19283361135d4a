//! The type check: operators and functions get what they take.
//!
//! Mistakes are looked for in the reference's order, so that the first one is the same.

use super::ast::{Aggregate, Binary, Call, Cardinality, Expr, Subquery, Unary, VectorSelector};
use super::fault::{Cause, Fault};
use super::functions::FunctionId;
use super::selector::METRIC_NAME;
use super::span::{Span, ValueType};

/// The first mistake in `expr`, if any. Recursion is bounded by the parser's depth limit.
pub(super) fn check(expr: &Expr) -> Result<(), Fault> {
    match expr {
        Expr::Number(_) | Expr::String(_) => Ok(()),
        Expr::Vector(v) => selector(v, false),
        Expr::Matrix(m) => selector(&m.selector, false),
        Expr::Subquery(s) => subquery(s),
        Expr::Call(c) => call(c),
        Expr::Aggregate(a) => aggregate(a),
        Expr::Binary(b) => chain(b),
        Expr::Unary(u) => unary(u),
        Expr::Paren(p) => check(&p.expr),
    }
}

/// A selector selects something, and has one name. The data of `info` may match labels that are not there.
pub(super) fn selector(v: &VectorSelector, may_be_empty: bool) -> Result<(), Fault> {
    if let Some(name) = &v.name {
        let others = v.matchers.split_last().map_or(&[][..], |(_, others)| others);
        let Some(twice) = others.iter().find(|m| m.name == METRIC_NAME) else { return Ok(()) };
        let message = format!("metric name must not be set twice: {name:?} or {:?}", twice.value);
        return Err(Fault::new(v.span, message, Cause::plain("keep one of them")));
    }
    if may_be_empty || v.matchers.iter().any(|m| !m.matches_empty()) {
        return Ok(());
    }
    let cause = Cause::plain("name a metric, or a label with a value that is not empty");
    Err(Fault::new(v.span, "vector selector must contain at least one non-empty matcher", cause))
}

fn subquery(s: &Subquery) -> Result<(), Fault> {
    check(&s.expr)?;
    match s.expr.value_type() {
        ValueType::Vector => Ok(()),
        other => {
            let message = format!("subquery is only allowed on instant vector, got {other} instead");
            let cause = Cause::plain(match other {
                ValueType::Scalar => "make the number a vector: `vector(…)`",
                _ => "put a function such as avg_over_time around the inner window",
            });
            Err(Fault::new(s.span, message, cause))
        }
    }
}

fn unary(u: &Unary) -> Result<(), Fault> {
    check(&u.expr)?;
    match u.expr.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(()),
        other => {
            let message = format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                other.documented()
            );
            Err(Fault::new(u.span, message, Cause::plain("remove the sign")))
        }
    }
}

fn aggregate(a: &Aggregate) -> Result<(), Fault> {
    expect(&a.expr, ValueType::Vector, "aggregation expression")?;
    match (&a.param, a.op.param()) {
        (Some(param), Some(wanted)) => expect(param, wanted, "aggregation parameter"),
        _ => Ok(()),
    }
}

fn expect(expr: &Expr, wanted: ValueType, place: &str) -> Result<(), Fault> {
    check(expr)?;
    if let Expr::String(s) = expr.without_parens()
        && s.lossy
    {
        let cause = Cause::plain("write it without `\\x` escapes above 7f: labels hold UTF-8 only");
        return Err(Fault::new(s.span, format!("string in {place} is not valid UTF-8"), cause));
    }
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {place}, got {}", wanted.documented(), found.documented());
    Err(Fault::new(expr.span(), message, mismatch(expr, wanted)))
}

/// Why `expr` is not of the type `wanted`.
fn mismatch(expr: &Expr, wanted: ValueType) -> Cause {
    let operand = expr.span();
    match (wanted, expr.value_type()) {
        (ValueType::Matrix, ValueType::Vector) => {
            let selector = matches!(expr, Expr::Vector(_));
            Cause::NeedsWindow { operand, selector }
        }
        (ValueType::Vector, ValueType::Matrix) => Cause::WindowAsValue { operand },
        (ValueType::Vector, ValueType::Scalar) => Cause::plain("make the number a vector: `vector(…)`"),
        (ValueType::Scalar, ValueType::Vector) => {
            Cause::plain("write a number, or make a vector of one series a number: `scalar(…)`")
        }
        (ValueType::String, _) => Cause::plain("write a text in quotes"),
        _ => Cause::plain(format!("give it a value of type {}", wanted.documented())),
    }
}

/// The operators of a chain from its leftmost operand on; the chain may be longer than the stack.
fn chain(b: &Binary) -> Result<(), Fault> {
    let (first, links) = b.chain();
    check(first)?;
    for link in links {
        check(&link.rhs)?;
        binary(link)?;
    }
    Ok(())
}

fn binary(b: &Binary) -> Result<(), Fault> {
    let (left, right) = (b.lhs.value_type(), b.rhs.value_type());
    // From the operator to its last modifier.
    let operator =
        Span { start: b.op_span.start, end: b.rhs.span().start.saturating_sub(1).max(b.op_span.end) };
    if b.return_bool && !b.op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return Err(Fault::new(operator, message, Cause::plain("remove `bool`")));
    }
    if b.op.is_comparison() && !b.return_bool && (left, right) == (ValueType::Scalar, ValueType::Scalar) {
        let message = "comparisons between scalars must use BOOL modifier";
        return Err(Fault::new(operator, message, Cause::NeedsBool { op: b.op_span }));
    }
    if let Some(m) = &b.matching
        && m.on
        && let Some(label) = m.labels.iter().find(|l| m.include.contains(l))
    {
        let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
        let cause = Cause::plain("remove it from the group clause: it is taken over anyway");
        return Err(Fault::new(operator, message, cause));
    }
    for side in [&b.lhs, &b.rhs] {
        if !matches!(side.value_type(), ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Fault::new(side.span(), message, mismatch(side, ValueType::Vector)));
        }
    }
    matching(b, (left, right))
}

/// The modifiers of an operator fit its sides.
fn matching(b: &Binary, types: (ValueType, ValueType)) -> Result<(), Fault> {
    let fault = |message: String, advice: &str| Err(Fault::new(b.span, message, Cause::plain(advice)));
    let vectors = types == (ValueType::Vector, ValueType::Vector);
    let symbol = b.op.symbol();
    if let Some(m) = &b.matching {
        if !vectors && !m.labels.is_empty() {
            return fault(
                "vector matching only allowed between instant vectors".into(),
                "remove `on` or `ignoring`, or make both sides vectors",
            );
        }
        if !vectors && m.fills() {
            return fault(
                "filling in missing series only allowed between instant vectors".into(),
                "remove `fill`, or make both sides vectors",
            );
        }
        if vectors && b.op.is_set() && matches!(m.card, Cardinality::OneToMany | Cardinality::ManyToOne) {
            return fault(
                format!("no grouping allowed for {symbol:?} operation"),
                "remove group_left or group_right",
            );
        }
        if vectors && b.op.is_set() && m.fills() {
            return fault("filling in missing series not allowed for set operators".into(), "remove `fill`");
        }
    }
    if b.op.is_set() && (types.0 == ValueType::Scalar || types.1 == ValueType::Scalar) {
        return fault(
            format!("set operator {symbol:?} not allowed in binary scalar expression"),
            "make the number a vector: `vector(…)`",
        );
    }
    Ok(())
}

fn call(c: &Call) -> Result<(), Fault> {
    argument_count(c)?;
    let info = c.function.id == FunctionId::Info;
    if info && let Some(data) = c.args.get(1) {
        info_selector(data, c.span)?;
    }
    for (index, arg) in c.args.iter().enumerate() {
        let Some(wanted) = c.function.arg(index) else { break };
        match arg {
            Expr::Vector(v) if info && index == 1 => selector(v, true)?,
            _ => expect(arg, wanted, &format!("call to function {:?}", c.function.name))?,
        }
    }
    Ok(())
}

fn argument_count(c: &Call) -> Result<(), Fault> {
    let f = c.function;
    let (given, name) = (c.args.len(), f.name);
    let wanted = match f.args_max {
        Some(most) if most == f.args_min && given != most => format!("{most} argument(s)"),
        Some(most) if given > most => format!("at most {most} argument(s)"),
        _ if given < f.args_min => format!("at least {} argument(s)", f.args_min),
        _ => return Ok(()),
    };
    let types: Vec<&str> = f.args.iter().map(|t| t.documented()).collect();
    let cause = Cause::plain(match types.is_empty() {
        true => format!("write `{name}()`"),
        false => format!("its arguments are: {}", types.join(", ")),
    });
    Err(Fault::new(c.span, format!("expected {wanted} in call to {name:?}, got {given}"), cause))
}

/// The second argument of `info`: conditions in braces, without a name before them.
fn info_selector(data: &Expr, call: Span) -> Result<(), Fault> {
    let cause = Cause::plain("write conditions in braces, the metric too: `{__name__=\"target_info\"}`");
    if data.value_type() != ValueType::Vector {
        let found = data.value_type().documented();
        let message = format!("expected type instant vector in call to function \"info\", got {found}");
        return Err(Fault::new(call, message, cause));
    }
    match data {
        Expr::Vector(v) if v.name.is_none() => Ok(()),
        Expr::Vector(v) => {
            let message = "expected label selectors only, got vector selector instead";
            Err(Fault::new(v.span, message, cause))
        }
        _ => Err(Fault::new(data.span(), "expected label selectors only", cause)),
    }
}
