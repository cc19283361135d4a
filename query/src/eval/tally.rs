//! Samples that steps look at, counted as the reference counts them.
//!
//! *Queryable* samples are those that all windows hold, each counted once per window; an instant selector's window holds one.
//! *Read* are those that the window of the step before did not hold. A subquery's own counts are those of its steps: what
//! it read belongs to the first outer step that looks at it, and what its windows held is counted over its values.
//! What is the same at every step is queryable at each, and read at the first.

use super::range::{Span, WindowSpec};
use super::rows::RowBuf;
use super::{Evaluator, Grid};

/// What one evaluation over one grid, or one worker of it, has counted.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) queryable: Count,
    pub(crate) read: Count,
}

/// A total and, where they are wanted, the counts of the steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    pub(crate) total: u64,
    /// One for each step, or empty.
    pub(crate) steps: Vec<u64>,
}

impl Count {
    fn new(steps: usize) -> Self {
        Self { total: 0, steps: vec![0; steps] }
    }

    fn add_at(&mut self, step: usize, n: u64) {
        self.total += n;
        if let Some(count) = self.steps.get_mut(step) {
            *count += n;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.steps.iter_mut().zip(&other.steps).for_each(|(a, b)| *a += b);
    }
}

impl Tally {
    /// Nothing yet, over `grid`; of single steps if `each_step`.
    pub(crate) fn new(grid: &Grid, each_step: bool) -> Self {
        let count = Count::new(if each_step { grid.count } else { 0 });
        Self { queryable: count.clone(), read: count }
    }

    /// Nothing yet, over the steps of a subquery: what it has read is lifted to those around it, what is queryable is counted there.
    pub(crate) fn of_subquery(inner: &Grid) -> Self {
        Self { queryable: Count::default(), read: Count::new(inner.count) }
    }

    /// One sample at each step at which `row` has a value, and what a histogram counts as where it has one; `row` is over the grid of what is read.
    pub(crate) fn instants(&mut self, row: &RowBuf, found: u64, is_last: bool) {
        let steps = |count: &mut Count| {
            if !count.steps.is_empty() {
                row.iter().for_each(|(step, _)| count.steps[step] += 1);
                row.histograms().iter().for_each(|(step, h)| count.steps[*step] += h.samples() as u64);
            }
        };
        self.read.total += found;
        steps(&mut self.read);
        if is_last {
            self.queryable.total += found;
            steps(&mut self.queryable);
        }
    }

    /// Samples of a selector in windows, which hold `held` together.
    pub(crate) fn samples(&mut self, spec: &WindowSpec, windows: &[Span], held: u64) {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return };
        // Windows that leave no gap hold each sample between the first begin and the last end.
        let gapless = spec.at.is_some() || spec.reached().range >= spec.grid.step;
        self.read.total += if gapless { (last.hi - first.lo.min(last.hi)) as u64 } else { held };
        let mut seen = 0;
        for (count, w) in self.read.steps.iter_mut().zip(windows) {
            *count += (w.hi - w.lo.max(seen).min(w.hi)) as u64;
            seen = w.hi;
        }
    }

    /// What the windows of the last stage held: samples, or values of a subquery.
    pub(crate) fn windows(&mut self, windows: &[Span], held: u64) {
        self.queryable.total += held;
        self.queryable.steps.iter_mut().zip(windows).for_each(|(count, w)| *count += w.len() as u64);
    }

    /// Histograms of a selector in windows; `sizes` are what the first none, one, two… of them count as together.
    pub(crate) fn histograms(&mut self, spec: &WindowSpec, windows: &[Span], sizes: &[u64]) {
        let gapless = spec.at.is_some() || spec.reached().range >= spec.grid.step;
        let mut seen = windows.first().map_or(0, |w| w.lo);
        for (step, w) in windows.iter().enumerate() {
            // Without a gap nothing is read twice; with one, windows have no histogram in common.
            let from = if gapless { w.lo.max(seen).min(w.hi) } else { w.lo };
            self.read.add_at(step, sizes[w.hi] - sizes[from]);
            seen = w.hi.max(seen);
        }
    }

    /// What the windows of the last stage held of histograms.
    pub(crate) fn histogram_windows(&mut self, windows: &[Span], sizes: &[u64]) {
        for (step, w) in windows.iter().enumerate() {
            self.queryable.add_at(step, sizes[w.hi] - sizes[w.lo]);
        }
    }

    /// What makes the result as it is, in the window of the only step.
    pub(crate) fn whole(&mut self, queryable: u64, read: u64) {
        self.queryable.add_at(0, queryable);
        self.read.add_at(0, read);
    }

    /// Adds what was counted over the same grid.
    pub(crate) fn add(&mut self, other: &Self) {
        self.queryable.add(&other.queryable);
        self.read.add(&other.read);
    }

    /// Adds what was evaluated once in place of all `steps`.
    pub(crate) fn add_invariant(&mut self, once: &Self, steps: usize) {
        self.queryable.total += once.queryable.total.saturating_mul(steps as u64);
        self.queryable.steps.iter_mut().for_each(|count| *count += once.queryable.total);
        self.read.add_at(0, once.read.total);
    }
}

impl Evaluator<'_> {
    /// Where a worker counts whose rows are over the grid at hand; what it reads is counted over `read`, step by step where it lies
    /// inside subqueries.
    pub(crate) fn worker_tally(&self, read: &Grid, in_subqueries: bool) -> Tally {
        let tallies = self.tallies.lock();
        let at_hand = tallies.last().expect("the whole query's stays");
        let each = in_subqueries || !at_hand.read.steps.is_empty();
        let queryable = Count::new(at_hand.queryable.steps.len());
        Tally { queryable, read: Count::new(if each { read.count } else { 0 }) }
    }

    /// Adds what was counted over the grid at hand.
    pub(crate) fn tally(&self, add: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock();
        add(tallies.last_mut().expect("the whole query's stays"));
    }

    /// From now on another grid is at hand.
    pub(crate) fn begin_tally(&self, tally: Tally) {
        self.tallies.lock().push(tally);
    }

    /// What was counted over the grid at hand; it is the one before again.
    pub(crate) fn end_tally(&self) -> Tally {
        self.tallies.lock().pop().expect("it was begun")
    }

    /// Evaluates what is the same at all `steps` once.
    pub(crate) fn tally_once<T>(&self, steps: usize, evaluate: impl FnOnce() -> T) -> T {
        self.begin_tally(Tally { queryable: Count::default(), read: Count::default() });
        let value = evaluate();
        let once = self.end_tally();
        self.tally(|t| t.add_invariant(&once, steps));
        value
    }
}

/// What a subquery's steps `inner` have read, as read by the steps whose windows are `spec`: each by the first one that looks at it.
pub(crate) fn lift(read: &Count, inner: &Grid, spec: &WindowSpec) -> Count {
    let outer = &spec.grid;
    if outer.count <= 1 || read.steps.is_empty() {
        return Count { total: read.total, steps: vec![read.total; outer.count.min(1)] };
    }
    let mut lifted = Count::new(outer.count);
    for (i, n) in read.steps.iter().enumerate().filter(|(_, n)| **n > 0) {
        let seen_at = inner.at(i).0.saturating_add(spec.offset.0);
        let behind = i128::from(seen_at) - i128::from(outer.start.0);
        let step = i128::from(outer.step.0.max(1));
        let first = usize::try_from((behind + step - 1).div_euclid(step)).unwrap_or(0).min(outer.count - 1);
        if i128::from(seen_at) > i128::from(outer.at(first).0) - i128::from(spec.range.0) {
            lifted.add_at(first, *n);
        }
    }
    lifted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{MemorySeries, MemorySource};
    use crate::{Engine, EngineOptions, QueryOptions, StepSamples};
    use cardinal_storage::model::{DurationMs, LabelSet, TimestampMs};

    fn grid(start: i64, step: i64, count: usize) -> Grid {
        let end = TimestampMs(start + step * (count as i64 - 1));
        Grid { start: TimestampMs(start), step: DurationMs(step), count, end }
    }

    fn spec(grid: Grid, range: i64) -> WindowSpec {
        WindowSpec { grid, range: DurationMs(range), offset: DurationMs(0), at: None, reach: None }
    }

    #[test]
    fn what_was_read_before_is_not_read_again() {
        let check = |step: i64, range: i64, want: &[u64]| {
            let spec = spec(grid(100, step, want.len()), range);
            let times: Vec<i64> = (0..40).map(|i| i * 10).collect();
            let mut windows = Vec::new();
            spec.find(&times, &mut windows);
            let held = windows.iter().map(|w| w.len() as u64).sum();
            let mut tally = Tally::new(&spec.grid, true);
            tally.samples(&spec, &windows, held);
            assert_eq!(
                (tally.read.steps.as_slice(), tally.read.total),
                (want, want.iter().sum()),
                "{step} {range}"
            );
        };
        check(10, 50, &[5, 1, 1]);
        check(50, 50, &[5, 5, 5]);
        check(100, 50, &[5, 5, 5]);
        check(5, 50, &[5, 0, 1]);
    }

    #[test]
    fn what_a_subquery_read_belongs_to_the_first_step_that_sees_it() {
        let check = |outer: Grid, range: i64, inner: Grid, want: &[u64]| {
            let read = Count { total: inner.count as u64, steps: vec![1; inner.count] };
            let lifted = lift(&read, &inner, &spec(outer, range));
            assert_eq!((lifted.steps.as_slice(), lifted.total), (want, want.iter().sum()));
        };
        check(grid(100, 10, 1), 60, grid(50, 10, 6), &[6]);
        check(grid(100, 10, 3), 60, grid(50, 10, 8), &[6, 1, 1]);
        // Of steps 50 apart, windows of 20 see only two in five.
        check(grid(100, 50, 3), 20, grid(90, 10, 12), &[2, 2, 2]);
    }

    /// One series, or three, with a sample every 10 s.
    fn source() -> MemorySource {
        let series = |labels: &[(&str, &str)]| MemorySeries {
            labels: LabelSet::from_pairs(labels.iter().copied()).unwrap(),
            t: (0..=100).map(|i| i * 10_000).collect(),
            v: (0..=100).map(|i| f64::from(i) + 1.0).collect(),
            histograms: Vec::new(),
        };
        let three = ["1", "2", "3"].map(|a| series(&[("__name__", "three"), ("a", a)]));
        MemorySource::new(three.into_iter().chain([series(&[("__name__", "one")])]).collect(), 2)
    }

    /// Checks what each step looks at; times in seconds, a step of 0 for an instant query.
    fn check_query(query: &str, (start, end, step): (i64, i64, i64), queryable: &[u64], read: &[u64]) {
        let (source, engine) = (source(), Engine::new(EngineOptions::default()));
        let options = QueryOptions { step_stats: true, ..QueryOptions::default() };
        let at = |s: i64| TimestampMs(s * 1000);
        let stats = match step {
            0 => engine.instant(&source, query, at(start), &options).unwrap().stats,
            _ => {
                engine
                    .range(&source, query, at(start), at(end), DurationMs::secs(step), &options)
                    .unwrap()
                    .stats
            }
        };
        let times = (0..).map(|i| at(start + i * step));
        let steps = |n: &[u64]| times.clone().zip(n.iter().copied()).collect::<Vec<_>>();
        assert_eq!(
            stats.steps,
            Some(StepSamples { queryable: steps(queryable), read: steps(read) }),
            "{query}"
        );
        let totals = (stats.samples_queryable, stats.samples_read);
        assert_eq!(totals, (queryable.iter().sum(), read.iter().sum()), "{query}");
    }

    #[test]
    fn counts_are_those_of_the_reference() {
        let now = (201, 201, 0);
        check_query("1", now, &[0], &[0]);
        check_query("one", now, &[1], &[1]);
        check_query("timestamp(one)", now, &[1], &[1]);
        check_query("one offset 10s", now, &[1], &[1]);
        check_query("three[60s]", now, &[18], &[18]);
        check_query("max_over_time(one[59s])[20s:5s]", now, &[24], &[8]);
        check_query("sum(max_over_time(three[60s] @ 30))", now, &[12], &[12]);
        check_query("one[60s:5s] offset 10s", now, &[12], &[12]);
        check_query("max_over_time(three[60s:5s])", now, &[36], &[36]);
        check_query("max_over_time(one[20s:10s])", now, &[2], &[2]);
        let four = (201, 220, 5);
        check_query("three", four, &[3, 3, 3, 3], &[3, 3, 3, 3]);
        check_query("max_over_time(three[60s] @ 30)", four, &[12, 12, 12, 12], &[12, 0, 0, 0]);
        check_query("max_over_time(three[60s])", four, &[18, 18, 18, 18], &[18, 0, 3, 0]);
        check_query("max_over_time(three[60s:5s])", four, &[36, 36, 36, 36], &[36, 3, 3, 3]);
        let sum = "sum(max_over_time(three[60s:5s])) + sum(max_over_time(one[60s:5s]))";
        check_query(sum, four, &[48, 48, 48, 48], &[48, 4, 4, 4]);
        check_query("max_over_time(sum(three)[20s:10s])", four, &[2, 2, 2, 2], &[6, 0, 3, 0]);
        check_query("max_over_time(one[30s:10s])", (201, 231, 30), &[3, 3], &[3, 3]);
        check_query("max_over_time(one[30s:10s])", (201, 261, 60), &[3, 3], &[3, 3]);
        check_query("max_over_time(one[20s:10s])", (201, 261, 10), &[2; 7], &[2, 1, 1, 1, 1, 1, 1]);
    }
}
