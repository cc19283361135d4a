//! The windows of a range selector over one series, found by two pointers that only move forward.

use crate::eval::budget::Watch;
use crate::eval::grid::Grid;
use crate::parse::ast::Edges;
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
    /// How far beyond the windows samples are looked for that say what held at their edges.
    pub(crate) reach: Option<Reach>,
}

/// How far beyond a window its neighbours may lie: `anchored` and `smoothed`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// What is done with them.
    pub(crate) edges: Edges,
    /// How far before the window's begin the sample before it may lie (left-open).
    pub(crate) before: DurationMs,
    /// How far behind the window's end the sample after it may lie.
    pub(crate) beyond: DurationMs,
}

impl WindowSpec {
    /// Where the window of step `i` ends, inclusive.
    #[inline]
    pub(crate) fn until(&self, i: usize) -> TimestampMs {
        self.at.unwrap_or_else(|| self.grid.at(i)) - self.offset
    }

    /// Where the window of step `i` begins, exclusive.
    pub(crate) fn after(&self, i: usize) -> TimestampMs {
        self.until(i) - self.range
    }

    /// The windows widened by what is looked at beyond them.
    pub(crate) fn reached(&self) -> Self {
        let Some(reach) = self.reach else { return *self };
        let add = |a: DurationMs, b: DurationMs| DurationMs(a.0.saturating_add(b.0));
        Self {
            range: add(add(self.range, reach.before), reach.beyond),
            offset: DurationMs(self.offset.0.saturating_sub(reach.beyond.0)),
            reach: None,
            ..*self
        }
    }

    /// The smallest range of time that holds all that is looked at.
    pub(crate) fn hull(&self) -> TimeRange {
        let reached = self.reached();
        let last = self.grid.count.saturating_sub(1);
        TimeRange { after: reached.after(0), until: reached.until(last) }
    }

    /// Finds the window of each step among the ascending times `t`, as ranges of indices. With a reach, a window has
    /// the last sample at or before its begin too and, smoothed, ends with the first one at or after its end; it is
    /// empty where no sample lies after its begin.
    pub(crate) fn find(&self, t: &[i64], out: &mut Vec<Span>) {
        out.clear();
        match self.reach {
            None => self.find_inside(t, out),
            Some(reach) => self.find_reaching(t, reach, out),
        }
    }

    fn find_inside(&self, t: &[i64], out: &mut Vec<Span>) {
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

    fn find_reaching(&self, t: &[i64], reach: Reach, out: &mut Vec<Span>) {
        let smoothed = reach.edges == Edges::Smoothed;
        let (mut begun, mut inside) = (0, 0);
        for i in 0..self.grid.count {
            let (after, until) = (self.after(i), self.until(i));
            while begun < t.len() && t[begun] <= after.0 {
                begun += 1;
            }
            while inside < t.len() && (t[inside] < until.0 || (t[inside] == until.0 && !smoothed)) {
                inside += 1;
            }
            let anchored = begun > 0 && t[begun - 1] > (after - reach.before).0;
            let followed = smoothed && inside < t.len() && t[inside] <= (until + reach.beyond).0;
            let (lo, hi) = (begun - usize::from(anchored), inside + usize::from(followed));
            let empty = hi <= begun;
            out.push(if empty { Span { lo: begun, hi: begun } } else { Span { lo, hi } });
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
            grid: Grid { start: TimestampMs(start), step: DurationMs(step), count, end: TimestampMs(start) },
            range: DurationMs(range),
            offset: DurationMs(0),
            at: None,
            reach: None,
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
    fn a_reach_takes_in_the_neighbours_of_a_window() {
        let check = |edges: Edges, end: i64, range: i64, lookback: i64, want: (usize, usize)| {
            let lookback = DurationMs(lookback);
            let beyond = if edges == Edges::Smoothed { lookback } else { DurationMs(0) };
            let spec = WindowSpec {
                reach: Some(Reach { edges, before: lookback, beyond }),
                ..spec(end, 1, 1, range)
            };
            let mut out = Vec::new();
            spec.find(&[0, 10, 20, 30, 40], &mut out);
            let got = if out[0].is_empty() { (0, 0) } else { (out[0].lo, out[0].hi) };
            assert_eq!(got, want, "{edges:?} {end} {range} {lookback}");
        };
        use Edges::{Anchored, Smoothed};
        check(Anchored, 25, 10, 100, (1, 3));
        check(Anchored, 25, 10, 5, (2, 3));
        check(Anchored, 20, 10, 1, (1, 3));
        check(Anchored, 29, 8, 100, (0, 0));
        check(Anchored, 5, 10, 100, (0, 1));
        check(Anchored, 99, 50, 100, (0, 0));
        check(Smoothed, 25, 10, 100, (1, 4));
        check(Smoothed, 25, 10, 4, (2, 3));
        check(Smoothed, 30, 10, 100, (2, 4));
        check(Smoothed, 29, 8, 100, (2, 4));
        check(Smoothed, 55, 10, 100, (0, 0));
        check(Smoothed, -5, 10, 100, (0, 1));
    }

    #[test]
    fn the_hull_holds_all_windows() {
        let spec = WindowSpec { offset: DurationMs(5), ..spec(100, 10, 3, 20) };
        assert_eq!(spec.hull(), TimeRange { after: TimestampMs(75), until: TimestampMs(115) });
        let reach = Reach { edges: Edges::Smoothed, before: DurationMs(7), beyond: DurationMs(3) };
        let spec = WindowSpec { reach: Some(reach), ..spec };
        assert_eq!(spec.hull(), TimeRange { after: TimestampMs(68), until: TimestampMs(118) });
    }
}
