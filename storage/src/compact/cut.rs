//! The cut: what the head-chunk log holds of closed windows becomes blocks, one for each window.
//!
//! ```text
//! freeze: open chunks and late samples of the windows ─► log          (slices, under the shards' locks)
//! note:   a position per shard
//! write:  per shard, per series: records below the position ─► one chunk ─► block of its window
//! ```
//!
//! Nothing is published here: see `database`. After an error the directories are garbage and the head is as it was.

use super::chunker::Chunker;
use crate::block::{BlockMeta, BlockSpec, BlockWriter, Tier, WriteBlockError};
use crate::codec::{self, ChunkError, NothingShared, Samples};
use crate::head::Head;
use crate::head::cuts::CutPositions;
use crate::head::log::record::Record;
use crate::head::log::{HeadPos, LogCorruption, LogSnapshot};
use crate::head::series::SeriesCopies;
use crate::head::shard::{SLICE, Shard};
use crate::io::{Fs, Pace};
use crate::model::{BlockId, LabelSet, Lsn, LsnRange, SeriesKey, SeriesSlot, TimeRange, TimestampMs, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Windows of one cut at most: each keeps two files open and an index in memory until the last shard is written. Import of
/// history can leave hundreds of windows; what is postponed stays in the head for the next cut.
pub(crate) const WINDOWS_MAX: usize = 32;

/// Why a cut failed. The head still has everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// A block could not be written.
    #[error(transparent)]
    Write(#[from] WriteBlockError),
    /// The head-chunk log is damaged.
    #[error(transparent)]
    Log(#[from] LogCorruption),
    /// A chunk of the log is damaged.
    #[error("head-chunk log position {at:x}: {source}")]
    Chunk {
        /// Its position.
        at: u64,
        /// What is wrong.
        source: ChunkError,
    },
    /// A block that was just written could not be opened.
    #[error(transparent)]
    Open(#[from] crate::block::OpenBlockError),
    /// The checkpoint that belongs to the cut could not be written.
    #[error(transparent)]
    Checkpoint(#[from] crate::head::CheckpointError),
    /// The log could not be synced.
    #[error(transparent)]
    Wal(#[from] crate::wal::WalError),
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The cut could not be committed.
    #[error("{0}")]
    Commit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database was closed meanwhile.
    #[error("the database is closed")]
    Closed,
}

/// What was moved to the head-chunk log.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// For each shard, the log's position below which it stands.
    pub(crate) positions: Vec<HeadPos>,
    /// Whether a series' newest sample lies in the range that is deleted.
    pub(crate) doubted: bool,
}

/// Moves everything in windows that end by `until` to the head-chunk log. Where samples are `deleted` afterwards, in windows that
/// end by `until` as well, no sample that follows is compared with them.
pub(crate) fn freeze(head: &Head, until: TimestampMs, deleted: Option<TimeRange>) -> Frozen {
    let mut doubted = false;
    let mut shard = |shard: &Shard| {
        shard.for_each_slice(|series, slots| {
            series.freeze_until(slots.clone(), until, &head.log);
            doubted |= deleted.is_some_and(|range| series.doubt_last(slots, range));
        });
        head.log.end()
    };
    let positions = head.shards.iter().map(&mut shard).collect();
    Frozen { positions, doubted }
}

/// A block that was written, not published.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) id: BlockId,
    pub(crate) window: Window,
    pub(crate) meta: BlockMeta,
}

/// What a cut has written, and the windows that it left for the next one.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) written: Vec<Written>,
    /// By their starts.
    pub(crate) postponed: BTreeSet<TimestampMs>,
}

/// A series' records of one window.
struct Found {
    window: Window,
    key: SeriesKey,
    slot: SeriesSlot,
    /// Newest first.
    records: Vec<HeadPos>,
}

/// What a cut works with.
pub(crate) struct Cutter<'a> {
    pub(crate) fs: &'a Arc<dyn Fs>,
    pub(crate) blocks_dir: &'a Path,
    pub(crate) pace: &'a Arc<Pace>,
    pub(crate) head: &'a Head,
    pub(crate) cuts: &'a CutPositions,
    pub(crate) until: TimestampMs,
    /// One for each shard, of [`freeze`].
    pub(crate) positions: &'a [HeadPos],
    /// The id of the first block; the others follow.
    pub(crate) first_id: BlockId,
    /// The newest LSN that may be in the blocks.
    pub(crate) newest_lsn: Lsn,
    /// Called between series: whether to give up.
    pub(crate) is_closing: &'a dyn Fn() -> bool,
    /// Called with what cannot be read; once it has kept what is there, the cut goes on without it: it would fail at every try
    /// again, and log and head would grow until the disk is full.
    pub(crate) on_damage: &'a dyn Fn(HeadPos, CutError) -> Result<(), CutError>,
}

/// A block being written.
struct Unfinished {
    id: BlockId,
    window: Window,
    chunker: Chunker,
}

/// The blocks being written.
#[derive(Default)]
struct Writers {
    by_window: BTreeMap<TimestampMs, Unfinished>,
    postponed: BTreeSet<TimestampMs>,
}

/// Scratch that is reused from series to series.
#[derive(Default)]
struct Scratch {
    parts: Vec<Samples>,
    merged: Samples,
}

impl Cutter<'_> {
    /// Writes a block for each window that has records, up to [`WINDOWS_MAX`] of them.
    pub(crate) fn write_blocks(&self) -> Result<Blocks, CutError> {
        let mut writers = Writers::default();
        let mut scratch = Scratch::default();
        for shard in &self.head.shards {
            let (mut found, log) = self.collect(shard)?;
            sort(&mut found, shard);
            for of_window in found.chunk_by(|a, b| a.window == b.window) {
                let window = of_window[0].window;
                let Some(chunker) = self.chunker(&mut writers, window)? else { continue };
                chunker.begin_shard(shard.id)?;
                for series in of_window {
                    if (self.is_closing)() {
                        return Err(CutError::Closed);
                    }
                    let labels = labels_of(shard, series.slot);
                    self.write_series(chunker, series, &labels, &log, &mut scratch)?;
                }
            }
        }
        let finish = |u: Unfinished| Ok(Written { id: u.id, window: u.window, meta: u.chunker.finish()? });
        let written = writers.by_window.into_values().map(finish).collect::<Result<_, CutError>>()?;
        Ok(Blocks { written, postponed: writers.postponed })
    }

    /// What encodes a window's block; `None` where the window is postponed.
    fn chunker<'w>(
        &self,
        writers: &'w mut Writers,
        window: Window,
    ) -> Result<Option<&'w mut Chunker>, CutError> {
        if !writers.by_window.contains_key(&window.start) && writers.by_window.len() >= WINDOWS_MAX {
            writers.postponed.insert(window.start);
            return Ok(None);
        }
        let id = BlockId(self.first_id.0 + writers.by_window.len() as u64);
        if let std::collections::btree_map::Entry::Vacant(entry) = writers.by_window.entry(window.start) {
            let spec = BlockSpec {
                id,
                window,
                tier: Tier::Raw,
                level: 0,
                sources: Vec::new(),
                seed: self.head.seed,
                account_label: self.head.account_label.to_string(),
                shards: self.head.shard_count(),
                lsns: Some(LsnRange { first: Lsn(0), last: self.newest_lsn }),
            };
            let dir = self.blocks_dir.join(id.to_string());
            let writer = BlockWriter::create_paced(self.fs.clone(), &dir, spec, self.pace)?;
            entry.insert(Unfinished { id, window, chunker: Chunker::new(writer) });
        }
        Ok(writers.by_window.get_mut(&window.start).map(|u| &mut u.chunker))
    }

    /// The records of one shard that go into blocks, by series and window, and the log to read them from.
    fn collect(&self, shard: &Shard) -> Result<(Vec<Found>, LogSnapshot), CutError> {
        let mut found = Vec::new();
        let mut copies = SeriesCopies::default();
        let mut log = self.head.log.snapshot();
        let end = shard.series.lock().slots();
        for first in (0..end).step_by(SLICE as usize) {
            let slots: Vec<u32> = (first..end.min(first + SLICE)).collect();
            shard.series.lock().copy_tails(&slots, &mut copies);
            if copies.series.iter().any(|s| s.tail >= log.end()) {
                log = self.head.log.snapshot();
            }
            for series in &copies.series {
                self.collect_series(shard, series.slot, series.tail, &log, &mut found)?;
            }
        }
        Ok((found, log))
    }

    fn collect_series(
        &self,
        shard: &Shard,
        slot: SeriesSlot,
        tail: HeadPos,
        log: &LogSnapshot,
        found: &mut Vec<Found>,
    ) -> Result<(), CutError> {
        let from = found.len();
        let mut at = tail;
        let mut key: Option<SeriesKey> = None;
        while let Some(record) = self.read(log, at)? {
            let window = Window::of(record.header.first_t, self.head.window);
            let here = at;
            at = record.header.prev;
            let wanted = window.end() <= self.until
                && here < self.positions[shard.id.index()]
                && !self.cuts.is_cut(window.start, shard.id, here);
            if !wanted {
                continue;
            }
            if let Some(f) = found[from..].iter_mut().rev().find(|f| f.window == window) {
                f.records.push(here);
                continue;
            }
            let key = *key
                .get_or_insert_with(|| labels_of(shard, slot).key(&self.head.account_label, self.head.seed));
            found.push(Found { window, key, slot, records: vec![here] });
        }
        Ok(())
    }

    /// The record at a position; a damaged one ends its chain.
    fn read<'l>(&self, log: &'l LogSnapshot, at: HeadPos) -> Result<Option<Record<'l>>, CutError> {
        log.get(at).or_else(|damage| (self.on_damage)(at, damage.into()).map(|()| None))
    }

    /// Merges a series' records into chunks of the block.
    fn write_series(
        &self,
        chunker: &mut Chunker,
        series: &Found,
        labels: &LabelSet,
        log: &LogSnapshot,
        scratch: &mut Scratch,
    ) -> Result<(), CutError> {
        let Scratch { parts, merged } = scratch;
        parts.resize_with(series.records.len().max(parts.len()), Samples::default);
        // Records come newest first.
        for (part, at) in parts.iter_mut().zip(series.records.iter().rev()) {
            part.clear();
            let Some(record) = self.read(log, *at)? else { continue };
            let decoded = codec::verify(record.chunk)
                .and_then(|_| codec::decode(record.chunk, &NothingShared, part).map(|_| ()));
            if let Err(source) = decoded {
                part.clear();
                (self.on_damage)(*at, CutError::Chunk { at: at.0, source })?;
            }
        }
        let parts = &mut parts[..series.records.len()];
        parts.sort_by_key(|p| p.t.first().copied());
        merged.clear();
        codec::merge(parts, merged);
        Ok(chunker.push(labels, series.key, merged)?)
    }
}

fn labels_of(shard: &Shard, slot: SeriesSlot) -> LabelSet {
    let index = shard.index.read();
    index.labels(index.row(slot).expect("nothing leaves while a cut runs"))
}

/// Into the order of blocks: by window, key, and labels where keys are equal.
fn sort(found: &mut [Found], shard: &Shard) {
    found.sort_unstable_by_key(|f| (f.window, f.key));
    for equal in found.chunk_by_mut(|a, b| (a.window, a.key) == (b.window, b.key)).filter(|run| run.len() > 1)
    {
        equal.sort_by_cached_key(|f| labels_of(shard, f.slot));
    }
}
