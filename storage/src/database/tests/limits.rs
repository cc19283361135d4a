//! Limits on series: exact, per account and in total, through restarts and departures.

use super::*;
use crate::model::DurationMs;
use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

/// Counts how often a section was looked at.
#[derive(Default)]
struct Counting(parking_lot::Mutex<u64>);

impl Resolve for Counting {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        *self.0.lock() += 1;
        Canonical.resolve(section)
    }
}

pub(super) struct Bed {
    pub(super) db: Arc<Database>,
    pub(super) clock: Arc<ManualClock>,
    resolve: Counting,
    t: Cell<i64>,
}

impl Bed {
    fn new(fs: &SimFs, limits: SeriesLimits) -> Self {
        Self::open(DatabaseOptions { limits, ..options(fs) })
    }

    pub(super) fn open(options: DatabaseOptions) -> Self {
        let clock = Arc::new(ManualClock::new(TimestampMs(0)));
        // Which refused series share a set of the table is a matter of hashes.
        let options = DatabaseOptions { clock: clock.clone(), hash_seed: Some(1), ..options };
        let db = Database::open(options).unwrap();
        Self { db, clock, resolve: Counting::default(), t: Cell::new(HOUR) }
    }

    /// Sends one sample of each of these series of an account: those stored, those refused for their number, those for their rate.
    fn send(&self, account: &str, series: Range<usize>) -> (u64, u64, u64) {
        self.t.set(self.t.get() + 1);
        self.send_at(account, series, self.t.get())
    }

    pub(super) fn send_at(&self, account: &str, series: Range<usize>, t: i64) -> (u64, u64, u64) {
        let a = self.request(account, series, t);
        let by = |class: RefusalClass| a.refused_by_class[class as usize];
        (a.written, by(RefusalClass::SeriesLimit), by(RefusalClass::SeriesCreatedLimit))
    }

    fn request(&self, account: &str, series: Range<usize>, t: i64) -> Appended {
        let sets: Vec<LabelSet> = series.map(|n| labels("m", account, n)).collect();
        let samples: Vec<Sample> = sets.iter().map(|_| Sample { t: TimestampMs(t), v: 1.0 }).collect();
        let rows: Vec<AppendRow<'_>> = (0..).zip(&sets).map(|(i, set)| self.db.row(set, i..i + 1)).collect();
        self.db.append(&rows, &samples, &self.resolve).unwrap()
    }

    fn resolved(&self) -> u64 {
        std::mem::take(&mut self.resolve.0.lock())
    }
}

fn active(n: u64) -> SeriesMax {
    SeriesMax { active: Some(n), created: None }
}

fn created(series: u64, mins: i64) -> SeriesMax {
    SeriesMax { active: None, created: Some(SeriesRate { series, per: DurationMs::mins(mins) }) }
}

#[test]
fn an_account_gets_as_many_series_as_it_may_have() {
    let own = BTreeMap::from([("big".to_owned(), active(400)), ("free".to_owned(), SeriesMax::default())]);
    let limits = SeriesLimits { account: active(300), accounts: own, total: SeriesMax::default() };
    let fs = SimFs::new(1);
    let bed = Bed::new(&fs, limits.clone());
    assert_eq!(bed.send("a", 0..1000), (300, 700, 0));
    assert_eq!(bed.send("b", 0..299), (299, 0, 0));
    assert_eq!(bed.send("b", 299..301), (1, 1, 0));
    assert_eq!(bed.send("big", 0..1000), (400, 600, 0));
    assert_eq!(bed.send("free", 0..1000), (1000, 0, 0));
    assert_eq!(bed.send("", 0..1000), (300, 700, 0), "series without an account are one, over all shards");
    bed.resolved();
    assert_eq!(bed.send("a", 0..1000), (300, 700, 0), "known ones are always taken");
    assert_eq!(bed.send("", 0..1000), (300, 700, 0));
    let looked_at = bed.resolved();
    assert!(
        looked_at < 1400 / 50,
        "{looked_at}: others are refused unseen, but for sets of the table that were full"
    );
    assert_eq!(bed.db.stats().head.series, 300 + 300 + 400 + 1000 + 300);
    let pairs: usize =
        bed.db.head.shards.iter().map(|s| s.index.read().names().map(|n| n.1.count()).sum::<usize>()).sum();
    assert!(pairs < 3 * 2300, "{pairs}: what is refused is not interned");
    bed.db.close().unwrap();
    drop(bed);
    let bed = Bed::new(&fs, limits);
    bed.t.set(2 * HOUR);
    assert_eq!(bed.send("a", 0..301), (300, 1, 0), "counted anew at the start");
    assert_eq!(bed.send("c", 0..301), (300, 1, 0));
    assert_eq!(bed.send("", 0..1000), (300, 700, 0));
}

#[test]
fn what_is_refused_for_want_of_memory_is_refused_unseen_when_it_comes_again() {
    let memory_budget = super::open(&SimFs::new(2)).memory_bytes();
    let bed = Bed::open(DatabaseOptions { memory_budget, ..options(&SimFs::new(1)) });
    assert_eq!(bed.send("a", 0..10), (10, 0, 0), "as long as there is room");
    let flushing = |series: Range<usize>| {
        let a = bed.request("a", series, bed.t.get());
        (a.refused_by_class[RefusalClass::Flushing as usize], a.refused.len(), bed.resolved())
    };
    bed.resolved();
    assert_eq!(flushing(10..60), (50, 20, 50));
    assert_eq!(flushing(10..70), (60, 20, 10), "only the new ones are looked at");
    assert_eq!(bed.send("a", 0..10), (10, 0, 0), "known series go on");
}

#[test]
fn the_first_are_named_with_account_and_reason() {
    let limits = SeriesLimits { account: active(1), ..SeriesLimits::default() };
    let bed = Bed::new(&SimFs::new(1), limits);
    for _ in 0..2 {
        let appended = bed.request("a", 0..100, bed.t.get());
        assert_eq!((appended.written, appended.refused.len()), (1, 20));
        let Refused { class, message } = &appended.refused[0];
        assert_eq!(*class, RefusalClass::SeriesLimit);
        assert_eq!(
            message,
            "m{account=\"a\", n=\"1\"}: account \"a\" has the 1 series of limits.series; new ones are refused until others are idle and leave"
        );
        bed.t.set(bed.t.get() + 1);
    }
    let (accounts, others) = bed.db.limits.refusals(10);
    assert_eq!((accounts.len(), accounts[0].account.as_str(), accounts[0].series), (1, "a", 2 * 99));
    assert_eq!(others.samples(), 0);
}

#[test]
fn all_accounts_together_have_a_limit_too() {
    let limits = SeriesLimits { account: active(60), total: active(100), ..SeriesLimits::default() };
    let bed = Bed::new(&SimFs::new(1), limits);
    assert_eq!(bed.send("a", 0..70), (60, 10, 0));
    assert_eq!(bed.send("b", 0..70), (40, 30, 0));
    assert_eq!(bed.send("", 0..10), (0, 10, 0));
    let message = &bed.request("c", 0..1, bed.t.get()).refused[0].message;
    assert!(
        message.contains("all accounts together have the 100 series of limits.series_total"),
        "{message}"
    );
}

#[test]
fn new_series_are_limited_by_interval() {
    let limits = SeriesLimits { account: created(50, 1), total: created(80, 2), ..SeriesLimits::default() };
    let bed = Bed::new(&SimFs::new(1), limits);
    assert_eq!(bed.send("a", 0..60), (50, 0, 10));
    assert_eq!(bed.send("b", 0..60), (30, 0, 30), "all together");
    bed.clock.advance(Duration::from_secs(60));
    assert_eq!(bed.send("a", 0..60), (50, 0, 10), "the interval of all is longer");
    bed.clock.advance(Duration::from_secs(60));
    bed.resolved();
    assert_eq!(bed.send("a", 0..60), (60, 0, 0), "what was refused is taken once there is room");
    assert_eq!(bed.resolved(), 10);
    assert_eq!(bed.send("a", 60..110), (40, 0, 10));
}

#[test]
fn series_that_leave_make_room() {
    let limits = SeriesLimits { account: active(100), ..SeriesLimits::default() };
    let bed = Bed::new(&SimFs::new(1), limits);
    assert_eq!(bed.send_at("a", 0..150, HOUR), (100, 50, 0));
    assert_eq!(bed.send_at("a", 0..10, HOUR + IDLE.0 + 1), (10, 0, 0));
    bed.db.flush().unwrap();
    bed.db.maintain();
    bed.db.maintain();
    assert_eq!(bed.db.stats().head.series, 10);
    assert_eq!(bed.send_at("a", 10..150, HOUR + IDLE.0 + 2), (90, 50, 0));
}

#[test]
fn rows_of_one_new_series_take_room_once() {
    let limits = SeriesLimits { account: active(2), ..SeriesLimits::default() };
    let bed = Bed::new(&SimFs::new(1), limits);
    let (a, b, c) = (labels("m", "x", 1), labels("m", "x", 2), labels("m", "x", 3));
    let rows = [&a, &a, &b, &a, &c].into_iter().zip(1..).map(|(l, t)| (l, [(HOUR + t, 1.0)]));
    let rows: Vec<_> = rows.collect();
    let rows: Vec<(&LabelSet, &[(i64, f64)])> = rows.iter().map(|(l, p)| (*l, &p[..])).collect();
    let appended = append(&bed.db, &rows).unwrap();
    assert_eq!((appended.written, appended.registered), (4, 2));
    assert_eq!(appended.refused_by_class[RefusalClass::SeriesLimit as usize], 1);
}

#[test]
fn accounts_are_told_with_their_metrics() {
    let limits = SeriesLimits { account: active(60), ..SeriesLimits::default() };
    let bed = Bed::new(&SimFs::new(1), limits);
    bed.send("a", 0..40);
    bed.send("b", 0..70);
    bed.send("", 0..20);
    let other = labels("other", "a", 0);
    append(&bed.db, &[(&other, &[(HOUR, 1.0)])]).unwrap();
    let usage = bed.db.accounts(2, 1);
    assert_eq!((usage.accounts, usage.series, usage.greatest.len()), (3, 41 + 60 + 20, 2));
    let b = &usage.greatest[0];
    assert_eq!((b.account.as_str(), b.series, b.created, b.refused.series), ("b", 60, 60, 10));
    assert_eq!((b.max, &b.metrics), (active(60), &vec![("m".to_owned(), 60)]));
    let a = &usage.greatest[1];
    assert_eq!((a.account.as_str(), a.series, &a.metrics[0]), ("a", 41, &("m".to_owned(), 40)));
    let all = bed.db.accounts(10, 10);
    assert_eq!(
        (all.greatest[2].account.as_str(), &all.greatest[2].metrics),
        ("", &vec![("m".to_owned(), 20)])
    );
    assert_eq!(bed.db.series_of_account("nobody"), 0);
}
