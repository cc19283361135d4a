//! A start on a damaged directory, and what queries then answer.

use super::*;
use crate::block::{CHUNKS_FILE, INDEX_FILE};
use crate::io::{Fs, OpenMode};
use std::path::{Path, PathBuf};

/// Two blocks of two windows, and a head.
fn directory() -> (SimFs, Model) {
    let series: Vec<LabelSet> = (0..40).map(|i| labels("m", &format!("{}", i % 5), i)).collect();
    four_hours(&series, |t, _| t as f64)
}

fn file_of(fs: &SimFs, nth: usize, name: &str) -> PathBuf {
    let blocks = Path::new("/data/blocks");
    blocks.join(&fs.read_dir(blocks).unwrap()[nth].name).join(name)
}

fn within(model: &Model, until: i64) -> Model {
    let mut model = model.clone();
    model.values_mut().for_each(|points| points.retain(|t, _| *t > until));
    model.retain(|_, points| !points.is_empty());
    model
}

/// Damages the first block, whose window ends after two hours, and starts: all else is served, and the loss is announced
/// where it lies, and nowhere else.
fn check_set_aside(damage: impl FnOnce(&SimFs)) {
    let (fs, model) = directory();
    damage(&fs);
    let db = open(&fs);
    assert_eq!((db.stats().blocks, db.stats().blocks_damaged), (1, 1));
    let view = db.view();
    assert_eq!(read(&view, &[], TimeRange::ALL), within(&model, 2 * HOUR));
    assert_eq!(view.warnings().len(), 1, "{:?}", view.warnings());
    assert!(view.warnings()[0].contains("was set aside: "), "{:?}", view.warnings());
    let view = db.view();
    let later = TimeRange { after: TimestampMs(2 * HOUR), until: TimestampMs::MAX };
    view.label_names(&[], later, None).unwrap();
    assert_eq!(read(&view, &[], later), within(&model, 2 * HOUR));
    assert_eq!(view.warnings(), Vec::<String>::new());
    db.flush().unwrap();
    db.close().unwrap();
    drop(db);
    assert_eq!(open(&fs).stats().blocks_damaged, 1, "it stays in the manifest");
}

#[test]
fn a_block_that_cannot_be_opened_is_set_aside() {
    let flip = |name: &'static str, at_end: u64, at: u64| {
        move |fs: &SimFs| {
            let file = file_of(fs, 0, name);
            let len = fs.open(&file, OpenMode::Read).unwrap().len().unwrap();
            fs.corrupt(&file, if at_end > 0 { len - at_end } else { at }, 0x10).unwrap();
        }
    };
    check_set_aside(flip(INDEX_FILE, 0, 3));
    check_set_aside(flip(INDEX_FILE, 0, 8));
    check_set_aside(flip(INDEX_FILE, 20, 0));
    check_set_aside(flip(CHUNKS_FILE, 20, 0));
    // The directory is the end of the payload.
    check_set_aside(flip(INDEX_FILE, 100, 0));
    check_set_aside(|fs| fs.remove_file(&file_of(fs, 0, CHUNKS_FILE)).unwrap());
    check_set_aside(|fs| fs.remove_dir_all(file_of(fs, 0, "").as_path()).unwrap());
    check_set_aside(|fs| {
        set_len(fs, &file_of(fs, 0, INDEX_FILE), |len| len - 1);
    });
    check_set_aside(|fs| {
        set_len(fs, &file_of(fs, 0, INDEX_FILE), |len| len + 1);
    });
}

#[test]
fn a_block_of_a_later_version_is_refused() {
    let (fs, _) = directory();
    let file = fs.open(&file_of(&fs, 0, INDEX_FILE), OpenMode::ReadWrite).unwrap();
    let mut bytes = file.read_all().unwrap();
    bytes[8] = 2;
    assert!(crate::block::make_checksums_fit(&mut bytes));
    file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()).unwrap();
    let refused = Database::open(options(&fs)).err().unwrap().to_string();
    assert!(refused.contains("format version 2"), "{refused}");
}

#[test]
fn a_block_that_comes_back_is_served_again() {
    let (fs, model) = directory();
    let file = file_of(&fs, 0, INDEX_FILE);
    fs.corrupt(&file, 3, 1).unwrap();
    assert_eq!(open(&fs).stats().blocks_damaged, 1);
    fs.corrupt(&file, 3, 1).unwrap();
    let db = open(&fs);
    assert_eq!((contents(&db), db.view().warnings().len()), (model, 0));
}

#[test]
fn damage_within_a_block_costs_what_lies_on_it_and_is_announced() {
    // The header is looked at when the block is opened, and what lies behind it when it is touched.
    [(3, 1), (8, 1), (11, 1), (12, 0), (30, 0)].into_iter().for_each(|(at, noticed)| check_page(at, noticed));
}

/// Damages the first page of the first block's chunks; a start notices it so many times.
fn check_page(at: u64, noticed: u64) {
    let (fs, model) = directory();
    fs.corrupt(&file_of(&fs, 0, CHUNKS_FILE), at, 1).unwrap();
    let db = open(&fs);
    assert_eq!(db.stats().blocks_damaged, noticed, "byte {at}");
    let view = db.view();
    assert_eq!(read(&view, &[], TimeRange::ALL), within(&model, 2 * HOUR));
    assert_eq!(view.warnings().len(), 1, "{:?}", view.warnings());
    assert!(view.warnings()[0].contains("chunks is damaged at byte 0: expected "), "{:?}", view.warnings());
    assert_eq!(db.stats().blocks_damaged, 1);
}

/// A directory whose log is empty but for a few samples: everything rests on the checkpoint and the head-chunk log.
fn checkpointed() -> (SimFs, Model, PathBuf) {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let series: Vec<LabelSet> = (0..3000).map(|i| labels("m", &format!("{}", i % 5), i)).collect();
    for t in [HOUR, HOUR + 60_000, HOUR + 120_000] {
        let points = [(t, t as f64)];
        let rows: Vec<(&LabelSet, &[(i64, f64)])> = series.iter().map(|l| (l, &points[..])).collect();
        append(&db, &rows).unwrap().ticket.wait().unwrap();
    }
    for shard in &db.head.shards {
        shard.for_each_slice(|table, slots| table.freeze_until(slots, TimestampMs::MAX, &db.head.log));
    }
    append(&db, &[(&series[7], &[(2 * HOUR, 7.0)])]).unwrap().ticket.wait().unwrap();
    (0..2).for_each(|_| db.maintain());
    assert!(db.stats().checkpoints > 0);
    let model = contents(&db);
    db.close().unwrap();
    let folder = Path::new("/data/checkpoint");
    let file = folder.join(&fs.read_dir(folder).unwrap()[0].name);
    (fs, model, file)
}

/// Damages the checkpoint or the head-chunk log and starts: at least `least` of the 3,000 series are whole, none is wrong, the
/// next start finds nothing damaged any more, and what was damaged is kept.
fn check_head(least: usize, damage: impl FnOnce(&SimFs, &Path)) {
    let (fs, model, checkpoint) = checkpointed();
    damage(&fs, &checkpoint);
    let is_there = fs.exists(&checkpoint).unwrap();
    let db = open(&fs);
    assert!(db.stats().replay_corruptions > 0);
    let found = contents(&db);
    let whole = found.iter().filter(|(labels, points)| model[*labels] == **points).count();
    assert!(whole >= least, "{whole} of {}", model.len());
    assert!(found.iter().all(|(l, points)| points.iter().all(|(t, v)| model[l].get(t) == Some(v))));
    let new = labels("new", "1", 0);
    append(&db, &[(&new, &[(2 * HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
    (0..2).for_each(|_| db.maintain());
    let found = contents(&db);
    assert_eq!(found[&new], [(2 * HOUR, 1.0f64.to_bits())].into());
    db.close().unwrap();
    drop(db);
    let kept = fs.exists(&Path::new("/data/quarantine").join(checkpoint.file_name().unwrap())).unwrap();
    assert_eq!(kept, is_there);
    let db = open(&fs);
    assert_eq!(contents(&db), found);
}

fn set_len(fs: &SimFs, file: &Path, len: impl Fn(u64) -> u64) {
    let file = fs.open(file, OpenMode::ReadWrite).unwrap();
    file.set_len(len(file.len().unwrap())).unwrap();
    file.sync_data().unwrap();
}

fn len_of(fs: &SimFs, file: &Path) -> u64 {
    fs.open(file, OpenMode::Read).unwrap().len().unwrap()
}

#[test]
fn a_damaged_checkpoint_costs_what_lies_on_the_damage() {
    // The preamble, and the header before it, say nothing that the manifest does not.
    check_head(3000, |fs, file| fs.corrupt(file, 3, 1).unwrap());
    [8, 11, 12].into_iter().for_each(|at| check_head(3000, |fs, file| fs.corrupt(file, at, 1).unwrap()));
    check_head(3000, |fs, file| fs.corrupt(file, 40, 1).unwrap());
    // The first slice is of shard 0, which has no account or some of them; its length is part of the frame's header.
    check_head(3000 - 1024, |fs, file| fs.corrupt(file, 200, 1).unwrap());
    // The end says what is found in the manifest and in the log.
    check_head(3000, |fs, file| fs.corrupt(file, len_of(fs, file) - 10, 1).unwrap());
    check_head(3000, |fs, file| {
        set_len(fs, file, |len| len - 5);
    });
    // Half of the file: the shards that it has whole, if any.
    check_head(0, |fs, file| {
        set_len(fs, file, |len| len / 2);
    });
    check_head(0, |fs, file| fs.remove_file(file).unwrap());
}

#[test]
fn every_place_of_a_checkpoint_may_be_damaged() {
    let (fs, _, checkpoint) = checkpointed();
    let len = len_of(&fs, &checkpoint);
    for nth in 0..8 {
        check_head(0, |fs, file| fs.corrupt(file, nth * (len / 8) + nth % 7, 1 << (nth % 8)).unwrap());
    }
}

#[test]
fn a_damaged_head_log_costs_what_lies_on_the_damage() {
    let segment = |fs: &SimFs| {
        let folder = Path::new("/data/head");
        folder.join(&fs.read_dir(folder).unwrap()[0].name)
    };
    check_head(3000, |fs, _| fs.corrupt(&segment(fs), 4, 1).unwrap());
    check_head(0, |fs, _| fs.remove_file(&segment(fs)).unwrap());
    check_head(1000, |fs, _| {
        set_len(fs, &segment(fs), |len| len / 2);
    });
}

#[test]
fn a_slot_far_out_claims_no_memory() {
    use crate::wal::{BatchBuilder, Wal, WalOptions};
    let fs = SimFs::new(1);
    let db = open(&fs);
    append(&db, &[(&labels("m", "1", 1), &[(HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
    let (model, next) = (contents(&db), db.wal.end().next());
    db.close().unwrap();
    let wal = Wal::open(Arc::new(fs.clone()), Path::new("/data/wal"), WalOptions::default(), next).unwrap();
    let mut batch = BatchBuilder::default();
    let far = labels("far", "1", 1);
    batch.registration(ShardId(0), SeriesSlot(u32::MAX), 0, far.section());
    batch.sample(ShardId(0), SeriesSlot(u32::MAX), 0, TimestampMs(HOUR), 1.0);
    batch.registration(ShardId(0), SeriesSlot(1 << 16), 0, far.section());
    drop(wal.reserve(batch.len()).unwrap());
    wal.append(&mut batch);
    wal.close().unwrap();
    drop(db);
    let db = open(&fs);
    assert_eq!(contents(&db), model);
    assert!(db.head.shards.iter().all(|s| s.series.lock().slots() < 10));
}

#[test]
fn a_block_whose_map_has_faulted_is_read_through_and_set_aside_the_second_time() {
    let (fs, model) = directory();
    let index = file_of(&fs, 0, INDEX_FILE);
    let notes = fs.open(Path::new("/data/FAULTS"), OpenMode::CreateNew).unwrap();
    let line = format!("4096 {}\n", index.display());
    notes.write_all_at(line.as_bytes(), 0).unwrap();
    let db = open(&fs);
    assert_eq!((contents(&db), db.stats().blocks_damaged), (model.clone(), 0), "it reads well without a map");
    db.close().unwrap();
    drop(db);
    notes.write_all_at(line.as_bytes(), line.len() as u64).unwrap();
    let db = open(&fs);
    assert_eq!(contents(&db), within(&model, 2 * HOUR));
    assert!(db.view.load().aside[0].why.contains("its map has faulted 2 times"));
}

/// A head of some batches in two segments of the log, the second behind a restart.
fn logged() -> (SimFs, Vec<PathBuf>) {
    let fs = SimFs::new(1);
    for restart in 0..2 {
        let db = open(&fs);
        for i in 0..5 {
            let l = labels("m", "1", 5 * restart + i);
            append(&db, &[(&l, &[(HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
        }
        db.close().unwrap();
    }
    let wal = Path::new("/data/wal");
    let names = fs.read_dir(wal).unwrap().into_iter().map(|e| e.name).filter(|n| n.ends_with(".wal"));
    let segments = names.map(|name| wal.join(name)).collect();
    (fs, segments)
}

#[test]
fn a_segment_of_the_log_without_its_header_is_damage() {
    let check = |segment: usize, len: u64, want| {
        let (fs, segments) = logged();
        set_len(&fs, &segments[segment], |_| len);
        assert_eq!(open(&fs).stats().replay_corruptions, want, "segment {segment} with {len} bytes");
    };
    // The first one also lacks what the second goes on behind.
    check(0, 0, 2);
    check(0, 17, 2);
    check(1, 0, 1);
    check(1, 17, 1);
    check(1, 40, 0);
}

#[test]
fn a_log_that_ends_below_the_checkpoint_is_damage() {
    let (fs, _) = logged();
    let db = open(&fs);
    for t in 1..3 {
        append(&db, &[(&labels("m", "1", 0), &[(HOUR + t, 1.0)])]).unwrap().ticket.wait().unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    drop(db);
    assert_eq!(open(&fs).stats().replay_corruptions, 0);
    let newest = fs.read_dir(Path::new("/data/wal")).unwrap().into_iter().rfind(|e| {
        let path = Path::new("/data/wal").join(&e.name);
        e.name.ends_with(".wal") && fs.open(&path, OpenMode::Read).unwrap().len().unwrap() > 40
    });
    let newest = Path::new("/data/wal").join(newest.unwrap().name);
    set_len(&fs, &newest, |len| len - 1);
    // The batch is torn: by itself that is a write that a crash interrupted.
    assert_eq!(open(&fs).stats().replay_corruptions, 1);
}

#[test]
fn a_log_without_the_segment_that_follows_the_checkpoint_is_told_in_answers() {
    let (fs, _) = directory();
    let db = open(&fs);
    append(&db, &[(&labels("m", "1", 1), &[(5 * HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
    let model = contents(&db);
    db.close().unwrap();
    drop(db);
    fs.remove_dir_all(Path::new("/data/wal")).unwrap();
    let db = open(&fs);
    assert!(db.stats().replay_corruptions > 0);
    let view = db.view();
    assert_ne!(read(&view, &[], TimeRange::ALL), model);
    let warnings = view.warnings().join("\n");
    assert!(
        warnings.contains("/data/wal: expected segment ") && warnings.contains("found none"),
        "{warnings}"
    );
}

/// A directory with samples of `series` series in the head, all of them in the log; which segments it has.
fn unreadable_log(restarts: u64, bytes: std::ops::Range<u64>, segment: usize) -> (SimFs, Model, PathBuf) {
    let fs = SimFs::new(1);
    for restart in 0..restarts {
        let db = open(&fs);
        for i in 0..100 {
            let l = labels("m", &(i % 3).to_string(), i);
            let t = HOUR + restart as i64 * 60_000;
            append(&db, &[(&l, &[(t, i as f64)])]).unwrap().ticket.wait().unwrap();
        }
        db.close().unwrap();
    }
    let db = open(&fs);
    let model = contents(&db);
    db.close().unwrap();
    let wal = Path::new("/data/wal");
    let names = fs.read_dir(wal).unwrap().into_iter().map(|e| e.name).filter(|n| n.ends_with(".wal"));
    let path = wal.join(names.collect::<Vec<_>>().swap_remove(segment));
    fs.make_unreadable(&path, bytes).unwrap();
    (fs, model, path)
}

#[test]
fn a_log_that_the_disk_does_not_deliver_costs_what_lies_there_and_is_kept() {
    // In the middle of the first segment; its beginning; the end of the second, where nothing follows that would tell of a loss.
    for (bytes, segment) in [(5000..5001, 0), (0..1, 0), (4200..4300, 1)] {
        let (fs, model, path) = unreadable_log(2, bytes.clone(), segment);
        let db = open(&fs);
        let view = db.view();
        let found = read(&view, &[], TimeRange::ALL);
        assert!(!found.is_empty() && found != model, "{bytes:?} of segment {segment}");
        assert!(found.iter().all(|(l, points)| points.iter().all(|(t, v)| model[l].get(t) == Some(v))));
        let warnings = view.warnings().join("\n");
        assert!(warnings.contains("found none that can be read"), "{warnings}");
        assert!(warnings.contains(&*path.to_string_lossy()), "{warnings}");
        assert!(db.stats().replay_corruptions > 0);
        let kept = Path::new("/data/quarantine").join(path.with_extension("unreadable").file_name().unwrap());
        assert!(fs.exists(&kept).unwrap(), "{kept:?}");
        // What was sound stays, also through a power cut, and what comes is stored.
        let new = labels("new", "1", 0);
        append(&db, &[(&new, &[(2 * HOUR, 1.0)])]).unwrap().ticket.wait().unwrap();
        let found = contents(&db);
        assert_eq!(found.len(), contents(&open(&fs.crash(0))).len());
        assert_eq!(contents(&open(&fs.crash(0))), found);
        // The disk delivers the bytes again: they are there to be read.
        fs.heal();
        assert!(len_of(&fs, &kept) > 4300);
    }
}

#[test]
fn putting_away_a_segment_may_end_at_any_operation() {
    let (fs, ..) = unreadable_log(2, 5000..5001, 0);
    let whole = contents(&open(&fs.kill()));
    for at in 0.. {
        let fs = fs.kill();
        fs.freeze_at(at);
        let opened = Database::open(options(&fs));
        if !fs.is_frozen() {
            break;
        }
        drop(opened);
        assert_eq!(contents(&open(&fs.crash(at))), whole, "cut at operation {at}");
    }
}

#[test]
fn a_checkpoint_and_a_head_log_that_the_disk_does_not_deliver_cost_what_lies_there() {
    check_head(3000 - 1024, |fs, file| fs.make_unreadable(file, 5000..5001).unwrap());
    let (fs, model, _) = checkpointed();
    let folder = Path::new("/data/head");
    let segment = folder.join(&fs.read_dir(folder).unwrap()[0].name);
    fs.make_unreadable(&segment, 9000..9001).unwrap();
    let db = open(&fs);
    let view = db.view();
    let found = read(&view, &[], TimeRange::ALL);
    assert!(found != model && found.len() > 1000, "{}", found.len());
    let warnings = view.warnings().join("\n");
    assert!(warnings.contains("what the same series has before it in this log"), "{warnings}");
}

#[test]
fn answers_say_what_the_head_lacks_where_it_lies() {
    let (fs, _, checkpoint) = checkpointed();
    fs.corrupt(&checkpoint, 200, 1).unwrap();
    let db = open(&fs);
    let view = db.view();
    view.label_names(&[], closed(0, 2 * HOUR), None).unwrap();
    assert!(
        view.warnings().iter().any(|w| w.contains("data may be missing") && w.contains(".ckpt")),
        "{:?}",
        view.warnings()
    );
    let view = db.view();
    read(&view, &[], closed(5 * HOUR, 6 * HOUR));
    assert_eq!(view.warnings(), Vec::<String>::new());
}

fn closed(from: i64, until: i64) -> TimeRange {
    TimeRange::closed(TimestampMs(from), TimestampMs(until))
}

#[test]
fn a_head_that_may_not_be_opened_refuses_the_start_and_nothing_is_lost() {
    let (fs, model, checkpoint) = checkpointed();
    let folder = Path::new("/data/head");
    let segment = folder.join(&fs.read_dir(folder).unwrap()[0].name);
    for file in [checkpoint, segment] {
        // EPERM, ENOMEM, EACCES, ENFILE, EMFILE.
        for code in [1, 12, 13, 23, 24] {
            fs.refuse_open(&file, code).unwrap();
            let refused = Database::open(options(&fs)).map(drop).unwrap_err().to_string();
            let why = std::io::Error::from_raw_os_error(code).to_string();
            assert!(refused.contains(&*file.to_string_lossy()) && refused.contains(&why), "{refused}");
            fs.heal();
        }
        let db = open(&fs);
        assert_eq!((contents(&db), db.stats().replay_corruptions), (model.clone(), 0));
        db.close().unwrap();
    }
    // A block stays where it is, and comes back.
    let (fs, model) = directory();
    fs.refuse_open(&file_of(&fs, 0, INDEX_FILE), 24).unwrap();
    assert_eq!(open(&fs).stats().blocks_damaged, 1);
    fs.heal();
    assert_eq!(contents(&open(&fs)), model);
}

/// The borders of a checkpoint's frames.
fn frame_borders(fs: &SimFs, file: &Path) -> Vec<u64> {
    let bytes = fs.open(file, OpenMode::Read).unwrap().read_all().unwrap();
    let mut borders = vec![0, 16];
    while let Some(length) = bytes.get(borders[borders.len() - 1] as usize + 8..) {
        let Some(length) = length.first_chunk::<4>() else { break };
        borders.push(borders[borders.len() - 1] + 16 + u64::from(u32::from_le_bytes(*length)));
    }
    borders
}

/// What deletions hid stays hidden, whichever frame of the checkpoint is damaged; what came since is there, where its slices are. The
/// log is in short segments here, so that none has both the registrations and what was deleted: out of one that has, it does come
/// back where slices are lost (`docs/damage.md`).
#[test]
fn a_damaged_checkpoint_brings_nothing_back_that_was_deleted() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let series: Vec<LabelSet> = (0..60).map(|i| labels("m", &format!("{}", i % 2), i)).collect();
    let send = |t: i64| {
        let points = [(t, t as f64)];
        let rows: Vec<(&LabelSet, &[(i64, f64)])> = series.iter().map(|l| (l, &points[..])).collect();
        append(&db, &rows).unwrap().ticket.wait().unwrap();
    };
    (1..400).for_each(|n| send(HOUR + n * 10_000));
    db.delete_series(&[vec![Matcher::equal("account", "1")]], TimeRange::ALL).unwrap();
    let others = contents(&db);
    assert_eq!(others.len(), 30);
    (400..403).for_each(|n| send(HOUR + n * 10_000));
    let model = contents(&db);
    assert_eq!(model.len(), 60);
    db.close().unwrap();
    drop(db);
    let folder = Path::new("/data/checkpoint");
    let file = folder.join(&fs.read_dir(folder).unwrap()[0].name);
    let borders = frame_borders(&fs, &file);
    assert_eq!(*borders.last().unwrap(), len_of(&fs, &file));
    let check = |what: &str, whole: bool, damage: &dyn Fn(&SimFs)| {
        let fs = fs.kill();
        damage(&fs);
        for start in ["first", "second"] {
            let db = open(&fs);
            let found = contents(&db);
            for (l, points) in &found {
                let wrong = points.iter().find(|(t, v)| model[l].get(t) != Some(v));
                assert_eq!(wrong, None, "{what}, {start} start: {l}");
            }
            assert!(!whole || found == model, "{what}, {start} start: {} series", found.len());
            assert!(
                others.iter().all(|(l, points)| points.iter().all(|(t, _)| found[l].contains_key(t))),
                "{what}"
            );
            db.flush().unwrap();
            assert_eq!(contents(&db), found, "{what}, {start} start");
            db.close().unwrap();
        }
    };
    for border in &borders {
        check(&format!("cut at {border}"), false, &|fs| set_len(fs, &file, |_| *border));
    }
    // The first is the header, of which a test of its own tells.
    for (nth, frame) in borders.windows(2).enumerate().skip(1) {
        let is_told_twice = nth < 3 || nth == borders.len() - 2;
        check(&format!("frame {nth}"), is_told_twice, &|fs| fs.corrupt(&file, frame[1] - 5, 1).unwrap());
        check(&format!("frames {nth} and cuts and end"), false, &|fs| {
            fs.corrupt(&file, borders[3] - 2, 1).unwrap();
            fs.corrupt(&file, borders[borders.len() - 1] - 5, 1).unwrap();
            fs.corrupt(&file, frame[1] - 5, 2).unwrap();
        });
    }
}

#[test]
fn a_head_log_that_was_emptied_is_healed_by_what_is_cut_next() {
    let (fs, _, _) = checkpointed();
    let folder = Path::new("/data/head");
    let segment = folder.join(&fs.read_dir(folder).unwrap()[0].name);
    set_len(&fs, &segment, |_| 0);
    let db = open(&fs);
    assert!(db.stats().replay_corruptions > 0);
    let found = contents(&db);
    db.flush().unwrap();
    db.close().unwrap();
    drop(db);
    let db = open(&fs);
    assert_eq!((db.stats().replay_corruptions, contents(&db)), (0, found));
    db.flush().unwrap();
    assert_eq!(db.stats().blocks_damaged, 0);
    db.close().unwrap();
    assert!(
        crate::database::verify(&(Arc::new(fs.clone()) as Arc<dyn Fs>), Path::new("/data"), &mut |_| {})
            .unwrap()
            .is_sound()
    );
}

#[test]
fn what_is_found_once_is_no_damage() {
    let (fs, _) = four_hours(&[labels("m", "1", 0)], |t, _| t as f64);
    let file = file_of(&fs, 0, INDEX_FILE);
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let (mut looks, mut damage_until) = (0, 0);
    let mut found = |damaged_looks: u32| {
        fs.corrupt(&file, 3, 1).unwrap();
        (looks, damage_until) = (0, damaged_looks);
        let verification = verify(&shared, Path::new("/data"), &mut |p| {
            // The last word of a look.
            if p.next.is_empty() {
                looks += 1;
                if looks == damage_until {
                    fs.corrupt(&file, 3, 1).unwrap();
                }
            }
        });
        verification.unwrap().findings.len()
    };
    assert_eq!((found(1), found(2)), (0, 1));
}
