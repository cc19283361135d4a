//! What may go only when no query can want it any more.
//!
//! Each publication of a view leaves the one before to the queries that hold it. Entries wait, in order, for theirs to be
//! dropped: then series leave, and blocks and segments are deleted, and what that leaves behind (slots, value ids) waits for the
//! queries that ran meanwhile, before it is given again.

use super::Database;
use super::aliases::Alias;
use super::maintain::Maintenance;
use crate::head::cuts::CutPositions;
use crate::head::log::HeadPos;
use crate::head::series::Departure;
use crate::head::shard::SLICE;
use crate::head::symbols::Released;
use crate::model::{BlockId, DurationMs, ShardId, TimestampMs};
use crate::read::ViewState;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What to do.
#[derive(Debug)]
pub(super) enum Retired {
    /// Series that have been silent for `idle`, whose data lies in windows that end by `until`, in records below the shard's position; and segments of
    /// which all is cut in the view that was published then. Later cuts do not count: readers of that view may be left.
    Series { until: TimestampMs, positions: Vec<HeadPos>, cuts: CutPositions, idle: DurationMs },
    /// Blocks that others have taken the place of, or that are past retention.
    Blocks(Vec<BlockId>),
    /// Ids that removed series left behind.
    Ids(Vec<(ShardId, Released)>),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct RetireQueue {
    entries: VecDeque<(Weak<ViewState>, Retired)>,
}

impl RetireQueue {
    /// Adds something that waits for the readers of `view`, and of those before it.
    pub(super) fn push(&mut self, view: &Arc<ViewState>, what: Retired) {
        self.entries.push_back((Arc::downgrade(view), what));
    }

    /// The next thing whose readers are gone.
    pub(super) fn pop(&mut self) -> Option<Retired> {
        let (view, _) = self.entries.front()?;
        if view.strong_count() > 0 {
            return None;
        }
        self.entries.pop_front().map(|e| e.1)
    }
}

impl Database {
    /// Lets go of what no query can want any more.
    pub(super) fn retire(&self, m: &mut Maintenance) {
        while let Some(retired) = m.retired.pop() {
            match retired {
                Retired::Series { until, positions, cuts, idle } => {
                    self.retire_series(m, until, &positions, &cuts, idle)
                }
                Retired::Blocks(blocks) => blocks.iter().for_each(|id| self.discard_block(*id)),
                Retired::Ids(released) => {
                    released.iter().for_each(|(shard, released)| self.head.shard(*shard).release(released));
                }
            }
        }
    }

    /// Whether any series may leave once there is a checkpoint: what ended by `until` and lies below the positions is in blocks.
    pub(super) fn could_any_leave(
        &self,
        until: TimestampMs,
        positions: &[HeadPos],
        idle: DurationMs,
    ) -> bool {
        let idle_before = self.newest_offered() - idle;
        self.head.shards.iter().zip(positions).any(|(shard, position)| {
            let departure = Departure { until, position: *position, idle_before };
            shard.any_series(|series, slot| series.could_leave(slot, &departure))
        })
    }

    /// Forgets the other forms of series that are not in the head any more. No shard's lock is held together with that of the forms.
    fn forget_forms(&self) {
        let mut forms = self.aliases.lock().all();
        forms.sort_unstable_by_key(|(_, alias)| alias.shard);
        let mut gone = Vec::new();
        for some in forms.chunk_by(|a, b| a.1.shard == b.1.shard) {
            for some in some.chunks(SLICE as usize) {
                let series = self.head.shard(some[0].1.shard).series.lock();
                let has_left = |alias: &Alias| series.find(alias.fingerprint).is_none();
                gone.extend(some.iter().filter(|(_, alias)| has_left(alias)).map(|(wire, _)| *wire));
            }
        }
        self.aliases.lock().forget(&gone);
    }

    fn retire_series(
        &self,
        m: &mut Maintenance,
        until: TimestampMs,
        positions: &[HeadPos],
        cuts: &CutPositions,
        idle: DurationMs,
    ) {
        let idle_before = self.newest_offered() - idle;
        let mut left = Vec::new();
        for (shard, position) in self.head.shards.iter().zip(positions) {
            let departure = Departure { until, position: *position, idle_before };
            let released = shard.remove_series(|series, slot| series.may_leave(slot, &departure));
            if !released.is_empty() {
                left.push((shard.id, released));
            }
        }
        if !left.is_empty() {
            self.forget_forms();
        }
        let series: usize = left.iter().map(|(_, r)| r.slots().len()).sum();
        self.counters.series_left.fetch_add(series as u64, Ordering::Relaxed);
        let old = self.view.load_full();
        let segments = self.head.log.forget(|window, end| cuts.covers(window, end));
        if let Err(error) = self.head.log.remove(&segments) {
            tracing::warn!(%error, "a segment of the head-chunk log could not be removed");
        }
        let cuts = match self.head.log.first_segment() {
            Some(first) => old.cuts.without_below(first),
            None => old.cuts.clone(),
        };
        self.view.store(Arc::new(ViewState { cuts, ..(*old).clone() }));
        m.retired.push(&old, Retired::Ids(left));
    }
}
