use super::edit::{HEADER_BYTES as EDIT_HEADER_BYTES, decode, encode, mark};
use super::reading::{header, judge};
use super::*;
use crate::block::Tier;
use crate::database::folders::{BLOCKS_DIR, CHECKPOINT_DIR, QUARANTINE_DIR, REBUILT_FILE};
use crate::head::checkpoint;
use crate::io::{FaultKind, SimFs};
use crate::model::{BlockId, FILE_HEADER_BYTES, file_header};

const DIR: &str = "/d";

fn init() -> Init {
    Init { seed: 7, shards: 16, account_label: "account".into(), spread: 1, window_ms: 7_200_000 }
}

fn block(id: u64) -> BlockEntry {
    let (tier, window_ms) = (Tier::Raw, 7_200_000);
    BlockEntry {
        id,
        tier,
        level: 0,
        window_start: 0,
        window_ms,
        index_bytes: 1,
        chunks_bytes: 2,
        series: 3,
        samples: 4,
        covered_as: None,
        arrived_ms: None,
    }
}

fn disk(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.create_dir_all(Path::new(DIR)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn open(fs: &SimFs) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::open(Arc::new(fs.clone()), Path::new(DIR), &init())?;
    // A manifest names only blocks that are there. After a planned power cut this fails, and nothing is committed either.
    make_blocks(fs).ok();
    Ok(manifest)
}

/// Makes the directories of the blocks that these tests add.
fn make_blocks(fs: &SimFs) -> io::Result<()> {
    let blocks = Path::new(DIR).join(BLOCKS_DIR);
    if fs.exists(&blocks)? {
        return Ok(());
    }
    (3..12)
        .try_for_each(|sequence| fs.create_dir_all(&blocks.join(BlockId(sequence * 65536).to_string())))?;
    fs.sync_dir(&blocks)?;
    fs.sync_dir(Path::new(DIR))
}

fn add(manifest: &mut Manifest) -> Result<BlockId, ManifestError> {
    let id = manifest.state().next_block_id(0);
    manifest.commit(&Edit { add_blocks: vec![block(id.0)], ..Edit::default() })?;
    Ok(id)
}

fn ids(fs: &SimFs) -> Vec<BlockId> {
    open(fs).unwrap().state().blocks.keys().copied().collect()
}

#[test]
fn golden_edit() {
    let edit = Edit { remove_blocks: vec![9], ..Edit::default() };
    let payload = br#"{"remove_blocks":[9]}"#;
    let mut want = (payload.len() as u32).to_le_bytes().to_vec();
    let mut checked = 5u64.to_le_bytes().to_vec();
    checked.extend_from_slice(payload);
    want.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
    want.extend_from_slice(&checked);
    assert_eq!(encode(&edit, 5), want);
    assert_eq!(header(), b"CRDLMANF\x01\0\0\0\x9c\xa9\xde\xef");
    assert_eq!(mark(6), b"\x02\0\0\0\x2f\xa3\xea\x8b\x06\0\0\0\0\0\0\0{}");
}

#[test]
fn golden_block_entry() {
    let check = |entry: BlockEntry, want: &str| {
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(json, want);
        assert_eq!(serde_json::from_str::<BlockEntry>(&json).unwrap(), entry);
    };
    let plain = r#"{"id":9,"tier":"raw","level":0,"window_start":0,"window_ms":7200000,"index_bytes":1,"chunks_bytes":2,"series":3,"samples":4}"#;
    check(block(9), plain);
    let merged = BlockEntry { covered_as: Some(7), arrived_ms: Some(-1), ..block(9) };
    assert_eq!((merged.covered_as(), block(9).covered_as()), (BlockId(7), BlockId(9)));
    check(merged, &plain.replace('}', r#","covered_as":7,"arrived_ms":-1}"#));
}

#[test]
fn the_state_is_the_fold_of_all_edits() {
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    let a = add(&mut manifest).unwrap();
    let b = add(&mut manifest).unwrap();
    assert!(a < b, "ids are not used twice");
    manifest.commit(&Edit { remove_blocks: vec![a.0], ..Edit::default() }).unwrap();
    let state = open(&fs).unwrap().state().clone();
    assert_eq!(&state, manifest.state());
    assert_eq!(state.blocks.keys().copied().collect::<Vec<_>>(), [b]);
    assert_eq!(Manifest::inspect(&fs, Path::new(DIR)).unwrap(), (state, None));
}

#[test]
fn inspection_tells_what_a_start_would_cut_off() {
    let fs = disk(1);
    add(&mut open(&fs).unwrap()).unwrap();
    let path = Path::new(DIR).join(NAME);
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    let len = file.len().unwrap();
    file.write_all_at(b"torn", len).unwrap();
    let (state, rest) = Manifest::inspect(&fs, Path::new(DIR)).unwrap();
    assert_eq!(state.blocks.len(), 1);
    let rest = rest.unwrap();
    assert!(rest.text.contains(&format!("4 bytes at {len} are no valid edit")), "{rest:?}");
    assert!(!rest.are_doubtful);
}

#[test]
fn a_power_cut_leaves_the_state_before_or_after() {
    let run = |fs: &SimFs| -> (Vec<BlockId>, Option<BlockId>) {
        let Ok(mut manifest) = open(fs) else { return (vec![], None) };
        let mut done = vec![];
        for _ in 0..3 {
            let next = manifest.state().next_block_id(0);
            match add(&mut manifest) {
                Ok(id) => done.push(id),
                Err(_) => return (done, Some(next)),
            }
        }
        (done, None)
    };
    let whole = disk(0);
    run(&whole);
    for at in 0..whole.ops() {
        for seed in 0..6 {
            let fs = disk(seed);
            fs.freeze_at(at);
            let (mut done, open_question) = run(&fs);
            let fs = fs.crash(seed);
            let found: Vec<_> = open(&fs).unwrap().state().blocks.keys().copied().collect();
            assert!(!fs.exists(&noted()).unwrap(), "a crash is no damage: operation {at}, seed {seed}");
            if found != done {
                done.extend(open_question);
                assert_eq!(found, done, "operation {at}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_failed_append_is_mended_by_writing_anew_once() {
    let fs = disk(0);
    let mut manifest = open(&fs).unwrap();
    let a = add(&mut manifest).unwrap();
    fs.fail_at(fs.ops() + 1, FaultKind::Eio);
    let b = add(&mut manifest).unwrap();
    let c = add(&mut manifest).unwrap();
    assert_eq!(open(&fs.crash(0)).unwrap().state().blocks.keys().copied().collect::<Vec<_>>(), [a, b, c]);
    fs.fail_from(fs.ops(), FaultKind::Enospc);
    let error = add(&mut manifest).unwrap_err().to_string();
    assert!(error.contains("nothing can be committed"), "{error}");
    fs.heal();
    let d = add(&mut manifest).unwrap();
    assert!(d.0 > c.0 + 65536, "the ids of the failed edit are not given again");
    assert_eq!(ids(&fs.crash(0)), [a, b, c, d]);
}

#[test]
fn an_edit_that_failed_halfway_is_settled_by_the_next() {
    // The append fails; then the new file is renamed, but the directory is not synced.
    for seed in 0..8 {
        let fs = disk(seed);
        let mut manifest = open(&fs).unwrap();
        let a = add(&mut manifest).unwrap();
        let failed = manifest.state().next_block_id(0);
        let before = fs.ops();
        fs.fail_at(before, FaultKind::Eio);
        fs.fail_at(before + 5, FaultKind::Eio);
        add(&mut manifest).unwrap_err();
        let found = ids(&fs.crash(seed));
        assert!(found == [a] || found == [a, failed], "{found:?}");
        let b = add(&mut manifest).unwrap();
        assert_ne!(b, failed);
        assert_eq!(ids(&fs.crash(seed)), [a, b]);
        let c = add(&mut manifest).unwrap();
        assert_eq!(ids(&fs.crash(seed)), [a, b, c]);
    }
}

#[test]
fn what_a_start_has_read_survives_a_power_cut() {
    // The process is killed between write and sync, or between rename and sync.
    let whole = disk(0);
    let mut manifest = open(&whole).unwrap();
    let ops = whole.ops();
    add(&mut manifest).unwrap();
    for seed in 0..16 {
        for at in 0..whole.ops() {
            let fs = disk(seed);
            fs.freeze_at(at);
            if let Ok(mut manifest) = open(&fs) {
                add(&mut manifest).ok();
            }
            fs.heal();
            if let Ok(manifest) = open(&fs) {
                let read: Vec<_> = manifest.state().blocks.keys().copied().collect();
                assert_eq!(ids(&fs.crash(seed)), read, "operation {at} of {ops} and more, seed {seed}");
            }
        }
    }
}

#[test]
fn an_edit_of_a_newer_version_is_refused_and_not_cut_off() {
    let fs = disk(1);
    let manifest = open(&fs).unwrap();
    let mut edit = encode(&Edit::default(), manifest.state().next_sequence);
    let payload = br#"{"of_the_future":1}"#;
    edit.splice(EDIT_HEADER_BYTES.., payload.iter().copied());
    edit[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c(&edit[8..]);
    edit[4..8].copy_from_slice(&crc.to_le_bytes());
    let file = fs.open(&Path::new(DIR).join(NAME), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&edit, manifest.len).unwrap();
    let error = open(&fs).unwrap_err().to_string();
    assert!(error.contains("of_the_future") && error.contains("use the version that wrote it"), "{error}");
    assert_eq!(file.len().unwrap(), manifest.len + edit.len() as u64);
}

#[test]
fn damage_is_refused_and_torn_ends_are_cut() {
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    add(&mut manifest).unwrap();
    let before = manifest.len;
    add(&mut manifest).unwrap();
    let path = Path::new(DIR).join(NAME);
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    file.set_len(manifest.len - mark(0).len() as u64 - 3).unwrap();
    let cut = open(&fs).unwrap();
    assert_eq!((cut.state().blocks.len(), cut.len, file.len().unwrap()), (1, before, before));
    let mut manifest = open(&fs).unwrap();
    add(&mut manifest).unwrap();
    fs.corrupt(&path, before - 1, 0x40).unwrap();
    let error = open(&fs).unwrap_err().to_string();
    assert!(error.contains("expected checksum") && error.contains("offset"), "{error}");
}

#[test]
fn a_version_is_believed_where_the_header_is_sound() {
    let fs = disk(1);
    add(&mut open(&fs).unwrap()).unwrap();
    let path = Path::new(DIR).join(NAME);
    let check = |at: u64, want: &str| {
        fs.corrupt(&path, at, 0x02).unwrap();
        let error = open(&fs).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains("verify --repair"), "byte {at}: {error}");
        fs.corrupt(&path, at, 0x02).unwrap();
    };
    (0..8).for_each(|at| check(at, "no Cardinal manifest"));
    (8..16).for_each(|at| check(at, "offset 8: expected the header of a manifest"));
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    let put = |bytes: &[u8]| file.write_all_at(bytes, 0).unwrap();
    put(&file_header(b"CRDLMANF", 2));
    let error = open(&fs).unwrap_err().to_string();
    assert!(error.contains("format version 2"), "{error}");
    put(b"CRDLMANF\x01\0\0\0\0\0\0\0");
    assert_eq!(open(&fs).unwrap().state().blocks.len(), 1, "as it was before headers had checksums");
}

#[test]
fn any_bytes_are_read_without_panic() {
    let edit = encode(&Edit { init: Some(init()), ..Edit::default() }, 1);
    for cut in 0..edit.len() {
        assert!(decode(&edit[..cut]).is_err());
    }
    for byte in 0..edit.len() {
        let mut damaged = edit.clone();
        damaged[byte] ^= 0x55;
        assert!(decode(&damaged).is_err(), "byte {byte}");
    }
}

#[test]
fn a_block_of_a_tier_that_is_not_known_is_refused() {
    let fs = disk(1);
    add(&mut open(&fs).unwrap()).unwrap();
    let path = Path::new(DIR).join(NAME);
    let bytes = fs.open(&path, OpenMode::Read).unwrap().read_all().unwrap();
    let mut at = FILE_HEADER_BYTES;
    while let Ok((Ok(edit), sequence, len)) = decode(&bytes[at..]) {
        if edit.add_blocks.is_empty() {
            at += len;
            continue;
        }
        let newer = String::from_utf8(bytes[at + EDIT_HEADER_BYTES..at + len].to_vec()).unwrap();
        let newer = newer.replace(r#""tier":"raw""#, r#""tier":"15s""#);
        let mut edit = encode(&edit, sequence);
        edit.splice(EDIT_HEADER_BYTES.., newer.into_bytes());
        let crc = crc32c::crc32c(&edit[8..]);
        edit[4..8].copy_from_slice(&crc.to_le_bytes());
        fs.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(&edit, at as u64).unwrap();
        break;
    }
    let error = open(&fs).unwrap_err();
    assert!(matches!(error, ManifestError::UnknownEdit { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("unknown variant `15s`") && error.ends_with("use the version that wrote it"),
        "{error}"
    );
}

#[test]
fn a_spread_over_shards_is_refused() {
    let fs = disk(1);
    drop(open(&fs).unwrap());
    let mut state = Manifest::inspect(&fs, Path::new(DIR)).unwrap().0;
    state.init.spread = 2;
    write_anew(&fs, Path::new(DIR), &state).unwrap();
    let error = open(&fs).unwrap_err().to_string();
    assert!(error.contains("does not understand (spread 2, "), "{error}");
}

#[test]
fn a_long_manifest_is_written_anew_at_start() {
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    while manifest.len <= REWRITE_BYTES {
        let blocks: Vec<BlockEntry> = (0..500).map(|n| block(manifest.state().next_block_id(n).0)).collect();
        let remove_blocks = manifest.state().blocks.keys().map(|b| b.0).collect();
        manifest.commit(&Edit { add_blocks: blocks, remove_blocks, ..Edit::default() }).unwrap();
    }
    let before = manifest.state().clone();
    let mut again = open(&fs).unwrap();
    assert_eq!(again.state(), &before);
    assert!(again.len < REWRITE_BYTES / 4);
    add(&mut again).unwrap();
    assert_eq!(open(&fs).unwrap().state(), again.state());
}

fn noted() -> PathBuf {
    Path::new(DIR).join(QUARANTINE_DIR).join(REBUILT_FILE)
}

/// Takes the mark from a manifest's end: as a process leaves it that was killed before it wrote that.
fn unmark(fs: &SimFs) {
    let file = fs.open(&Path::new(DIR).join(NAME), OpenMode::ReadWrite).unwrap();
    file.set_len(file.len().unwrap() - mark(0).len() as u64).unwrap();
}

/// A manifest whose second edit puts checkpoint 2 in force instead of 1, that edit damaged and not marked.
fn damaged_last_edit(fs: &SimFs) -> u64 {
    let mut manifest = open(fs).unwrap();
    let entry = |number| CheckpointEntry { number, bytes: 1, wal_segment: 1, head_log_end: 0 };
    let edit = |number| Edit { checkpoint: Some(entry(number)), ..Edit::default() };
    manifest.commit(&edit(1)).unwrap();
    let whole = manifest.len;
    manifest.commit(&edit(2)).unwrap();
    manifest.file.write_all_at(b"~", whole + 20).unwrap();
    unmark(fs);
    whole
}

#[test]
fn a_damaged_edit_that_was_committed_is_refused_and_left() {
    let fs = disk(1);
    let whole = damaged_last_edit(&fs);
    let before = fs.open(&Path::new(DIR).join(NAME), OpenMode::Read).unwrap().read_all().unwrap();
    let error = open(&fs).unwrap_err();
    assert!(matches!(error, ManifestError::Corrupt { offset, .. } if offset == whole), "{error}");
    let seen = Manifest::inspect(&fs, Path::new(DIR)).unwrap_err();
    assert_eq!(seen.to_string(), error.to_string(), "who looks is told what a start is told");
    assert_eq!(fs.open(&Path::new(DIR).join(NAME), OpenMode::Read).unwrap().read_all().unwrap(), before);
}

#[test]
fn an_edit_that_was_not_committed_is_cut_and_kept_aside() {
    let fs = disk(1);
    let whole = damaged_last_edit(&fs);
    let folder = Path::new(DIR).join(CHECKPOINT_DIR);
    fs.create_dir_all(&folder).unwrap();
    fs.open(&checkpoint::path_of(&folder, 1), OpenMode::CreateNew).unwrap();
    let manifest = open(&fs).unwrap();
    assert!(manifest.was_cut());
    assert_eq!((manifest.state().checkpoint.as_ref().map(|c| c.number), manifest.len), (Some(1), whole));
    let kept = Path::new(DIR).join(QUARANTINE_DIR).join(format!("MANIFEST-{whole:016x}.torn"));
    assert!(fs.exists(&kept).unwrap());
    assert!(!open(&fs).unwrap().was_cut());
}

#[test]
fn an_edit_that_no_reader_takes_is_not_written() {
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    let length = fs.open(&Path::new(DIR).join(NAME), OpenMode::Read).unwrap().len().unwrap();
    let too_many = Edit { add_blocks: (0..150_000).map(block).collect(), ..Edit::default() };
    let refused = manifest.commit(&too_many).unwrap_err().to_string();
    assert!(refused.contains("is too long: 16777216 at most"), "{refused}");
    assert_eq!(fs.open(&Path::new(DIR).join(NAME), OpenMode::Read).unwrap().len().unwrap(), length);
    add(&mut manifest).unwrap();
    drop(manifest);
    assert_eq!(ids(&fs).len(), 1);
}

#[test]
fn a_state_too_long_for_one_edit_is_written_anew_as_many() {
    let fs = disk(1);
    let state = State::new(init());
    let blocks = (0..20_000).map(|id| (BlockId(id), block(id))).collect();
    let state = State { blocks, next_sequence: 2, ..state };
    write_anew(&fs, Path::new(DIR), &state).unwrap();
    let found = read(&fs, &Path::new(DIR).join(NAME)).unwrap();
    assert_eq!(
        (found.last.end, found.state.next_sequence),
        (found.len, 6),
        "three edits and a mark behind the first"
    );
    assert!(found.ends_marked);
    assert_eq!(found.state.blocks, state.blocks);
}

#[test]
fn an_edit_whose_sync_failed_is_durable_once_a_start_has_read_it() {
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    // The sync fails, and all else: the edit stands in memory.
    fs.fail_from(fs.ops() + 1, FaultKind::Eio);
    add(&mut manifest).unwrap_err();
    let fs = fs.kill();
    assert_eq!(ids(&fs).len(), 1);
    assert_eq!(ids(&fs.crash(0)).len(), 1);
}

#[test]
fn a_flipped_bit_anywhere_in_an_acknowledged_edit_is_damage() {
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    let from = manifest.len;
    add(&mut manifest).unwrap();
    let until = manifest.len - mark(0).len() as u64;
    let path = Path::new(DIR).join(NAME);
    for at in from..until {
        for bit in [1, 0x80] {
            fs.corrupt(&path, at, bit).unwrap();
            let error = open(&fs).unwrap_err();
            assert!(
                matches!(error, ManifestError::Corrupt { offset, .. } if offset == from),
                "byte {at}: {error}"
            );
            assert!(Manifest::inspect(&fs, Path::new(DIR)).is_err(), "byte {at}");
            fs.corrupt(&path, at, bit).unwrap();
        }
    }
    assert_eq!(ids(&fs).len(), 1);
}

#[test]
fn a_flipped_bit_in_the_last_mark_costs_nothing() {
    let whole = disk(1);
    add(&mut open(&whole).unwrap()).unwrap();
    let len = open(&whole).unwrap().len;
    for at in len - mark(0).len() as u64..len {
        let fs = whole.kill();
        fs.corrupt(&Path::new(DIR).join(NAME), at, 4).unwrap();
        let (_, rest) = Manifest::inspect(&fs, Path::new(DIR)).unwrap();
        assert!(!rest.unwrap().are_doubtful, "byte {at}");
        let manifest = open(&fs).unwrap();
        assert_eq!((manifest.state().blocks.len(), manifest.len), (1, len), "byte {at}: it is marked again");
        assert!(!fs.exists(&noted()).unwrap(), "byte {at}");
    }
}

#[test]
fn an_edit_that_is_not_marked_is_once_a_start_has_synced_it() {
    let fs = disk(1);
    add(&mut open(&fs).unwrap()).unwrap();
    unmark(&fs);
    let from = read(&fs, &Path::new(DIR).join(NAME)).unwrap().last.start;
    drop(open(&fs).unwrap());
    let fs = fs.crash(0);
    fs.corrupt(&Path::new(DIR).join(NAME), from + 30, 1).unwrap();
    assert!(matches!(open(&fs), Err(ManifestError::Corrupt { .. })));
}

#[test]
fn a_manifest_that_cannot_be_marked_on_a_full_disk_is_opened_and_goes_on() {
    let fs = disk(1);
    add(&mut open(&fs).unwrap()).unwrap();
    unmark(&fs);
    // Behind the write and the syncs of the last edit.
    let at = fs.ops() + 3;
    fs.fail_at(at, FaultKind::Enospc);
    let mut manifest = open(&fs).unwrap();
    assert!(
        fs.ops() > at && !read(&fs, &Path::new(DIR).join(NAME)).unwrap().ends_marked,
        "{:?}",
        fs.op_names()
    );
    add(&mut manifest).unwrap();
    assert_eq!(ids(&fs.crash(0)).len(), 2);
}

#[test]
fn an_edit_of_full_length_that_may_have_been_committed_is_cut_with_a_note() {
    // Without marks, as manifests were written once: nothing tells whether it was committed.
    let fs = disk(1);
    let mut manifest = open(&fs).unwrap();
    add(&mut manifest).unwrap();
    unmark(&fs);
    let sequence = manifest.state().next_sequence;
    let from = manifest.len - mark(0).len() as u64;
    let mut edit =
        encode(&Edit { add_blocks: vec![block(sequence * 65536)], ..Edit::default() }, sequence - 1);
    edit[40] ^= 1;
    manifest.file.write_all_at(&edit, from).unwrap();
    let (_, rest) = Manifest::inspect(&fs, Path::new(DIR)).unwrap();
    assert!(rest.unwrap().are_doubtful);
    manifest = open(&fs).unwrap();
    assert_eq!((manifest.was_cut(), manifest.state().blocks.len()), (true, 1));
    let note = fs.open(&noted(), OpenMode::Read).unwrap().read_all().unwrap();
    let note = String::from_utf8(note).unwrap();
    assert!(
        note.contains(&format!("the edit at {from} was cut")) && note.contains("may be forgotten"),
        "{note}"
    );
}

#[test]
fn remains_are_judged_by_their_length_and_the_mark_before_them() {
    let edit = encode(&Edit { remove_blocks: vec![1], ..Edit::default() }, 7);
    let check =
        |rest: &[u8], ends_marked: bool, want: Rest| assert_eq!(judge(rest, ends_marked), want, "{rest:?}");
    check(b"", false, Rest::Unfinished);
    check(&edit[..3], false, Rest::Unfinished);
    check(&edit[..edit.len() - 1], false, Rest::Unfinished);
    check(&edit, false, Rest::Doubtful);
    check(&edit, true, Rest::Unfinished);
    check(&[&edit[..], b"m"].concat(), true, Rest::Doubtful);
    check(&mark(7), false, Rest::Unfinished);
    check(&[0; 100], false, Rest::Unfinished);
    check(&[0xff; 100], false, Rest::Unfinished);
}
