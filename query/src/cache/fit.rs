//! Which queries have steps that do not depend on one another, and what a step looks at.
//!
//! | part of a query | kept? |
//! |---|---|
//! | `@`, `start()`, `end()`, `range()` | no: another range means other values |
//! | `info` | no: series are joined over the whole range |
//! | `limitk` | no: which series it takes depends on their order |
//! | `stddev`, `stdvar` | no: their last digits depend on the order of series, which is another in memory than in blocks |
//! | parameters that change from step to step, of what remarks on or refuses its parameter | no: the remark is on the range |
//! | functions over time of series whose names may differ | no: they refuse equal labels anywhere in the range |
//! | sums and means of native histograms, and series with `__type__` or `__unit__` under functions over time | no, told when they are met |
//! | all else | yes |

use crate::eval::{Evaluator, Grid};
use crate::parse::Expr;
use crate::parse::ast::AggregateOp;
use crate::plan::{NodeId, Op, Param, Plan, Windows};
use cardinal_storage::index::Matcher;
use cardinal_storage::model::{METRIC_NAME, TimeRange, TimestampMs};
use cardinal_storage::read::Change;

/// What the steps of a query look at.
pub(super) struct Fit<'q> {
    pub(super) reaches: Vec<Reach<'q>>,
}

/// What a selector looks at for a step at time 0.
pub(super) struct Reach<'q> {
    matchers: &'q [Matcher],
    /// Around 0.
    window: TimeRange,
}

impl Reach<'_> {
    /// How far behind a step samples are looked at; negative where all of them lie before it.
    pub(super) fn beyond(&self) -> i64 {
        self.window.until.0
    }

    /// The times of steps that see some of what has changed: from the first to before the second.
    pub(super) fn steps_seeing(&self, change: &Change) -> Option<(i64, i64)> {
        if !change.may_touch(self.matchers) {
            return None;
        }
        // A step at t sees (t + after, t + until].
        let first = change.range.after.0.saturating_add(1).saturating_sub(self.window.until.0);
        Some((first, change.range.until.0.saturating_sub(self.window.after.0)))
    }
}

impl<'q> Fit<'q> {
    /// What a query looks at, if it is fit to be kept.
    pub(super) fn of(evaluator: &Evaluator<'q>, expr: &Expr) -> Option<Self> {
        let text = expr.to_string();
        let of_range = ["start()", "end()", "range()"].iter().any(|f| text.contains(f));
        if of_range || evaluator.delayed {
            return None;
        }
        let plan = evaluator.plan;
        let mut reaches = Vec::new();
        let mut left = vec![(plan.root, 0i64, 0i64)];
        let zero = Grid::instant(TimestampMs(0));
        while let Some((id, before, beyond)) = left.pop() {
            let op = &plan.node(id).op;
            if !is_fit(plan, op) {
                return None;
            }
            left.extend(op.inputs().into_iter().map(|id| (id, before, beyond)));
            let (selector, window) = match (op, op.windows()) {
                (Op::Instant(selector) | Op::Timestamp(selector), _) => {
                    (selector, evaluator.instant(selector, &zero, false, selector.span).range())
                }
                (_, Some(Windows::Series { selector, range })) => {
                    (selector, evaluator.spec(selector, *range, &zero).hull())
                }
                (_, Some(Windows::Subquery { expr, range, offset, at: None, .. })) => {
                    let ago = before.saturating_add(range.0).saturating_add(offset.0);
                    left.push((*expr, ago, beyond.saturating_sub(offset.0)));
                    continue;
                }
                (_, Some(Windows::Subquery { .. })) => return None,
                _ => continue,
            };
            if selector.at.is_some() {
                return None;
            }
            let window = TimeRange {
                after: TimestampMs(window.after.0.saturating_sub(before)),
                until: TimestampMs(window.until.0.saturating_add(beyond)),
            };
            reaches.push(Reach { matchers: &selector.matchers, window });
        }
        // What reads nothing is not worth keeping.
        (!reaches.is_empty()).then_some(Self { reaches })
    }

    /// How far behind a step samples are looked at, by any selector.
    pub(super) fn beyond(&self) -> i64 {
        self.reaches.iter().map(Reach::beyond).max().unwrap_or(0).max(0)
    }
}

/// Whether an operation's value at a step depends on that step alone.
fn is_fit(plan: &Plan, op: &Op) -> bool {
    let number = |id: &NodeId| matches!(plan.node(*id).op, Op::Number(_));
    match op {
        Op::Info(_) | Op::Text(_) | Op::Windows(_) => false,
        Op::Range { function, windows, params, .. } => {
            params.iter().all(number) && (function.keeps_name() || names_of(plan, windows) != Names::Any)
        }
        Op::Histogram { function, .. } => function.params().all(|id| number(&id)),
        Op::Aggregate(a) => {
            use AggregateOp::{Limitk, Stddev, Stdvar};
            !matches!(a.op, Limitk | Stddev | Stdvar)
                && !matches!(&a.param, Param::Scalar(id, _) if !number(id))
        }
        _ => true,
    }
}

/// The metric names that the series of a vector have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// None at all.
    None,
    /// All the same, or none.
    One,
    /// Perhaps different ones.
    Any,
}

fn names_of(plan: &Plan, windows: &Windows) -> Names {
    match windows {
        Windows::Series { selector, .. } if selector.name().is_some() => Names::One,
        Windows::Series { .. } => Names::Any,
        Windows::Subquery { expr, .. } => names(plan, *expr),
    }
}

/// Told where it is easy: what is not clear is [`Names::Any`].
fn names(plan: &Plan, id: NodeId) -> Names {
    match &plan.node(id).op {
        Op::Instant(selector) if selector.name().is_some() => Names::One,
        Op::Range { function, windows, .. } if function.keeps_name() => names_of(plan, windows),
        Op::Range { .. } | Op::Map { .. } | Op::VectorOf(_) | Op::Timestamp(_) => Names::None,
        Op::Absent { labels, .. } | Op::AbsentOverTime { labels, .. } if labels.metric_name().is_empty() => {
            Names::None
        }
        Op::Invariant(inner) => names(plan, *inner),
        Op::Aggregate(a) => {
            use AggregateOp::{Bottomk, LimitRatio, Limitk, Topk};
            let keeps = matches!(a.op, Topk | Bottomk | Limitk | LimitRatio) || a.grouping.keeps(METRIC_NAME);
            if keeps { Names::Any } else { Names::None }
        }
        Op::VectorScalar { op, return_bool, lhs, rhs, scalar_left } => {
            if !op.is_comparison() || *return_bool {
                return Names::None;
            }
            names(plan, if *scalar_left { *rhs } else { *lhs })
        }
        Op::VectorBinary { op, .. } if !op.is_set() && !op.is_comparison() => Names::None,
        _ => Names::Any,
    }
}
