//! Compaction: carries out what `compact::plan` chooses, on a thread of its own.
//!
//! ```text
//! look:    the manifest's blocks                      under the maintenance lock, for a moment
//! merge:   sources ─► a new block, written and synced  beside cuts, checkpoints and queries
//! commit:  one edit: the block in, its sources out     under the maintenance lock
//! retire:  the sources' files                         once no view holds them
//! ```

use super::backoff::Backoff;
use super::deletions::{Deleted, Reclaim};
use super::folders::BLOCKS_DIR;
use super::maintain::Maintenance;
use super::manifest::{BlockEntry, Edit};
use super::open::open_block;
use super::retire::Retired;
use super::stats::CompactionResult;
use super::{CompactError, Database};
use crate::block::{Block, BlockMeta, BlockSpec, Tier};
use crate::compact::merge::Merger;
use crate::compact::plan::{Action, BlockFacts, DropReason, Merge, Situation, plan};
use crate::compact::retention::{Expiry, shards_of_own};
use crate::io::step_back;
use crate::model::{BlockId, DurationMs, LsnRange, TimestampMs, Window};
use crate::read::ViewState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Room that a merge leaves on the disk: for the log, checkpoints and the manifest.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// The first wait after a failure, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(600);

/// The state of whoever compacts.
#[derive(Debug)]
pub(super) struct Compaction {
    backoff: Backoff,
    /// Merges begun by this process.
    merges: u64,
    /// Blocks that could not be read as a whole. They are tried again after a restart, and on demand.
    damaged: BTreeSet<BlockId>,
    /// What final deletions touch.
    pub(super) deleted: Deleted,
    /// By block: series with a retention of their own; blocks do not change.
    own_retention: BTreeMap<BlockId, Vec<(DurationMs, u64)>>,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            merges: 0,
            damaged: BTreeSet::new(),
            deleted: Deleted::default(),
            own_retention: BTreeMap::new(),
        }
    }
}

/// What a choice is made from, and what it is carried out with.
struct Look {
    entries: BTreeMap<BlockId, BlockEntry>,
    view: Arc<ViewState>,
    newest: TimestampMs,
    reference: TimestampMs,
    /// When the newest data of blocks came.
    arrivals: BTreeMap<BlockId, TimestampMs>,
    reclaim: Reclaim,
}

impl Database {
    /// Merges what can be merged, worth it or not, into one block a day, the current one included; drops what is past retention.
    /// Returns when nothing is left to do. Waits for what the background does just now. What is in the head stays there: flush
    /// first to have it folded as well. A damaged block is left as it is, and the error says so once the rest is done.
    pub fn compact(&self) -> Result<(), CompactError> {
        // A thread of its own, since one that has stepped back never steps forward again.
        let run = || {
            step_back();
            self.compact_while(true, || true)
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("compact".into()).spawn_scoped(scope, run);
            let thread = thread.map_err(|source| CompactError::Io { path: self.dir.clone(), source })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Carries out what is due, or with `fold_all` all there is, as long as `wanted` says that it is waited for. A damaged block is
    /// left as it is, and the error says so once the rest is done.
    pub(super) fn compact_while(
        &self,
        fold_all: bool,
        wanted: impl Fn() -> bool,
    ) -> Result<(), CompactError> {
        let mut c = self.compaction.lock();
        c.damaged.clear();
        let mut damage = None;
        while wanted() {
            match self.compact_step(&mut c, fold_all) {
                Ok(true) => {}
                Ok(false) => return damage.map_or(Ok(()), Err),
                Err(error) => match self.failed(&mut c, error) {
                    // The block is set aside: the next choice is another.
                    error @ (CompactError::Damaged { .. } | CompactError::Chunk { .. }) => {
                        damage.get_or_insert(error);
                    }
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Carries out what is due, until nothing is or something fails. The background calls it every few seconds.
    pub fn compact_due(&self) {
        let mut c = self.compaction.lock();
        while !self.is_read_only() && !self.is_closing() && !c.backoff.is_waiting(self.clock.monotonic()) {
            match self.compact_step(&mut c, false) {
                Ok(true) => c.backoff.succeeded(),
                Ok(false) => break,
                Err(error) => {
                    let error = self.failed(&mut c, error);
                    if !matches!(error, CompactError::Damaged { .. } | CompactError::Chunk { .. }) {
                        c.backoff.failed(self.clock.monotonic());
                    }
                }
            }
        }
        self.counters.compaction_retry_at(c.backoff.until());
    }

    /// Notes a failure: counts it, tells it, sets a damaged block aside.
    fn failed(&self, c: &mut Compaction, error: CompactError) -> CompactError {
        let result = match &error {
            CompactError::Damaged { block, .. } | CompactError::Chunk { block, .. } => {
                c.damaged.insert(*block);
                CompactionResult::Damaged
            }
            CompactError::NoSpace { .. } => CompactionResult::NoSpace,
            CompactError::Closed => return error,
            _ => CompactionResult::Failed,
        };
        self.counters.compacted(result);
        tracing::error!(%error, "compaction failed; nothing is lost");
        error
    }

    /// Does the most urgent thing, and lets go of what that made superfluous; whether there was anything.
    fn compact_step(&self, c: &mut Compaction, fold_all: bool) -> Result<bool, CompactError> {
        let did_something = self.compact_next(c, fold_all)?;
        if did_something {
            self.retire(&mut self.maintenance.lock());
        }
        Ok(did_something)
    }

    /// Does the most urgent thing; whether there was one.
    fn compact_next(&self, c: &mut Compaction, fold_all: bool) -> Result<bool, CompactError> {
        if self.is_closing() {
            return Err(CompactError::Closed);
        }
        if self.is_read_only() {
            return Err(CompactError::ReadOnly);
        }
        if self.advance_deletions(c)? {
            return Ok(true);
        }
        let look = self.look();
        c.deleted.retain(&look.view.tombstones, |id| look.entries.contains_key(&id));
        c.own_retention.retain(|id, _| look.entries.contains_key(id));
        let blocks: Vec<BlockFacts> = look.entries.values().map(|e| self.facts(c, &look, e)).collect();
        let situation = Situation {
            blocks: &blocks,
            newest: look.newest,
            reference: look.reference,
            window: self.head.window,
            retention: &self.options.retention,
            pending: &look.reclaim.pending,
            fold_all,
        };
        match plan(&situation).first() {
            None => return Ok(false),
            Some(Action::Drop { blocks, why }) => self.drop_blocks(&look, blocks, *why)?,
            Some(Action::Merge(merge)) => self.merge(c, &look, merge)?,
        }
        Ok(true)
    }

    fn look(&self) -> Look {
        let m = self.maintenance.lock();
        let entries = m.manifest.state().blocks.clone();
        let (newest, reference) =
            (self.newest_of_all(m.manifest.state()), self.reference(m.manifest.state()));
        let arrivals = m.manifest.state().arrivals(newest);
        let view = self.view.load_full();
        drop(m);
        let reclaim = Reclaim::of(&view.tombstones);
        Look { entries, view, newest, reference, arrivals, reclaim }
    }

    fn facts(&self, c: &mut Compaction, look: &Look, entry: &BlockEntry) -> BlockFacts {
        let id = BlockId(entry.id);
        let block = look.view.blocks.get(&id);
        let own_retention = match c.own_retention.get(&id) {
            Some(own) => own.clone(),
            None => {
                let own = self.count_own(block, entry, &mut c.damaged);
                c.own_retention.insert(id, own.clone());
                own
            }
        };
        BlockFacts {
            id,
            covered_as: entry.covered_as(),
            tier: entry.tier,
            window: entry.window(),
            bytes: entry.index_bytes.saturating_add(entry.chunks_bytes),
            series: entry.series,
            own_retention,
            arrived: look.arrivals.get(&id).copied(),
            has_deleted: block
                .is_some_and(|b| look.reclaim.covering(entry.covered_as()).any(|t| c.deleted.touches(t, b))),
            is_damaged: block.is_none() || c.damaged.contains(&id),
        }
    }

    /// Series of a block by retentions of their own. Where the index cannot tell, all of them have the longest.
    fn count_own(
        &self,
        block: Option<&Arc<Block>>,
        entry: &BlockEntry,
        damaged: &mut BTreeSet<BlockId>,
    ) -> Vec<(DurationMs, u64)> {
        let retention = &self.options.retention;
        let mut counts = Vec::new();
        let shards = shards_of_own(retention, self.shards);
        let shards = block.into_iter().flat_map(|b| shards.iter().filter_map(|s| b.shard(*s)));
        for found in shards.map(|shard| retention.count_own(&shard)) {
            match found {
                Ok(own) => counts.extend(own),
                Err(error) => {
                    tracing::error!(%error, "the accounts of a block cannot be told; it is kept as long as any of them");
                    damaged.insert(BlockId(entry.id));
                }
            }
        }
        if block.is_none() || damaged.contains(&BlockId(entry.id)) {
            let others = retention.of(entry.tier);
            let longest = retention.accounts.values().copied().fold(others, DurationMs::max);
            return vec![(longest, entry.series)];
        }
        counts
    }

    fn drop_blocks(&self, look: &Look, blocks: &[BlockId], why: DropReason) -> Result<(), CompactError> {
        self.commit_blocks(None, blocks)?;
        let gone: Vec<&BlockEntry> = blocks.iter().filter_map(|id| look.entries.get(id)).collect();
        gone.iter().for_each(|b| self.changes.note_all(b.window().range()));
        let samples: u64 = gone.iter().map(|b| b.samples).sum();
        let bytes: u64 = gone.iter().map(|b| b.index_bytes + b.chunks_bytes).sum();
        let until_ms = gone.iter().map(|b| b.window().end().0).max();
        self.counters.dropped(blocks.len() as u64);
        self.counters.compacted(CompactionResult::Dropped);
        tracing::info!(blocks = blocks.len(), samples, bytes, until_ms, ?why, "dropped blocks");
        Ok(())
    }

    fn merge(&self, c: &mut Compaction, look: &Look, merge: &Merge) -> Result<(), CompactError> {
        let sources: Vec<Arc<Block>> =
            merge.sources.iter().filter_map(|id| look.view.blocks.get(id).cloned()).collect();
        self.check_space(merge)?;
        let started = self.clock.monotonic();
        c.merges += 1;
        let id = self.maintenance.lock().manifest.state().merged_block_id(c.merges);
        let window = merge.window;
        tracing::info!(block = %id, sources = sources.len(), bytes = merge.bytes, level = merge.level, until_ms = window.end().0, "merging blocks");
        let chunk_bytes = sources.iter().map(|b| b.file_bytes().1).sum();
        self.counters.merge_began(chunk_bytes);
        let outcome = self.write_merged(look, merge, id, &sources).and_then(|meta| {
            let entry = meta.as_ref().map(|meta| merged_entry(look, merge, id, meta));
            self.commit_blocks(entry.as_ref(), &merge.sources).map(|()| meta)
        });
        self.counters.merge_ended();
        // A failed commit leaves open which state the disk holds: then what it may name stays, until the next start.
        if !matches!(outcome, Ok(_) | Err(CompactError::Commit(_))) {
            self.discard_block(id);
        }
        let meta = outcome?;
        // Series with a retention of their own may have been left out.
        if !self.options.retention.accounts.is_empty() {
            self.changes.note_all(merge.window.range());
        }
        let took = self.clock.monotonic().saturating_sub(started);
        let written = meta.as_ref().map_or(0, |m| m.index_bytes + m.chunks_bytes);
        let (series, samples) = meta.as_ref().map_or((0, 0), |m| (m.series, m.samples));
        self.counters.merged(merge.bytes, written, took);
        tracing::info!(block = %id, sources = sources.len(), read_bytes = merge.bytes, written_bytes = written, series, samples, seconds = took.as_secs_f64(), "merged blocks");
        Ok(())
    }

    /// A merge that would fill the disk takes the room that the log needs.
    fn check_space(&self, merge: &Merge) -> Result<(), CompactError> {
        let path = self.dir.join(BLOCKS_DIR);
        let free =
            self.fs.free_bytes(&path).map_err(|source| CompactError::Io { path: path.clone(), source })?;
        let (needed, left) = (merge.bytes, FREE_BYTES_MIN);
        if free < needed.saturating_add(left) {
            return Err(CompactError::NoSpace { path, free, needed, left, blocks: merge.sources.len() });
        }
        Ok(())
    }

    fn write_merged(
        &self,
        look: &Look,
        merge: &Merge,
        id: BlockId,
        sources: &[Arc<Block>],
    ) -> Result<Option<BlockMeta>, CompactError> {
        let both =
            |a: LsnRange, b: LsnRange| LsnRange { first: a.first.min(b.first), last: a.last.max(b.last) };
        let lsns = sources.iter().filter_map(|b| b.spec().lsns).reduce(both);
        let spec = BlockSpec {
            id,
            window: merge.window,
            tier: merge.tier,
            level: merge.level,
            sources: merge.sources.clone(),
            seed: self.head.seed,
            account_label: self.head.account_label.to_string(),
            shards: self.shards,
            lsns,
        };
        let expired = |block: &Block, tier: Tier, window: Window| Expiry {
            retention: &self.options.retention,
            tier,
            window,
            arrived: look.arrivals.get(&block.spec().id).copied(),
            reference: look.reference,
        };
        let merger = Merger {
            fs: &self.fs,
            blocks_dir: &self.dir.join(BLOCKS_DIR),
            pace: &self.pace,
            sources,
            spec,
            filter: &|shard| {
                let spec = shard.block().spec();
                let mut hidden = expired(shard.block(), spec.tier, spec.window).hidden(shard)?;
                let covered_as = look.entries.get(&spec.id).map_or(spec.id, BlockEntry::covered_as);
                for t in look.reclaim.covering(covered_as).filter(|t| t.range.overlaps(spec.window.range())) {
                    hidden.push((t.select(shard)?, t.range));
                }
                Ok(hidden)
            },
            read_bytes: &self.counters.merge_read_bytes,
            is_closing: &|| self.is_closing(),
        };
        merger.write()
    }

    /// Publishes a block, if any, in the place of others: one edit, one view.
    fn commit_blocks(&self, add: Option<&BlockEntry>, remove: &[BlockId]) -> Result<(), CompactError> {
        let added = add
            .map(|e| open_block(&*self.fs, &self.dir, e).map(|b| (BlockId(e.id), Arc::new(b))))
            .transpose()?;
        let path = self.dir.join(BLOCKS_DIR);
        if added.is_some() {
            self.fs.sync_dir(&path).map_err(|source| CompactError::Io { path, source })?;
        }
        let mut m = self.maintenance.lock();
        let edit = Edit {
            add_blocks: add.into_iter().cloned().collect(),
            remove_blocks: remove.iter().map(|id| id.0).collect(),
            ..Edit::default()
        };
        m.manifest.commit(&edit).map_err(|e| CompactError::Commit(e.to_string()))?;
        self.publish(&mut m, added, remove);
        Ok(())
    }

    /// Under the maintenance lock, as every change of the view.
    fn publish(&self, m: &mut Maintenance, added: Option<(BlockId, Arc<Block>)>, removed: &[BlockId]) {
        let old = self.view.load_full();
        let mut blocks = old.blocks.clone();
        blocks.retain(|id, _| !removed.contains(id));
        blocks.extend(added);
        let aside = old.aside.iter().filter(|b| !removed.contains(&b.id)).cloned().collect();
        let tombstones = m.manifest.state().tombstones_over(&old.tombstones, self.shards);
        self.view.store(Arc::new(ViewState { blocks, cuts: old.cuts.clone(), aside, tombstones }));
        m.retired.push(&old, Retired::Blocks(removed.to_vec()));
    }

    /// Removes the files of a block that is not in force, or not any more. What is left of it is garbage at the next start.
    pub(super) fn discard_block(&self, id: BlockId) {
        let path = self.dir.join(BLOCKS_DIR).join(id.to_string());
        match self.fs.remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a block that is not needed could not be removed");
            }
            _ => {}
        }
    }
}

/// The entry of a merged block.
fn merged_entry(look: &Look, merge: &Merge, id: BlockId, meta: &BlockMeta) -> BlockEntry {
    let sources = || merge.sources.iter().filter_map(|id| look.entries.get(id));
    BlockEntry {
        id: id.0,
        tier: merge.tier,
        level: merge.level,
        window_start: merge.window.start.0,
        window_ms: merge.window.len.0,
        index_bytes: meta.index_bytes,
        chunks_bytes: meta.chunks_bytes,
        series: meta.series,
        samples: meta.samples,
        covered_as: sources().map(|s| s.covered_as()).max().map(|id| look.reclaim.covered_as(id).0),
        arrived_ms: merge.sources.iter().filter_map(|id| look.arrivals.get(id)).max().map(|t| t.0),
    }
}
