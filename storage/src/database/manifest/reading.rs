//! The file's bytes, as edits and as the state that they add up to.

use super::edit::{self, Bad, Edit, Init, MARK_PAYLOAD, decode};
use super::state::{State, fold};
use super::{ManifestError, NAME};
use crate::io::{Fs, OpenMode};
use crate::model::{FILE_HEADER_BYTES, FoundHeader, check_file_header, file_header};
use std::ops::Range;
use std::path::Path;

const MAGIC: &[u8; 8] = b"CRDLMANF";
pub(super) const VERSION: u32 = 1;

/// What the bytes behind the last valid edit are, if there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Of an edit, or of a mark, that nobody was told of.
    Unfinished,
    /// An edit of full length with a wrong checksum, where a mark does not tell that it was not committed.
    Doubtful,
}

/// A manifest that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) state: State,
    /// Where the last valid edit stands, a mark or another one.
    pub(super) last: Range<u64>,
    /// Whether that is a mark.
    pub(super) ends_marked: bool,
    /// The length of the file.
    pub(super) len: u64,
    pub(super) rest: Rest,
}

/// Judges the bytes behind the last valid edit. An edit is marked before the next one is written and before anybody is told: behind a
/// mark, one that nothing follows was not committed. Without a mark, or with bytes behind it that the mark may have been, it is
/// open; and of an edit that a crash interrupted seldom all bytes are there.
pub(super) fn judge(rest: &[u8], ends_marked: bool) -> Rest {
    let length = rest.split_first_chunk::<4>().map_or(0, |(length, _)| u32::from_le_bytes(*length) as usize);
    let is_edit = length > MARK_PAYLOAD.len() && length <= edit::BYTES_MAX;
    let behind = rest.len().checked_sub(edit::HEADER_BYTES + length);
    match behind {
        Some(behind) if is_edit && (!ends_marked || behind > 0) => Rest::Doubtful,
        _ => Rest::Unfinished,
    }
}

/// Reads a manifest up to its last valid edit.
pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<Read, ManifestError> {
    let at = |source| ManifestError::Io { path: path.into(), source };
    let file = fs.open(path, OpenMode::Read).map_err(at)?;
    let bytes = file.read_all().map_err(at)?;
    check_header(&bytes, path)?;
    let (mut offset, mut last, mut ends_marked) = (FILE_HEADER_BYTES, FILE_HEADER_BYTES, false);
    let mut state: Option<State> = None;
    while offset < bytes.len() {
        let corrupt = |bad: Bad| ManifestError::Corrupt {
            path: path.into(),
            offset: offset as u64,
            expected: bad.expected,
            found: bad.found,
        };
        match decode(&bytes[offset..]) {
            Ok((Err(unknown), ..)) => {
                let (path, found) = (path.into(), unknown.to_string());
                return Err(ManifestError::UnknownEdit { path, offset: offset as u64, found });
            }
            Ok((Ok(Edit { init: Some(init), .. }), ..)) if !init.is_valid() => {
                let Init { spread, shards, window_ms, .. } = init;
                let found = format!("spread {spread}, {shards} shards, windows of {window_ms} ms");
                return Err(ManifestError::UnknownEdit { path: path.into(), offset: offset as u64, found });
            }
            Ok((Ok(edit), sequence, len)) => {
                if let Some(error) = edit.add_tombstones.iter().find_map(|t| t.compile().err()) {
                    let (path, found) = (path.into(), error.to_string());
                    return Err(ManifestError::UnknownEdit { path, offset: offset as u64, found });
                }
                fold(&mut state, &edit, sequence).map_err(corrupt)?;
                ends_marked = edit == Edit::default();
                last = offset;
                offset += len;
            }
            Err(bad) => {
                let sequence = state.as_ref().map_or(1, |s| s.next_sequence);
                if valid_edit_follows(&bytes[offset..], sequence) {
                    return Err(corrupt(bad));
                }
                break;
            }
        }
    }
    let state = state.ok_or_else(|| ManifestError::Corrupt {
        path: path.into(),
        offset: FILE_HEADER_BYTES as u64,
        expected: "an edit with `init`".into(),
        found: "none".into(),
    })?;
    let rest = judge(bytes.get(offset..).unwrap_or_default(), ends_marked);
    Ok(Read { state, last: last as u64..offset as u64, ends_marked, len: bytes.len() as u64, rest })
}

/// What a damaged manifest still says: the fold of the edits that can be read. Damaged ones between them may have named
/// blocks and checkpoints, so that of all this only `init`, and what is said of single blocks and of deletions, can be relied
/// upon; and a damaged edit may have undone any of the deletions.
pub(crate) fn salvage(fs: &dyn Fs, dir: &Path) -> Option<State> {
    let bytes = fs.open(&dir.join(NAME), OpenMode::Read).and_then(|f| f.read_all()).ok()?;
    let (mut state, mut at): (Option<State>, usize) = (None, 0);
    while at < bytes.len() {
        let Ok((Ok(edit), sequence, len)) = decode(&bytes[at..]) else {
            at += 1;
            continue;
        };
        at += len;
        match (&mut state, edit.init.clone()) {
            (None, Some(init)) if init.is_valid() => {
                state = Some(State { next_sequence: sequence.saturating_add(1), ..State::new(init) });
            }
            (Some(s), None) => {
                s.apply(&edit);
                s.next_sequence = s.next_sequence.max(sequence.saturating_add(1));
            }
            _ => {}
        }
    }
    state
}

pub(super) fn header() -> Vec<u8> {
    file_header(MAGIC, VERSION).to_vec()
}

fn check_header(file: &[u8], path: &Path) -> Result<(), ManifestError> {
    let path = path.into();
    match check_file_header(file, MAGIC, VERSION) {
        FoundHeader::This => Ok(()),
        FoundHeader::Other(found) => Err(ManifestError::Version { path, found }),
        FoundHeader::Damaged if file.starts_with(MAGIC) => {
            let expected = format!("the header of a manifest of version {VERSION}");
            let found = file.get(MAGIC.len()..FILE_HEADER_BYTES).unwrap_or_default().escape_ascii();
            Err(ManifestError::Corrupt { path, offset: 8, expected, found: found.to_string() })
        }
        FoundHeader::Damaged => Err(ManifestError::NotAManifest { path }),
    }
}

/// Whether a later edit stands whole anywhere in `bytes`, the first of which begin a damaged one.
fn valid_edit_follows(bytes: &[u8], sequence: u64) -> bool {
    (1..bytes.len()).any(|at| {
        let plausible = bytes.get(at + 8..at + 16).is_some_and(|s| {
            let found = s.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
            found > sequence && found < sequence + 1_000_000
        });
        plausible && decode(&bytes[at..]).is_ok()
    })
}

/// For fuzzing: computes the checksums of a manifest's edits anew, as far as their lengths lead.
#[cfg(feature = "fuzz")]
pub(crate) fn make_checksums_fit(file: &mut [u8]) {
    let mut at = FILE_HEADER_BYTES;
    while let Some(edit) = file.get_mut(at..).filter(|e| e.len() >= edit::HEADER_BYTES) {
        let len = edit::HEADER_BYTES + u32::from_le_bytes([edit[0], edit[1], edit[2], edit[3]]) as usize;
        let Some(edit) = edit.get_mut(..len) else { return };
        let crc = crc32c::crc32c(&edit[8..]);
        edit[4..8].copy_from_slice(&crc.to_le_bytes());
        at += len;
    }
}

/// For fuzzing: bytes as edits, and as the payload of one.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = decode(bytes);
    valid_edit_follows(bytes, 1);
    if let Ok(edit) = serde_json::from_slice::<Edit>(bytes) {
        let _ = fold(&mut None, &edit, 1);
        let _ = decode(&edit::encode(&edit, 1));
    }
}
