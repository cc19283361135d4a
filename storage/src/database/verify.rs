//! Checking a data directory as a whole, without changing it; and mending it, in [`repair`].
//!
//! ```text
//! manifest ─► deletions: ids, ranges, matchers, order
//!          ├► blocks: pages, order, cross-references, chunks     (block::check)
//!          └► checkpoint and log as a restart reads them ─► head: labels, chains of the head-chunk log, chunks
//! ```

mod head;
mod repair;
mod tombstones;

pub use repair::{Repair, RepairError, repair};

use super::folders::{block_dir, wal_dir};
use super::manifest::{BlockEntry, Manifest, ManifestError, State};
use super::open::open_block;
use crate::block::{BlockCounts, BlockMeta, OpenBlockError};
use crate::io::Fs;
use crate::model::BlockId;
use crate::wal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Findings of one part that are told; one page may hold thousands of series. All are counted.
const FINDINGS_MAX: usize = 20;

/// A part of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The `MANIFEST`.
    Manifest,
    /// A block.
    Block(BlockId),
    /// The checkpoint and the head-chunk log.
    Head,
    /// The log.
    Wal,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::Block(id) => write!(f, "block {id}"),
            Self::Head => f.write_str("head"),
            Self::Wal => f.write_str("log"),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it belongs.
    pub part: Part,
    /// File, offset, expected and found, in words.
    pub what: String,
    /// How many series, chunks or the like met it: a damaged page condemns all that lies on it.
    pub times: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// What is wrong, each once, at most twenty of a kind of part.
    pub findings: Vec<Finding>,
    /// All that is wrong, counted.
    pub damaged: u64,
    /// Deletions looked at.
    pub deletions: u64,
    /// Blocks looked at.
    pub blocks: u64,
    /// What the blocks hold.
    pub counts: BlockCounts,
    /// Series of the head.
    pub head_series: u64,
    /// Chunks of the head-chunk log.
    pub head_chunks: u64,
    /// Batches of the log.
    pub wal_batches: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damaged == 0
    }

    fn add(&mut self, part: Part, what: impl ToString) {
        self.damaged += 1;
        let what = what.to_string();
        if let Some(known) = self.findings.iter_mut().find(|f| f.part == part && f.what == what) {
            known.times += 1;
        } else if self.findings.iter().filter(|f| f.part == part).count() < FINDINGS_MAX {
            self.findings.push(Finding { part, what, times: 1 });
        }
    }

    /// Forgets what `other` has not found too.
    fn keep_common(&mut self, other: &Self) {
        let before = self.findings.len();
        self.findings.retain(|f| other.findings.iter().any(|o| (o.part, &o.what) == (f.part, &f.what)));
        // All that was counted and not listed is of parts that have listed findings as well.
        if self.findings.len() != before {
            self.damaged = self.findings.iter().map(|f| f.times).sum();
        }
    }

    fn merge(&mut self, other: Self) {
        self.damaged += other.damaged;
        self.findings.extend(other.findings);
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.findings.iter().any(|f| f.part == part)
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no data directory.
    #[error("{path}: this is no data directory")]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another version wrote it.
    #[error(transparent)]
    Manifest(ManifestError),
    /// Another version wrote a block.
    #[error(transparent)]
    Block(OpenBlockError),
    /// The head cannot be loaded at all.
    #[error("{0}")]
    Head(String),
}

/// How far a verification is, in bytes of files.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Bytes looked at.
    pub done: u64,
    /// Bytes to look at.
    pub total: u64,
    /// What is next.
    pub next: String,
}

/// Checks every checksum, offset, order and cross-reference of the directory `dir`. Never writes. Beside a running server files
/// come and go, the log's without a word in the manifest: what is found counts once it is found again.
pub fn verify(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, VerifyError> {
    const TRIES: usize = 5;
    let (mut state, mut found) = verify_once(fs, dir, progress)?;
    for _ in 1..TRIES {
        if found.is_sound() {
            break;
        }
        let (state_now, mut found_now) = verify_once(fs, dir, progress)?;
        found_now.keep_common(&found);
        let is_quiet = state_now == state;
        (state, found) = (state_now, found_now);
        if is_quiet {
            break;
        }
    }
    Ok(found)
}

fn verify_once(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Option<State>, Verification), VerifyError> {
    let mut found = Verification::default();
    let (state, rest) = match Manifest::inspect(&**fs, dir) {
        Ok(named) => named,
        Err(e @ (ManifestError::Version { .. } | ManifestError::UnknownEdit { .. })) => {
            return Err(VerifyError::Manifest(e));
        }
        Err(e) if !has_data(&**fs, dir) => {
            tracing::debug!(%e, "there is nothing");
            return Err(VerifyError::NotADataDirectory { path: dir.into() });
        }
        Err(e) => {
            found.add(Part::Manifest, e);
            return Ok((None, found));
        }
    };
    found.deletions = state.tombstones.len() as u64;
    tombstones::check(&state, &mut |damage| found.add(Part::Manifest, damage));
    // The remains of an edit that a crash interrupted are no damage: a start cuts them off.
    if let Some(rest) = rest.filter(|rest| rest.are_doubtful) {
        found.add(
            Part::Manifest,
            format!(
                "{}; they are an edit of full length with a wrong checksum, which may have been committed",
                rest.text
            ),
        );
    }
    let head_bytes = state.checkpoint.as_ref().map_or(1, |c| c.bytes.max(1));
    let total = state.blocks.values().map(|b| b.index_bytes + b.chunks_bytes).sum::<u64>() + head_bytes;
    let mut done = 0;
    for entry in state.blocks.values() {
        progress(Progress { done, total, next: Part::Block(BlockId(entry.id)).to_string() });
        check_block(&**fs, dir, &state, entry, &mut found)?;
        done += entry.index_bytes + entry.chunks_bytes;
    }
    progress(Progress { done, total, next: "checkpoint and log".into() });
    check_wal(&**fs, dir, &state, &mut found);
    head::check(fs, dir, &state, &mut found)?;
    progress(Progress { done: total, total, next: String::new() });
    Ok((Some(state), found))
}

fn has_data(fs: &dyn Fs, dir: &Path) -> bool {
    let is_there = |name: &&str| fs.exists(&dir.join(name)).unwrap_or(false);
    super::folders::NAMED_FOLDERS.iter().chain(&[super::manifest::NAME]).any(is_there)
}

fn check_block(
    fs: &dyn Fs,
    dir: &Path,
    state: &State,
    entry: &BlockEntry,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let id = BlockId(entry.id);
    let part = Part::Block(id);
    found.blocks += 1;
    let block = match open_block(fs, dir, entry) {
        Ok(block) => block,
        Err(newer @ OpenBlockError::Version { .. }) => return Err(VerifyError::Block(newer)),
        Err(error) => {
            found.add(part, error);
            return Ok(());
        }
    };
    let counts = block.check(&mut |damage| found.add(part, damage));
    let spec = block.spec();
    let named = (entry.id, entry.tier, entry.level, entry.window(), entry.series, entry.samples);
    let is = (spec.id.0, spec.tier, spec.level, spec.window, counts.series, counts.samples);
    if named != is {
        found.add(
            part,
            format!("{}: expected {named:?} as in the manifest, found {is:?}", block.dir().display()),
        );
    }
    let init = &state.init;
    let made = (init.seed(), init.shards, &*init.account_label);
    let is = (spec.seed, spec.shards.get(), &*spec.account_label);
    if made != is {
        found.add(
            part,
            format!("{}: expected {made:?} as in the manifest, found {is:?}", block.dir().display()),
        );
    }
    match BlockMeta::read(fs, &block_dir(dir, id)) {
        Ok(meta) => block.check_meta(&meta, counts).into_iter().for_each(|damage| found.add(part, damage)),
        Err(error) => found.add(part, error),
    }
    found.counts.series += counts.series;
    found.counts.chunks += counts.chunks;
    found.counts.samples += counts.samples;
    Ok(())
}

/// Checks what is in the log's batches. What the log lacks a start tells, and [`head::check`] asks as it does.
fn check_wal(fs: &dyn Fs, dir: &Path, state: &State, found: &mut Verification) {
    let first = state.checkpoint.as_ref().map_or(0, |c| c.wal_segment);
    let mut records = Vec::new();
    let read = wal::inspect(fs, &wal_dir(dir), first, &mut |lsn, batch| {
        let damaged = batch.filter_map(Result::err);
        records.extend(damaged.map(|e| format!("batch {lsn}: {e}")));
        Ok::<(), wal::WalError>(())
    });
    records.into_iter().for_each(|r| found.add(Part::Wal, r));
    match read {
        Ok(report) => found.wal_batches = report.batches,
        Err(error) => found.add(Part::Wal, error),
    }
}
