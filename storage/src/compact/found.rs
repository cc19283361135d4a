//! What a cut takes of a shard: of each series the records in the head-chunk log, by window.

use super::cut::{CutError, Cutter};
use crate::head::keys::KeyHashes;
use crate::head::log::record::Record;
use crate::head::log::{HeadPos, LogSnapshot};
use crate::head::series::SeriesTail;
use crate::head::shard::{SLICE, Shard};
use crate::model::{SeriesKey, SeriesSlot, TimestampMs, Window};
use std::ops::Range;

/// A series' records of one window.
pub(super) struct Found {
    /// The window's start.
    pub(super) window: TimestampMs,
    pub(super) key: SeriesKey,
    pub(super) slot: SeriesSlot,
    /// Of [`FoundRecords::positions`].
    records: Range<usize>,
}

/// The records of one shard. Reusable scratch.
#[derive(Default)]
pub(super) struct FoundRecords {
    series: Vec<Found>,
    positions: Vec<HeadPos>,
    tails: Vec<SeriesTail>,
    chain: Vec<(TimestampMs, HeadPos)>,
}

impl FoundRecords {
    /// Finds what is to be cut below a position, in the order of blocks; returns the log to read it from.
    pub(super) fn collect(
        &mut self,
        cutter: &Cutter<'_>,
        shard: &Shard,
        position: HeadPos,
    ) -> Result<LogSnapshot, CutError> {
        self.series.clear();
        self.positions.clear();
        let mut hashes = KeyHashes::new(cutter.head);
        let mut log = cutter.head.log.snapshot();
        let end = shard.series.lock().slots();
        for first in (0..end).step_by(SLICE as usize) {
            shard.series.lock().copy_tails(first..end.min(first + SLICE), &mut self.tails);
            if self.tails.iter().any(|s| s.tail >= log.end()) {
                log = cutter.head.log.snapshot();
            }
            let from = self.series.len();
            let tails = std::mem::take(&mut self.tails);
            for series in &tails {
                self.walk(cutter, shard, series, position, &log)?;
            }
            self.tails = tails;
            let index = shard.index.read();
            for found in &mut self.series[from..] {
                let row = index.row(found.slot).expect("nothing leaves while a cut runs");
                found.key = hashes.key(&index, row, found.key.family);
            }
        }
        self.sort(shard);
        Ok(log)
    }

    /// The series of each window, windows ascending.
    pub(super) fn by_window(&self) -> impl Iterator<Item = &[Found]> {
        self.series.chunk_by(|a, b| a.window == b.window)
    }

    /// A series' records, newest first.
    pub(super) fn records_of(&self, found: &Found) -> &[HeadPos] {
        &self.positions[found.records.clone()]
    }

    /// Walks a series' chain.
    fn walk(
        &mut self,
        cutter: &Cutter<'_>,
        shard: &Shard,
        series: &SeriesTail,
        position: HeadPos,
        log: &LogSnapshot,
    ) -> Result<(), CutError> {
        self.chain.clear();
        let mut at = series.tail;
        while let Some(record) = cutter.read(log, at)? {
            let window = Window::of(record.header.first_t, cutter.head.window);
            let is_wanted = window.end() <= cutter.until
                && at < position
                && !cutter.cuts.is_cut(window.start, shard.id, at);
            if is_wanted {
                self.chain.push((window.start, at));
            }
            at = record.header.prev;
        }
        // Late records stand among those of newer windows.
        self.chain.sort_by_key(|(window, _)| *window);
        for of_window in self.chain.chunk_by(|a, b| a.0 == b.0) {
            let first = self.positions.len();
            self.positions.extend(of_window.iter().map(|(_, at)| *at));
            let key = SeriesKey { account: 0, name: 0, family: series.family, le: 0 };
            let (window, records) = (of_window[0].0, first..self.positions.len());
            self.series.push(Found { window, key, slot: series.slot, records });
        }
        Ok(())
    }

    /// Into the order of blocks: by window, key, and labels where keys are equal.
    fn sort(&mut self, shard: &Shard) {
        self.series.sort_unstable_by_key(|f| (f.window, f.key));
        let are_equal = |a: &Found, b: &Found| (a.window, a.key) == (b.window, b.key);
        for equal in self.series.chunk_by_mut(are_equal).filter(|run| run.len() > 1) {
            let index = shard.index.read();
            equal.sort_by_cached_key(|f| index.row(f.slot).map(|row| index.labels(row)));
        }
    }
}

impl Cutter<'_> {
    /// The record at a position; a damaged one ends its chain.
    pub(super) fn read<'l>(&self, log: &'l LogSnapshot, at: HeadPos) -> Result<Option<Record<'l>>, CutError> {
        log.get(at).or_else(|damage| (self.on_damage)(at, damage.into()).map(|()| None))
    }
}
