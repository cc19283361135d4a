//! What may go only when no query can want it any more.
//!
//! Each publication of a view leaves the one before to the queries that hold it. Entries wait, in order, for theirs to be
//! dropped: then series leave, and blocks and segments are deleted, and what that leaves behind (slots, value ids) waits for the
//! queries that ran meanwhile, before it is given again.

use crate::head::cuts::CutPositions;
use crate::head::log::HeadPos;
use crate::head::symbols::Released;
use crate::model::{BlockId, DurationMs, ShardId, TimestampMs};
use crate::read::ViewState;
use std::collections::VecDeque;
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
