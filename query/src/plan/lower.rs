//! From syntax tree to plan.

use super::{AggregateNode, MapOp, Node, NodeId, Op, Param, Plan, Selector, Windows};
use crate::error::{Position, QueryError, QueryLimit};
use crate::eval::math::scalar_binary;
use crate::parse::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Expr, MatrixSelector, Sign, Subquery, Unary, VectorSelector,
};
use crate::parse::{Length, LengthUse, QueryTimes, Span, ValueType};
use crate::source::Grouping;
use cardinal_storage::index;
use cardinal_storage::model::{DurationMs, METRIC_NAME, TimestampMs};

/// The times of a query as a whole, which its expressions may refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuerySpan {
    /// The first evaluation.
    pub(crate) start: TimestampMs,
    /// The end as given; the last evaluation is at most there.
    pub(crate) end: TimestampMs,
    /// The distance of evaluations; zero in an instant query.
    pub(crate) step: DurationMs,
    /// The step of subqueries that name none.
    pub(crate) subquery_step: DurationMs,
}

/// Turns `expr`, parsed from `query`, into a plan. Fails where a length is none, or where the query uses what cannot
/// be evaluated.
pub(crate) fn lower(expr: &Expr, query: &str, span: QuerySpan) -> Result<Plan, QueryError> {
    let mut lowering = Lowering { nodes: Vec::new(), query, span, reader: Reader::default() };
    let root = lowering.expr(expr)?;
    let root = lowering.wrapped(root);
    Ok(Plan { nodes: lowering.nodes, root, value_type: expr.value_type() })
}

/// A lowered expression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lowered {
    pub(super) id: NodeId,
    /// Whether its value is the same at every step.
    pub(super) invariant: bool,
    /// Whether marking it so saves anything: not for constants, nor for windows, which their function reads.
    pub(super) wrap: bool,
}

pub(super) struct Lowering<'q> {
    nodes: Vec<Node>,
    query: &'q str,
    pub(super) span: QuerySpan,
    pub(super) reader: Reader,
}

/// What of a native histogram is looked at by all that stands around an expression.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reader {
    /// Something takes the count or the sum alone.
    pub(super) counts: bool,
    /// Something looks at buckets. A subquery does so too: resets between its steps are found by comparing them.
    pub(super) buckets: bool,
}

impl Lowering<'_> {
    /// Lowers any expression; nesting is bounded by the parser.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Lowered, QueryError> {
        match expr {
            Expr::Number(n) => Ok(self.constant(n.value, n.span)),
            Expr::String(s) => Ok(self.push(Op::Text(s.value.clone()), s.span, true, false)),
            Expr::Vector(v) => {
                let selector = self.selector(v)?;
                let fixed = selector.at.is_some();
                Ok(self.push(Op::Instant(selector), v.span, fixed, fixed))
            }
            Expr::Matrix(_) | Expr::Subquery(_) => {
                let (windows, fixed) = self.windows(expr)?;
                Ok(self.push(Op::Windows(windows), expr.span(), fixed, false))
            }
            Expr::Call(c) => self.call(c),
            Expr::Aggregate(a) => self.aggregate(a),
            Expr::Binary(b) => self.chain(b),
            Expr::Unary(u) => self.unary(u),
            Expr::Paren(p) => self.expr(p.expr.without_parens()),
        }
    }

    /// Lowers by `f` what `reader`, too, looks at.
    pub(super) fn read_by<T>(&mut self, reader: Reader, f: impl FnOnce(&mut Self) -> T) -> T {
        let around = self.reader;
        self.reader.counts |= reader.counts;
        self.reader.buckets |= reader.buckets;
        let lowered = f(self);
        self.reader = around;
        lowered
    }

    /// Adds a node.
    pub(super) fn push(&mut self, op: Op, span: Span, invariant: bool, wrap: bool) -> Lowered {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a query's length in bytes fits"));
        self.nodes.push(Node { op, span });
        Lowered { id, invariant, wrap }
    }

    pub(super) fn constant(&mut self, v: f64, span: Span) -> Lowered {
        self.push(Op::Number(v), span, true, false)
    }

    /// The node, marked as invariant where that saves anything.
    pub(super) fn wrapped(&mut self, e: Lowered) -> NodeId {
        if !(e.invariant && e.wrap) {
            return e.id;
        }
        let span = self.nodes[e.id.0 as usize].span;
        self.push(Op::Invariant(e.id), span, true, false).id
    }

    /// The number, if the node is one.
    pub(super) fn number(&self, id: NodeId) -> Option<f64> {
        match self.nodes[id.0 as usize].op {
            Op::Number(v) => Some(v),
            _ => None,
        }
    }

    /// An execution error at `span`.
    pub(super) fn error(&self, span: Span, message: String) -> QueryError {
        QueryError::Execution { position: Some(Position::of(self.query, span.start as usize)), message }
    }

    fn length(&self, length: &Length, what: LengthUse) -> Result<DurationMs, QueryError> {
        let range = self.span.end.since(self.span.start);
        length
            .resolve(QueryTimes { step: self.span.step, range }, what)
            .map_err(|e| QueryError::of_text(&e, self.query))
    }

    pub(super) fn offset(&self, offset: Option<&Length>) -> Result<DurationMs, QueryError> {
        offset.map_or(Ok(DurationMs(0)), |o| self.length(o, LengthUse::Offset))
    }

    pub(super) fn at(&self, at: Option<At>) -> Option<TimestampMs> {
        at.map(|at| match at {
            At::Time(t) => t,
            At::Start => self.span.start,
            At::End => self.span.end,
        })
    }

    pub(super) fn selector(&self, v: &VectorSelector) -> Result<Selector, QueryError> {
        let matchers = self.matchers(v)?;
        let (offset, at) = (self.offset(v.offset.as_ref())?, self.at(v.at));
        let counts_only = self.reader.counts && !self.reader.buckets;
        Ok(Selector { matchers, offset, at, edges: v.edges, counts_only, span: v.span })
    }

    /// The conditions of a selector.
    pub(super) fn matchers(&self, v: &VectorSelector) -> Result<Vec<index::Matcher>, QueryError> {
        let matchers = v.matchers.iter().map(|m| {
            m.compile().map_err(|e| QueryError::Parse {
                position: Position::of(self.query, m.span.start as usize),
                message: e.to_string(),
                limit: e.too_large.then_some(QueryLimit::Pattern),
            })
        });
        matchers.collect()
    }

    /// A range vector, and whether it is the same at every step.
    pub(super) fn windows(&mut self, expr: &Expr) -> Result<(Windows, bool), QueryError> {
        match expr.without_parens() {
            Expr::Matrix(MatrixSelector { selector, range, .. }) => {
                let selector = self.selector(selector)?;
                let fixed = selector.at.is_some();
                Ok((Windows::Series { selector, range: self.length(range, LengthUse::Positive)? }, fixed))
            }
            Expr::Subquery(s) => self.subquery(s),
            other => unreachable!("the parser took {other:?} for a range vector"),
        }
    }

    fn subquery(&mut self, s: &Subquery) -> Result<(Windows, bool), QueryError> {
        let inner = self.read_by(Reader { buckets: true, counts: false }, |l| l.expr(&s.expr))?;
        // Constants too are evaluated once: the steps of a subquery may be many.
        let expr = self.wrapped(Lowered { wrap: inner.invariant, ..inner });
        let step = match &s.step {
            Some(step) => self.length(step, LengthUse::Positive)?,
            None => self.span.subquery_step,
        };
        let at = self.at(s.at);
        let range = self.length(&s.range, LengthUse::Positive)?;
        let offset = self.offset(s.offset.as_ref())?;
        Ok((Windows::Subquery { expr, range, step, offset, at }, at.is_some()))
    }

    fn unary(&mut self, u: &Unary) -> Result<Lowered, QueryError> {
        let inner = self.expr(&u.expr)?;
        if u.sign == Sign::Plus {
            return Ok(inner);
        }
        if let Some(v) = self.number(inner.id) {
            return Ok(self.constant(-v, u.span));
        }
        if u.expr.value_type() == ValueType::Scalar {
            // `-1 * s` is `-s` to the bit, but for the sign of NaN.
            let minus = self.constant(-1.0, u.span);
            let op = Op::ScalarBinary { op: BinaryOp::Mul, lhs: inner.id, rhs: minus.id };
            return Ok(self.push(op, u.span, inner.invariant, inner.wrap));
        }
        let op = Op::Map { map: MapOp::Negate, vector: inner.id };
        Ok(self.push(op, u.span, inner.invariant, inner.wrap))
    }

    /// A chain of operators that leans left, in a loop.
    fn chain(&mut self, b: &Binary) -> Result<Lowered, QueryError> {
        let (first, links) = b.chain();
        // Buckets are trimmed and compared.
        let counted = self.reader.counts;
        let buckets = |op: BinaryOp| op.is_trim() || counted && matches!(op, BinaryOp::Eq | BinaryOp::Ne);
        let mut later = links.iter().filter(|link| buckets(link.op)).count();
        let reader = |buckets| Reader { buckets, counts: false };
        let mut lhs = self.read_by(reader(later > 0), |l| l.expr(first))?;
        let mut left_type = first.value_type();
        for link in links {
            let rhs = self.read_by(reader(later > 0), |l| l.expr(&link.rhs))?;
            later -= usize::from(buckets(link.op));
            lhs = self.link(link, left_type, lhs, rhs);
            left_type = link.value_type;
        }
        Ok(lhs)
    }

    fn link(&mut self, b: &Binary, left_type: ValueType, lhs: Lowered, rhs: Lowered) -> Lowered {
        if let (Some(l), Some(r)) = (self.number(lhs.id), self.number(rhs.id)) {
            return self.constant(scalar_binary(b.op, l, r), b.span);
        }
        let invariant = lhs.invariant && rhs.invariant;
        let (l, r) = if invariant { (lhs.id, rhs.id) } else { (self.wrapped(lhs), self.wrapped(rhs)) };
        let (op, return_bool) = (b.op, b.return_bool);
        let right_type = b.rhs.value_type();
        let op = match (left_type, right_type) {
            (ValueType::Scalar, ValueType::Scalar) => Op::ScalarBinary { op, lhs: l, rhs: r },
            (ValueType::Vector, ValueType::Vector) => {
                let matching = b.matching.clone().unwrap_or_default();
                Op::VectorBinary { op, lhs: l, rhs: r, matching, return_bool }
            }
            (left, _) => {
                let scalar_left = left == ValueType::Scalar;
                Op::VectorScalar { op, lhs: l, rhs: r, scalar_left, return_bool }
            }
        };
        self.push(op, b.span, invariant, invariant)
    }

    fn aggregate(&mut self, a: &Aggregate) -> Result<Lowered, QueryError> {
        // The text of a histogram has its buckets.
        let buckets = self.reader.counts && a.op == AggregateOp::CountValues;
        let reader = Reader { buckets, counts: false };
        let vector = self.read_by(reader, |l| l.expr(a.expr.without_parens()))?;
        let param = match a.param.as_deref().map(Expr::without_parens) {
            None => Param::None,
            Some(Expr::String(s)) if a.op == AggregateOp::CountValues => {
                self.value_label(&s.value, s.span)?
            }
            Some(p) => Param::Scalar(self.expr(p)?.id, p.span()),
        };
        let name = a.without.then(|| METRIC_NAME.to_owned());
        let labels = a.grouping.iter().cloned().chain(name);
        let grouping = if a.without { Grouping::without(labels) } else { Grouping::by(labels) };
        let argument = a.expr.without_parens().span();
        let op = Op::Aggregate(AggregateNode { op: a.op, vector: vector.id, argument, grouping, param });
        Ok(self.push(op, a.span, vector.invariant, vector.wrap))
    }

    fn value_label(&self, label: &str, span: Span) -> Result<Param, QueryError> {
        if label.is_empty() {
            return Err(self.error(span, format!("invalid label name {label:?}")));
        }
        Ok(Param::Label(label.to_owned()))
    }
}
