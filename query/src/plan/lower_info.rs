//! `info`: which info series it looks for, and as of when.

use super::lower::{Lowered, Lowering};
use super::{InfoNode, Op};
use crate::error::QueryError;
use crate::parse::ast::{Call, Expr};
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::model::{DurationMs, METRIC_NAME, TimestampMs};

/// The info metric that is taken where none is named.
const TARGET_INFO: &str = "target_info";

/// What info metrics are called, where a query only says what they are not called.
const INFO_NAMES: &str = ".+_info";

/// The time that a vector is as of: the evaluation time, or `at`, moved back by `offset`.
#[derive(Clone, Copy)]
struct AsOf {
    offset: DurationMs,
    at: Option<TimestampMs>,
}

impl Lowering<'_> {
    /// Lowers a call of `info`.
    pub(super) fn info(&mut self, c: &Call) -> Result<Lowered, QueryError> {
        let series = c.args[0].without_parens();
        let lowered = self.expr(series)?;
        let (conditions, fixed) = match c.args.get(1) {
            Some(Expr::Vector(v)) => (self.matchers(v)?, v.at.is_some()),
            _ => (Vec::new(), true),
        };
        let (names, labels) = conditions.into_iter().partition(|m| m.name() == METRIC_NAME);
        let AsOf { offset, at } = self.as_of(series)?.unwrap_or(AsOf { offset: DurationMs(0), at: None });
        let invariant = lowered.invariant && fixed;
        let vector = if invariant { lowered.id } else { self.wrapped(lowered) };
        let node = InfoNode { vector, names: info_names(names), labels, offset, at };
        Ok(self.push(Op::Info(node), c.span, invariant, invariant))
    }

    /// As of when the first selector in `expr` reads, if there is any: the innermost `@` around it holds, and the
    /// offsets up to there add up.
    fn as_of(&self, expr: &Expr) -> Result<Option<AsOf>, QueryError> {
        let selector = match expr {
            Expr::Number(_) | Expr::String(_) => return Ok(None),
            Expr::Vector(v) => v,
            Expr::Matrix(m) => &m.selector,
            Expr::Subquery(s) => {
                let inner = self.as_of(&s.expr)?;
                let Some(AsOf { offset: DurationMs(inside), at: None }) = inner else { return Ok(inner) };
                let DurationMs(own) = self.offset(s.offset.as_ref())?;
                let offset = DurationMs(inside.saturating_add(own));
                return Ok(Some(AsOf { offset, at: self.at(s.at) }));
            }
            Expr::Call(c) => return self.first_as_of(c.args.iter()),
            Expr::Aggregate(a) => {
                return self.first_as_of([&a.expr].into_iter().chain(&a.param).map(|e| &**e));
            }
            Expr::Binary(b) => {
                let (first, links) = b.chain();
                return self.first_as_of([first].into_iter().chain(links.iter().map(|link| &*link.rhs)));
            }
            Expr::Unary(u) => return self.as_of(&u.expr),
            Expr::Paren(p) => return self.as_of(&p.expr),
        };
        let offset = self.offset(selector.offset.as_ref())?;
        Ok(Some(AsOf { offset, at: self.at(selector.at) }))
    }

    fn first_as_of<'e>(&self, exprs: impl Iterator<Item = &'e Expr>) -> Result<Option<AsOf>, QueryError> {
        exprs.map(|e| self.as_of(e)).find_map(Result::transpose).transpose()
    }
}

/// The conditions on the names of info series, `written` among them: at least one says what they are called.
fn info_names(written: Vec<Matcher>) -> Vec<Matcher> {
    if written.is_empty() {
        return vec![Matcher::equal(METRIC_NAME, TARGET_INFO)];
    }
    if written.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex)) {
        return written;
    }
    let any = Matcher::new(METRIC_NAME, MatchOp::Regex, INFO_NAMES).expect("the expression is valid");
    [any].into_iter().chain(written).collect()
}
