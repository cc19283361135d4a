//! Mending a stopped directory: what is damaged goes to `quarantine/`, the rest is kept.
//!
//! ```text
//! manifest   lost or damaged ─► rebuilt from the blocks' meta.json, the newest checkpoint, and what can be read of it
//! block      ─► written anew from what can be read of it, one edit: the new one in, the old one out
//! head, log  ─► loaded as at a start, everything sound written to blocks and a new checkpoint
//! ```
//!
//! Each step is committed before anything is moved, so that a crash in the middle leaves a directory that can be repaired again.
//! What is to be moved is marked before the commit: the next start would remove what is not in force.

mod rebuild;

use super::{Part, Progress, Verification, VerifyError, tombstones, verify};
use crate::block::{Block, BlockSpec, BlockWriter, OpenBlockError, WriteBlockError, decode_checked};
use crate::codec::{self, Samples};
use crate::compact::Chunker;
use crate::database::folders::{BLOCKS_DIR, QUARANTINE_DIR, block_dir, mending_mark};
use crate::database::manifest::{BlockEntry, Edit, Init, Manifest, ManifestError, State};
use crate::database::open::{LOCK_FILE, open_block};
use crate::database::{CutError, Database, DatabaseOptions, OpenError};
use crate::io::{Fs, OpenMode};
use crate::model::{BlockId, DurationMs, LabelSet, SeriesKey, ShardCount};
use crate::wal::WalError;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// What was wrong before.
    pub before: Verification,
    /// What was done, in words.
    pub done: Vec<String>,
    /// What somebody must know of and see to. Each start repeats it.
    pub warnings: Vec<String>,
    /// What is wrong still.
    pub after: Verification,
}

/// Why a repair could not be made, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// A server has it open.
    #[error("{path} is in use by a server; stop it first")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be checked.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The manifest cannot be rebuilt.
    #[error(
        "{path}: nothing tells how the directory was made: no block has a readable meta.json, and there is no checkpoint; restore the MANIFEST from a backup"
    )]
    Unknown {
        /// The directory.
        path: PathBuf,
    },
    /// The manifest could not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A block could not be written.
    #[error(transparent)]
    Write(#[from] WriteBlockError),
    /// A block that was just written cannot be opened.
    #[error(transparent)]
    Block(#[from] OpenBlockError),
    /// The head cannot be loaded.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is sound of the head cannot be written.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.to_path_buf();
    move |source| RepairError::Io { path, source }
}

/// Verifies the directory `dir`, moves what is damaged to `quarantine/`, and verifies it again.
pub fn repair(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Repair, RepairError> {
    let mut repair = Repair::default();
    {
        let path = dir.join(LOCK_FILE);
        let lock = fs.lock(&path).map_err(io_at(&path))?;
        let _lock = lock.ok_or_else(|| RepairError::Locked { path: dir.into() })?;
        repair.before = verify(fs, dir, progress)?;
        let quarantine = dir.join(QUARANTINE_DIR);
        fs.create_dir_all(&quarantine).map_err(io_at(&quarantine))?;
        if repair.before.has(Part::Manifest) {
            mend_manifest(fs, dir, &mut repair)?;
            repair.before.merge(verify(fs, dir, progress)?);
        }
        let damaged = repair.before.findings.iter().filter_map(|f| match f.part {
            Part::Block(id) => Some(id),
            _ => None,
        });
        let damaged: BTreeSet<BlockId> = damaged.collect();
        if !damaged.is_empty() {
            let (state, _) = Manifest::inspect(&**fs, dir)?;
            let mut manifest = Manifest::open(fs.clone(), dir, &state.init)?;
            for id in damaged {
                repair.done.extend(mend_block(fs, dir, &mut manifest, id)?);
            }
        }
    }
    if repair.before.has(Part::Head) || repair.before.has(Part::Wal) {
        repair.done.push(mend_head(fs, dir)?);
    }
    repair.after = verify(fs, dir, progress)?;
    Ok(repair)
}

/// Rebuilds a manifest that cannot be read, or whose last edit may be lost; of another, puts the deletions in order.
fn mend_manifest(fs: &Arc<dyn Fs>, dir: &Path, repair: &mut Repair) -> Result<(), RepairError> {
    let found = Manifest::inspect(&**fs, dir).ok();
    let read = found.filter(|(_, rest)| !rest.as_ref().is_some_and(|rest| rest.are_doubtful));
    let Some((state, _)) = read else {
        let rebuilt = rebuild::manifest(&**fs, dir)?;
        repair.done.push(rebuilt.said);
        repair.warnings.extend(rebuilt.warnings);
        return Ok(());
    };
    let kept = tombstones::mended(&state);
    let (lost, changed) = (
        state.tombstones.len() - kept.len(),
        kept.values().filter(|t| !state.tombstones.values().any(|old| old == *t)).count(),
    );
    let mut manifest = Manifest::open(fs.clone(), dir, &state.init)?;
    let state = State { tombstones: kept, ..manifest.state().clone() };
    manifest.replace(state)?;
    repair
        .done
        .push(format!("of the deletions, {lost} that hid nothing were left out, and {changed} put in order"));
    Ok(())
}

/// Replaces a block by one with what can be read of it.
fn mend_block(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    manifest: &mut Manifest,
    id: BlockId,
) -> Result<Option<String>, RepairError> {
    let Some(old) = manifest.state().blocks.get(&id).cloned() else { return Ok(None) };
    let new = match open_block(&**fs, dir, &old) {
        Ok(block) => write_anew(fs, dir, &block, &old, manifest.state())?,
        Err(_) => None,
    };
    let said = match &new {
        Some((entry, lost)) => format!(
            "block {id} was written anew as block {} with {} of {} series and {} of {} samples{}",
            BlockId(entry.id),
            entry.series,
            old.series,
            entry.samples,
            old.samples,
            if *lost > 0 { format!("; {lost} series or chunks could not be read") } else { String::new() },
        ),
        None => format!(
            "nothing of block {id} can be found without its index: its {} series are lost",
            old.series
        ),
    };
    let add_blocks = new.into_iter().map(|(entry, _)| entry).collect();
    let mark = mending_mark(dir, id);
    make_mark(&**fs, &mark).map_err(io_at(&mark))?;
    manifest.commit(&Edit { add_blocks, remove_blocks: vec![id.0], ..Edit::default() })?;
    let (from, to) = (block_dir(dir, id), dir.join(QUARANTINE_DIR).join(id.to_string()));
    put_away(&**fs, &from, &to)?;
    fs.remove_file(&mark).map_err(io_at(&mark))?;
    Ok(Some(format!("{said}; the damaged one is {}", to.display())))
}

fn make_mark(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    if !fs.exists(path)? {
        fs.open(path, OpenMode::CreateNew)?;
    }
    path.parent().map_or(Ok(()), |folder| fs.sync_dir(folder))
}

/// Moves what is there, in place of what an earlier repair has put there.
fn put_away(fs: &dyn Fs, from: &Path, to: &Path) -> Result<(), RepairError> {
    if !fs.exists(from).map_err(io_at(from))? {
        return Ok(());
    }
    if fs.exists(to).map_err(io_at(to))? {
        let removed = fs.remove_dir_all(to).or_else(|_| fs.remove_file(to));
        removed.map_err(io_at(to))?;
    }
    fs.rename(from, to).map_err(io_at(from))?;
    // Where it is now first: in neither of them it would be lost.
    for folder in [to.parent(), from.parent()].into_iter().flatten() {
        fs.sync_dir(folder).map_err(io_at(folder))?;
    }
    Ok(())
}

/// Writes what can be read of a block to a new one; how many series and chunks could not. `None` where nothing can.
fn write_anew(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    block: &Block,
    old: &BlockEntry,
    state: &State,
) -> Result<Option<(BlockEntry, u64)>, RepairError> {
    let id = state.next_block_id(0);
    let spec = BlockSpec { id, sources: vec![BlockId(old.id)], ..block.spec().clone() };
    let path = block_dir(dir, id);
    if fs.exists(&path).map_err(io_at(&path))? {
        fs.remove_dir_all(&path).map_err(io_at(&path))?;
    }
    let mut chunker = Chunker::new(BlockWriter::create(fs.clone(), &path, spec)?);
    let mut salvage = Salvage::default();
    for shard in block.shards() {
        chunker.begin_shard(shard.id())?;
        salvage.last = None;
        let mut reader = shard.reader();
        for ordinal in 0..shard.series_count() {
            let place = reader.labels(ordinal).and_then(|labels| Ok((reader.key(ordinal)?, labels)));
            let Some((key, labels)) = salvage.in_order(place.ok(), block) else { continue };
            let chunks = reader.chunks(ordinal).into_iter().flatten();
            salvage.samples(chunks.map(|c| c.ok().map(|(_, bytes)| bytes)), &shard);
            chunker.push(&labels, key, &salvage.merged)?;
        }
    }
    if chunker.is_empty() {
        drop(chunker);
        fs.remove_dir_all(&path).map_err(io_at(&path))?;
        return Ok(None);
    }
    let meta = chunker.finish()?;
    let blocks = dir.join(BLOCKS_DIR);
    fs.sync_dir(&blocks).map_err(io_at(&blocks))?;
    let entry = BlockEntry {
        id: id.0,
        index_bytes: meta.index_bytes,
        chunks_bytes: meta.chunks_bytes,
        series: meta.series,
        samples: meta.samples,
        covered_as: Some(old.covered_as().0),
        ..old.clone()
    };
    open_block(&**fs, dir, &entry)?;
    Ok(Some((entry, salvage.lost)))
}

/// What is read of a block, and what was not.
#[derive(Default)]
struct Salvage {
    lost: u64,
    last: Option<(SeriesKey, LabelSet)>,
    parts: Vec<Samples>,
    merged: Samples,
}

impl Salvage {
    /// A series' place, if it can be read, its key is that of its labels, and it comes after those before it.
    fn in_order(
        &mut self,
        place: Option<(SeriesKey, LabelSet)>,
        block: &Block,
    ) -> Option<(SeriesKey, LabelSet)> {
        let spec = block.spec();
        // Key and labels of a series were computed from one another: where they differ, either may be wrong, and a wrong label
        // is worse than a series in quarantine.
        let agree = |p: &(SeriesKey, LabelSet)| p.0 == p.1.key(&spec.account_label, spec.seed);
        let place = place.filter(|p| agree(p) && self.last.as_ref().is_none_or(|last| last < p));
        if place.is_none() {
            self.lost += 1;
        } else {
            self.last.clone_from(&place);
        }
        place
    }

    /// Gathers the samples of a series' chunks that can be read.
    fn samples<'a>(
        &mut self,
        chunks: impl Iterator<Item = Option<&'a [u8]>>,
        shard: &crate::block::BlockShard<'_>,
    ) {
        let window = shard.block().spec().window.range();
        self.merged.clear();
        let mut used = 0;
        for chunk in chunks {
            if self.parts.len() == used {
                self.parts.push(Samples::default());
            }
            let part = &mut self.parts[used];
            part.clear();
            let decoded = chunk.map(|c| decode_checked(c, shard, part));
            let inside = |t| window.contains(crate::model::TimestampMs(t));
            let all_inside = part.ends().is_some_and(|(first, last)| inside(first) && inside(last));
            if matches!(decoded, Some(Ok(()))) && all_inside {
                used += 1;
            } else {
                self.lost += 1;
            }
        }
        codec::merge(&mut self.parts[..used], &mut self.merged);
    }
}

/// Opens the directory as a server does, which leaves out what is damaged, and writes all that is in the head to blocks.
fn mend_head(fs: &Arc<dyn Fs>, dir: &Path) -> Result<String, RepairError> {
    let (state, _) = Manifest::inspect(&**fs, dir)?;
    let Init { shards, account_label, window_ms, .. } = state.init;
    let shards = ShardCount::new(shards).ok_or_else(|| RepairError::Unknown { path: dir.into() })?;
    let options = DatabaseOptions {
        account_label,
        shards,
        window: DurationMs(window_ms),
        background: false,
        fs: fs.clone(),
        ..DatabaseOptions::new(dir)
    };
    let database = Database::open(options)?;
    database.flush()?;
    database.checkpoint_now()?;
    database.close()?;
    Ok("what is sound of the head was written to blocks and a new checkpoint".into())
}
