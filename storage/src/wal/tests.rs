use super::*;
use crate::io::{FaultKind, RealFs, SimFs};
use crate::model::{MetricKind, SeriesSlot, ShardId, TimestampMs};
use std::collections::BTreeMap;

/// What a batch appended by [`append`] says: its one sample's value.
pub(super) fn number(batch: BatchReader<'_>) -> u64 {
    let mut values = Vec::new();
    for record in batch {
        match record.unwrap() {
            Record::Samples(samples) => values.extend(samples.iter().map(|s| s.v as u64)),
            Record::Registration { section, .. } => assert!(section.iter().all(|&b| b == 7)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(values.len(), 1);
    values[0]
}

/// Appends a batch that holds `value`, as long as `padding` makes it.
pub(super) fn append(wal: &Wal, value: u64, padding: usize) -> Lsn {
    let mut batch = BatchBuilder::default();
    batch.registration(ShardId(0), SeriesSlot(1), 0, &vec![7; padding]);
    batch.sample(ShardId(0), SeriesSlot(1), 0, TimestampMs(5), value as f64);
    wal.append(&mut batch)
}

pub(super) const DIR: &str = "db/wal";
pub(super) const QUARANTINE: &str = "db/quarantine";

/// Small segments, so that tests meet many.
pub(super) fn options() -> WalOptions {
    WalOptions { segment_bytes: 4096, busy_after: Duration::ZERO, ..WalOptions::default() }
}

pub(super) fn open(fs: &SimFs, next: u64) -> Result<Wal, WalError> {
    Wal::open(Arc::new(fs.clone()), Path::new(DIR), options(), Lsn(next))
}

fn disk() -> SimFs {
    let fs = SimFs::new(0);
    fs.create_dir_all(Path::new("db")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs
}

/// All batches by LSN, in the order of delivery checked.
pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<(BTreeMap<u64, u64>, ReplayReport), WalError> {
    let mut found = BTreeMap::new();
    let report = replay::<WalError>(fs, dir, Path::new(QUARANTINE), 0, &mut |lsn, batch| {
        assert!(found.last_key_value().is_none_or(|(&last, _)| last < lsn.0), "order of LSNs");
        found.insert(lsn.0, number(batch));
        Ok(())
    })?;
    assert_eq!(report.batches as usize, found.len());
    assert_eq!(report.last.map(|l| l.0), found.keys().next_back().copied());
    Ok((found, report))
}

/// Replays and expects values `1..=n` under LSNs `1..=n`.
fn check_whole(fs: &dyn Fs, dir: &Path, n: u64) -> ReplayReport {
    let (found, report) = read(fs, dir).unwrap();
    assert!(found.into_iter().eq((1..=n).map(|i| (i, i))));
    report
}

fn sim_check(fs: &SimFs, n: u64) -> ReplayReport {
    check_whole(fs, Path::new(DIR), n)
}

#[test]
fn what_is_acknowledged_is_read_back_in_order_over_many_segments() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=100 {
        let lsn = append(&wal, i, 100);
        assert_eq!((lsn, wal.end()), (Lsn(i), Lsn(i)));
        wal.ticket(lsn).wait().unwrap();
        assert_eq!(wal.synced(), lsn);
    }
    let stats = wal.stats();
    assert!(stats.segments > 3 && stats.has_spare, "{stats:?}");
    assert_eq!((stats.batches, stats.syncs.count(), stats.failures, stats.buffer_bytes), (100, 100, 0, 0));
    let report = sim_check(&fs.crash(0), 100);
    assert_eq!((report.torn.len(), report.corruptions.len()), (0, 0));
    wal.close().unwrap();
    wal.close().unwrap();
    sim_check(&fs.crash(0), 100);
}

#[test]
fn it_works_on_a_real_disk() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("wal");
    let open = |next| Wal::open(Arc::new(RealFs), &dir, WalOptions::default(), Lsn(next)).unwrap();
    let wal = open(1);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..50 {
                    let _room = wal.reserve(200).unwrap();
                    let mut batch = BatchBuilder::default();
                    batch.metadata("up", MetricKind::Counter, "", "concurrent");
                    wal.ticket(wal.append(&mut batch)).wait().unwrap();
                }
            });
        }
    });
    assert_eq!(wal.synced(), Lsn(200));
    assert!(wal.stats().syncs.count() <= 200);
    wal.close().unwrap();
    drop(wal);
    let wal = open(201);
    let mut batch = BatchBuilder::default();
    batch.metadata("up", MetricKind::Counter, "", "");
    assert_eq!(wal.append(&mut batch), Lsn(201));
    wal.flush().unwrap();
    drop(wal);
    let mut count = 0;
    let report = replay::<WalError>(&RealFs, &dir, &dir, 0, &mut |lsn, mut batch| {
        count += 1;
        assert_eq!(lsn, Lsn(count));
        assert!(matches!(batch.next(), Some(Ok(Record::Metadata { family: "up", .. }))));
        Ok(())
    })
    .unwrap();
    assert_eq!((count, report.segments, report.torn.len()), (201, 2, 0));
}

#[test]
fn batches_that_gather_are_written_together() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=60 {
        append(&wal, i, 100);
    }
    wal.flush().unwrap();
    assert!(wal.stats().syncs.count() <= 60);
    sim_check(&fs.crash(0), 60);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_size() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for (i, padding) in [(1, 10), (2, 20_000), (3, 10)] {
        wal.ticket(append(&wal, i, padding)).wait().unwrap();
    }
    assert_eq!(sim_check(&fs.crash(0), 3).segments, 3);
}

#[test]
fn an_empty_batch_is_none() {
    let wal = open(&disk(), 8).unwrap();
    assert_eq!(wal.append(&mut BatchBuilder::default()), Lsn(7));
    wal.ticket(wal.end()).wait().unwrap();
}

#[test]
fn a_failed_sync_moves_everything_to_a_new_segment() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    wal.ticket(append(&wal, 1, 0)).wait().unwrap();
    fs.fail_at(fs.ops() + 1, FaultKind::Eio);
    wal.ticket(append(&wal, 2, 0)).wait().unwrap();
    let names = fs.op_names();
    let failed = names.iter().rposition(|n| n.starts_with("set length")).unwrap();
    let first = format!("{DIR}/0000000000000001.wal");
    assert!(names[failed].contains(&first), "the failed segment is cut: {names:?}");
    assert_eq!(names.iter().filter(|n| **n == format!("sync {first}")).count(), 2, "and never synced again");
    assert_eq!(wal.stats().failures, 1);
    wal.ticket(append(&wal, 3, 0)).wait().unwrap();
    sim_check(&fs.crash(0), 3);
    sim_check(&fs, 3);
}

#[test]
fn a_second_failure_makes_it_read_only() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    wal.ticket(append(&wal, 1, 0)).wait().unwrap();
    fs.fail_from(fs.ops(), FaultKind::Enospc);
    let waiting = wal.ticket(append(&wal, 2, 0));
    let e = waiting.wait().unwrap_err().to_string();
    assert!(e.contains("read-only") && e.contains(DIR) && e.contains("restart"), "{e}");
    assert!(wal.is_read_only());
    assert!(matches!(wal.reserve(1), Err(WalError::ReadOnly { .. })));
    assert!(wal.ticket(append(&wal, 3, 0)).wait().is_err());
    assert!(wal.flush().is_err() && wal.close().is_err());
    wal.ticket(Lsn(1)).wait().unwrap();
    fs.heal();
    sim_check(&fs, 1);
}

#[test]
fn a_retried_request_is_not_acknowledged_on_the_strength_of_a_failed_one() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    fs.fail_from(fs.ops(), FaultKind::Eio);
    assert!(wal.ticket(append(&wal, 1, 0)).wait().is_err());
    // The identical request again: every sample is a duplicate in memory, so that nothing is appended.
    assert!(wal.ticket(wal.end()).wait().is_err());
}

#[test]
fn nothing_is_acknowledged_after_the_end() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    wal.ticket(append(&wal, 1, 0)).wait().unwrap();
    wal.close().unwrap();
    wal.ticket(wal.end()).wait().unwrap();
    append(&wal, 2, 0);
    assert!(wal.ticket(wal.end()).wait().is_err() && wal.flush().is_err());
    assert!(matches!(wal.reserve(1), Err(WalError::Closed)));
}

#[test]
fn what_a_replay_delivered_is_durable_once_the_log_is_open() {
    let fs = disk();
    let interval = WalOptions { sync: SyncMode::Interval(Duration::from_secs(3600)), ..options() };
    let wal = Wal::open(Arc::new(fs.clone()), Path::new(DIR), interval, Lsn(1)).unwrap();
    wal.ticket(append(&wal, 1, 0)).wait().unwrap();
    assert_eq!(wal.synced(), Lsn(0));
    // A killed process: nothing was synced, and the next one finds all of it in the page cache.
    let ended = fs.clone();
    ended.freeze_at(fs.ops());
    drop(wal);
    ended.heal();
    sim_check(&fs, 1);
    let wal = open(&fs, 2).unwrap();
    wal.ticket(Lsn(1)).wait().unwrap();
    sim_check(&fs.crash(0), 1);
}

#[test]
fn a_batch_whose_sync_failed_is_durable_once_a_start_has_delivered_it() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    append(&wal, 1, 0);
    wal.flush().unwrap();
    // The sync fails, and all else: the batch stands in memory.
    fs.fail_from(fs.ops() + 1, FaultKind::Eio);
    append(&wal, 2, 0);
    wal.flush().unwrap_err();
    let fs = fs.kill();
    sim_check(&fs, 2);
    drop(open(&fs, 3).unwrap());
    sim_check(&fs.crash(0), 2);
}

#[test]
fn interval_mode_writes_at_once_and_syncs_on_demand() {
    let fs = disk();
    let interval = WalOptions { sync: SyncMode::Interval(Duration::from_secs(3600)), ..options() };
    let wal = Wal::open(Arc::new(fs.clone()), Path::new(DIR), interval, Lsn(1)).unwrap();
    for i in 1..=3 {
        wal.ticket(append(&wal, i, 0)).wait().unwrap();
    }
    assert_eq!((wal.synced(), wal.stats().syncs.count()), (Lsn(0), 0));
    assert!(wal.stats().buffer_bytes > 0, "kept until it is synced");
    wal.flush().unwrap();
    assert_eq!((wal.synced(), wal.stats().syncs.count(), wal.stats().buffer_bytes), (Lsn(3), 1, 0));
    sim_check(&fs.crash(0), 3);
    wal.ticket(append(&wal, 4, 0)).wait().unwrap();
    wal.close().unwrap();
    sim_check(&fs.crash(0), 4);
}

#[test]
fn interval_mode_rewrites_what_a_failed_sync_may_have_lost() {
    let fs = disk();
    let interval = WalOptions { sync: SyncMode::Interval(Duration::from_secs(3600)), ..options() };
    let wal = Wal::open(Arc::new(fs.clone()), Path::new(DIR), interval, Lsn(1)).unwrap();
    for i in 1..=3 {
        wal.ticket(append(&wal, i, 0)).wait().unwrap();
    }
    fs.fail_at(fs.ops(), FaultKind::Eio);
    wal.flush().unwrap();
    sim_check(&fs.crash(0), 3);
}

#[test]
fn interval_mode_syncs_when_its_time_has_come() {
    let fs = disk();
    let interval = WalOptions { sync: SyncMode::Interval(Duration::ZERO), ..options() };
    let wal = Wal::open(Arc::new(fs.clone()), Path::new(DIR), interval, Lsn(1)).unwrap();
    append(&wal, 1, 0);
    wal.shared.progress.wait_until(|p| p.synced() == Lsn(1)).unwrap();
    sim_check(&fs.crash(0), 1);
}

#[test]
fn a_full_disk_is_met_by_the_spare_and_the_log_goes_on() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    wal.ticket(append(&wal, 1, 3000)).wait().unwrap();
    // The next batch rolls: write and sync of nothing, then spare's rename, header, directory, write, sync; the new spare's
    // allocation comes after all that.
    let before = fs.ops();
    wal.ticket(append(&wal, 2, 3000)).wait().unwrap();
    wal.ticket(append(&wal, 3, 0)).wait().unwrap();
    let names = fs.op_names();
    let allocation = names[before as usize..].iter().position(|n| n.starts_with("allocate")).unwrap() as u64;

    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    wal.ticket(append(&wal, 1, 3000)).wait().unwrap();
    fs.fail_at(before + allocation, FaultKind::Enospc);
    wal.ticket(append(&wal, 2, 3000)).wait().unwrap();
    wal.ticket(append(&wal, 3, 0)).wait().unwrap();
    assert!(!wal.stats().has_spare && wal.stats().failures == 1);
    wal.ticket(append(&wal, 4, 3000)).wait().unwrap();
    sim_check(&fs.crash(0), 4);
}

#[test]
fn segments_are_dropped_below_what_is_needed() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=40 {
        wal.ticket(append(&wal, i, 300)).wait().unwrap();
    }
    let needed = wal.first_segment_needed(Lsn(20));
    assert!(needed > 1 && wal.first_segment_needed(Lsn(0)) == 1);
    wal.drop_segments_below(needed).unwrap();
    let (found, report) = read(&fs.crash(0), Path::new(DIR)).unwrap();
    assert!(found.contains_key(&21) && !found.contains_key(&1));
    assert_eq!(report.corruptions, []);
    assert_eq!(wal.stats().segments, report.segments);
    wal.drop_segments_below(u64::MAX).unwrap();
    assert_eq!(wal.stats().segments, 1);
    wal.ticket(append(&wal, 41, 0)).wait().unwrap();
    assert_eq!(read(&fs.crash(0), Path::new(DIR)).unwrap().0[&41], 41);
}

#[test]
fn the_log_since_an_lsn_is_measured() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=3 {
        wal.ticket(append(&wal, i, 600_000)).wait().unwrap();
    }
    assert!(wal.bytes_since(Lsn(0)) >= 1_800_000);
    assert!((600_000..2_000_000).contains(&wal.bytes_since(Lsn(2))));
    drop(wal);
    let wal = open(&fs, 4).unwrap();
    assert!(wal.bytes_since(Lsn(0)) >= 1_800_000);
    assert_eq!(wal.bytes_since(Lsn(3)), 0);
}

#[test]
fn restarts_after_crashes_leave_no_unused_ends() {
    let fs = disk();
    for n in 1..=5 {
        let wal = open(&fs, n).unwrap();
        wal.ticket(append(&wal, n, 100)).wait().unwrap();
        fs.freeze_at(fs.ops());
        drop(wal);
        fs.heal();
        sim_check(&fs, n);
    }
    let lens: Vec<u64> = segment::list(&fs, Path::new(DIR))
        .unwrap()
        .into_iter()
        .map(|n| fs.open(&segment::path(Path::new(DIR), n), OpenMode::Read).unwrap().len().unwrap())
        .collect();
    assert!(lens.len() == 5 && lens.iter().all(|&l| l < 400), "{lens:?}");
}

#[test]
fn a_torn_tail_is_cut_and_kept() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    wal.ticket(append(&wal, 1, 0)).wait().unwrap();
    drop(wal);
    let path = Path::new(DIR).join("0000000000000001.wal");
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    let end = file.len().unwrap();
    file.write_all_at(b"half a batch", end).unwrap();
    let report = sim_check(&fs, 1);
    let kept = Path::new(DIR).join(format!("0000000000000001-{end:08x}.torn"));
    let torn = TornTail { file: path.clone(), offset: end, bytes: 12, kept: Some(kept.clone()) };
    assert_eq!(report.torn, [torn]);
    let fs = fs.crash(0);
    assert_eq!(fs.open(&kept, OpenMode::Read).unwrap().read_all().unwrap(), b"half a batch");
    assert_eq!(sim_check(&fs, 1).torn, []);
    let wal = open(&fs, 2).unwrap();
    wal.drop_segments_below(2).unwrap();
    assert!(!fs.exists(&kept).unwrap(), "it goes with its segment");
}

#[test]
fn corruption_is_quarantined_and_the_rest_delivered() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=5 {
        wal.ticket(append(&wal, i, 0)).wait().unwrap();
    }
    drop(wal);
    let path = Path::new(DIR).join("0000000000000001.wal");
    let len = (fs.open(&path, OpenMode::Read).unwrap().len().unwrap() - segment::HEADER_LEN as u64) / 5;
    let third = segment::HEADER_LEN as u64 + 2 * len;
    fs.corrupt(&path, third + 40, 0x10).unwrap();
    let before = fs.ops();
    let inspected = inspect::<WalError>(&fs, Path::new(DIR), 0, &mut |_, _| Ok(())).unwrap();
    assert_eq!(fs.ops(), before, "inspection writes nothing");
    let (found, report) = read(&fs, Path::new(DIR)).unwrap();
    assert!(found.keys().eq(&[1, 2, 4, 5]));
    let [corruption] = &report.corruptions[..] else { panic!("{report:?}") };
    assert_eq!((corruption.offset, corruption.bytes, &corruption.lost), (third, len, &(Lsn(3)..=Lsn(3))));
    assert!(corruption.to_string().contains("expected batch 3, found 4"), "{corruption}");
    let kept = corruption.kept.clone().unwrap();
    assert!(kept.starts_with("db/quarantine"), "{kept:?}");
    assert_eq!(fs.crash(0).open(&kept, OpenMode::Read).unwrap().len().unwrap(), len);
    assert_eq!(inspected.corruptions[0].kept, None);
    assert_eq!(inspected.corruptions[0].lost, corruption.lost);
}

#[test]
fn a_lost_segment_is_noticed() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=5 {
        wal.ticket(append(&wal, i, 3000)).wait().unwrap();
    }
    fs.remove_file(&Path::new(DIR).join("0000000000000003.wal")).unwrap();
    let (found, report) = read(&fs, Path::new(DIR)).unwrap();
    assert!(found.keys().eq(&[1, 2, 4, 5]));
    assert_eq!(report.corruptions.len(), 1);
    assert_eq!(report.corruptions[0].lost, Lsn(3)..=Lsn(3));
}

#[test]
fn a_later_version_is_refused() {
    let fs = disk();
    drop(open(&fs, 1).unwrap());
    let path = Path::new(DIR).join("0000000000000001.wal");
    let mut header = segment::Header { number: 1, first: Lsn(1) }.encode();
    header[8] = 7;
    let crc = crc32c::crc32c(&header[..32]);
    header[32..36].copy_from_slice(&crc.to_le_bytes());
    fs.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(&header, 0).unwrap();
    let e = read(&fs, Path::new(DIR)).unwrap_err().to_string();
    assert!(e.contains("version 7") && e.contains("0000000000000001.wal"), "{e}");
}

#[test]
fn a_missing_directory_is_an_empty_log() {
    assert_eq!(read(&SimFs::new(0), Path::new(DIR)).unwrap().1, ReplayReport::default());
}

#[test]
fn an_error_of_the_reader_ends_the_replay_and_mends_nothing() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=3 {
        wal.ticket(append(&wal, i, 0)).wait().unwrap();
    }
    drop(wal);
    let file = fs.open(&Path::new(DIR).join("0000000000000001.wal"), OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"torn", file.len().unwrap()).unwrap();
    let before = fs.ops();
    let e = replay(&fs, Path::new(DIR), Path::new(QUARANTINE), 0, &mut |lsn, _| {
        if lsn == Lsn(2) { Err(WalError::Closed) } else { Ok(()) }
    });
    assert!(matches!(e, Err(WalError::Closed)));
    assert_eq!(fs.ops(), before);
}

#[test]
fn bytes_that_change_between_the_two_reads_are_an_error_and_never_a_sample() {
    let fs = disk();
    let wal = open(&fs, 1).unwrap();
    for i in 1..=2 {
        wal.ticket(append(&wal, i, 3000)).wait().unwrap();
    }
    let mut found = Vec::new();
    let result = inspect::<WalError>(&fs, Path::new(DIR), 0, &mut |lsn, batch| {
        found.push((lsn, number(batch)));
        fs.corrupt(&Path::new(DIR).join("0000000000000002.wal"), 3000, 1).unwrap();
        Ok(())
    });
    assert!(result.unwrap_err().to_string().contains("0000000000000002.wal"));
    assert_eq!(found, [(Lsn(1), 1)]);
}

#[test]
fn a_writer_that_panics_ends_the_log_for_all_who_wait() {
    let wal = open(&disk(), 1).unwrap();
    let lsn = append(&wal, 1, 0);
    wal.ticket(lsn).wait().unwrap();
    let shared = Arc::clone(&wal.shared);
    let writer = std::thread::spawn(move || {
        let _end = writer::EndOfLog(&shared);
        panic!("as a bug would");
    });
    assert!(writer.join().is_err());
    assert!(wal.is_read_only());
    assert!(matches!(wal.ticket(append(&wal, 2, 0)).wait(), Err(WalError::ReadOnly { .. })));
}
