//! `verify` finds damage of every kind, and `repair` leaves a sound directory with everything that could be read.

use super::*;
use crate::block::{Block, CHUNKS_FILE, INDEX_FILE, META_FILE};
use crate::database::folders::block_dir;
use crate::database::manifest::Manifest;
use crate::io::{Fs, OpenMode};
use crate::model::BlockId;
use std::path::{Path, PathBuf};

const DIR: &str = "/data";

fn disk(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn found(fs: &SimFs) -> Verification {
    verify(&disk(fs), Path::new(DIR), &mut |_| {}).unwrap()
}

/// Two blocks, histograms among their series, a checkpoint, and a log.
fn directory() -> (SimFs, Model) {
    let mut series: Vec<LabelSet> = (0..600).map(|i| labels("m", &format!("{}", i % 9), i)).collect();
    for le in ["0.1", "1", "+Inf"] {
        let pairs = [("__name__", "h_bucket"), ("account", "1"), ("le", le)];
        series.push(LabelSet::from_pairs(pairs).unwrap());
    }
    four_hours(&series, |t, i| (t / 7 * (i as i64 + 1) % 1_000_003) as f64)
}

fn first_block(fs: &SimFs) -> (PathBuf, Block) {
    let (state, _) = Manifest::inspect(fs, Path::new(DIR)).unwrap();
    let entry = state.blocks.values().next().unwrap();
    let path = block_dir(Path::new(DIR), BlockId(entry.id));
    let block = Block::open(fs, &path, entry.index_bytes, entry.chunks_bytes).unwrap();
    (path, block)
}

/// Damages a sound directory: the damage is found; after the repair nothing is, and at least `least` series are whole.
fn check(what: &str, least: usize, damage: impl FnOnce(&SimFs)) {
    let (fs, model) = directory();
    let sound = found(&fs);
    assert!(sound.is_sound(), "{:?}", sound.findings);
    assert!(sound.blocks == 2 && sound.head_series == 603 && sound.counts.series == 1206, "{sound:?}");
    damage(&fs);
    assert!(!found(&fs).is_sound(), "{what}: not found");
    let repaired = repair(&disk(&fs), Path::new(DIR), &mut |_| {}).unwrap();
    assert!(!repaired.done.is_empty());
    assert!(repaired.after.is_sound(), "{what}: {:?} after {:?}", repaired.after.findings, repaired.done);
    let db = open(&fs);
    assert_eq!((db.stats().blocks_damaged, db.stats().replay_corruptions), (0, 0), "{what}");
    let after = contents(&db);
    let whole = after.iter().filter(|(labels, points)| model[*labels] == **points).count();
    assert!(whole >= least, "{what}: {whole} of {} series are whole; {:?}", model.len(), repaired.done);
    assert!(after.iter().all(|(l, points)| points.iter().all(|(t, v)| model[l].get(t) == Some(v))), "{what}");
}

/// Damages each section of the first block in its middle.
#[test]
fn a_block_with_a_damaged_section_is_written_anew() {
    let (fs, _) = directory();
    let (_, block) = first_block(&fs);
    let sections: Vec<_> = block.sections().into_iter().filter(|s| s.bytes > 0).collect();
    let mut kinds = std::collections::BTreeSet::new();
    for section in sections {
        if !kinds.insert((section.file, section.section)) {
            continue;
        }
        check(section.section, 0, |fs| {
            let file = first_block(fs).0.join(section.file);
            fs.corrupt(&file, section.offset + section.bytes / 2, 4).unwrap();
        });
    }
    assert!(kinds.len() >= 16, "{kinds:?}");
}

/// Damage with right checksums: one byte of each section of the index is another, and its page's checksum is made to fit.
#[test]
fn contradictions_are_found_though_checksums_are_right() {
    let (fs, _) = directory();
    let (_, block) = first_block(&fs);
    let sections: Vec<_> =
        block.sections().into_iter().filter(|s| s.bytes > 0 && s.shard.is_some()).collect();
    let mut kinds = std::collections::BTreeSet::new();
    for section in sections.into_iter().filter(|s| s.file == INDEX_FILE) {
        if !kinds.insert(section.section) {
            continue;
        }
        check(section.section, 0, |fs| {
            let path = first_block(fs).0.join(section.file);
            let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
            let mut bytes = file.read_all().unwrap();
            bytes[(section.offset + section.bytes / 2) as usize] ^= 1;
            assert!(crate::block::make_checksums_fit(&mut bytes));
            file.write_all_at(&bytes, 0).unwrap();
            file.sync_data().unwrap();
        });
    }
}

#[test]
fn blocks_without_an_index_and_lost_metas_are_put_away_or_written_anew() {
    let remove =
        |name: &'static str| move |fs: &SimFs| fs.remove_file(&first_block(fs).0.join(name)).unwrap();
    check("no index", 0, remove(INDEX_FILE));
    check("no chunks", 0, remove(CHUNKS_FILE));
    check("no meta", 603, remove(META_FILE));
    check("no block", 0, |fs| fs.remove_dir_all(&first_block(fs).0).unwrap());
}

#[test]
fn a_manifest_is_rebuilt() {
    let manifest = Path::new(DIR).join("MANIFEST");
    check("no manifest", 603, |fs| fs.remove_file(&manifest).unwrap());
    check("its header", 603, |fs| fs.corrupt(&manifest, 2, 1).unwrap());
    check("its version", 603, |fs| fs.corrupt(&manifest, 8, 2).unwrap());
    check("its init", 603, |fs| fs.corrupt(&manifest, 40, 1).unwrap());
}

/// The last edit put a checkpoint in force, and the one before it is gone: a start refuses, and the finding is of the manifest.
#[test]
fn a_flipped_bit_in_the_last_edit_is_found_and_mended() {
    const MARK_BYTES: u64 = 18;
    let manifest = Path::new(DIR).join("MANIFEST");
    for marked in [true, false] {
        check("its last edit", 603, |fs| {
            let file = fs.open(&manifest, OpenMode::ReadWrite).unwrap();
            let len = file.len().unwrap() - MARK_BYTES;
            if !marked {
                file.set_len(len).unwrap();
            }
            fs.corrupt(&manifest, len - 20, 1).unwrap();
            let found = found(fs);
            assert!(found.has(Part::Manifest), "marked {marked}: {:?}", found.findings);
            let refused = Database::open(options(fs)).unwrap_err().to_string();
            assert!(refused.contains("run `cardinal verify --repair`"), "marked {marked}: {refused}");
        });
    }
}

#[test]
fn the_head_is_mended() {
    let first_of = |fs: &SimFs, folder: &str| {
        let folder = Path::new(DIR).join(folder);
        folder.join(&fs.read_dir(&folder).unwrap()[0].name)
    };
    let len = |fs: &SimFs, file: &Path| fs.open(file, OpenMode::Read).unwrap().len().unwrap();
    check("checkpoint", 0, |fs| {
        let file = first_of(fs, "checkpoint");
        fs.corrupt(&file, len(fs, &file) / 2, 1).unwrap();
    });
    check("no checkpoint", 0, |fs| fs.remove_file(&first_of(fs, "checkpoint")).unwrap());
    check("head-chunk log", 0, |fs| {
        let file = fs.open(&first_of(fs, "head"), OpenMode::ReadWrite).unwrap();
        file.set_len(0).and_then(|()| file.sync_data()).unwrap();
    });
    check("log", 0, |fs| {
        let file = first_of(fs, "wal");
        fs.corrupt(&file, 300, 1).unwrap();
    });
}

/// What a start tells of the log, `verify` tells as well: a segment without its header, and batches that the checkpoint knows of.
#[test]
fn a_log_that_was_cut_short_is_found_and_mended() {
    let newest = |fs: &SimFs| {
        let wal = Path::new(DIR).join("wal");
        let mut names = fs.read_dir(&wal).unwrap().into_iter().map(|e| wal.join(e.name));
        let len = |path: &PathBuf| fs.open(path, OpenMode::Read).unwrap().len().unwrap();
        names.rfind(|path| path.extension().is_some_and(|e| e == "wal") && len(path) > 40).unwrap()
    };
    let cut = |fs: &SimFs, len: &dyn Fn(u64) -> u64| {
        let file = fs.open(&newest(fs), OpenMode::ReadWrite).unwrap();
        file.set_len(len(file.len().unwrap())).and_then(|()| file.sync_data()).unwrap();
    };
    check("the log's header", 0, |fs| cut(fs, &|_| 0));
    let (fs, _) = directory();
    let db = open(&fs);
    for t in 0..2 {
        append(&db, &[(&labels("m", "1", 0), &[(5 * HOUR + t, 1.0)])]).unwrap().ticket.wait().unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    drop(db);
    assert!(found(&fs).is_sound());
    cut(&fs, &|len| len - 1);
    let verification = found(&fs);
    assert!(verification.has(Part::Wal), "{:?}", verification.findings);
    assert!(verification.findings[0].what.contains("expected batches "), "{:?}", verification.findings);
    let repaired = repair(&disk(&fs), Path::new(DIR), &mut |_| {}).unwrap();
    assert!(repaired.after.is_sound(), "{:?}", repaired.after.findings);
    assert_eq!(open(&fs).stats().replay_corruptions, 0);
}

#[test]
fn a_directory_in_use_is_not_repaired_but_can_be_verified() {
    let (fs, _) = directory();
    let db = open(&fs);
    assert!(found(&fs).is_sound());
    let refused = repair(&disk(&fs), Path::new(DIR), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, RepairError::Locked { .. }), "{refused}");
    db.close().unwrap();
    let nothing = verify(&disk(&fs), Path::new("/elsewhere"), &mut |_| {}).unwrap_err();
    assert!(matches!(nothing, VerifyError::NotADataDirectory { .. }), "{nothing}");
}
