//! Pins a query to one time with `@`, so that it must answer the same whenever it is evaluated.

use cardinal_query::parse::ast::At;
use cardinal_query::parse::{Expr, Features, FunctionId, parse};
use cardinal_storage::model::TimestampMs;

/// `query` with `@ at` on every selector and outermost subquery that has none; `None` where a function of it depends
/// on the evaluation time all the same.
pub(super) fn pinned(query: &str, at: TimestampMs) -> Option<String> {
    let mut expr = parse(query, &Features::default()).ok()?;
    pin(&mut expr, At::Time(at)).then(|| expr.to_string())
}

/// Whether the pinned expression is independent of its evaluation time.
fn pin(expr: &mut Expr, at: At) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(v) => {
            v.at.get_or_insert(at);
            true
        }
        Expr::Matrix(m) => {
            m.selector.at.get_or_insert(at);
            true
        }
        // What is inside is evaluated at times that move with the subquery's.
        Expr::Subquery(s) => {
            s.at.get_or_insert(at);
            true
        }
        Expr::Call(c) => {
            let mut independent = !depends_on_time(c.function.id);
            for arg in &mut c.args {
                independent &= pin(arg, at);
            }
            independent
        }
        Expr::Aggregate(a) => {
            let param = a.param.as_mut().is_none_or(|p| pin(p, at));
            pin(&mut a.expr, at) && param
        }
        Expr::Binary(b) => {
            let left = pin(&mut b.lhs, at);
            pin(&mut b.rhs, at) && left
        }
        Expr::Unary(u) => pin(&mut u.expr, at),
        Expr::Paren(p) => pin(&mut p.expr, at),
    }
}

fn depends_on_time(function: FunctionId) -> bool {
    matches!(
        function,
        FunctionId::DaysInMonth
            | FunctionId::DayOfMonth
            | FunctionId::DayOfWeek
            | FunctionId::DayOfYear
            | FunctionId::End
            | FunctionId::Hour
            | FunctionId::Minute
            | FunctionId::Month
            | FunctionId::Year
            | FunctionId::PredictLinear
            | FunctionId::Range
            | FunctionId::Start
            | FunctionId::Step
            | FunctionId::Time
            | FunctionId::Timestamp
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_pinned_once() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(pinned(query, TimestampMs(5000)).as_deref(), expected, "{query}");
        };
        check("up + rate(x[5m] offset 1m)", Some("up @ 5 + rate(x[5m] @ 5 offset 1m)"));
        check(
            "max_over_time(sum(up)[5m:1m] @ 3) + up @ 4",
            Some("max_over_time(sum(up)[5m:1m] @ 3) + up @ 4"),
        );
        check("sum_over_time(rate(x[1m])[5m:])", Some("sum_over_time(rate(x[1m])[5m:] @ 5)"));
        check("time() - up", None);
        check("sum_over_time(timestamp(up)[5m:])", Some("sum_over_time(timestamp(up)[5m:] @ 5)"));
        check("timestamp(up)", None);
    }
}
