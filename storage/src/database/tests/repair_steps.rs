//! A repair that is cut off at any of its operations leaves a directory that a start or another repair takes; deletions outlive a
//! damaged manifest.

use super::*;
use crate::block::INDEX_FILE;
use crate::database::folders::{QUARANTINE_DIR, REBUILT_FILE, block_dir};
use crate::database::manifest::Manifest;
use crate::io::{Fs, OpenMode};
use crate::model::{BlockId, TombstoneId};
use std::path::{Path, PathBuf};

const DIR: &str = "/data";

fn disk(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn mend(fs: &SimFs) -> Result<Repair, RepairError> {
    repair(&disk(fs), Path::new(DIR), &mut |_| {})
}

fn equal(name: &str, value: &str) -> Vec<Matcher> {
    vec![Matcher::equal(name, value)]
}

/// Two blocks and a head, and a deletion over them.
fn directory() -> (SimFs, Model, TombstoneId) {
    let series: Vec<LabelSet> = (0..24).map(|i| labels("m", &format!("{}", i % 4), i)).collect();
    let (fs, _) = four_hours(&series, |t, i| (t / 7 * (i as i64 + 1) % 1_000_003) as f64);
    let db = open(&fs);
    let ids = db.delete_series(&[equal("account", "2")], TimeRange::ALL).unwrap();
    let model = contents(&db);
    assert_eq!((ids.len(), model.len()), (1, 18));
    db.close().unwrap();
    (fs, model, ids[0])
}

fn blocks(fs: &SimFs) -> Vec<PathBuf> {
    let (state, _) = Manifest::inspect(fs, Path::new(DIR)).unwrap();
    state.blocks.keys().map(|id| block_dir(Path::new(DIR), *id)).collect()
}

/// Damages a directory and cuts its repair off at each operation, or at `cuts` of them. Afterwards a start works, or is refused as it was before where
/// `starts` says so; a repair of that makes it sound; what is replaced is in quarantine; and all is there that is there
/// after a repair that was not cut off.
fn check_steps(what: &str, cuts: u64, starts: bool, damage: impl Fn(&SimFs)) {
    let (sound, ..) = directory();
    let damaged = || {
        let fs = sound.crash(0);
        damage(&fs);
        fs
    };
    let whole = damaged();
    let kept = blocks_in_quarantine(&whole);
    mend(&whole).unwrap();
    let put_away: Vec<String> =
        blocks_in_quarantine(&whole).into_iter().filter(|b| !kept.contains(b)).collect();
    let operations = whole.ops();
    // Between the rename and its sync this disk may keep one half of it: what was taken from here, and not put there.
    let is_move = |name: &String| name.starts_with("rename to /data/quarantine/");
    let half_moved = whole.op_names().iter().position(is_move).map(|at| at as u64 + 1);
    let want = contents(&open(&whole));
    let from = damaged().ops();
    assert!(operations > from + 4, "{what}: {:?}", whole.op_names());
    let step = ((operations - from) / cuts).max(1) as usize;
    for at in (from..=operations).step_by(step) {
        for start_between in [false, true] {
            let case =
                format!("{what}: cut off at operation {at} of {from} to {operations}, {start_between}");
            let fs = damaged();
            fs.freeze_at(at);
            let _ = mend(&fs);
            let fs = fs.crash(at);
            if start_between {
                match Database::open(options(&fs)) {
                    Ok(db) => db.close().unwrap(),
                    Err(error) => assert!(!starts, "{case}: {error}"),
                }
            }
            let repaired = mend(&fs).unwrap_or_else(|e| panic!("{case}: {e}"));
            assert!(repaired.after.is_sound(), "{case}: {:?}", repaired.after.findings);
            let db = open(&fs);
            assert_eq!(db.stats().blocks_damaged, 0, "{case}");
            let found = contents(&db);
            assert!(found == want, "{case}: {} of {} series", found.len(), want.len());
            let found = blocks_in_quarantine(&fs);
            assert!(
                Some(at) == half_moved || put_away.iter().all(|b| found.contains(b)),
                "{case}: {found:?} lacks some of {put_away:?}"
            );
        }
    }
}

fn blocks_in_quarantine(fs: &SimFs) -> Vec<String> {
    let entries = fs.read_dir(&Path::new(DIR).join(QUARANTINE_DIR)).unwrap();
    entries.into_iter().filter(|e| e.is_dir).map(|e| e.name).collect()
}

fn damage_manifest(fs: &SimFs, at: u64) {
    fs.corrupt(&Path::new(DIR).join("MANIFEST"), at, 1).unwrap();
}

#[test]
fn a_repair_that_is_cut_off_leaves_a_directory_that_opens() {
    check_steps("a page", u64::MAX, true, |fs| {
        let index = blocks(fs)[0].join(INDEX_FILE);
        fs.corrupt(&index, 70, 4).unwrap();
    });
    check_steps("no index", u64::MAX, true, |fs| {
        let block = blocks(fs).swap_remove(0);
        fs.remove_file(&block.join(INDEX_FILE)).unwrap();
        fs.sync_dir(&block).unwrap();
    });
    // As before the repair, a start is refused until there is a manifest again.
    check_steps("manifest", u64::MAX, false, |fs| damage_manifest(fs, 40));
    // As a start and a flush do it, which have tests of their own; its log makes these slow.
    check_steps("checkpoint", 3, true, |fs| {
        let folder = Path::new(DIR).join("checkpoint");
        // The last one: a crash may have brought one back that was removed.
        let file = folder.join(&fs.read_dir(&folder).unwrap().last().unwrap().name);
        let len = fs.open(&file, OpenMode::Read).unwrap().len().unwrap();
        fs.corrupt(&file, len / 2, 1).unwrap();
    });
}

#[test]
fn deletions_outlive_a_damaged_manifest() {
    let (fs, model, id) = directory();
    let header_only = 16 + 16 + 9;
    damage_manifest(&fs, 2);
    let repaired = mend(&fs).unwrap();
    let told = repaired.warnings.join("\n");
    assert!(
        told.contains("visible again")
            && told.contains(&format!("kept is deletion {id} of {{account=\"2\"}}")),
        "{told}"
    );
    let note = Path::new(DIR).join(QUARANTINE_DIR).join(REBUILT_FILE);
    let noted = fs.open(&note, OpenMode::Read).unwrap().read_all().unwrap();
    assert_eq!(String::from_utf8(noted).unwrap().lines().collect::<Vec<_>>(), repaired.warnings);
    let db = open(&fs);
    assert_eq!(contents(&db), model);
    assert_eq!(db.deletions().iter().map(|d| d.tombstone.id).collect::<Vec<_>>(), [id]);
    db.undelete(id).unwrap();
    assert_eq!(contents(&db).len(), 24);
    // What was undone stays so where the manifest still tells, and could be undone again where it does not.
    db.close().unwrap();
    drop(db);
    damage_manifest(&fs, header_only);
    assert!(!verify(&disk(&fs), Path::new(DIR), &mut |_| {}).unwrap().is_sound());
    mend(&fs).unwrap();
    let db = open(&fs);
    assert_eq!((contents(&db).len(), db.deletions().len()), (24, 0));
}

/// One bit flipped in what an acknowledged deletion wrote, nothing behind it.
#[test]
fn a_deletion_is_not_forgotten_in_silence() {
    let (fs, model, _) = directory();
    let db = open(&fs);
    let manifest = Path::new(DIR).join("MANIFEST");
    let len = |fs: &SimFs| fs.open(&manifest, OpenMode::Read).unwrap().len().unwrap();
    let before = len(&fs);
    db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    let fs = fs.kill();
    damage_manifest(&fs, (before + len(&fs)) / 2);
    let found = verify(&disk(&fs), Path::new(DIR), &mut |_| {}).unwrap();
    assert!(found.has(Part::Manifest), "{:?}", found.findings);
    let refused = Database::open(options(&fs)).unwrap_err().to_string();
    assert!(refused.contains("run `cardinal verify --repair`"), "{refused}");
    let repaired = mend(&fs).unwrap();
    assert!(repaired.after.is_sound(), "{:?}", repaired.after.findings);
    assert!(repaired.warnings.join("\n").contains("visible again"), "{:?}", repaired.warnings);
    assert_eq!(contents(&open(&fs)), model, "the older deletion is kept");
}

#[test]
fn an_undone_deletion_that_comes_back_can_be_undone_again() {
    let (fs, model, id) = directory();
    let manifest = Path::new(DIR).join("MANIFEST");
    let len = || fs.open(&manifest, OpenMode::Read).unwrap().len().unwrap();
    let db = open(&fs);
    let before = len();
    db.undelete(id).unwrap();
    db.close().unwrap();
    drop(db);
    // The edit that undid it, and the header, so that a start does not take it for the remains of a crash.
    damage_manifest(&fs, before + 20);
    damage_manifest(&fs, 2);
    mend(&fs).unwrap();
    let db = open(&fs);
    assert_eq!(contents(&db), model);
    let newest = db.view().blocks().iter().map(|b| b.spec().window.start).max().unwrap();
    assert!(db.deletions()[0].tombstone.created >= newest, "the grace begins anew");
    db.undelete(id).unwrap();
    assert_eq!(contents(&db).len(), 24);
}

/// A merged block of which the manifest says nothing any more is judged by what it was made of.
#[test]
fn a_merged_block_is_hidden_no_more_and_no_less_than_its_sources() {
    let (fs, ..) = directory();
    let db = open(&fs);
    let again = labels("m", "2", 2);
    append(&db, &[(&again, &[(2 * HOUR, 7.0)])]).unwrap().ticket.wait().unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    let model = contents(&db);
    assert_eq!((model.len(), model[&again].len(), db.stats().blocks), (19, 1, 2), "{:?}", model[&again]);
    let entries: Vec<BlockId> =
        db.maintenance.lock().manifest.state().blocks.values().map(|b| b.covered_as()).collect();
    db.close().unwrap();
    drop(db);
    let manifest = Path::new(DIR).join("MANIFEST");
    let bytes = fs.open(&manifest, OpenMode::Read).unwrap().read_all().unwrap();
    // All edits but the one of the deletion, and init.
    let find = |what: &str| {
        bytes
            .windows(what.len())
            .enumerate()
            .filter(|(_, w)| *w == what.as_bytes())
            .map(|(i, _)| i as u64)
            .collect::<Vec<_>>()
    };
    find("\"add_blocks\"").into_iter().for_each(|at| damage_manifest(&fs, at));
    mend(&fs).unwrap();
    let db = open(&fs);
    assert_eq!(contents(&db), model);
    let rebuilt: Vec<BlockId> =
        db.maintenance.lock().manifest.state().blocks.values().map(|b| b.covered_as()).collect();
    assert_eq!(rebuilt, entries);
}
