use super::*;
use crate::io::{FaultKind, SimFs};
use crate::model::{DurationMs, SeriesSlot, ShardId};

const WINDOW: DurationMs = DurationMs::hours(2);

fn open(fs: &SimFs, kept: &[SegmentWindows], end: HeadPos) -> HeadLog {
    let dir = Path::new("/d/head");
    fs.create_dir_all(dir).unwrap();
    dir.ancestors().skip(1).for_each(|d| fs.sync_dir(d).unwrap());
    HeadLog::open(Arc::new(fs.clone()), dir, kept, end, WINDOW).unwrap().0
}

fn header(prev: HeadPos, t: i64) -> RecordHeader {
    let (slot, shard) = (SeriesSlot(1), ShardId(2));
    let t = TimestampMs(t);
    RecordHeader { prev, slot, shard, generation: 3, late: false, first_t: t, last_t: t }
}

/// Appends records of `len` bytes, chained, each filled with its number; returns the newest.
fn fill(log: &HeadLog, n: usize, len: usize) -> HeadPos {
    (0..n).fold(HeadPos::NONE, |prev, i| log.append(&header(prev, 1 + i as i64), &vec![i as u8; len]))
}

fn chain(log: &HeadLog, mut at: HeadPos) -> Vec<u8> {
    let snapshot = log.snapshot();
    let mut found = vec![];
    while let Some(record) = snapshot.get(at).unwrap() {
        found.push(record.chunk[0]);
        at = record.header.prev;
    }
    found.reverse();
    found
}

#[test]
fn records_are_read_from_pages_and_maps_alike() {
    let fs = SimFs::new(1);
    let log = open(&fs, &[], HeadPos::NONE);
    let tail = fill(&log, 180, 100_000);
    let expected: Vec<u8> = (0..180).collect();
    assert_eq!(chain(&log, tail), expected);
    log.write_out().unwrap();
    assert_eq!(log.mapped_bytes(), SEGMENT_BYTES as u64, "180 records of 100 kB: two to a page");
    assert_eq!(chain(&log, tail), expected);
    assert!(log.memory_bytes() < SEGMENT_BYTES as u64);
}

#[test]
fn what_was_synced_is_there_after_a_power_cut() {
    for seed in 0..8 {
        let fs = SimFs::new(seed);
        let log = open(&fs, &[], HeadPos::NONE);
        let tail = fill(&log, 200, 100_000);
        let (end, kept) = log.sync().unwrap();
        fill(&log, 50, 100_000);
        log.write_out().unwrap();
        let fs = fs.crash(seed);
        let log = open(&fs, &kept, end);
        assert_eq!(chain(&log, tail), (0..200).collect::<Vec<u8>>());
        let next = log.append(&header(tail, 9), b"x");
        assert!(next > end, "positions are not used twice");
        assert_eq!(chain(&log, next).len(), 201);
    }
}

#[test]
fn any_failing_operation_loses_nothing() {
    let run = |fault_at: Option<u64>| {
        let fs = SimFs::new(7);
        let log = open(&fs, &[], HeadPos::NONE);
        let before = fs.ops();
        if let Some(n) = fault_at {
            fs.fail_at(before + n, FaultKind::Eio);
        }
        let tail = fill(&log, 150, 100_000);
        let kept = match log.sync() {
            Ok(kept) => kept,
            Err(_) => log.sync().expect("only one operation fails"),
        };
        assert_eq!(chain(&log, tail).len(), 150);
        let ops = fs.ops() - before;
        let log = open(&fs.crash(7), &kept.1, kept.0);
        assert_eq!(chain(&log, tail), (0..150).collect::<Vec<u8>>(), "operation {fault_at:?}");
        ops
    };
    let ops = run(None);
    assert!(ops > 60);
    (0..ops).for_each(|n| {
        run(Some(n));
    });
}

#[test]
fn only_the_oldest_segments_go() {
    let fs = SimFs::new(1);
    let log = open(&fs, &[], HeadPos::NONE);
    let late = log.append(&header(HeadPos::NONE, -1), b"late");
    fill(&log, 300, 100_000);
    log.write_out().unwrap();
    assert_eq!(log.mapped_bytes() / SEGMENT_BYTES as u64, 2);
    let cut_recent = |w: TimestampMs, _| w == TimestampMs(0);
    assert_eq!(log.forget(cut_recent), [] as [u32; 0], "the first segment has a late record");
    let gone = log.forget(|_, _| true);
    assert_eq!(gone, [1, 2]);
    log.remove(&gone).unwrap();
    assert!(log.snapshot().get(late).unwrap().is_none());
}

#[test]
fn damage_is_named() {
    let fs = SimFs::new(1);
    let log = open(&fs, &[], HeadPos::NONE);
    let at = log.append(&header(HeadPos::NONE, 1), b"chunk");
    let (end, kept) = log.sync().unwrap();
    let path = segment_path(Path::new("/d/head"), 1);
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0xff], at.offset() as u64).unwrap();
    file.sync_data().unwrap();
    let log = open(&fs, &kept, end);
    let error = log.snapshot().get(at).unwrap_err().to_string();
    assert!(error.contains("0000000000000001.hcl") && error.contains("expected checksum"), "{error}");
    file.set_len(10).unwrap();
    file.sync_data().unwrap();
    let (log, damage) =
        HeadLog::open(Arc::new(fs.clone()), Path::new("/d/head"), &kept, end, WINDOW).unwrap();
    assert!(damage[0].to_string().contains("found 10"), "{damage:?}");
    assert!(log.snapshot().get(at).is_err(), "its bytes are missing, which is no end of a chain");
    fs.remove_file(&path).unwrap();
    let (log, damage) = HeadLog::open(Arc::new(fs), Path::new("/d/head"), &kept, end, WINDOW).unwrap();
    assert!(damage[0].to_string().contains("0000000000000001.hcl"), "{damage:?}");
    assert!(log.snapshot().get(at).is_err());
}

#[test]
fn a_full_disk_keeps_no_half_copy_and_the_log_goes_on_when_there_is_room() {
    let fs = SimFs::new(1);
    let log = open(&fs, &[], HeadPos::NONE);
    let before = fs.used();
    let tail = fill(&log, 20, 100_000);
    fs.set_capacity(Some(before + 3 * PAGE_BYTES as u64));
    assert!(log.write_out().is_err());
    let held = fs.used();
    assert!(log.write_out().is_err());
    assert_eq!(fs.used(), held);
    assert!(!fs.exists(&segment_path(&log.dir, 1).with_extension("new")).unwrap());
    fs.set_capacity(None);
    log.write_out().unwrap();
    assert!(fs.used() > held);
    assert_eq!(chain(&log, tail), (0..20).collect::<Vec<u8>>());
}

#[test]
fn where_memory_is_short_segments_are_closed_early() {
    let dir = Path::new("/d/head");
    let budget_of = |pages: usize| BUDGET_PER_SEGMENT * (pages * PAGE_BYTES) as u64;
    let check = |budget: u64, pages: usize| {
        let fs = SimFs::new(1);
        let log = open(&fs, &[], HeadPos::NONE);
        log.fit_budget(budget);
        let tail = fill(&log, 140, 100_000);
        log.write_out().unwrap();
        let closed = 69 / pages;
        assert_eq!(log.mapped_bytes(), (closed * pages * PAGE_BYTES) as u64, "{budget}");
        let held = (69 % pages + 1) * PAGE_BYTES;
        assert_eq!(
            log.memory_bytes(),
            held as u64,
            "{budget}: of the segment that is open, and its last page"
        );
        let (end, kept) = log.sync().unwrap();
        let log = HeadLog::open(Arc::new(fs.crash(1)), dir, &kept, end, WINDOW).unwrap();
        assert!(log.1.is_empty(), "{:?}", log.1);
        assert_eq!(chain(&log.0, tail), (0..140).collect::<Vec<u8>>());
    };
    check(0, PAGES_MIN);
    check(budget_of(PAGES_MIN), PAGES_MIN);
    check(budget_of(7) + 1, 7);
    check(budget_of(PAGES), PAGES);
    check(u64::MAX, PAGES);
}
