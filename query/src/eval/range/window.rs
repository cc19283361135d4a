//! The windows of a range selector over one series, found by two pointers that only move forward.

use crate::eval::budget::Watch;
use crate::eval::grid::Grid;
use cardinal_storage::model::{DurationMs, TimeRange, TimestampMs};
use std::ops::Deref;

/// Where windows end and how long they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowSpec {
    /// The evaluation times.
    pub(crate) grid: Grid,
    /// How long a window is; it is left-open.
    pub(crate) range: DurationMs,
    /// How far each window ends before its evaluation time.
    pub(crate) offset: DurationMs,
    /// Where all windows end (before the offset), in place of the evaluation time.
    pub(crate) at: Option<TimestampMs>,
}

impl WindowSpec {
    /// Where the window of step `i` ends, inclusive.
    #[inline]
    pub(crate) fn until(&self, i: usize) -> TimestampMs {
        self.at.unwrap_or_else(|| self.grid.at(i)) - self.offset
    }

    /// The smallest range of time that holds all windows.
    pub(crate) fn hull(&self) -> TimeRange {
        let last = self.grid.count.saturating_sub(1);
        TimeRange { after: self.until(0) - self.range, until: self.until(last) }
    }

    /// Finds the window of each step among the ascending times `t`, as ranges of indices.
    pub(crate) fn find(&self, t: &[i64], out: &mut Vec<Span>) {
        out.clear();
        let (mut lo, mut hi) = (0, 0);
        for i in 0..self.grid.count {
            let until = self.until(i);
            let after = until - self.range;
            while hi < t.len() && t[hi] <= until.0 {
                hi += 1;
            }
            while lo < hi && t[lo] <= after.0 {
                lo += 1;
            }
            out.push(Span { lo, hi });
        }
    }
}

/// The windows of all steps over one series, and what may end the query while a function walks them: long windows at
/// many steps are seconds of work for a single series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans<'a> {
    spans: &'a [Span],
    watch: &'a Watch,
}

impl<'a> Spans<'a> {
    /// Windows, watched.
    pub(crate) fn new(spans: &'a [Span], watch: &'a Watch) -> Self {
        Self { spans, watch }
    }

    /// What may end the query.
    pub(crate) fn watch(self) -> &'a Watch {
        self.watch
    }
}

impl Deref for Spans<'_> {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        self.spans
    }
}

/// The samples of one window: indices `lo..hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first sample.
    pub(crate) lo: usize,
    /// One past the last sample.
    pub(crate) hi: usize,
}

impl Span {
    /// How many samples.
    pub(crate) fn len(self) -> usize {
        self.hi - self.lo
    }

    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.lo == self.hi
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(start: i64, step: i64, count: usize, range: i64) -> WindowSpec {
        WindowSpec {
            grid: Grid { start: TimestampMs(start), step: DurationMs(step), count },
            range: DurationMs(range),
            offset: DurationMs(0),
            at: None,
        }
    }

    #[test]
    fn windows_are_left_open() {
        let check = |spec: WindowSpec, want: &[(usize, usize)]| {
            let mut out = Vec::new();
            spec.find(&[0, 10, 20, 30, 40], &mut out);
            assert_eq!(out.iter().map(|s| (s.lo, s.hi)).collect::<Vec<_>>(), want);
        };
        check(spec(20, 10, 3, 20), &[(1, 3), (2, 4), (3, 5)]);
        check(spec(0, 10, 2, 10), &[(0, 1), (1, 2)]);
        check(spec(-20, 10, 2, 5), &[(0, 0), (0, 0)]);
        check(spec(100, 10, 1, 20), &[(5, 5)]);
        check(WindowSpec { offset: DurationMs(10), ..spec(20, 10, 2, 10) }, &[(1, 2), (2, 3)]);
        check(WindowSpec { at: Some(TimestampMs(20)), ..spec(0, 10, 3, 10) }, &[(2, 3), (2, 3), (2, 3)]);
    }

    #[test]
    fn the_hull_holds_all_windows() {
        let spec = WindowSpec { offset: DurationMs(5), ..spec(100, 10, 3, 20) };
        assert_eq!(spec.hull(), TimeRange { after: TimestampMs(75), until: TimestampMs(115) });
    }
}
