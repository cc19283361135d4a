//! The times at which an expression is evaluated.

use crate::QueryError;
use cardinal_storage::model::{DurationMs, TimestampMs};

/// Evaluation times: `count` of them from `start`, `step` apart. An instant query has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The first time.
    pub(crate) start: TimestampMs,
    /// The distance of neighbours; positive.
    pub(crate) step: DurationMs,
    /// How many.
    pub(crate) count: usize,
    /// Until when they were asked for: the last time or later, by less than a step.
    pub(crate) end: TimestampMs,
}

impl Grid {
    /// The single time `t`.
    pub(crate) fn instant(t: TimestampMs) -> Self {
        Self { start: t, step: DurationMs(1), count: 1, end: t }
    }

    /// All times from `start` to at most `end`; none if `end` is before `start`. Refuses more than `limit`, since
    /// every series holds one value for each.
    pub(crate) fn range(
        start: TimestampMs,
        end: TimestampMs,
        step: DurationMs,
        limit: u64,
    ) -> Result<Self, QueryError> {
        let span = i128::from(end.0) - i128::from(start.0);
        let count = if span < 0 { 0 } else { span / i128::from(step.0.max(1)) + 1 };
        // Rows say by 32 bits where they begin and how long they are.
        let limit = limit.min(u64::from(u32::MAX));
        if count > i128::from(limit) {
            return Err(QueryError::TooManySamples { limit });
        }
        Ok(Self { start, step, count: count as usize, end })
    }

    /// The time of step `i`.
    pub(crate) fn at(&self, i: usize) -> TimestampMs {
        TimestampMs(self.start.0.saturating_add(self.step.0.saturating_mul(i as i64)))
    }

    /// These steps alone.
    pub(crate) fn part(&self, steps: std::ops::Range<usize>) -> Self {
        let last = self.at(steps.end.saturating_sub(1));
        // One step of several is no instant query: its end is not its start.
        let end = if self.start == self.end { last } else { TimestampMs(last.0.saturating_add(1)) };
        Self { start: self.at(steps.start), count: steps.len(), end, ..*self }
    }

    /// The last time.
    pub(crate) fn last(&self) -> TimestampMs {
        self.at(self.count.saturating_sub(1))
    }

    /// All times in order.
    pub(crate) fn times(&self) -> impl Iterator<Item = TimestampMs> + '_ {
        (0..self.count).map(|i| self.at(i))
    }

    /// The first time alone.
    pub(crate) fn first_only(&self) -> Self {
        Self { count: self.count.min(1), end: self.start, ..*self }
    }

    /// The times of a subquery whose windows, `range` long and moved back by `offset`, end at this grid's times:
    /// the multiples of `step` (counted from the epoch) that fall into any of them.
    pub(crate) fn subquery(
        &self,
        range: DurationMs,
        offset: DurationMs,
        step: DurationMs,
        limit: u64,
    ) -> Result<Self, QueryError> {
        let after = self.start.0.saturating_sub(offset.0).saturating_sub(range.0);
        let start = after.div_euclid(step.0).saturating_add(1).saturating_mul(step.0);
        Self::range(TimestampMs(start), self.last() - offset, step, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subquery_steps_on_multiples_strictly_inside_the_window() {
        let check = |start: i64, range: i64, offset: i64, step: i64, want: &[i64]| {
            let grid = Grid::instant(TimestampMs(start));
            let inner = grid.subquery(DurationMs(range), DurationMs(offset), DurationMs(step), 1000).unwrap();
            assert_eq!(
                inner.times().map(|t| t.0).collect::<Vec<_>>(),
                want,
                "{start} {range} {offset} {step}"
            );
        };
        check(100, 50, 0, 20, &[60, 80, 100]);
        check(100, 40, 0, 20, &[80, 100]);
        check(105, 40, 0, 20, &[80, 100]);
        check(100, 50, 30, 20, &[40, 60]);
        check(-5, 20, 0, 10, &[-20, -10]);
        check(0, 5, 0, 10, &[0]);
        check(4, 3, 0, 10, &[]);
    }

    #[test]
    fn too_many_times_are_refused_before_anything_is_allocated() {
        let far = Grid::range(TimestampMs(0), TimestampMs::MAX, DurationMs(1), 1000);
        assert!(matches!(far, Err(QueryError::TooManySamples { limit: 1000 })));
        let far = Grid::range(TimestampMs(0), TimestampMs::MAX, DurationMs(1), u64::MAX);
        assert!(matches!(far, Err(QueryError::TooManySamples { .. })));
        assert_eq!(Grid::range(TimestampMs(10), TimestampMs(9), DurationMs(1), 1000).unwrap().count, 0);
    }
}
