//! The `MANIFEST`: the only commit point of a data directory (`docs/format/manifest.md`).

mod tombstone_entry;

use super::folders::{BLOCKS_DIR, CHECKPOINT_DIR, NAMED_FOLDERS, QUARANTINE_DIR, REBUILT_FILE};
use crate::block::Tier;
use crate::head::checkpoint;
use crate::index::MatcherError;
use crate::io::{File, Fs, OpenMode};
use crate::model::{BlockId, DurationMs, HashSeed, ShardCount, TimestampMs, TombstoneId, Window};
use crate::read::Tombstone;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(test)]
pub(crate) use tombstone_entry::{MatcherEntry, Op};
pub(crate) use tombstone_entry::{TOMBSTONE_BYTES_MAX, TombstoneEntry};

const MAGIC: &[u8; 8] = b"CRDLMANF";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const EDIT_HEADER_BYTES: usize = 16;
const EDIT_BYTES_MAX: usize = 16 << 20;
/// The payload of the edit that changes nothing, and says that the one before it was synced.
const MARK_PAYLOAD: &[u8] = b"{}";
/// Of a state that is written anew, each edit has so many blocks and tombstones at most: some 3 and 4 MiB.
const BLOCKS_PER_EDIT: usize = 8192;
const TOMBSTONES_PER_EDIT: usize = 512;
const _: () = assert!(BLOCKS_PER_EDIT * 512 + TOMBSTONES_PER_EDIT * TOMBSTONE_BYTES_MAX < EDIT_BYTES_MAX);
/// A longer manifest is written anew at start.
const REWRITE_BYTES: u64 = 1 << 20;
/// The file.
pub(super) const NAME: &str = "MANIFEST";
const NEW_NAME: &str = "MANIFEST.new";

/// Tombstones held at most; each query of a range that they touch looks at them.
pub(crate) const TOMBSTONES_MAX: usize = 1000;

/// The first place of a merged block among the ids of one sequence; those of cuts are below.
pub(crate) const MERGED_PLACE: u64 = 32768;

/// What is fixed when a directory is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Init {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) account_label: String,
    /// Shards per account: anything but 1 is refused for now.
    pub(crate) spread: u16,
    pub(crate) window_ms: i64,
}

/// A block as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockEntry {
    pub(crate) id: u64,
    /// The resolution of its samples. An edit with one that is not known is refused: another version wrote it.
    pub(crate) tier: Tier,
    pub(crate) level: u8,
    pub(crate) window_start: i64,
    pub(crate) window_ms: i64,
    pub(crate) index_bytes: u64,
    pub(crate) chunks_bytes: u64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// The id by which deletions judge it, where it is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) covered_as: Option<u64>,
    /// The newest sample known when the newest of its data came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrived_ms: Option<i64>,
}

/// The checkpoint in force and what it needs beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointEntry {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// The first WAL segment to replay.
    pub(crate) wal_segment: u64,
    /// Bytes of the head-chunk log from here on are ignored.
    pub(crate) head_log_end: u64,
}

/// One atomic change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<Init>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add_blocks: Vec<BlockEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove_blocks: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<CheckpointEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add_tombstones: Vec<TombstoneEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove_tombstones: Vec<u64>,
}

/// The fold of all edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) init: Init,
    pub(crate) blocks: BTreeMap<BlockId, BlockEntry>,
    pub(crate) checkpoint: Option<CheckpointEntry>,
    pub(crate) tombstones: BTreeMap<TombstoneId, TombstoneEntry>,
    /// The number of the next edit.
    pub(crate) next_sequence: u64,
}

/// Why the manifest could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not a manifest.
    #[error("{path}: this is no Cardinal manifest; is it the right directory?")]
    NotAManifest {
        /// The file.
        path: PathBuf,
    },
    /// Made by another version.
    #[error(
        "{path}: the directory has format version {found}, this Cardinal reads version {VERSION}; use the version that made it, or start with an empty directory"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// An edit is damaged and valid ones follow it.
    #[error(
        "{path} offset {offset}: expected {expected}, found {found}; restore the file from a backup, or run `cardinal verify --repair`"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// An edit that is whole, but says what this version does not know.
    #[error(
        "{path} offset {offset}: an edit that this Cardinal does not understand ({found}); use the version that wrote it"
    )]
    UnknownEdit {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is not understood.
        found: String,
    },
    /// The directory has data but no manifest.
    #[error(
        "{path}: there is {found}/ but no MANIFEST; restore the MANIFEST from a backup, or choose an empty directory"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The folder that is there.
        found: &'static str,
    },
    /// An edit that no reader would take.
    #[error("{path}: an edit of {bytes} bytes is too long: {EDIT_BYTES_MAX} at most; it was not written")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The manifest could not be written, not even anew.
    #[error("{path}: {source}; nothing can be committed until the disk is well")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl Init {
    pub(crate) fn seed(&self) -> HashSeed {
        HashSeed(self.seed)
    }

    pub(crate) fn window(&self) -> DurationMs {
        DurationMs(self.window_ms)
    }

    pub(crate) fn shard_count(&self) -> Option<ShardCount> {
        ShardCount::new(self.shards)
    }

    fn is_valid(&self) -> bool {
        self.shard_count().is_some()
            && self.window_ms > 0
            && self.spread == 1
            && !self.account_label.is_empty()
    }
}

impl BlockEntry {
    /// The id by which deletions judge it.
    pub(crate) fn covered_as(&self) -> BlockId {
        BlockId(self.covered_as.unwrap_or(self.id))
    }

    pub(crate) fn arrived(&self) -> Option<TimestampMs> {
        self.arrived_ms.map(TimestampMs)
    }

    pub(crate) fn window(&self) -> Window {
        Window { start: TimestampMs(self.window_start), len: DurationMs(self.window_ms) }
    }
}

impl State {
    /// A directory with nothing in it.
    pub(crate) fn new(init: Init) -> Self {
        Self {
            init,
            blocks: BTreeMap::new(),
            checkpoint: None,
            tombstones: BTreeMap::new(),
            next_sequence: 1,
        }
    }

    fn apply(&mut self, edit: &Edit) {
        for id in &edit.remove_blocks {
            self.blocks.remove(&BlockId(*id));
        }
        self.blocks.extend(edit.add_blocks.iter().map(|b| (BlockId(b.id), b.clone())));
        if let Some(checkpoint) = &edit.checkpoint {
            self.checkpoint = Some(checkpoint.clone());
        }
        for id in &edit.remove_tombstones {
            self.tombstones.remove(&TombstoneId(*id));
        }
        self.tombstones.extend(edit.add_tombstones.iter().map(|t| (TombstoneId(t.id), t.clone())));
    }

    /// The edits that make this state from nothing: `init`, one with the rest, or more where one would be too long, and a mark.
    fn as_edits(&self) -> Vec<Edit> {
        let mut edits = vec![
            Edit { init: Some(self.init.clone()), ..Edit::default() },
            Edit { checkpoint: self.checkpoint.clone(), ..Edit::default() },
        ];
        edits.resize(self.edits_anew(), Edit::default());
        let (mut blocks, mut tombstones) = (self.blocks.values().cloned(), self.tombstones.values().cloned());
        for edit in edits.iter_mut().skip(1) {
            edit.add_blocks = blocks.by_ref().take(BLOCKS_PER_EDIT).collect();
            edit.add_tombstones = tombstones.by_ref().take(TOMBSTONES_PER_EDIT).collect();
        }
        edits
    }

    /// How many edits that takes.
    fn edits_anew(&self) -> usize {
        let blocks = self.blocks.len().div_ceil(BLOCKS_PER_EDIT);
        2 + blocks.max(self.tombstones.len().div_ceil(TOMBSTONES_PER_EDIT)).max(1)
    }

    /// The number of the edit that follows a file written anew: that of the state, or later where the file has more edits.
    fn sequence_after_rewrite(&self) -> u64 {
        self.next_sequence.max(self.edits_anew() as u64 + 1)
    }

    /// The tombstones, compiled; those that `known` has are taken from there.
    pub(crate) fn compile_tombstones(
        &self,
        known: &BTreeMap<TombstoneId, Arc<Tombstone>>,
    ) -> Result<BTreeMap<TombstoneId, Arc<Tombstone>>, MatcherError> {
        let compile = |(id, entry): (&TombstoneId, &TombstoneEntry)| {
            let known = known.get(id).filter(|t| t.is_final == entry.is_final);
            Ok((*id, known.map_or_else(|| entry.compile().map(Arc::new), |t| Ok(t.clone()))?))
        };
        self.tombstones.iter().map(compile).collect()
    }

    /// An id for the `nth` block or tombstone of the next edit.
    pub(crate) fn next_block_id(&self, nth: u64) -> BlockId {
        BlockId(self.next_sequence * 65536 + nth)
    }

    /// An id for a block that is merged beside other edits; `nth` is never given twice by one process.
    pub(crate) fn merged_block_id(&self, nth: u64) -> BlockId {
        self.next_block_id(MERGED_PLACE + nth % MERGED_PLACE)
    }
}

fn encode(edit: &Edit, sequence: u64) -> Vec<u8> {
    let payload = serde_json::to_vec(edit).expect("an edit has string keys and finite numbers");
    let mut out = Vec::with_capacity(EDIT_HEADER_BYTES + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&payload);
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The edit that changes nothing: it says that everything before it was synced.
fn mark(sequence: u64) -> Vec<u8> {
    encode(&Edit::default(), sequence)
}

fn header() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out
}

/// Why bytes are no edit.
struct Bad {
    expected: String,
    found: String,
}

/// Reads the edit at the front of `bytes`: the edit (or what is not understood of it, where the checksum holds), its sequence,
/// its length.
fn decode(bytes: &[u8]) -> Result<(Result<Edit, serde_json::Error>, u64, usize), Bad> {
    let bad = |expected: &str, found: String| Bad { expected: expected.into(), found };
    let cut_off = || bad("a whole edit", "the end of the file".into());
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let (crc, checked) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > EDIT_BYTES_MAX {
        return Err(bad("an edit of at most 16 MiB", format!("a length of {length}")));
    }
    let checked = checked.get(..8 + length).ok_or_else(cut_off)?;
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c::crc32c(checked));
    if expected != found {
        return Err(bad(&format!("checksum {expected:08x}"), format!("{found:08x}")));
    }
    let (sequence, payload) = checked.split_first_chunk::<8>().ok_or_else(cut_off)?;
    Ok((serde_json::from_slice(payload), u64::from_le_bytes(*sequence), EDIT_HEADER_BYTES + length))
}

/// The file, and the state that it holds.
#[derive(Debug)]
pub(crate) struct Manifest {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    state: Arc<State>,
    /// The same, for those who only look and do not wait.
    committed: Arc<ArcSwap<State>>,
    /// Whether the last edit failed: then it is open which state the disk holds, and the file is not appended to.
    unsettled: bool,
    was_cut: bool,
}

impl Manifest {
    /// Opens the manifest of `dir`, or makes one with `init` where the directory is empty.
    pub(crate) fn open(fs: Arc<dyn Fs>, dir: &Path, init: &Init) -> Result<Self, ManifestError> {
        let path = dir.join(NAME);
        let at = |source| ManifestError::Io { path: path.clone(), source };
        if !fs.exists(&path).map_err(at)? {
            refuse_orphans(&*fs, dir)?;
            let state = State::new(init.clone());
            let (file, len) = write_anew(&*fs, dir, &state).map_err(at)?;
            let next_sequence = state.sequence_after_rewrite();
            return Ok(Self::with(fs, dir, file, len, State { next_sequence, ..state }));
        }
        let read = read(&*fs, &path)?;
        let (len, was_cut) = (read.last.end, read.len > read.last.end);
        let file = fs.open(&path, OpenMode::ReadWrite).map_err(at)?;
        if was_cut {
            refuse_damage(&*fs, dir, &read.state, len)?;
            let kept = keep_remains(&*fs, dir, &*file, len..read.len).map_err(at)?;
            if read.rest == Rest::Doubtful {
                note(&*fs, dir, &doubt(&path, len, &kept)).map_err(at)?;
            }
            tracing::warn!(file = %path.display(), offset = len, bytes = read.len - len, kept = %kept.display(), "cut the remains of an edit that a crash interrupted");
            file.set_len(len).map_err(at)?;
        }
        // Whoever wrote it may have been killed before its sync; what it does not name is about to be removed. That sync may also have
        // failed, and another one would write nothing: so the last edit is written again.
        let edit = file.read_all().map_err(at)?;
        let edit = edit.get(read.last.start as usize..len as usize).unwrap_or_default();
        file.write_all_at(edit, read.last.start).map_err(at)?;
        file.sync_data().and_then(|()| fs.sync_dir(dir)).map_err(at)?;
        let mut manifest = Self { was_cut, ..Self::with(fs, dir, file, len, read.state) };
        if len > REWRITE_BYTES {
            manifest.rewrite((*manifest.state).clone()).map_err(at)?;
        } else if !read.ends_marked {
            manifest.mark_last();
        }
        Ok(manifest)
    }

    fn with(fs: Arc<dyn Fs>, dir: &Path, file: Arc<dyn File>, len: u64, state: State) -> Self {
        let state = Arc::new(state);
        let committed = Arc::new(ArcSwap::new(state.clone()));
        Self { fs, dir: dir.into(), file, len, state, committed, unsettled: false, was_cut: false }
    }

    /// The state of `dir`'s manifest, for those who only look; and what is behind its last valid edit, if anything is. Damage that
    /// a start refuses is refused here, too.
    pub(crate) fn inspect(fs: &dyn Fs, dir: &Path) -> Result<(State, Option<Remains>), ManifestError> {
        let path = dir.join(NAME);
        let Read { state, last, len, rest, .. } = read(fs, &path)?;
        let valid = last.end;
        if valid == len {
            return Ok((state, None));
        }
        refuse_damage(fs, dir, &state, valid)?;
        let text = format!(
            "{}: {} bytes at {valid} are no valid edit; a start cuts them off",
            path.display(),
            len - valid
        );
        Ok((state, Some(Remains { text, are_doubtful: rest == Rest::Doubtful })))
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

    /// Whether the remains of an edit were cut when it was opened. They may be those of an edit that was committed and has
    /// rotted since: what the state does not name is to be kept then.
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The fold of all edits so far.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Where the state stands after each commit, for those who only look.
    pub(crate) fn committed(&self) -> Arc<ArcSwap<State>> {
        self.committed.clone()
    }

    fn set(&mut self, state: State) {
        self.state = Arc::new(state);
        self.committed.store(self.state.clone());
    }

    /// Makes `edit` durable, then part of the state. After an error it is open whether the disk holds it: all files that it
    /// names must stay, and its sequence is not used again. The next edit settles the question, since it replaces the file.
    pub(crate) fn commit(&mut self, edit: &Edit) -> Result<(), ManifestError> {
        let mut next = (*self.state).clone();
        next.apply(edit);
        next.next_sequence += 2;
        let bytes = encode(edit, self.state.next_sequence);
        if bytes.len() > EDIT_HEADER_BYTES + EDIT_BYTES_MAX {
            let bytes = bytes.len() - EDIT_HEADER_BYTES;
            return Err(ManifestError::TooLong { path: self.dir.join(NAME), bytes });
        }
        if !self.unsettled {
            match self.append(&bytes) {
                Ok(()) => {
                    self.set(next);
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(dir = %self.dir.display(), %error, "writing the manifest failed; writing it anew");
                }
            }
        }
        self.rewrite(next).map_err(|source| {
            self.unsettled = true;
            Arc::make_mut(&mut self.state).next_sequence += 1;
            ManifestError::Unwritable { path: self.dir.join(NAME), source }
        })
    }

    /// Appends an edit and, once it is synced, the mark that says so. Both are durable when it returns: were the mark still in
    /// memory when the next edit is written, a power cut could leave that one and not the mark, which would look like damage.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.file.sync_data()?;
        let mark = mark(self.state.next_sequence + 1);
        let behind = self.len + bytes.len() as u64;
        self.file.write_all_at(&mark, behind)?;
        self.file.sync_data()?;
        self.len = behind + mark.len() as u64;
        Ok(())
    }

    /// Marks the last edit, which a start has synced. On a full disk there may be no room: then the next edit takes its place.
    fn mark_last(&mut self) {
        let mark = mark(self.state.next_sequence);
        match self.file.write_all_at(&mark, self.len).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.len += mark.len() as u64;
                let next_sequence = self.state.next_sequence + 1;
                self.set(State { next_sequence, ..(*self.state).clone() });
            }
            Err(error) => {
                tracing::debug!(dir = %self.dir.display(), %error, "the manifest's last edit is not marked")
            }
        }
    }

    /// Makes another state durable, whatever edits would lead there.
    pub(crate) fn replace(&mut self, state: State) -> Result<(), ManifestError> {
        let path = self.dir.join(NAME);
        self.rewrite(state).map_err(|source| ManifestError::Unwritable { path, source })
    }

    fn rewrite(&mut self, state: State) -> io::Result<()> {
        let next_sequence = state.sequence_after_rewrite();
        let (file, len) = write_anew(&*self.fs, &self.dir, &state)?;
        (self.file, self.len, self.unsettled) = (file, len, false);
        self.set(State { next_sequence, ..state });
        Ok(())
    }
}

/// Bytes at the end that are no edit are the remains of one that a crash interrupted, or one that was committed and is
/// damaged. A commit lets the checkpoint before it go, or blocks: where one is gone, the edit was committed, and everything
/// that it names must stay for whoever mends it.
fn refuse_damage(fs: &dyn Fs, dir: &Path, state: &State, offset: u64) -> Result<(), ManifestError> {
    let checkpoint =
        state.checkpoint.as_ref().map(|c| checkpoint::path_of(&dir.join(CHECKPOINT_DIR), c.number));
    let blocks = state.blocks.keys().map(|id| dir.join(BLOCKS_DIR).join(id.to_string()));
    for path in checkpoint.into_iter().chain(blocks) {
        if !fs.exists(&path).map_err(|source| ManifestError::Io { path: path.clone(), source })? {
            let expected = format!("the edit that took {} out of force", path.display());
            let found = "a damaged one".into();
            return Err(ManifestError::Corrupt { path: dir.join(NAME), offset, expected, found });
        }
    }
    Ok(())
}

/// What an operator must know of an edit that was cut and may have been committed.
fn doubt(path: &Path, offset: u64, kept: &Path) -> String {
    let (path, kept) = (path.display(), kept.display());
    format!(
        "{path}: the edit at {offset} was cut, since its checksum is wrong; it is whole in length, so that it may have been committed and damaged later. A deletion made last may be forgotten: look for what should be hidden, and delete it again. A copy is {kept}"
    )
}

/// Adds a line to the note that every start repeats until somebody removes it.
fn note(fs: &dyn Fs, dir: &Path, line: &str) -> io::Result<()> {
    let path = dir.join(QUARANTINE_DIR).join(REBUILT_FILE);
    let mut text = match fs.exists(&path)? {
        true => fs.open(&path, OpenMode::Read)?.read_all()?,
        false => Vec::new(),
    };
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    keep(fs, dir, REBUILT_FILE, &text).map(|_| ())
}

/// Copies what is about to be cut.
fn keep_remains(fs: &dyn Fs, dir: &Path, file: &dyn File, range: Range<u64>) -> io::Result<PathBuf> {
    let bytes = file.read_all()?;
    let remains = usize::try_from(range.start).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    keep(fs, dir, &format!("{NAME}-{:016x}.torn", range.start), remains)
}

/// Writes a file into the quarantine, durable when it returns, in place of one of that name.
pub(super) fn keep(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = dir.join(QUARANTINE_DIR);
    fs.create_dir_all(&folder)?;
    let path = folder.join(name);
    if fs.exists(&path)? {
        fs.remove_file(&path)?;
    }
    let copy = fs.open(&path, OpenMode::CreateNew)?;
    copy.write_all_at(bytes, 0)?;
    copy.sync_data()?;
    fs.sync_dir(&folder)?;
    Ok(path)
}

/// A directory without a manifest must not hold what one would name.
fn refuse_orphans(fs: &dyn Fs, dir: &Path) -> Result<(), ManifestError> {
    for found in NAMED_FOLDERS {
        let path = dir.join(found);
        let at = |source| ManifestError::Io { path: path.clone(), source };
        if fs.exists(&path).map_err(at)? && !fs.read_dir(&path).map_err(at)?.is_empty() {
            return Err(ManifestError::Missing { path: dir.into(), found });
        }
    }
    Ok(())
}

/// Writes `state` to a new file and renames it over the manifest. The mark at its end, true since nothing is renamed before it is
/// synced, has the sequence before the state's next one or a later one, so that block ids stay unique.
pub(crate) fn write_anew(fs: &dyn Fs, dir: &Path, state: &State) -> io::Result<(Arc<dyn File>, u64)> {
    let (new, path) = (dir.join(NEW_NAME), dir.join(NAME));
    if fs.exists(&new)? {
        fs.remove_file(&new)?;
    }
    let mut bytes = header();
    let edits = state.as_edits();
    let first = state.sequence_after_rewrite() - edits.len() as u64;
    for (sequence, edit) in (first..).zip(&edits) {
        bytes.extend(encode(edit, sequence));
    }
    let file = fs.open(&new, OpenMode::CreateNew)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    fs.rename(&new, &path)?;
    fs.sync_dir(dir)?;
    Ok((file, bytes.len() as u64))
}

/// What is behind the last valid edit, for those who only look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Where and how many, in words.
    pub(crate) text: String,
    /// Whether they may be of an edit that was committed.
    pub(crate) are_doubtful: bool,
}

/// What the bytes behind the last valid edit are, if there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Of an edit, or of a mark, that nobody was told of.
    Unfinished,
    /// An edit of full length with a wrong checksum, where a mark does not tell that it was not committed.
    Doubtful,
}

/// A manifest that was read.
#[derive(Debug)]
struct Read {
    state: State,
    /// Where the last valid edit stands, a mark or another one.
    last: Range<u64>,
    /// Whether that is a mark.
    ends_marked: bool,
    /// The length of the file.
    len: u64,
    rest: Rest,
}

/// Judges the bytes behind the last valid edit. An edit is marked before the next one is written and before anybody is told: behind a
/// mark, one that nothing follows was not committed. Without a mark, or with bytes behind it that the mark may have been, it is
/// open; and of an edit that a crash interrupted seldom all bytes are there.
fn judge(rest: &[u8], ends_marked: bool) -> Rest {
    let length = rest.split_first_chunk::<4>().map_or(0, |(length, _)| u32::from_le_bytes(*length) as usize);
    let is_edit = length > MARK_PAYLOAD.len() && length <= EDIT_BYTES_MAX;
    let behind = rest.len().checked_sub(EDIT_HEADER_BYTES + length);
    match behind {
        Some(behind) if is_edit && (!ends_marked || behind > 0) => Rest::Doubtful,
        _ => Rest::Unfinished,
    }
}

/// Reads a manifest up to its last valid edit.
fn read(fs: &dyn Fs, path: &Path) -> Result<Read, ManifestError> {
    let at = |source| ManifestError::Io { path: path.into(), source };
    let file = fs.open(path, OpenMode::Read).map_err(at)?;
    let bytes = file.read_all().map_err(at)?;
    let not_a_manifest = || ManifestError::NotAManifest { path: path.into() };
    let (head, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(not_a_manifest)?;
    if &head[..8] != MAGIC {
        return Err(not_a_manifest());
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if version != VERSION {
        return Err(ManifestError::Version { path: path.into(), found: version });
    }
    let (mut offset, mut last, mut ends_marked) = (HEADER_BYTES, HEADER_BYTES, false);
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
        offset: HEADER_BYTES as u64,
        expected: "an edit with `init`".into(),
        found: "none".into(),
    })?;
    let rest = judge(bytes.get(offset..).unwrap_or_default(), ends_marked);
    Ok(Read { state, last: last as u64..offset as u64, ends_marked, len: bytes.len() as u64, rest })
}

/// For fuzzing: computes the checksums of a manifest's edits anew, as far as their lengths lead.
#[cfg(feature = "fuzz")]
pub(crate) fn make_checksums_fit(file: &mut [u8]) {
    let mut at = HEADER_BYTES;
    while let Some(edit) = file.get_mut(at..).filter(|e| e.len() >= EDIT_HEADER_BYTES) {
        let len = EDIT_HEADER_BYTES + u32::from_le_bytes([edit[0], edit[1], edit[2], edit[3]]) as usize;
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
        let _ = decode(&encode(&edit, 1));
    }
}

fn fold(state: &mut Option<State>, edit: &Edit, sequence: u64) -> Result<(), Bad> {
    let bad = |expected: String, found: String| Err(Bad { expected, found });
    match (state.as_mut(), &edit.init) {
        (None, Some(init)) => {
            let init = init.clone();
            *state = Some(State { next_sequence: sequence + 1, ..State::new(init) });
        }
        (None, None) => return bad("an edit with `init`".into(), format!("edit {sequence}")),
        (Some(s), _) if s.next_sequence != sequence => {
            return bad(format!("edit {}", s.next_sequence), format!("edit {sequence}"));
        }
        (Some(_), Some(_)) => return bad("one `init`".into(), "another".into()),
        (Some(s), None) => {
            if let Some(id) = twice(&s.tombstones, &edit.add_tombstones) {
                let found = format!("another one of id {}", id.0);
                return bad("a deletion that is new, or final now and else as it was".into(), found);
            }
            s.apply(edit);
            s.next_sequence += 1;
        }
    }
    Ok(())
}

/// The id of two tombstones, or of one that is not what it was.
fn twice(known: &BTreeMap<TombstoneId, TombstoneEntry>, added: &[TombstoneEntry]) -> Option<TombstoneId> {
    let mut ids = BTreeSet::new();
    let mut is_wrong = |t: &TombstoneEntry| {
        let changes = |old: &TombstoneEntry| *t != TombstoneEntry { is_final: t.is_final, ..old.clone() };
        !ids.insert(t.id) || known.get(&TombstoneId(t.id)).is_some_and(changes)
    };
    added.iter().find(|t| is_wrong(t)).map(|t| TombstoneId(t.id))
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

#[cfg(test)]
mod tests;
