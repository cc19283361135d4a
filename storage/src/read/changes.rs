//! What changed of times that were taken for settled: late samples, deletions, retention. Whoever keeps results of queries asks
//! which of them still hold.
//!
//! A time is *settled* once the newest sample, and the clock, are two minutes past it. Samples that arrive after their time has
//! settled are noted with the metric and account that they are of, so that nothing else is touched; those that arrive before, which is
//! nearly all, cost one comparison.
//!
//! ```text
//! who writes: makes the change visible ──► reads what is settled ──► notes what of it is
//! who reads:  reads what is settled ──► reads the number of the last change ──► takes a view
//! ```
//!
//! In this order a change that a view lacks, of times that were settled when it was taken, has a greater number than its mark.

use crate::index::{MatchOp, Matcher};
use crate::model::{DurationMs, METRIC_NAME, TimeRange, TimestampMs};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// How far behind the newest sample times settle: a sender that is not in trouble is faster.
pub const SETTLES_AFTER: DurationMs = DurationMs::mins(2);

/// Metrics of accounts that are told apart; beyond these, a change is taken for one of all series.
const METRICS_MAX: usize = 4096;
/// Ranges that are told apart of each; the nearest two become one.
const RANGES_MAX: usize = 8;
/// Ranges of one metric that lie so close become one at once.
const JOINED: DurationMs = DurationMs::mins(5);
/// Deletions and the like that are told apart.
const SELECTIONS_MAX: usize = 256;

/// A state of the data that later changes are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the last change before it.
    pub number: u64,
    /// Times up to here were settled.
    pub settled: TimestampMs,
}

/// Something that changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number: a mark with a smaller one was taken before it.
    pub number: u64,
    /// When its samples are.
    pub range: TimeRange,
    of: ChangeOf,
}

/// Which series a change is of.
#[derive(Clone, Debug)]
enum ChangeOf {
    /// Those with this name and account.
    Metric(Arc<MetricOf>),
    /// Those that are accepted.
    Selection(Arc<[Matcher]>),
    /// Any.
    All,
}

/// A metric of an account.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MetricOf {
    name: Box<str>,
    account_label: Box<str>,
    account: Box<str>,
}

impl Change {
    /// Whether it may be of a series that all `matchers` accept.
    pub fn may_touch(&self, matchers: &[Matcher]) -> bool {
        match &self.of {
            ChangeOf::All => true,
            ChangeOf::Metric(metric) => matchers.iter().all(|m| {
                let is_account = m.name() == &*metric.account_label;
                (m.name() != METRIC_NAME || m.matches(&metric.name))
                    && (!is_account || m.matches(&metric.account))
            }),
            ChangeOf::Selection(of) => {
                let parts = |a: &Matcher, b: &Matcher| {
                    a.name() == b.name() && a.op() == MatchOp::Equal && !b.matches(a.value())
                };
                !of.iter().any(|a| matchers.iter().any(|b| parts(a, b) || parts(b, a)))
            }
        }
    }
}

/// The changes since the start.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    settled: AtomicI64,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    last: u64,
    metrics: HashMap<Arc<MetricOf>, Vec<(TimeRange, u64)>>,
    selections: Vec<(Arc<[Matcher]>, TimeRange, u64)>,
    all: Vec<(TimeRange, u64)>,
}

impl Default for ChangeLog {
    fn default() -> Self {
        Self { settled: AtomicI64::new(i64::MIN), noted: Mutex::default() }
    }
}

impl ChangeLog {
    /// A sample of that time has come, and was seen by views before the call.
    pub(crate) fn advance(&self, newest: TimestampMs, now: TimestampMs) {
        let settled = newest.min(now) - SETTLES_AFTER;
        self.settled.fetch_max(settled.0, Ordering::SeqCst);
    }

    /// Times up to here are settled.
    pub(crate) fn settled(&self) -> TimestampMs {
        TimestampMs(self.settled.load(Ordering::SeqCst))
    }

    /// To be taken before a view.
    pub(crate) fn mark(&self) -> Mark {
        let settled = self.settled();
        Mark { number: self.noted.lock().last, settled }
    }

    /// Notes a change of one metric, which views see.
    pub(crate) fn note_metric(&self, name: &str, account: (&str, &str), range: TimeRange) {
        let of = MetricOf { name: name.into(), account_label: account.0.into(), account: account.1.into() };
        let mut noted = self.noted.lock();
        let number = noted.next();
        if noted.metrics.len() >= METRICS_MAX && !noted.metrics.contains_key(&of) {
            noted.forget_metrics();
        }
        join(noted.metrics.entry(Arc::new(of)).or_default(), range, number);
    }

    /// Notes a change of what `matchers` accept, which views see.
    pub(crate) fn note_selection(&self, matchers: &[Matcher], range: TimeRange) {
        let mut noted = self.noted.lock();
        let number = noted.next();
        if noted.selections.len() >= SELECTIONS_MAX {
            for (_, range, number) in std::mem::take(&mut noted.selections) {
                join(&mut noted.all, range, number);
            }
        }
        noted.selections.push((matchers.into(), range, number));
    }

    /// Notes a change of any series, which views see.
    pub(crate) fn note_all(&self, range: TimeRange) {
        let mut noted = self.noted.lock();
        let number = noted.next();
        join(&mut noted.all, range, number);
    }

    /// The changes with greater numbers than `number`; several may be told as one that holds them all.
    pub(crate) fn since(&self, number: u64) -> Vec<Change> {
        let noted = self.noted.lock();
        if noted.last <= number {
            return Vec::new();
        }
        let metrics = noted.metrics.iter().flat_map(|(of, ranges)| {
            ranges.iter().map(move |(range, number)| (ChangeOf::Metric(of.clone()), *range, *number))
        });
        let selections =
            noted.selections.iter().map(|(m, range, n)| (ChangeOf::Selection(m.clone()), *range, *n));
        let all = noted.all.iter().map(|(range, number)| (ChangeOf::All, *range, *number));
        let changes = metrics.chain(selections).chain(all).filter(|(_, _, n)| *n > number);
        changes.map(|(of, range, number)| Change { number, range, of }).collect()
    }
}

impl Noted {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// What is known of metrics is taken for changes of all series from now on.
    fn forget_metrics(&mut self) {
        for (range, number) in std::mem::take(&mut self.metrics).into_values().flatten() {
            join(&mut self.all, range, number);
        }
    }
}

/// Adds a range. One that holds several has the greatest of their numbers.
fn join(ranges: &mut Vec<(TimeRange, u64)>, range: TimeRange, number: u64) {
    let mut joined = (range, number);
    ranges.retain(|(other, n)| {
        let is_near = gap(*other, joined.0) <= JOINED.0;
        if is_near {
            joined = (hull(*other, joined.0), joined.1.max(*n));
        }
        !is_near
    });
    ranges.push(joined);
    ranges.sort_unstable_by_key(|(r, _)| r.after);
    if ranges.len() > RANGES_MAX {
        let gaps = ranges.windows(2).map(|w| gap(w[0].0, w[1].0));
        let least = gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(i, _)| i);
        let (next, n) = ranges.remove(least + 1);
        let (first, m) = ranges[least];
        ranges[least] = (hull(first, next), m.max(n));
    }
}

/// How far two ranges are apart; nothing where they meet.
fn gap(a: TimeRange, b: TimeRange) -> i64 {
    let (first, second) = if a.after <= b.after { (a, b) } else { (b, a) };
    second.after.0.saturating_sub(first.until.0).max(0)
}

fn hull(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { after: a.after.min(b.after), until: a.until.max(b.until) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(after: i64, until: i64) -> TimeRange {
        TimeRange { after: TimestampMs(after), until: TimestampMs(until) }
    }

    fn told(log: &ChangeLog, number: u64) -> Vec<(i64, i64, u64)> {
        let mut told: Vec<_> =
            log.since(number).iter().map(|c| (c.range.after.0, c.range.until.0, c.number)).collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn times_settle_behind_the_newest_sample_and_the_clock() {
        let log = ChangeLog::default();
        let after = SETTLES_AFTER.0;
        log.advance(TimestampMs(10_000_000), TimestampMs(9_000_000));
        assert_eq!(log.mark(), Mark { number: 0, settled: TimestampMs(9_000_000 - after) });
        log.advance(TimestampMs(1_000_000), TimestampMs(20_000_000));
        assert_eq!(log.settled(), TimestampMs(9_000_000 - after));
    }

    #[test]
    fn a_change_touches_what_may_have_it() {
        let log = ChangeLog::default();
        log.note_metric("up", ("account", "7"), range(0, 10));
        let check = |matchers: &[Matcher], touched: bool| {
            assert_eq!(log.since(0).iter().any(|c| c.may_touch(matchers)), touched, "{matchers:?}");
        };
        let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
        check(&[Matcher::equal("__name__", "up")], true);
        check(&[Matcher::equal("__name__", "down")], false);
        check(&[Matcher::equal("__name__", "up"), Matcher::equal("account", "8")], false);
        check(&[matcher("account", MatchOp::Regex, "7|8"), Matcher::equal("job", "x")], true);
        check(&[matcher("__name__", MatchOp::NotEqual, "up")], false);
        let log = ChangeLog::default();
        log.note_selection(&[Matcher::equal("job", "a"), matcher("n", MatchOp::Regex, "1.")], range(0, 10));
        let check = |matchers: &[Matcher], touched: bool| {
            assert_eq!(log.since(0).iter().any(|c| c.may_touch(matchers)), touched, "{matchers:?}");
        };
        check(&[Matcher::equal("job", "b")], false);
        check(&[Matcher::equal("n", "20")], false);
        check(&[Matcher::equal("n", "12")], true);
        check(&[matcher("job", MatchOp::Regex, "b|c")], false);
        check(&[matcher("n", MatchOp::Regex, "2.")], true);
        log.note_all(range(0, 10));
        check(&[Matcher::equal("job", "b")], true);
    }

    #[test]
    fn near_ranges_become_one_and_far_ones_stay_apart() {
        let log = ChangeLog::default();
        let (minute, hour) = (60_000, 3_600_000);
        log.note_all(range(0, minute));
        log.note_all(range(10 * hour, 10 * hour + minute));
        log.note_all(range(2 * minute, 3 * minute));
        assert_eq!(told(&log, 0), [(0, 3 * minute, 3), (10 * hour, 10 * hour + minute, 2)]);
        assert_eq!(told(&log, 2), [(0, 3 * minute, 3)]);
        assert_eq!(told(&log, 3), []);
        (0..1000).for_each(|i| log.note_all(range(i * hour, i * hour + 1)));
        assert_eq!(told(&log, 0).len(), RANGES_MAX);
        // Nothing is lost by joining.
        let holds = |t: i64| log.since(0).iter().any(|c| c.range.contains(TimestampMs(t)) && c.number > 3);
        assert!((0..1000).all(|i| holds(i * hour + 1)));
    }

    #[test]
    fn what_is_beyond_the_bounds_is_told_of_all_series() {
        let log = ChangeLog::default();
        (0..=METRICS_MAX).for_each(|i| log.note_metric(&format!("m{i}"), ("account", ""), range(0, 10)));
        (0..=SELECTIONS_MAX).for_each(|_| log.note_selection(&[Matcher::equal("a", "b")], range(20, 30)));
        let changes = log.since(0);
        assert!(changes.len() < 10, "{}", changes.len());
        assert!(changes.iter().any(|c| c.may_touch(&[Matcher::equal("__name__", "m0")])));
        // Those that were told apart before are the last of their kind.
        assert_eq!(changes.iter().map(|c| c.number).max(), Some(log.mark().number));
    }
}
