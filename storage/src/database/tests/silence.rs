//! Series that have gone silent leave, whatever else is silent too, and make room for those that were refused.

use super::limits::Bed;
use super::*;
use crate::database::memory::Admission;
use std::time::Duration;

const MINUTE: i64 = 60_000;

fn trusting(fs: &SimFs, limits: SeriesLimits) -> DatabaseOptions {
    DatabaseOptions { trust_clock: true, limits, ..options(fs) }
}

fn at_most(series: u64) -> SeriesLimits {
    let account = SeriesMax { active: Some(series), created: None };
    SeriesLimits { account, ..SeriesLimits::default() }
}

/// Fills a head with series that are 90 minutes old until a flush has not helped.
fn full_head(fs: &SimFs, now: i64) -> Bed {
    let memory_budget = open(&SimFs::new(2)).memory_bytes() + (1 << 20);
    let bed = Bed::open(DatabaseOptions { memory_budget, ..trusting(fs, SeriesLimits::default()) });
    bed.clock.set(TimestampMs(now));
    let filled = (0..1000).find(|n| bed.send_at("old", n * 100..n * 100 + 100, now - 90 * MINUTE).0 < 100);
    assert!(filled.is_some());
    bed.db.maintain();
    bed.db.maintain();
    assert_eq!(bed.db.admission(), Admission::Refused, "nothing is newer than they are");
    bed
}

#[test]
fn a_full_head_lets_go_of_what_is_old_for_those_that_it_refuses() {
    let check = |now: i64, pause: u64| {
        let fs = SimFs::new(1);
        let bed = full_head(&fs, now);
        assert_eq!(bed.send_at("new", 0..10, now).0, 0, "refused, and told the time");
        bed.clock.advance(Duration::from_secs(pause));
        bed.db.maintain();
        bed.db.maintain();
        assert_eq!(bed.send_at("new", 0..10, now + 1).0, 10);
        let model = contents(&bed.db);
        bed.db.close().unwrap();
        drop(bed);
        assert_eq!(contents(&open(&fs)), model);
    };
    // In the window of the old ones: with the next flush. Beyond its end: with its cut.
    check(999 * HOUR + 50 * MINUTE, 300);
    check(1001 * HOUR, 0);
}

#[test]
fn a_shard_that_has_gone_silent_as_a_whole_is_emptied() {
    let db = open(&SimFs::new(1));
    let shard = |account: &str| shard_of_account(account.as_bytes(), db.shards());
    let other = ["a", "b", "c", "d", "e"].into_iter().find(|a| shard(a) != shard("x")).unwrap();
    let silent: Vec<LabelSet> = (0..10).map(|n| labels("m", "x", n)).collect();
    append(&db, &silent.iter().map(|l| (l, &[(HOUR, 1.0)][..])).collect::<Vec<_>>()).unwrap();
    let living = labels("m", other, 0);
    for hour in 1..4 {
        append(&db, &[(&living, &[(hour * HOUR, 1.0)])]).unwrap();
        db.maintain();
    }
    db.maintain();
    assert_eq!((db.stats().head.series, db.stats().series_left), (1, 10));
    assert_eq!(contents(&db).len(), 11);
}

#[test]
fn an_account_at_its_limit_gets_room_when_its_series_are_silent() {
    let fs = SimFs::new(1);
    let bed = Bed::open(trusting(&fs, at_most(3)));
    let send = |bed: &Bed, series, t| {
        bed.clock.set(TimestampMs(t));
        let (written, refused, _) = bed.send_at("x", series, t);
        bed.db.maintain();
        bed.db.maintain();
        (written, refused)
    };
    let late = HOUR + 56 * MINUTE;
    assert_eq!(send(&bed, 0..3, late), (3, 0));
    assert_eq!(send(&bed, 3..6, late + 9 * MINUTE), (0, 3));
    assert_eq!((bed.db.stats().blocks, bed.db.stats().head.series), (1, 3), "cut, and not idle yet");
    assert_eq!(send(&bed, 3..6, 4 * HOUR + 5 * MINUTE), (0, 3));
    assert_eq!((bed.db.stats().blocks, bed.db.stats().head.series), (1, 0), "no cut had to write anything");
    assert_eq!(send(&bed, 3..6, 4 * HOUR + 6 * MINUTE), (3, 0));
    let model = contents(&bed.db);
    bed.db.close().unwrap();
    drop(bed);
    let bed = Bed::open(trusting(&fs, at_most(3)));
    assert_eq!((contents(&bed.db), bed.db.stats().head.series), (model, 3));
    assert_eq!(send(&bed, 6..9, 9 * HOUR), (0, 3), "after a restart too");
    assert_eq!(send(&bed, 6..9, 9 * HOUR + 1), (3, 0));
}

#[test]
fn a_series_that_never_had_a_sample_leaves() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    append(&db, &[(&labels("m", "x", 0), &[(HOUR, 1.0)])]).unwrap();
    db.flush().unwrap();
    append(&db, &[(&labels("m", "x", 1), &[])]).unwrap();
    assert_eq!(db.stats().head.series, 2);
    db.flush().unwrap();
    assert_eq!(
        (db.stats().head.series, db.stats().blocks),
        (1, 1),
        "with the checkpoint of a cut of nothing"
    );
    db.close().unwrap();
    drop(db);
    let db = open(&fs);
    assert_eq!(db.stats().head.series, 2, "it left after the checkpoint that a start finds");
    db.maintain();
    db.maintain();
    assert_eq!(db.stats().head.series, 1, "and leaves again with the first cut");
}

#[test]
fn a_wrong_clock_makes_no_active_series_leave() {
    let check = |clock: i64, refused_at: i64| {
        let bed = Bed::open(trusting(&SimFs::new(1), at_most(3)));
        bed.clock.set(TimestampMs(clock));
        assert_eq!(bed.send_at("x", 0..3, HOUR).0, 3);
        assert_eq!(bed.send_at("x", 3..6, refused_at), (0, 3, 0));
        bed.db.maintain();
        assert_eq!((bed.db.stats().blocks, bed.db.stats().head.open_chunks), (0, 3));
        bed.db.flush().unwrap();
        bed.db.maintain();
        assert_eq!(bed.db.stats().head.series, 3, "clock at {clock}, refused at {refused_at}");
    };
    check(HOUR + MINUTE, 1000 * HOUR);
    check(1000 * HOUR, HOUR + MINUTE);
    check(0, HOUR + MINUTE);
}
