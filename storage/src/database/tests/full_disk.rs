//! Commits on a full disk, in the room of the reserve.

use super::*;
use crate::database::write_out::WriteOut;
use crate::io::FaultKind;
use std::time::Duration;

/// A database with some series in its head, and what it holds.
fn filled(fs: &SimFs) -> (Arc<Database>, Model) {
    let db = open(fs);
    for n in 0..50 {
        append(&db, &[(&labels("m", "a", n), &[(HOUR, 1.5), (HOUR + 1000, n as f64)])]).unwrap();
    }
    append(&db, &[(&labels("m", "b", 0), &[(HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
    let model = contents(&db);
    (db, model)
}

fn has_reserve(fs: &SimFs) -> bool {
    fs.exists(std::path::Path::new("/data/reserve")).unwrap()
}

#[test]
fn a_full_disk_takes_one_more_cut_and_gets_its_reserve_back_when_there_is_room() {
    let fs = SimFs::new(1);
    let (db, model) = filled(&fs);
    assert_eq!((has_reserve(&fs), db.stats().reserve_bytes), (true, 64 << 10));
    fs.set_capacity(Some(fs.used()));
    db.flush().unwrap();
    let stats = db.stats();
    assert_eq!((stats.blocks, stats.reserve_releases, stats.reserve_bytes), (1, 1, 0));
    assert!(!has_reserve(&fs));
    assert_eq!(contents(&db), model);
    fs.set_capacity(Some(fs.used() + 100));
    db.maintain();
    assert!(!has_reserve(&fs), "there is no room for it yet");
    fs.set_capacity(None);
    db.maintain();
    assert_eq!((has_reserve(&fs), db.stats().reserve_bytes), (true, 64 << 10));
    drop(db);
    assert_eq!(contents(&open(&fs.crash(0))), model);
}

#[test]
fn without_a_reserve_a_full_disk_fails_the_cut_and_loses_nothing() {
    let fs = SimFs::new(2);
    let (db, model) = filled(&fs);
    fs.remove_file(std::path::Path::new("/data/reserve")).unwrap();
    drop(db);
    // Room for the segment that a start begins, not for the reserve.
    fs.set_capacity(Some(fs.used() + (100 << 10)));
    let db = open(&fs);
    assert_eq!((has_reserve(&fs), db.stats().reserve_bytes), (false, 0));
    fs.set_capacity(Some(fs.used()));
    assert!(db.flush().is_err());
    assert_eq!((contents(&db), db.stats().reserve_releases), (model.clone(), 0));
    fs.set_capacity(None);
    db.flush().unwrap();
    assert_eq!(contents(&db), model);
}

/// Wherever the disk says once that it is full, the flush succeeds: with the reserve, or because the log knows its own way.
#[test]
fn a_disk_that_is_full_once_fails_no_flush() {
    let ops = {
        let fs = SimFs::new(3);
        let (db, _) = filled(&fs);
        let before = fs.ops();
        db.flush().unwrap();
        fs.ops() - before
    };
    let mut released = 0;
    for at in 0..ops {
        let fs = SimFs::new(3);
        let (db, model) = filled(&fs);
        fs.fail_at(fs.ops() + at, FaultKind::Enospc);
        db.flush().unwrap_or_else(|e| panic!("full at operation {at}: {e}"));
        assert_eq!(contents(&db), model, "full at operation {at}");
        released += db.stats().reserve_releases;
        db.maintain();
        assert!(has_reserve(&fs), "full at operation {at}");
        drop(db);
        assert_eq!(contents(&open(&fs.crash(at))), model, "full at operation {at}");
    }
    assert!(released > ops / 2, "{released} of {ops}");
}

#[test]
fn where_a_cut_does_not_fit_a_checkpoint_lets_go_of_the_log() {
    let fs = SimFs::new(4);
    let db = open(&fs);
    let l = labels("m", "a", 0);
    // A block of 180 KiB, and as much of head-chunk log, which the checkpoint syncs: with the reserve there is room for one.
    for i in 0..20_000_i64 {
        let v = (i as f64 * 0.618_033_988_749).sin();
        append(&db, &[(&l, &[(i * 500, v)])]).unwrap();
    }
    append(&db, &[(&labels("m", "b", 0), &[(0, 1.0)])]).unwrap().ticket.wait().unwrap();
    let model = contents(&db);
    let before = db.stats();
    fs.set_capacity(Some(fs.used() + (200 << 10)));
    db.maintain();
    let after = db.stats();
    assert_eq!((after.blocks, after.checkpoints, after.reserve_releases), (0, 1, 1));
    assert!(after.wal.segments < before.wal.segments, "{} {}", before.wal.segments, after.wal.segments);
    assert_eq!(contents(&db), model);
}

#[test]
fn a_start_on_a_full_disk_takes_the_room_of_the_reserve() {
    let fs = SimFs::new(5);
    let (db, model) = filled(&fs);
    drop(db);
    // As a log leaves it that became read-only: no spare.
    fs.remove_file(std::path::Path::new("/data/wal/spare")).unwrap();
    fs.set_capacity(Some(fs.used()));
    let db = open(&fs);
    assert_eq!((contents(&db), has_reserve(&fs), db.stats().reserve_bytes), (model, false, 0));
    append(&db, &[(&labels("m", "c", 0), &[(HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
}

#[test]
fn a_log_without_a_spare_segment_is_let_go_of_early() {
    let fs = SimFs::new(6);
    // No checkpoint is due for the length of the log.
    let db = Database::open(DatabaseOptions { checkpoint_bytes: 64 << 20, ..options(&fs) }).unwrap();
    let l = labels("m", "a", 0);
    let mut t = HOUR;
    let mut send = || {
        t += 1;
        append(&db, &[(&l, &[(t, t as f64)])]).unwrap().ticket.wait().unwrap();
    };
    send();
    db.maintain();
    let mut begin_segment = |number| {
        while db.stats().wal.segments < number {
            send();
        }
        // Before the log takes this one it has tried to make the next spare.
        send();
    };
    // A small volume: the third segment is begun in the spare, and there is no room for another one.
    begin_segment(2);
    fs.set_capacity(Some(fs.used() + (40 << 10)));
    begin_segment(3);
    let before = db.stats();
    assert_eq!((before.wal.has_spare, before.checkpoints), (false, 0));
    db.maintain();
    let after = db.stats();
    assert_eq!((after.wal.segments, after.checkpoints), (1, 1), "{:?}", after.wal);
    // Not again and again: nothing is left that one could let go.
    db.maintain();
    assert_eq!(db.stats().checkpoints, 1);
    let model = contents(&db);
    drop(db);
    assert_eq!(contents(&open(&fs.crash(0))), model);
}

#[test]
fn the_head_chunk_log_is_written_again_less_and_less_often() {
    let fs = SimFs::new(7);
    let clock = Arc::new(ManualClock::new(TimestampMs(0)));
    let db = Database::open(DatabaseOptions { clock: clock.clone(), ..options(&fs) }).unwrap();
    let l = labels("m", "a", 0);
    // More than a page.
    let points: Vec<(i64, f64)> =
        (0..50_000_i64).map(|i| (HOUR + i * 100, (i as f64 * 0.618_033_988_749).sin())).collect();
    append(&db, &[(&l, &points)]).unwrap().ticket.wait().unwrap();
    let model = contents(&db);
    fs.set_capacity(Some(fs.used()));
    let mut write_out = WriteOut::new();
    let ops = fs.ops();
    let mut looks = |n| {
        for _ in 0..n {
            write_out.run(&db);
            clock.advance(Duration::from_millis(100));
        }
        db.stats().head_log_failures
    };
    assert_eq!(looks(1), 1);
    assert!(fs.ops() > ops, "it was tried");
    assert_eq!(looks(100), 7, "after 0.1, 0.2, 0.4 s and so on");
    assert_eq!(looks(600), 13, "then every ten seconds");
    fs.set_capacity(None);
    assert_eq!(looks(100), 13);
    assert_eq!(contents(&db), model);
    assert_eq!(fs.read_dir(std::path::Path::new("/data/head")).unwrap().len(), 1);
}
