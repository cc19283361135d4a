//! Which records of the head-chunk log are in blocks: per window and shard, those below a position.

use super::log::HeadPos;
use crate::model::{ShardId, TimestampMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The positions of all cuts that the log still has records of. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct CutPositions {
    windows: Arc<BTreeMap<TimestampMs, Vec<HeadPos>>>,
}

/// One window's positions as a checkpoint notes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CutEntry {
    pub(crate) window_start: i64,
    /// One for each shard.
    pub(crate) positions: Vec<u64>,
}

impl CutPositions {
    /// Whether a record of this window, shard and position is in a block.
    pub(crate) fn is_cut(&self, window_start: TimestampMs, shard: ShardId, at: HeadPos) -> bool {
        self.windows.get(&window_start).is_some_and(|p| p.get(shard.index()).is_some_and(|cut| at < *cut))
    }

    /// Whether all shards' records of this window below `end` are in blocks.
    pub(crate) fn covers(&self, window_start: TimestampMs, end: HeadPos) -> bool {
        self.windows.get(&window_start).is_some_and(|p| p.iter().all(|cut| *cut >= end))
    }

    /// Below what position the shard's records of this window are in blocks.
    pub(crate) fn position(&self, window_start: TimestampMs, shard: ShardId) -> HeadPos {
        let of_window = self.windows.get(&window_start);
        of_window.and_then(|p| p.get(shard.index())).copied().unwrap_or_default()
    }

    /// These positions after a cut that took everything of `windows` below `positions`, one for each shard. Windows that had
    /// nothing new to take belong to them: a segment in whose middle a window was cut goes only when that window is
    /// known to be cut to the segment's end.
    pub(crate) fn after_cut(
        &self,
        windows: impl IntoIterator<Item = TimestampMs>,
        positions: &[HeadPos],
    ) -> Self {
        let mut all = (*self.windows).clone();
        all.extend(windows.into_iter().map(|w| (w, positions.to_vec())));
        Self { windows: Arc::new(all) }
    }

    /// Starts of the windows that have been cut.
    pub(crate) fn windows(&self) -> impl Iterator<Item = TimestampMs> {
        self.windows.keys().copied()
    }

    /// Without windows that no segment from `first_segment` on can have cut records of.
    pub(crate) fn without_below(&self, first_segment: u32) -> Self {
        let alive = |p: &Vec<HeadPos>| p.iter().any(|cut| cut.segment() >= first_segment);
        let kept = self.windows.iter().filter(|(_, p)| alive(p)).map(|(w, p)| (*w, p.clone()));
        Self { windows: Arc::new(kept.collect()) }
    }

    pub(crate) fn to_entries(&self) -> Vec<CutEntry> {
        let entry = |(w, p): (&TimestampMs, &Vec<HeadPos>)| CutEntry {
            window_start: w.0,
            positions: p.iter().map(|p| p.0).collect(),
        };
        self.windows.iter().map(entry).collect()
    }

    pub(crate) fn from_entries(entries: &[CutEntry]) -> Self {
        let window =
            |e: &CutEntry| (TimestampMs(e.window_start), e.positions.iter().map(|p| HeadPos(*p)).collect());
        Self { windows: Arc::new(entries.iter().map(window).collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_below_the_position_of_their_window_and_shard_are_cut() {
        let cuts = CutPositions::default().after_cut([TimestampMs(0)], &[HeadPos(100), HeadPos(200)]);
        let check =
            |w, shard, at, want| assert_eq!(cuts.is_cut(TimestampMs(w), ShardId(shard), HeadPos(at)), want);
        check(0, 0, 99, true);
        check(0, 0, 100, false);
        check(0, 1, 100, true);
        check(7, 0, 1, false);
        check(0, 2, 1, false);
        assert!(cuts.covers(TimestampMs(0), HeadPos(100)) && !cuts.covers(TimestampMs(0), HeadPos(101)));
        let again = CutPositions::from_entries(&cuts.to_entries());
        assert_eq!(again.to_entries(), cuts.to_entries());
    }

    #[test]
    fn windows_of_removed_segments_are_forgotten() {
        let cuts = CutPositions::default()
            .after_cut([TimestampMs(0)], &[HeadPos::new(1, 50)])
            .after_cut([TimestampMs(1)], &[HeadPos::new(2, 50)]);
        assert_eq!(cuts.without_below(2).to_entries().len(), 1);
    }
}
