//! What is to be computed: a query's syntax tree with everything resolved that does not depend on series.
//!
//! Lengths are numbers, `@` and `offset` are times, functions are what the evaluator has, constants are folded, and
//! every part whose value is the same at all steps is marked, so that it is evaluated once. Nodes stand in one list
//! and name each other by number: a chain of ten thousand operators is no deeper than one, where it leans left.

mod lower;
mod lower_call;
mod lower_info;

pub(crate) use lower::{QuerySpan, lower};

use crate::eval::math::MathFunction;
use crate::eval::range::RangeFunction;
use crate::parse::ast::{AggregateOp, BinaryOp, Edges, VectorMatching};
use crate::parse::{Span, ValueType};
use crate::source::Grouping;
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::model::{DurationMs, LabelSet, METRIC_NAME, TimestampMs};

/// A node's number in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

/// A query, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Plan {
    nodes: Vec<Node>,
    pub(crate) root: NodeId,
    pub(crate) value_type: ValueType,
}

impl Plan {
    /// The node `id`.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

/// An operation with the place in the query that it came from.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) span: Span,
}

/// What a node computes: a scalar or an instant vector at each step, unless stated.
#[derive(Debug)]
pub(crate) enum Op {
    /// A number.
    Number(f64),
    /// A string; only as the whole query.
    Text(String),
    /// The evaluation time in seconds.
    Time,
    /// The newest samples of series.
    Instant(Selector),
    /// The times of the newest samples of series, in seconds.
    Timestamp(Selector),
    /// A function of the samples in windows, with scalar parameters.
    Range { function: RangeFunction, windows: Windows, params: Vec<NodeId>, argument: Span },
    /// 1 where no series has a sample in the window.
    AbsentOverTime { windows: Windows, labels: LabelSet },
    /// The samples in windows as they are; only as the whole query.
    Windows(Windows),
    /// 1 where the vector is empty.
    Absent { vector: NodeId, labels: LabelSet },
    /// A function of each value; the metric name goes.
    Map { map: MapOp, vector: NodeId },
    /// The only value of a vector, else NaN.
    ScalarOf(NodeId),
    /// A scalar as a vector of one series without labels.
    VectorOf(NodeId),
    /// The greater or smaller of two scalars.
    Extreme { greatest: bool, a: NodeId, b: NodeId },
    /// `label_replace`, `label_join`.
    Relabel { relabel: Relabel, vector: NodeId },
    /// `sort` and its like.
    Sort { order: SortOrder, vector: NodeId },
    /// Functions of the buckets of histograms, classic and native.
    Histogram { function: HistogramOp, vector: NodeId, vector_span: Span },
    /// `info`.
    Info(InfoNode),
    /// A function of what no sample has, start timestamps.
    Nothing(NodeId),
    /// An aggregation.
    Aggregate(AggregateNode),
    /// An operator on two scalars.
    ScalarBinary { op: BinaryOp, lhs: NodeId, rhs: NodeId },
    /// An operator on a vector and a scalar, which stands left of it if `scalar_left`.
    VectorScalar { op: BinaryOp, lhs: NodeId, rhs: NodeId, scalar_left: bool, return_bool: bool },
    /// An operator on two vectors.
    VectorBinary { op: BinaryOp, lhs: NodeId, rhs: NodeId, matching: VectorMatching, return_bool: bool },
    /// The same at every step: evaluated at the first.
    Invariant(NodeId),
}

impl Op {
    /// What it is computed from; the expression inside a subquery is not among them.
    pub(crate) fn inputs(&self) -> Vec<NodeId> {
        match self {
            Self::Number(_)
            | Self::Text(_)
            | Self::Time
            | Self::Instant(_)
            | Self::Timestamp(_)
            | Self::AbsentOverTime { .. }
            | Self::Windows(_) => Vec::new(),
            Self::Range { params, .. } => params.clone(),
            Self::Absent { vector, .. } | Self::Relabel { vector, .. } | Self::Sort { vector, .. } => {
                vec![*vector]
            }
            Self::Map { map, vector } => map.params().chain([*vector]).collect(),
            Self::ScalarOf(one) | Self::VectorOf(one) | Self::Nothing(one) | Self::Invariant(one) => {
                vec![*one]
            }
            Self::Extreme { a, b, .. } => vec![*a, *b],
            Self::Histogram { function, vector, .. } => function.params().chain([*vector]).collect(),
            Self::Info(info) => vec![info.vector],
            Self::Aggregate(a) => match a.param {
                Param::Scalar(param, _) => vec![param, a.vector],
                _ => vec![a.vector],
            },
            Self::ScalarBinary { lhs, rhs, .. }
            | Self::VectorScalar { lhs, rhs, .. }
            | Self::VectorBinary { lhs, rhs, .. } => vec![*lhs, *rhs],
        }
    }

    /// The windows that it looks at.
    pub(crate) fn windows(&self) -> Option<&Windows> {
        match self {
            Self::Range { windows, .. } | Self::AbsentOverTime { windows, .. } | Self::Windows(windows) => {
                Some(windows)
            }
            _ => None,
        }
    }
}

/// Series, moved in time.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) offset: DurationMs,
    pub(crate) at: Option<TimestampMs>,
    /// How values at the edges of a window, or at the evaluation time, are found beyond the samples there.
    pub(crate) edges: Option<Edges>,
    /// Whether no bucket of a native histogram is looked at: counts and sums will do.
    pub(crate) counts_only: bool,
    /// Where it stands.
    pub(crate) span: Span,
}

impl Selector {
    /// The metric name that all series have, if the matchers say so.
    pub(crate) fn name(&self) -> Option<&str> {
        let named = self.matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        named.map(Matcher::value)
    }
}

/// A range vector.
#[derive(Debug)]
pub(crate) enum Windows {
    /// The samples of series.
    Series { selector: Selector, range: DurationMs },
    /// The values of an expression, `step` apart.
    Subquery {
        expr: NodeId,
        range: DurationMs,
        step: DurationMs,
        offset: DurationMs,
        at: Option<TimestampMs>,
    },
}

/// What is done to each value.
#[derive(Debug)]
pub(crate) enum MapOp {
    /// A function of the number alone.
    Math(MathFunction),
    /// Put between two bounds, of which either may be missing.
    Clamp { low: Option<NodeId>, high: Option<NodeId> },
    /// Rounded to multiples of a unit.
    Round(NodeId),
    /// Negated.
    Negate,
    /// Replaced by a number that a native histogram has.
    Statistic(HistogramStatistic),
    /// Replaced by the evaluation time.
    EvaluationTime,
}

/// A number that a native histogram has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramStatistic {
    /// `histogram_count`
    Count,
    /// `histogram_sum`
    Sum,
    /// `histogram_avg`
    Average,
    /// `histogram_stdvar`
    Variance,
    /// `histogram_stddev`
    Deviation,
}

impl MapOp {
    /// The scalars that it depends on.
    pub(crate) fn params(&self) -> impl Iterator<Item = NodeId> + use<> {
        let (a, b) = match self {
            Self::Clamp { low, high } => (*low, *high),
            Self::Round(unit) => (Some(*unit), None),
            Self::Math(_) | Self::Negate | Self::Statistic(_) | Self::EvaluationTime => (None, None),
        };
        a.into_iter().chain(b)
    }
}

/// How labels are rewritten.
#[derive(Debug)]
pub(crate) enum Relabel {
    /// `label_replace`.
    Replace { target: String, replacement: String, source: String, regex: regex_automata::meta::Regex },
    /// `label_join`.
    Join { target: String, separator: String, sources: Vec<String> },
}

/// How a vector is sorted.
#[derive(Debug)]
pub(crate) enum SortOrder {
    /// By value.
    Value { descending: bool },
    /// By labels, numbers inside them as numbers.
    Labels { names: Vec<String>, descending: bool },
}

/// A function of the buckets of histograms; a scalar comes with its place in the query.
#[derive(Debug)]
pub(crate) enum HistogramOp {
    /// `histogram_quantile`.
    Quantile(NodeId, Span),
    /// `histogram_quantiles`.
    Quantiles { label: String, quantiles: Vec<(NodeId, Span)> },
    /// `histogram_fraction`.
    Fraction { lower: NodeId, upper: NodeId },
}

impl HistogramOp {
    /// The scalars that it depends on.
    pub(crate) fn params(&self) -> impl Iterator<Item = NodeId> + use<> {
        let params = match self {
            Self::Quantile(q, _) => vec![*q],
            Self::Quantiles { quantiles, .. } => quantiles.iter().map(|(q, _)| *q).collect(),
            Self::Fraction { lower, upper } => vec![*lower, *upper],
        };
        params.into_iter()
    }
}

/// `info`: labels of info series, added to those of a vector.
#[derive(Debug)]
pub(crate) struct InfoNode {
    pub(crate) vector: NodeId,
    /// The conditions on the names of info series.
    pub(crate) names: Vec<Matcher>,
    /// The conditions on their other labels; where there are any, only these labels are added.
    pub(crate) labels: Vec<Matcher>,
    /// How far before the evaluation time info series are looked at.
    pub(crate) offset: DurationMs,
    /// The time at which they are looked at, in place of the evaluation time.
    pub(crate) at: Option<TimestampMs>,
}

/// An aggregation.
#[derive(Debug)]
pub(crate) struct AggregateNode {
    pub(crate) op: AggregateOp,
    pub(crate) vector: NodeId,
    /// Where what is aggregated stands in the query.
    pub(crate) argument: Span,
    pub(crate) grouping: Grouping,
    pub(crate) param: Param,
}

/// The parameter of an aggregation.
#[derive(Debug)]
pub(crate) enum Param {
    /// None.
    None,
    /// A scalar, and where it stands.
    Scalar(NodeId, Span),
    /// The label of `count_values`.
    Label(String),
}
