//! A start on a damaged directory, and what queries then answer.

use super::*;
use crate::block::{CHUNKS_FILE, INDEX_FILE};
use crate::io::{Fs, OpenMode};
use std::path::{Path, PathBuf};

/// Two blocks of two windows, and a head.
fn directory() -> (SimFs, Model) {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let series: Vec<LabelSet> = (0..40).map(|i| labels("m", &format!("{}", i % 5), i)).collect();
    for t in (HOUR..5 * HOUR).step_by(600_000) {
        let points = [(t, t as f64)];
        let rows: Vec<(&LabelSet, &[(i64, f64)])> = series.iter().map(|l| (l, &points[..])).collect();
        append(&db, &rows).unwrap().ticket.wait().unwrap();
        db.maintain();
    }
    assert_eq!(db.stats().blocks, 2);
    let model = contents(&db);
    db.close().unwrap();
    (fs, model)
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
    check_set_aside(flip(CHUNKS_FILE, 0, 3));
    check_set_aside(flip(INDEX_FILE, 20, 0));
    check_set_aside(flip(CHUNKS_FILE, 20, 0));
    // The directory is the end of the payload.
    check_set_aside(flip(INDEX_FILE, 100, 0));
    check_set_aside(|fs| fs.remove_file(&file_of(fs, 0, CHUNKS_FILE)).unwrap());
    check_set_aside(|fs| fs.remove_dir_all(file_of(fs, 0, "").as_path()).unwrap());
    check_set_aside(|fs| {
        let file = fs.open(&file_of(fs, 0, INDEX_FILE), OpenMode::ReadWrite).unwrap();
        file.set_len(file.len().unwrap() - 1).unwrap();
    });
    check_set_aside(|fs| {
        let file = fs.open(&file_of(fs, 0, INDEX_FILE), OpenMode::ReadWrite).unwrap();
        file.set_len(file.len().unwrap() + 1).unwrap();
    });
}

#[test]
fn a_block_of_a_later_version_is_refused() {
    let (fs, _) = directory();
    fs.corrupt(&file_of(&fs, 0, INDEX_FILE), 8, 3).unwrap();
    let refused = Database::open(options(&fs)).unwrap_err().to_string();
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
    let (fs, model) = directory();
    fs.corrupt(&file_of(&fs, 0, CHUNKS_FILE), 30, 1).unwrap();
    let db = open(&fs);
    assert_eq!(db.stats().blocks_damaged, 0, "nothing has touched the page yet");
    let view = db.view();
    assert_eq!(read(&view, &[], TimeRange::ALL), within(&model, 2 * HOUR));
    assert_eq!(view.warnings().len(), 1, "{:?}", view.warnings());
    assert!(view.warnings()[0].contains("chunks is damaged at byte 0: expected "), "{:?}", view.warnings());
    assert_eq!(db.stats().blocks_damaged, 1);
}
