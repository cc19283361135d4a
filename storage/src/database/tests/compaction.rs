//! Merges and drops: nothing that is read changes, whatever happens on the way, but for what is past retention.

use super::*;
use crate::io::{FaultKind, Fs};
use crate::model::{DurationMs, Lsn, STALE_NAN_BITS, stale_nan};
use proptest::prelude::*;
use std::path::Path;

const DAY: i64 = 24 * HOUR;
/// The start of a day.
const START: i64 = 20_000 * DAY;

const HOUR_LONG: std::time::Duration = std::time::Duration::from_secs(3600);
const DAY_LONG: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

fn open_with(fs: &SimFs, clock: &Arc<ManualClock>, retention: Retention) -> Arc<Database> {
    Database::open(DatabaseOptions { clock: clock.clone(), retention, ..options(fs) }).unwrap()
}

fn clock_at(t: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(TimestampMs(t)))
}

/// Sends to some series of some accounts, and puts it into blocks.
fn send(db: &Database, points: &[(i64, f64)]) {
    for account in ["1", "2", "3"] {
        for n in 0..3 {
            append(db, &[(&labels("m", account, n), points)]).unwrap().ticket.wait().unwrap();
        }
    }
    db.flush().unwrap();
}

/// Sends something every twelve hours of some days: the time is not believed to leap.
fn go_on(db: &Database, days: std::ops::Range<i64>) {
    let points: Vec<(i64, f64)> =
        days.flat_map(|d| [6, 18].map(|h| (START + d * DAY + h * HOUR, 1.0))).collect();
    send(db, &points);
}

/// A day in four blocks that overlap, and the beginning of the next.
fn a_day(db: &Database) {
    let every = |from: i64, n: i64, v: f64| -> Vec<(i64, f64)> {
        (0..n).map(|i| (START + from + i * 15 * 60_000 + 1, v + i as f64)).collect()
    };
    send(db, &every(0, 12, 0.5));
    send(db, &every(HOUR, 12, 7.0));
    send(db, &every(5 * HOUR, 76, 0.1));
    send(
        db,
        &[(START + 2 * HOUR + 5, stale_nan()), (START + 3 * HOUR, f64::INFINITY), (START + 4 * HOUR, -0.0)],
    );
    send(db, &[(START + DAY + 2 * HOUR, 1.0)]);
}

/// By window in hours from the start: ids and windows of blocks.
fn windows(db: &Database) -> Vec<(i64, i64)> {
    db.view()
        .blocks()
        .iter()
        .map(|b| (b.spec().window.start.0, b.spec().window.len.0))
        .map(|(s, l)| ((s - START) / HOUR, l / HOUR))
        .collect()
}

fn block_dirs(fs: &SimFs) -> Vec<String> {
    fs.read_dir(Path::new("/data/blocks")).unwrap().into_iter().map(|e| e.name).collect()
}

fn named_dirs(db: &Database) -> Vec<String> {
    let mut named: Vec<String> = db.view().blocks().iter().map(|b| b.spec().id.to_string()).collect();
    named.sort();
    named
}

#[test]
fn a_day_becomes_one_block_with_the_same_samples() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    a_day(&db);
    let before = contents(&db);
    assert!(db.stats().blocks > 12, "{:?}", windows(&db));
    let newest = db.view().blocks().iter().map(|b| b.spec().id).max();
    db.compact_due();
    assert_eq!(windows(&db), [(0, 24), (24, 2)]);
    assert_eq!(contents(&db), before);
    assert_eq!(block_dirs(&fs), named_dirs(&db), "what was merged has gone");
    let stats = db.stats().compaction;
    assert_eq!((stats.by_result[0], stats.overlapping_windows, stats.progress), (1, 0, (0, 0)));
    assert_eq!(stats.blocks_by_level, [(crate::block::Tier::Raw, 0, 1), (crate::block::Tier::Raw, 1, 1)]);
    let day = db.view().blocks()[0].clone();
    let meta = crate::block::BlockMeta::read(&fs, day.dir()).unwrap();
    assert_eq!(
        (meta.level, meta.sources.len() as u64),
        (1, db.counters.cut_blocks.load(std::sync::atomic::Ordering::Relaxed) - 1)
    );
    assert!(meta.lsns.unwrap().last > Lsn(0));
    let entries = db.maintenance.lock().manifest.state().blocks.clone();
    assert!(entries[&day.spec().id].covered_as() < newest.unwrap(), "judged by what it was made of");
    drop(day);
    drop(db);
    let db = open(&fs);
    assert_eq!(contents(&db), before);
    // Late samples lie over the day, and are folded in on demand.
    send(&db, &[(START + 10 * HOUR, 5.5)]);
    let before = contents(&db);
    db.compact_due();
    assert_eq!(windows(&db).len(), 2 + usize::from(db.stats().compaction.overlapping_windows == 1));
    // So is the day that is not over; and once that is done there is nothing to do.
    db.compact().unwrap();
    assert_eq!(windows(&db), [(0, 24), (24, 24)]);
    assert_eq!(contents(&db), before);
    let merged = db.stats().compaction.by_result[0];
    db.compact().unwrap();
    assert_eq!(db.stats().compaction.by_result[0], merged, "twice is once");
    send(&db, &[(START + DAY + 4 * HOUR, 2.0)]);
    db.compact_due();
    assert_eq!(windows(&db), [(0, 24), (24, 24), (26, 2)], "the background waits for the end of the day");
    send(&db, &[(START + 2 * DAY + 4 * HOUR, 2.0)]);
    let before = contents(&db);
    db.compact_due();
    assert_eq!(windows(&db), [(0, 24), (24, 24), (50, 2)]);
    assert_eq!(contents(&db), before);
}

#[test]
fn queries_keep_their_blocks_while_others_take_their_place() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    a_day(&db);
    let before = contents(&db);
    let held = db.view();
    let dirs = block_dirs(&fs);
    db.compact().unwrap();
    assert_eq!(read(&held, &[], TimeRange::ALL), before);
    let mut both = [dirs, named_dirs(&db)].concat();
    both.sort();
    both.dedup();
    assert_eq!(block_dirs(&fs), both, "files stay while a query may read them");
    drop(held);
    db.maintain();
    assert_eq!(block_dirs(&fs), named_dirs(&db));
    assert_eq!(contents(&db), before);
}

#[test]
fn a_power_cut_at_any_operation_of_a_merge_changes_nothing() {
    let whole = SimFs::new(1);
    let db = open(&whole);
    a_day(&db);
    let (from, before) = (whole.ops(), contents(&db));
    db.compact().unwrap();
    assert!(whole.ops() > from + 15, "{:?}", &whole.op_names()[from as usize..]);
    for at in from..=whole.ops() {
        for seed in [0, 1, at, 7 * at + 1] {
            let fs = SimFs::new(seed);
            let db = open(&fs);
            a_day(&db);
            assert_eq!(fs.ops(), from, "lives are alike");
            fs.freeze_at(at);
            let outcome = db.compact();
            let case = format!("operation {at} of {}, seed {seed}: {outcome:?}", whole.ops());
            let after = fs.crash(seed);
            let db = open(&after);
            assert_eq!(contents(&db), before, "{case}");
            assert_eq!(block_dirs(&after), named_dirs(&db), "{case}: no garbage");
            db.compact().unwrap();
            assert_eq!((contents(&db), windows(&db).len()), (before.clone(), 2), "{case}");
        }
    }
}

#[test]
fn a_failing_operation_of_a_merge_changes_nothing() {
    let whole = SimFs::new(1);
    let db = open(&whole);
    a_day(&db);
    let (from, before) = (whole.ops(), contents(&db));
    db.compact().unwrap();
    for at in from..whole.ops() {
        for (kind, lasting) in [
            (FaultKind::Enospc, true),
            (FaultKind::Enospc, false),
            (FaultKind::Eio, false),
            (FaultKind::TornWrite, false),
        ] {
            let fs = SimFs::new(at);
            let db = open(&fs);
            a_day(&db);
            if lasting {
                fs.fail_from(at, kind)
            } else {
                fs.fail_at(at, kind)
            }
            let outcome = db.compact();
            let case =
                format!("{} fails with {kind:?} ({lasting}): {outcome:?}", whole.op_names()[at as usize]);
            fs.heal();
            assert_eq!(contents(&db), before, "{case}");
            if !lasting && matches!(outcome, Err(CompactError::Write(_))) {
                assert_eq!(block_dirs(&fs), named_dirs(&db), "{case}: the partial output is removed");
            }
            db.compact().unwrap();
            assert_eq!((contents(&db), windows(&db).len()), (before.clone(), 2), "{case}");
            drop(db);
            let db = open(&fs);
            assert_eq!(contents(&db), before, "{case}");
            assert_eq!(block_dirs(&fs), named_dirs(&db), "{case}: no garbage after a restart");
        }
    }
}

#[test]
fn a_full_disk_is_met_before_the_merge() {
    let fs = SimFs::new(1);
    let clock = clock_at(0);
    let db = open_with(&fs, &clock, Retention::default());
    a_day(&db);
    let blocks = db.stats().blocks;
    fs.set_capacity(Some(fs.used() + 1000));
    let error = db.compact().unwrap_err().to_string();
    assert!(error.starts_with("/data/blocks has 1000 bytes free, merging 1 blocks takes up to "), "{error}");
    let needed = error.split_once("takes up to ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    assert!(needed.is_some_and(|bytes: u64| bytes < 10_000), "the room that is left is told apart: {error}");
    assert!(error.contains(" and must leave 268435456: make room"), "{error}");
    let ops = fs.ops();
    db.compact_due();
    let stats = db.stats().compaction;
    assert_eq!((stats.by_result[CompactionResult::NoSpace as usize], stats.backoff.as_secs()), (2, 10));
    db.compact_due();
    assert_eq!((db.stats().blocks, fs.ops()), (blocks, ops), "nothing is tried meanwhile");
    fs.set_capacity(None);
    clock.advance(std::time::Duration::from_secs(10));
    db.compact_due();
    assert_eq!((windows(&db), db.stats().compaction.backoff.as_secs()), (vec![(0, 24), (24, 2)], 0));
}

#[test]
fn closing_ends_a_merge() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    a_day(&db);
    db.close().unwrap();
    assert!(matches!(db.compact(), Err(CompactError::Closed)));
    assert_eq!(block_dirs(&fs), named_dirs(&db));
}

#[test]
fn a_damaged_block_is_set_aside_and_the_rest_merged() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    a_day(&db);
    send(&db, &[(START + DAY + 2 * HOUR, 0.5)]);
    let all = contents(&db);
    let damaged = db.view().blocks()[3].clone();
    let (id, chunks) = (damaged.spec().id, damaged.dir().join(crate::block::CHUNKS_FILE));
    drop(damaged);
    drop(db);
    fs.corrupt(&chunks, 30, 1).unwrap();
    let db = open(&fs);
    let error = db.compact().unwrap_err().to_string();
    assert!(error.contains(&format!("block {id} cannot be merged and stays as it is")), "{error}");
    assert_eq!(windows(&db).len(), 3, "{:?}", windows(&db));
    assert!(db.view().blocks().iter().any(|b| b.spec().id == id));
    assert_eq!(db.stats().compaction.by_result[CompactionResult::Damaged as usize], 1);
    // Set right again, as by a restored file: on demand it is tried anew.
    drop(db);
    fs.corrupt(&chunks, 30, 1).unwrap();
    let db = open(&fs);
    assert_eq!(contents(&db), all);
    db.compact().unwrap();
    assert_eq!((contents(&db), windows(&db).len()), (all, 2));
}

#[test]
fn blocks_past_retention_go_and_a_jump_of_the_clock_deletes_nothing() {
    let fs = SimFs::new(1);
    let clock = clock_at(START + DAY);
    let db = open_with(&fs, &clock, Retention::default());
    a_day(&db);
    let before = contents(&db);
    db.compact().unwrap();
    clock.set(TimestampMs(START + 4000 * DAY));
    db.compact().unwrap();
    assert_eq!(contents(&db), before, "the clock alone is not believed");
    clock.set(TimestampMs(0));
    send(&db, &[(START + 8 * DAY + HOUR, 1.0)]);
    let before = contents(&db);
    db.compact().unwrap();
    assert_eq!(contents(&db), before, "nor are the data alone");
    clock.set(TimestampMs(START + 8 * DAY));
    db.compact_due();
    assert_eq!(contents(&db), before, "nor is a leap of both");
    go_on(&db, 2..8);
    let before = contents(&db);
    db.compact_due();
    assert_eq!(contents(&db), before, "nor are data that filled the gap before time has passed");
    clock.advance(DAY_LONG);
    db.compact_due();
    assert_eq!(windows(&db).first(), Some(&(24, 24)));
    assert_eq!(db.stats().compaction.dropped_blocks, 1);
    assert_eq!(block_dirs(&fs), named_dirs(&db));
    let after = contents(&db);
    assert!(after.values().all(|points| points.keys().all(|t| *t > START + DAY)));
    drop(db);
    assert_eq!(contents(&open(&fs)), after);
}

#[test]
fn a_clock_that_is_a_year_ahead_for_some_hours_deletes_nothing() {
    let fs = SimFs::new(1);
    let clock = clock_at(START + DAY);
    let options = DatabaseOptions { trust_clock: true, clock: clock.clone(), ..options(&fs) };
    let db = Database::open(options).unwrap();
    a_day(&db);
    let year = 365 * DAY;
    db.compact_due();
    clock.set(TimestampMs(START + DAY + year - HOUR));
    for hours in 0..20 {
        clock.advance(HOUR_LONG);
        send(&db, &[(START + DAY + year + hours * HOUR, 1.0)]);
        db.compact_due();
    }
    // What is imported by then has come today, not next year.
    send(&db, &[(START - 20 * DAY, 1.0)]);
    let before = contents(&db);
    db.compact().unwrap();
    clock.set(TimestampMs(START + DAY));
    for hours in [3, 6, 9, 12] {
        clock.advance(HOUR_LONG * 3);
        send(&db, &[(START + DAY + hours * HOUR, 1.0)]);
        db.compact_due();
    }
    let after = contents(&db);
    for (labels, points) in &before {
        let lost: Vec<i64> = points
            .iter()
            .filter(|(t, v)| after[labels].get(t) != Some(v))
            .map(|(t, _)| (t - START) / HOUR)
            .collect();
        assert!(lost.is_empty(), "{labels} lost samples at hours {lost:?}");
    }
    assert_eq!(db.stats().compaction.dropped_blocks, 0);
    for hours in [24, 36, 48, 60] {
        clock.advance(HOUR_LONG * 12);
        send(&db, &[(START + DAY + hours * HOUR, 1.0)]);
        db.compact_due();
    }
    let oldest = contents(&db).values().filter_map(|points| points.keys().next().copied()).min();
    assert_eq!(oldest, Some(START + 1), "what was imported goes a day after it came");
}

/// Samples that come every half hour, and the work that the background does.
fn live(db: &Database, clock: &ManualClock, hours: i64) {
    for _ in 0..2 * hours {
        clock.advance(HOUR_LONG / 2);
        for account in ["1", "2"] {
            append(db, &[(&labels("m", account, 0), &[(clock.now().0, 1.0)])])
                .unwrap()
                .ticket
                .wait()
                .unwrap();
        }
        db.maintain();
        db.compact_due();
    }
}

/// Clock and sender leap together by less than a day, and the server starts again meanwhile: a deletion can be undone as long as
/// before, and nothing is dropped. The leap is believed when it has lasted for a day.
#[test]
fn a_clock_that_is_hours_ahead_deletes_nothing() {
    for ahead in [3, 12, 20, 23] {
        let (fs, clock) = (SimFs::new(1), clock_at(START));
        let open = || {
            let retention = Retention { tiers: [DurationMs(2 * DAY); 4], ..Retention::default() };
            let clock = clock.clone();
            Database::open(DatabaseOptions { trust_clock: true, clock, retention, ..options(&fs) }).unwrap()
        };
        let check = |db: &Database, when: &str| {
            assert!(db.can_undelete(&db.deletions()[0]), "{ahead} hours ahead, {when}");
            assert_eq!(db.stats().compaction.dropped_blocks, 0, "{ahead} hours ahead, {when}");
        };
        let db = open();
        live(&db, &clock, 47);
        db.delete_series(&[vec![Matcher::equal("account", "1")]], TimeRange::ALL).unwrap();
        live(&db, &clock, 1);
        clock.set(clock.now() + DurationMs(ahead * HOUR));
        live(&db, &clock, 1);
        check(&db, "at once");
        db.close().unwrap();
        drop(db);
        let db = open();
        live(&db, &clock, 2);
        check(&db, "after a restart");
        live(&db, &clock, 24);
        assert!(db.stats().compaction.dropped_blocks > 0, "{ahead} hours ahead, a day later");
        assert!(db.deletions().iter().all(|d| !db.can_undelete(d)), "{ahead} hours ahead, a day later");
    }
}

#[test]
fn accounts_lose_their_samples_at_their_own_time() {
    let fs = SimFs::new(1);
    let clock = clock_at(START + 100 * DAY);
    let days = |n: i64| DurationMs(n * DAY);
    let accounts = [("1".into(), days(2)), ("2".into(), days(20)), ("nobody".into(), days(1))].into();
    let retention = Retention { accounts, ..Retention::default() };
    let db = open_with(&fs, &clock, retention);
    a_day(&db);
    db.compact().unwrap();
    let at = |t: i64, want: &[&str]| {
        go_on(&db, 2..(t - START) / DAY);
        send(&db, &[(t, 1.0)]);
        db.compact_due();
        clock.advance(DAY_LONG);
        db.compact_due();
        let view =
            read(&db.view(), &[], TimeRange { after: TimestampMs(START), until: TimestampMs(START + DAY) });
        let mut found: Vec<&str> = view.keys().map(|l| l.get("account").unwrap()).collect();
        found.dedup();
        found.sort();
        found.dedup();
        assert_eq!(found, want, "at {} days", (t - START) / DAY);
    };
    at(START + 3 * DAY - 1, &["1", "2", "3"]);
    at(START + 3 * DAY, &["2", "3"]);
    at(START + 8 * DAY, &["2"]);
    let merged = db.stats().compaction.by_result[CompactionResult::Merged as usize];
    db.compact_due();
    assert_eq!(db.stats().compaction.by_result[CompactionResult::Merged as usize], merged, "once is enough");
    at(START + 21 * DAY, &[]);
}

#[test]
fn a_failed_cut_waits_longer_each_time_and_leaves_a_merge_alone() {
    let fs = SimFs::new(1);
    let clock = clock_at(0);
    let db = open_with(&fs, &clock, Retention::default());
    let appended = append(&db, &[(&labels("m", "1", 0), &[(START + 1, 1.0), (START + 3 * HOUR, 1.0)])]);
    appended.unwrap().ticket.wait().unwrap();
    // As of a merge that writes beside the cut.
    let merged = db.maintenance.lock().manifest.state().merged_block_id(1);
    fs.create_dir_all(&Path::new("/data/blocks").join(merged.to_string())).unwrap();
    // The log has its own thread: what it does must not be what fails.
    while !db.wal.stats().has_spare {
        std::thread::yield_now();
    }
    fs.fail_from(fs.ops(), FaultKind::Eio);
    db.maintain();
    let (ops, failures) = (fs.ops(), db.stats().maintenance_failures);
    assert_eq!((failures, db.stats().maintenance_backoff.as_secs()), (1, 5));
    db.maintain();
    assert_eq!(fs.ops(), ops, "it is not tried again at once");
    clock.advance(std::time::Duration::from_secs(5));
    db.maintain();
    assert_eq!((db.stats().maintenance_failures, db.stats().maintenance_backoff.as_secs()), (2, 10));
    fs.heal();
    assert_eq!(block_dirs(&fs).iter().filter(|d| **d == merged.to_string()).count(), 1);
    clock.advance(std::time::Duration::from_secs(10));
    db.maintain();
    assert_eq!((db.stats().blocks, db.stats().maintenance_backoff.as_secs()), (1, 0));
}

/// Values that merges are apt to get wrong.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0i32..1000).prop_map(f64::from),
        2 => any::<f64>(),
        1 => Just(f64::from_bits(STALE_NAN_BITS)),
        1 => (1u64..1 << 51).prop_map(|payload| f64::from_bits(0x7ff8 << 48 | payload)),
        1 => prop_oneof![Just(-0.0), Just(0.0), Just(f64::NEG_INFINITY)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Series come and go; samples come late, twice, with other values, into any window; cuts fall anywhere.
    #[test]
    fn what_is_read_is_the_same_before_and_after(
        requests in proptest::collection::vec(
            (proptest::collection::vec((0usize..12, 0i64..200, value()), 1..40), any::<bool>(), 0u8..8), 1..12
        ),
        range in (0i64..200, 1i64..100),
    ) {
        let fs = SimFs::new(1);
        let db = open(&fs);
        let time = |quarters: i64| START + quarters * HOUR / 4;
        for (points, cut, act) in &requests {
            let series: Vec<LabelSet> = points.iter().map(|p| labels(["a", "b"][p.0 % 2], ["", "1", "2"][p.0 % 3], p.0)).collect();
            for (labels, (_, quarters, v)) in series.iter().zip(points) {
                // A conflict with what the head has is refused; it must not hinder the others.
                append(&db, &[(labels, &[(time(*quarters), *v)])]).unwrap();
            }
            if *cut {
                db.flush().unwrap();
            }
            match act {
                0 => db.compact_due(),
                1 => db.maintain(),
                _ => {}
            }
        }
        db.flush().unwrap();
        let range = TimeRange { after: TimestampMs(time(range.0)), until: TimestampMs(time(range.0 + range.1)) };
        let one = Matcher::new("account", MatchOp::Equal, "1").unwrap();
        let all = |db: &Database| (contents(db), read(&db.view(), std::slice::from_ref(&one), range), db.view().series(&[vec![]], TimeRange::ALL, None).unwrap());
        let before = all(&db);
        db.compact_due();
        prop_assert_eq!(&all(&db), &before);
        db.compact().unwrap();
        prop_assert_eq!(&all(&db), &before);
        prop_assert_eq!(db.stats().compaction.overlapping_windows, 0);
        prop_assert_eq!(block_dirs(&fs), named_dirs(&db));
        drop(db);
        prop_assert_eq!(&all(&open(&fs)), &before);
    }
}

#[test]
fn a_block_that_was_set_aside_goes_when_its_time_is_over() {
    let fs = SimFs::new(1);
    let clock = clock_at(START + 100 * DAY);
    let db = open_with(&fs, &clock, Retention::default());
    a_day(&db);
    db.compact().unwrap();
    let index = db.view().blocks()[0].dir().join(crate::block::INDEX_FILE);
    drop(db);
    fs.corrupt(&index, 3, 1).unwrap();
    let db = open_with(&fs, &clock, Retention::default());
    go_on(&db, 2..7);
    let a_day_later = || {
        db.compact().unwrap();
        clock.advance(DAY_LONG);
        db.compact().unwrap();
    };
    send(&db, &[(START + 8 * DAY - 1, 1.0)]);
    a_day_later();
    assert_eq!((db.stats().blocks, db.stats().blocks_damaged), (7, 1));
    send(&db, &[(START + 8 * DAY, 1.0)]);
    a_day_later();
    assert_eq!((db.stats().blocks_damaged, db.view().blocks_aside().len()), (0, 0));
    assert_eq!(block_dirs(&fs), named_dirs(&db));
}
