//! Cuts: windows of the head become blocks.

use super::Maintenance;
use super::due::closed_until;
use crate::compact::cut::{self, Cutter, DeletedSamples, Written};
use crate::database::folders::{BLOCKS_DIR, QUARANTINE_DIR};
use crate::database::manifest::{BlockEntry, MERGED_PLACE};
use crate::database::open::open_block;
use crate::database::retire::Retired;
use crate::database::{CutError, Database};
use crate::head::CheckpointError;
use crate::head::log::HeadPos;
use crate::model::{BlockId, TimestampMs};
use crate::read::ViewState;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Database {
    /// Cuts the windows that end by `until`, some at a time: blocks, a checkpoint without what is in them, one edit. For a
    /// deletion, the head then forgets which values it had of the `deleted` samples.
    pub(in crate::database) fn cut(
        &self,
        m: &mut Maintenance,
        until: TimestampMs,
        deleted: Option<DeletedSamples<'_>>,
    ) -> Result<(), CutError> {
        loop {
            let first_id = m.manifest.state().next_block_id(0);
            // No edit names them: what is there was left by a cut that failed and could not clean up either.
            self.discard_blocks(first_id);
            let result = self.cut_some(m, until, deleted, first_id);
            // A failed commit leaves open which state the disk holds: then what it may name stays, until the next start.
            if !matches!(result, Ok(_) | Err(CutError::Commit(_))) {
                self.discard_blocks(first_id);
            }
            if result? {
                m.cut_until =
                    m.cut_until.max(until.min(closed_until(self.newest_offered(), self.head.window)));
                return Ok(());
            }
        }
    }

    /// One cut; whether all windows that end by `until` are cut now.
    fn cut_some(
        &self,
        m: &mut Maintenance,
        until: TimestampMs,
        deleted: Option<DeletedSamples<'_>>,
        first_id: BlockId,
    ) -> Result<bool, CutError> {
        let started = self.clock.monotonic();
        let old = self.view.load_full();
        let idle = self.idle();
        let lost = Lost::default();
        let cutter = Cutter {
            fs: &self.fs,
            blocks_dir: &self.dir.join(BLOCKS_DIR),
            pace: &self.pace,
            head: &self.head,
            cuts: &old.cuts,
            until,
            deleted,
            first_id,
            newest_lsn: &|| self.wal.end(),
            is_closing: &|| self.is_closing(),
            on_damage: &|at, error| self.keep_damaged(at, &error, &lost),
        };
        let cut::Blocks { written, postponed, frozen } = cutter.write_blocks()?;
        lost.tell();
        let cut::Frozen { positions, doubted } = frozen;
        let is_cut = |start: &TimestampMs| *start + self.head.window <= until && !postponed.contains(start);
        let of_log = self.head.log.windows();
        let below = positions.iter().map(|p| p.segment()).min().unwrap_or_default();
        let stays = |(segment, w): &(u32, TimestampMs)| {
            *segment < below && is_cut(w) && !old.cuts.covers(*w, HeadPos::after_segment(*segment))
        };
        // Of a window of which nothing can be read, nothing is left to be cut: else its segment would stay, and its damage be found
        // for ever.
        let is_mended = lost.is_any() && of_log.iter().any(stays);
        // Where newest samples are in doubt, replay must decide as the head does from now on.
        let is_changed = !written.is_empty() || doubted || is_mended;
        if !is_changed && !self.could_any_leave(until, &positions, idle) {
            return Ok(true);
        }
        let blocks_dir = self.dir.join(BLOCKS_DIR);
        self.fs.sync_dir(&blocks_dir).map_err(|source| CutError::Io { path: blocks_dir, source })?;
        let ended = old.cuts.windows().chain(of_log.into_iter().map(|(_, window)| window)).filter(is_cut);
        let cuts = old.cuts.after_cut(ended.chain(written.iter().map(|w| w.window.start)), &positions);
        let mut blocks = old.blocks.clone();
        let arrived = self.newest();
        let entries: Vec<BlockEntry> = written.iter().map(|w| entry(w, arrived)).collect();
        for (w, e) in written.iter().zip(&entries) {
            blocks.insert(w.id, Arc::new(open_block(&*self.fs, &self.dir, e)?));
        }
        self.commit(m, entries, &cuts)?;
        if !written.is_empty() {
            let samples: u64 = written.iter().map(|w| w.meta.samples).sum();
            self.counters.cut(written.len() as u64, samples, self.clock.monotonic().saturating_sub(started));
            let until_ms = (until != TimestampMs::MAX).then_some(until.0);
            tracing::info!(blocks = written.len(), samples, until_ms, "cut the head");
        }
        let tombstones = m.manifest.state().tombstones_over(&old.tombstones, self.shards);
        self.view.store(Arc::new(ViewState {
            blocks,
            cuts: cuts.clone(),
            tombstones,
            aside: old.aside.clone(),
        }));
        // While windows are postponed no series is known to be in blocks as a whole.
        let until = if postponed.is_empty() { until } else { TimestampMs::MIN };
        m.retired.push(&old, Retired::Series { until, positions, cuts, idle });
        Ok(postponed.is_empty())
    }

    /// Keeps a copy of the segment that something damaged stands in, and counts it.
    fn keep_damaged(&self, at: HeadPos, error: &CutError, lost: &Lost) -> Result<(), CutError> {
        self.head.log.keep_copy(at, &self.dir.join(QUARANTINE_DIR)).map_err(CheckpointError::Log)?;
        self.counters.cut_corruptions.fetch_add(1, Ordering::Relaxed);
        lost.note(at, error);
        Ok(())
    }

    /// Removes what a cut that failed has written. A merge may be writing beside it.
    fn discard_blocks(&self, first: BlockId) {
        let Ok(entries) = self.fs.read_dir(&self.dir.join(BLOCKS_DIR)) else { return };
        let ids = entries.iter().filter_map(|entry| BlockId::from_name(&entry.name));
        for id in ids.filter(|id| (first.0..first.0 + MERGED_PLACE).contains(&id.0)) {
            self.discard_block(id);
        }
    }
}

/// What a cut could not read, by segment: how many chains or chunks, and the first. One damaged file may be thousands of them.
#[derive(Default)]
struct Lost {
    by_segment: Mutex<BTreeMap<u32, (u64, String)>>,
}

impl Lost {
    fn note(&self, at: HeadPos, error: &CutError) {
        let mut by_segment = self.by_segment.lock();
        by_segment.entry(at.segment()).or_insert_with(|| (0, error.to_string())).0 += 1;
    }

    fn is_any(&self) -> bool {
        !self.by_segment.lock().is_empty()
    }

    fn tell(&self) {
        for (count, first) in self.by_segment.lock().values() {
            tracing::error!(count, %first, "samples of the head-chunk log are lost; a copy of the segment, where it is there, is in quarantine");
        }
    }
}

fn entry(w: &Written, arrived: TimestampMs) -> BlockEntry {
    BlockEntry {
        id: w.id.0,
        tier: w.meta.tier,
        level: w.meta.level,
        window_start: w.window.start.0,
        window_ms: w.window.len.0,
        index_bytes: w.meta.index_bytes,
        chunks_bytes: w.meta.chunks_bytes,
        series: w.meta.series,
        samples: w.meta.samples,
        covered_as: None,
        arrived_ms: Some(arrived.0),
    }
}
