//! Deleting, undoing it, and reclaiming what was deleted (`docs/decisions/0010-deletions-act-on-blocks.md`).
//!
//! ```text
//! delete:   cut what of it is in the head ─► tombstones in one edit ─► hidden in every view from then on
//! undelete: the tombstone leaves, within the grace
//! reclaim:  grace over, or asked for ─► final ─► merges leave out what it hides ─► nothing left: it leaves
//! ```

use super::compaction::Compaction;
use super::maintain::Maintenance;
use super::manifest::{Edit, State, TOMBSTONE_BYTES_MAX, TOMBSTONES_MAX, TombstoneEntry};
use super::retire::Retired;
use super::{CompactError, CutError, Database};
use crate::compact::cut::DeletedSamples;
use crate::compact::plan::TombstoneSpan;
use crate::head::shard::ShardLabels;
use crate::index::{Matcher, select};
use crate::model::{BlockId, SeriesSlot, ShardCount, TimeRange, TimestampMs, TombstoneId, Window};
use crate::read::{Tombstone, Tombstones, ViewState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A deletion in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// What it hides.
    pub tombstone: Arc<Tombstone>,
    /// Until when it can be undone, in the time of the data: the lesser of the clock and the newest sample.
    pub undeletable_until: TimestampMs,
}

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The number of deletions held is bounded.
    #[error(
        "{held} deletions are held, of {TOMBSTONES_MAX} at most: delete with wider selectors, undelete some, or reclaim them with clean_tombstones"
    )]
    TooMany {
        /// How many are held.
        held: usize,
    },
    /// So is the length of a selector.
    #[error("a selector takes {bytes} bytes, of {TOMBSTONE_BYTES_MAX} at most: divide it into several")]
    TooLong {
        /// The bytes that its tombstone would take.
        bytes: usize,
    },
    /// What is in the head could not be cut. Nothing was deleted.
    #[error("nothing was deleted: {0}")]
    Cut(#[from] CutError),
    /// The edit could not be committed.
    #[error("the deletion may or may not be in force after a restart: {0}")]
    Commit(#[source] super::ManifestError),
    /// Nothing can be written.
    #[error("the disk failed, nothing is written until a restart")]
    ReadOnly,
}

/// Why a deletion was not undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UndeleteError {
    /// There is none of this id.
    #[error("there is no deletion {0}: it was undone before, or all of it was reclaimed")]
    Unknown(TombstoneId),
    /// Its grace is over.
    #[error(
        "deletion {0} cannot be undone any more: its grace (delete.grace) is over, or clean_tombstones was called"
    )]
    Final(TombstoneId),
    /// The edit could not be committed.
    #[error("the deletion may or may not be in force after a restart: {0}")]
    Commit(#[source] super::ManifestError),
    /// Nothing can be written.
    #[error("the disk failed, nothing is written until a restart")]
    ReadOnly,
}

impl State {
    /// The tombstones over the blocks; what `old` knows is kept.
    pub(super) fn tombstones_over(&self, old: &Tombstones, shards: ShardCount) -> Arc<Tombstones> {
        let by_id = self.compile_tombstones(&old.by_id);
        let by_id = by_id.expect("the manifest's tombstones were compiled when they were read or made");
        let blocks = self.blocks.values().map(|b| (BlockId(b.id), b.window(), b.covered_as()));
        Arc::new(old.over(by_id, blocks, shards))
    }
}

impl Database {
    /// Deletes the samples in `range` of the series that any of `selectors` accepts: those that were accepted before the call.
    /// They are hidden when it returns, and what is sent from then on is visible. Returns the deletions; none where
    /// nothing was found. Cuts the head where it has such samples.
    pub fn delete_series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<TombstoneId>, DeleteError> {
        if self.is_read_only() {
            return Err(DeleteError::ReadOnly);
        }
        let selectors = &each_once(selectors);
        check_lengths(selectors, range)?;
        let sight = self.look_for(selectors, range);
        let mut m = self.maintenance.lock();
        let held = m.manifest.state().tombstones.len();
        if held + selectors.len() > TOMBSTONES_MAX {
            return Err(DeleteError::TooMany { held });
        }
        if sight.in_head {
            let until = Window::of(range.until, self.head.window).end();
            let deleted = DeletedSamples { selectors, range };
            self.with_reserve(&mut m, |db, m| db.cut(m, until, Some(deleted)))?;
        }
        let state = m.manifest.state();
        let last_created = state.tombstones.values().map(|t| t.created_ms).max().unwrap_or(i64::MIN);
        let created = self.clock.now().max(self.newest_claimed(state)).max(TimestampMs(last_created));
        let view = self.view.load_full();
        let mut tombstones = Vec::new();
        for (matchers, was_hit) in selectors.iter().zip(&sight.hits) {
            let id = TombstoneId(state.next_block_id(tombstones.len() as u64).0);
            let tombstone = Tombstone { id, matchers: matchers.clone(), range, created, is_final: false };
            let mut unseen = view.blocks.iter().filter(|(id, _)| !sight.blocks.contains(id));
            if *was_hit || !view.aside.is_empty() || unseen.any(|(_, b)| may_touch(&tombstone, b)) {
                tombstones.push(tombstone);
            }
        }
        if !tombstones.is_empty() {
            let edit = Edit {
                add_tombstones: tombstones.iter().map(TombstoneEntry::of).collect(),
                ..Edit::default()
            };
            self.commit_tombstones(&mut m, &edit).map_err(DeleteError::Commit)?;
            tombstones.iter().for_each(|t| self.changes.note_selection(&t.matchers, t.range));
        }
        self.retire(&mut m);
        self.counters.deletions.fetch_add(tombstones.len() as u64, Ordering::Relaxed);
        let ids: Vec<TombstoneId> = tombstones.iter().map(|t| t.id).collect();
        tracing::info!(
            ?ids,
            from_ms = range.after.0.saturating_add(1),
            until_ms = range.until.0,
            "deleted series"
        );
        Ok(ids)
    }

    /// Undoes a deletion: what it hid and no other hides is visible again.
    pub fn undelete(&self, id: TombstoneId) -> Result<(), UndeleteError> {
        let mut m = self.maintenance.lock();
        if self.is_read_only() {
            return Err(UndeleteError::ReadOnly);
        }
        let state = m.manifest.state();
        let tombstone = state.tombstones.get(&id).ok_or(UndeleteError::Unknown(id))?;
        if tombstone.is_final || self.is_past_grace(TimestampMs(tombstone.created_ms), self.reference(state))
        {
            return Err(UndeleteError::Final(id));
        }
        let undone = self.view.load().tombstones.by_id.get(&id).cloned();
        let edit = Edit { remove_tombstones: vec![id.0], ..Edit::default() };
        self.commit_tombstones(&mut m, &edit).map_err(UndeleteError::Commit)?;
        match undone {
            Some(t) => self.changes.note_selection(&t.matchers, t.range),
            None => self.changes.note_all(TimeRange::ALL),
        }
        self.counters.undeletions.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%id, "undid a deletion");
        Ok(())
    }

    /// The deletions in force, oldest first. Waits for nothing.
    pub fn deletions(&self) -> Vec<Deletion> {
        let view = self.view.load();
        let deletion = |t: &Arc<Tombstone>| Deletion {
            tombstone: t.clone(),
            undeletable_until: t.created + self.options.delete_grace,
        };
        view.tombstones.by_id.values().map(deletion).collect()
    }

    /// Whether [`Self::undelete`] would undo it now. Waits for nothing.
    pub fn can_undelete(&self, deletion: &Deletion) -> bool {
        let reference = self.reference(&self.committed.load());
        !deletion.tombstone.is_final && !self.is_past_grace(deletion.tombstone.created, reference)
    }

    /// Reclaims what is deleted by now, whatever its grace; returns when it is done. Cannot be undone.
    pub fn clean_tombstones(&self) -> Result<(), CompactError> {
        let ids: Vec<TombstoneId> = {
            let mut m = self.maintenance.lock();
            if self.is_read_only() {
                return Err(CompactError::ReadOnly);
            }
            let ids: Vec<TombstoneId> = m.manifest.state().tombstones.keys().copied().collect();
            self.finalize(&mut m, &ids)?;
            ids
        };
        let is_held = || ids.iter().any(|id| self.view.load().tombstones.by_id.contains_key(id));
        self.compact_while(false, is_held)
    }

    /// Looks for what selectors find, without any lock: that may take long where they find much. The head comes first, since data go from
    /// there to blocks.
    fn look_for(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Sight {
        let in_head = selectors.iter().any(|s| self.head_may_have(s, range));
        let view = self.view.load_full();
        let hit = |matchers: &Vec<Matcher>| {
            let tombstone = nameless(matchers, range);
            view.blocks.values().any(|b| may_touch(&tombstone, b))
        };
        Sight {
            in_head,
            hits: selectors.iter().map(hit).collect(),
            blocks: view.blocks.keys().copied().collect(),
        }
    }

    /// Whether the head has a series that `matchers` accept with a sample after the start of `range`.
    fn head_may_have(&self, matchers: &[Matcher], range: TimeRange) -> bool {
        let view = self.view();
        view.shards_for(matchers).any(|shard| {
            let slots = match select(&ShardLabels(shard), matchers) {
                Ok(slots) => slots.to_vec(),
                Err(never) => match never {},
            };
            slots.chunks(crate::head::shard::SLICE as usize).any(|slots| {
                let series = shard.series.lock();
                let is_new =
                    |slot: &u32| series.record(SeriesSlot(*slot)).is_some_and(|r| r.last_t > range.after);
                slots.iter().any(is_new)
            })
        })
    }

    /// Commits an edit of tombstones, and publishes it.
    fn commit_tombstones(&self, m: &mut Maintenance, edit: &Edit) -> Result<(), super::ManifestError> {
        m.manifest.commit(edit)?;
        let old = self.view.load_full();
        let tombstones = m.manifest.state().tombstones_over(&old.tombstones, self.shards);
        self.view.store(Arc::new(ViewState { tombstones, ..(*old).clone() }));
        // Nothing is to go; but what goes later waits for the readers of this view too.
        m.retired.push(&old, Retired::Ids(Vec::new()));
        Ok(())
    }

    fn finalize(&self, m: &mut Maintenance, ids: &[TombstoneId]) -> Result<(), CompactError> {
        let entries = &m.manifest.state().tombstones;
        let open = ids.iter().filter_map(|id| entries.get(id)).filter(|t| !t.is_final);
        let add_tombstones: Vec<_> = open.map(|t| TombstoneEntry { is_final: true, ..t.clone() }).collect();
        if add_tombstones.is_empty() {
            return Ok(());
        }
        let edit = Edit { add_tombstones, ..Edit::default() };
        self.commit_tombstones(m, &edit).map_err(|e| CompactError::Commit(e.to_string()))
    }

    fn is_past_grace(&self, created: TimestampMs, reference: TimestampMs) -> bool {
        created + self.options.delete_grace <= reference
    }

    /// Marks deletions whose grace is over as final, and forgets final ones that hide nothing any more; whether there was any.
    pub(super) fn advance_deletions(&self, c: &mut Compaction) -> Result<bool, CompactError> {
        let mut m = self.maintenance.lock();
        let (view, state) = (self.view.load_full(), m.manifest.state());
        let reference = self.reference(state);
        let past: Vec<TombstoneId> = view
            .tombstones
            .by_id
            .values()
            .filter(|t| !t.is_final && self.is_past_grace(t.created, reference))
            .map(|t| t.id)
            .collect();
        if !past.is_empty() {
            self.finalize(&mut m, &past)?;
            return Ok(true);
        }
        let hides = |t: &Tombstone| {
            state.blocks.values().any(|b| {
                let touches = t.covers(b.covered_as()) && t.range.overlaps(b.window().range());
                touches && view.blocks.get(&BlockId(b.id)).is_none_or(|block| c.deleted.touches(t, block))
            })
        };
        let done = view.tombstones.by_id.values().filter(|t| t.is_final && !hides(t)).map(|t| t.id.0);
        let remove_tombstones: Vec<u64> = done.collect();
        if remove_tombstones.is_empty() {
            return Ok(false);
        }
        tracing::info!(ids = ?remove_tombstones, "reclaimed what was deleted");
        let edit = Edit { remove_tombstones, ..Edit::default() };
        self.commit_tombstones(&mut m, &edit).map_err(|e| CompactError::Commit(e.to_string()))?;
        Ok(true)
    }
}

/// What selectors found before the call had the lock.
struct Sight {
    /// Whether any of them found something in the head.
    in_head: bool,
    /// Which of them found something in a block.
    hits: Vec<bool>,
    /// Blocks that were looked at.
    blocks: BTreeSet<BlockId>,
}

/// A tombstone that has no id yet.
fn nameless(matchers: &[Matcher], range: TimeRange) -> Tombstone {
    let (id, created) = (TombstoneId(u64::MAX), TimestampMs::MIN);
    Tombstone { id, matchers: matchers.to_vec(), range, created, is_final: true }
}

/// Whether it may hide something of the block; one that cannot be told from its index may.
fn may_touch(tombstone: &Tombstone, block: &crate::block::Block) -> bool {
    tombstone.touches(block).unwrap_or(true)
}

/// The selectors without repetitions: one deletion of each can be undone by one id. No more of them than are too many.
fn each_once(selectors: &[Vec<Matcher>]) -> Vec<Vec<Matcher>> {
    let mut once: Vec<Vec<Matcher>> = Vec::new();
    for selector in selectors {
        if once.len() <= TOMBSTONES_MAX && !once.contains(selector) {
            once.push(selector.clone());
        }
    }
    once
}

fn check_lengths(selectors: &[Vec<Matcher>], range: TimeRange) -> Result<(), DeleteError> {
    for matchers in selectors {
        let bytes = TombstoneEntry::of(&nameless(matchers, range)).bytes();
        if bytes > TOMBSTONE_BYTES_MAX {
            return Err(DeleteError::TooLong { bytes });
        }
    }
    Ok(())
}

/// What deletions mean to a choice of merges.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    /// Those that can be undone.
    pub(super) pending: Vec<TombstoneSpan>,
    /// Those that cannot.
    pub(super) final_ones: Vec<Arc<Tombstone>>,
}

impl Reclaim {
    pub(super) fn of(tombstones: &Tombstones) -> Self {
        let span = |t: &Arc<Tombstone>| TombstoneSpan { range: t.range, bound: BlockId(t.id.0) };
        let (final_ones, pending): (Vec<_>, Vec<_>) =
            tombstones.by_id.values().cloned().partition(|t| t.is_final);
        Self { pending: pending.iter().map(span).collect(), final_ones }
    }

    /// The final ones that cover a block.
    pub(super) fn covering(&self, covered_as: BlockId) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.final_ones.iter().filter(move |t| t.covers(covered_as))
    }

    /// By what a block is judged that was made of blocks with `covered_as`, without what the final ones hide: these have nothing
    /// to hide in it. All that can be undone have greater ids.
    pub(super) fn covered_as(&self, covered_as: BlockId) -> BlockId {
        let newest = self.covering(covered_as).map(|t| t.id.0.saturating_add(1)).max();
        newest.map_or(covered_as, |id| BlockId(id.max(covered_as.0)))
    }
}

/// Whether final tombstones touch blocks, found once: neither changes.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    known: parking_lot::Mutex<BTreeMap<(TombstoneId, BlockId), bool>>,
}

impl Deleted {
    /// Whether the tombstone hides something of the block, or may.
    pub(super) fn touches(&self, tombstone: &Tombstone, block: &crate::block::Block) -> bool {
        let id = (tombstone.id, block.spec().id);
        let known = self.known.lock().get(&id).copied();
        known.unwrap_or_else(|| {
            // A block that cannot be read keeps its tombstones until it goes.
            let touches = tombstone.touches(block).unwrap_or(true);
            self.known.lock().insert(id, touches);
            touches
        })
    }

    /// Forgets blocks and tombstones that are gone.
    pub(super) fn retain(&self, tombstones: &Tombstones, is_block: impl Fn(BlockId) -> bool) {
        self.known.lock().retain(|(t, b), _| tombstones.by_id.contains_key(t) && is_block(*b));
    }
}
