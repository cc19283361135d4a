//! What a query will read, told from its plan alone.

use super::{Evaluator, Grid};
use crate::QueryError;
use crate::parse::Span;
use crate::parse::ast::AggregateOp;
use crate::plan::{InfoNode, Op, Windows};
use crate::source::Wanted;
use cardinal_storage::index::Matcher;
use cardinal_storage::model::TimeRange;

/// One selector's reading.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// Where the selector stands.
    pub(crate) span: Span,
    pub(crate) matchers: Vec<Matcher>,
    /// All that any of its windows holds.
    pub(crate) range: TimeRange,
    /// What of them makes a difference.
    pub(crate) wanted: Wanted,
}

impl Evaluator<'_> {
    /// What every selector reads for the steps of `grid`, in no order.
    pub(crate) fn reads(&self, grid: &Grid) -> Result<Vec<Read>, QueryError> {
        let mut reads = Vec::new();
        let mut left = vec![(self.plan.root, *grid, true)];
        while let Some((id, grid, values_matter)) = left.pop() {
            let op = &self.plan.node(id).op;
            let inner = if matches!(op, Op::Invariant(_)) { grid.first_only() } else { grid };
            let counts =
                matches!(op, Op::Aggregate(a) if matches!(a.op, AggregateOp::Count | AggregateOp::Group));
            left.extend(op.inputs().into_iter().map(|id| (id, inner, !counts)));
            match op {
                _ if grid.count == 0 => {}
                Op::Instant(selector) | Op::Timestamp(selector) => {
                    let time = matches!(op, Op::Timestamp(_));
                    let mut pipeline = self.instant(selector, &grid, time, selector.span);
                    pipeline.values_matter = values_matter;
                    let (range, wanted) = (pipeline.range(), pipeline.wanted());
                    reads.push(Read {
                        span: selector.span,
                        matchers: selector.matchers.clone(),
                        range,
                        wanted,
                    });
                }
                Op::Info(info) => reads.push(self.info_read(info, &grid, self.plan.node(id).span)),
                _ => {}
            }
            match op.windows() {
                Some(Windows::Series { selector, range }) if grid.count > 0 => {
                    let (range, wanted) = (self.spec(selector, *range, &grid).hull(), Wanted::Samples);
                    reads.push(Read {
                        span: selector.span,
                        matchers: selector.matchers.clone(),
                        range,
                        wanted,
                    });
                }
                Some(windows @ Windows::Subquery { expr, .. }) if grid.count > 0 => {
                    left.push((*expr, self.subquery_windows(windows, &grid)?.1, true));
                }
                _ => {}
            }
        }
        Ok(reads)
    }

    /// The info series as far as the query names them: which targets they are of, only the vector tells.
    fn info_read(&self, info: &InfoNode, grid: &Grid, span: Span) -> Read {
        let (first, last) = info.at.map_or((grid.start, grid.last()), |at| (at, at));
        let after = first - info.offset - self.lookback;
        let range = TimeRange { after, until: last - info.offset };
        let matchers = info.names.iter().chain(&info.labels).cloned().collect();
        Read { span, matchers, range, wanted: Wanted::Times }
    }
}
