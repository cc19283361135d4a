//! Looking at a data directory without touching it: beside a running server, or after one.
//!
//! [`inspect`] reads what there is, [`inspect_view`] what a restart would find. Loading a head tidies up behind itself; here it does so
//! on an [`Untouched`] disk.

mod untouched;

use super::faults::Faults;
use super::folders::{CHECKPOINT_DIR, HEAD_DIR, wal_dir};
use super::manifest::{self, Manifest, ManifestError, State};
use super::open::{head_options, load_head, open_block, open_blocks};
use super::replay::Mending;
use crate::block::{Block, OpenBlockError};
use crate::head::cuts::CutPositions;
use crate::head::log::{HeadLog, HeadPos};
use crate::head::{Head, HeadLogError, checkpoint};
use crate::io::{Fs, OpenMode};
use crate::model::{BlockId, ShardCount, Window};
use crate::read::Tombstones;
use crate::read::{View, ViewState};
use crate::wal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub(super) use untouched::Untouched;

/// A data directory at a glance. What could not be read says so in its place.
#[derive(Debug)]
pub struct DirectoryReport {
    /// Shards of the directory.
    pub shards: u16,
    /// The label that owns a series.
    pub account_label: String,
    /// The raw window's length in milliseconds.
    pub window_ms: i64,
    /// The checkpoint in force.
    pub checkpoint: Option<CheckpointReport>,
    /// What the log holds from the checkpoint on; an error's text where it could not be read.
    pub wal: Result<wal::ReplayReport, String>,
    /// Bytes of head-chunk log segments on disk.
    pub head_log_bytes: u64,
    /// The blocks that the manifest names.
    pub blocks: Vec<BlockReport>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

/// The checkpoint in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Its number.
    pub number: u64,
    /// Its length.
    pub bytes: u64,
    /// The first log segment that a restart replays.
    pub wal_segment: u64,
    /// Series in it, by shard; `None` where it could not be read.
    pub series_by_shard: Option<Vec<u64>>,
}

/// A block as the manifest names it.
#[derive(Debug)]
pub struct BlockReport {
    /// Its id.
    pub id: BlockId,
    /// `raw`, `5m`, `1h` or `1d`.
    pub tier: String,
    /// The place of the window's length among those of its tier.
    pub level: u8,
    /// Its window.
    pub window: Window,
    /// Its series.
    pub series: u64,
    /// Its samples.
    pub samples: u64,
    /// Bytes of `index` and `chunks`.
    pub bytes: (u64, u64),
    /// The block itself; an error's text where it could not be opened.
    pub block: Result<Block, String>,
}

/// Why a directory could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is nothing to look at.
    #[error(
        "{path} is not a Cardinal data directory, since it has no MANIFEST: name one with --data-dir, or start `cardinal serve`, which makes one"
    )]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest says a number of shards that there cannot be.
    #[error("the manifest says {0} shards")]
    Shards(u16),
    /// The head-chunk log.
    #[error(transparent)]
    HeadLog(#[from] HeadLogError),
    /// A block of another version.
    #[error(transparent)]
    Block(#[from] OpenBlockError),
}

/// Looks at the directory `dir`. Never writes; works beside a running server, whose newest writes may be missing.
pub fn inspect(fs: &dyn Fs, dir: &Path) -> Result<DirectoryReport, InspectError> {
    let (state, rest) = state_of(fs, dir)?;
    let mut problems = Vec::from_iter(rest);
    let checkpoint = state.checkpoint.as_ref().map(|c| {
        let path = checkpoint::path_of(&dir.join(CHECKPOINT_DIR), c.number);
        let mut damage = Vec::new();
        let counted = checkpoint::count(fs, &path, state.init.shards, &mut damage);
        problems.extend(damage.iter().map(ToString::to_string));
        let series_by_shard = counted.map_err(|e| problems.push(e.to_string())).ok();
        CheckpointReport { number: c.number, bytes: c.bytes, wal_segment: c.wal_segment, series_by_shard }
    });
    let first_segment = checkpoint.as_ref().map_or(0, |c| c.wal_segment);
    let wal_dir = wal_dir(dir);
    let wal = wal::inspect(fs, &wal_dir, first_segment, &mut |_, _| Ok::<(), wal::WalError>(()));
    let wal = wal.map_err(|e| e.to_string());
    let blocks = state.blocks.values().map(|entry| BlockReport {
        id: BlockId(entry.id),
        tier: entry.tier.to_string(),
        level: entry.level,
        window: entry.window(),
        series: entry.series,
        samples: entry.samples,
        bytes: (entry.index_bytes, entry.chunks_bytes),
        block: open_block(fs, dir, entry).map_err(|e| e.to_string()),
    });
    Ok(DirectoryReport {
        shards: state.init.shards,
        account_label: state.init.account_label.clone(),
        window_ms: state.init.window_ms,
        checkpoint,
        wal,
        head_log_bytes: folder_bytes(fs, &dir.join(HEAD_DIR), &mut problems),
        blocks: blocks.collect(),
        problems,
    })
}

/// The directory's series as a restart would find them, head included, which is loaded into memory for it; and what could
/// not be read. Never writes; beside a running server it may have to be tried again, since files come and go.
pub fn inspect_view(fs: Arc<dyn Fs>, dir: &Path) -> Result<(View, Vec<String>), InspectError> {
    let (state, rest) = state_of(&*fs, dir)?;
    let mut problems = Vec::from_iter(rest);
    let (blocks, aside) = open_blocks(&*fs, dir, state.blocks.values(), &Faults::default())?;
    problems.extend(aside.iter().map(|b| b.why.clone()));
    let shards = state.init.shard_count().ok_or(InspectError::Shards(state.init.shards))?;
    let fs: Arc<dyn Fs> = Arc::new(Untouched::new(fs));
    let (head, cuts) = match load_head(&fs, dir, shards, &state, Mending::Leave) {
        Ok((head, cuts, replayed)) => {
            problems.extend(replayed.head_damage);
            (head, cuts)
        }
        Err(error) => {
            problems.push(format!("the newest data cannot be read, blocks only: {error}"));
            (empty_head(&fs, dir, shards, &state)?, CutPositions::default())
        }
    };
    let tombstones = state.tombstones_over(&Tombstones::default(), shards);
    Ok((View::new(Arc::new(head), Arc::new(ViewState { blocks, cuts, aside, tombstones })), problems))
}

/// What the manifest says, and what is behind its last valid edit.
fn state_of(fs: &dyn Fs, dir: &Path) -> Result<(State, Option<String>), InspectError> {
    match fs.exists(&dir.join(manifest::NAME)) {
        Ok(false) => Err(InspectError::NotADataDirectory { path: dir.into() }),
        _ => Ok(Manifest::inspect(fs, dir).map(|(state, rest)| (state, rest.map(|rest| rest.text)))?),
    }
}

/// A head without anything, where the real one cannot be read.
fn empty_head(fs: &Arc<dyn Fs>, dir: &Path, shards: ShardCount, state: &State) -> Result<Head, InspectError> {
    let options = head_options(dir, shards, state);
    let (log, _) = HeadLog::open(fs.clone(), &options.log_dir, &[], HeadPos::NONE, options.window)?;
    Ok(Head::with_log(&options, log))
}

/// The lengths of all files of a folder.
fn folder_bytes(fs: &dyn Fs, folder: &Path, problems: &mut Vec<String>) -> u64 {
    let entries = fs.read_dir(folder).unwrap_or_else(|e| {
        problems.push(format!("{}: {e}", folder.display()));
        Vec::new()
    });
    let len = |name: &str| fs.open(&folder.join(name), OpenMode::Read).and_then(|f| f.len());
    entries.iter().filter_map(|e| len(&e.name).ok()).sum()
}
