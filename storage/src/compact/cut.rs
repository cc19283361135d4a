//! The cut: what the head-chunk log holds of closed windows becomes blocks, one for each window. Shard by shard:
//!
//! ```text
//! freeze:  open chunks and late samples of the windows ─► log             (slices, under the shard's lock)
//! note:    the log's position
//! collect: of each series the records below the position, by window
//! write:   per window, per series: records ─► one chunk ─► block of the window
//! ```
//!
//! Memory, beside the head: of one shard, 70 bytes for each series and window; of one shard and window, the block's index; for
//! each window two steps of a paced file; [`COLUMNS_BYTES_MAX`] for all time columns together. Open chunks go through the log's
//! pages, a shard at a time.
//!
//! Nothing is published here: see `database`. After an error the directories are garbage and the head is as it was.

use super::chunker::Chunker;
use super::found::{Found, FoundRecords};
use crate::block::{BlockMeta, BlockSpec, BlockWriter, ColumnRoom, LabelId, Tier, WriteBlockError};
use crate::codec::{self, ChunkError, NothingShared, Samples};
use crate::head::Head;
use crate::head::cuts::CutPositions;
use crate::head::log::{HeadPos, LogCorruption, LogSnapshot};
use crate::head::shard::{Shard, ShardLabels};
use crate::head::symbols::HeadIndex;
use crate::index::{Bitmap, Matcher, select};
use crate::io::{Fs, Pace};
use crate::model::{BlockId, Lsn, LsnRange, TimeRange, TimestampMs, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Windows of one cut at most: each keeps two files open and an index in memory until the last shard is written. Import of
/// history can leave hundreds of windows; what is postponed stays in the head for the next cut.
pub(crate) const WINDOWS_MAX: usize = 32;
/// Memory of time columns that the blocks of one cut stop at; beyond it chunks have times of their own.
const COLUMNS_BYTES_MAX: usize = 32 << 20;
/// Series whose labels are told in one hold of the index's lock.
const LABELS_BATCH: usize = 256;

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

/// A block that was written, not published.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) id: BlockId,
    pub(crate) window: Window,
    pub(crate) meta: BlockMeta,
}

/// What a cut has written, and what it left for the next one.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) written: Vec<Written>,
    /// Windows that were left, by their starts.
    pub(crate) postponed: BTreeSet<TimestampMs>,
    pub(crate) frozen: Frozen,
}

/// What was moved to the head-chunk log.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    /// For each shard, the log's position below which it stands.
    pub(crate) positions: Vec<HeadPos>,
    /// Whether a series' newest sample lies in the range that is deleted.
    pub(crate) doubted: bool,
}

/// What a cut works with.
pub(crate) struct Cutter<'a> {
    pub(crate) fs: &'a Arc<dyn Fs>,
    pub(crate) blocks_dir: &'a Path,
    pub(crate) pace: &'a Arc<Pace>,
    pub(crate) head: &'a Head,
    pub(crate) cuts: &'a CutPositions,
    /// Windows that end by then are cut.
    pub(crate) until: TimestampMs,
    /// Samples that are deleted afterwards, in windows that are cut: no sample that follows is compared with them.
    pub(crate) deleted: Option<DeletedSamples<'a>>,
    /// The id of the first block; the others follow.
    pub(crate) first_id: BlockId,
    /// The newest LSN there is, which may be in the blocks.
    pub(crate) newest_lsn: &'a dyn Fn() -> Lsn,
    /// Called between series: whether to give up.
    pub(crate) is_closing: &'a dyn Fn() -> bool,
    /// Called with what cannot be read; once it has kept what is there, the cut goes on without it: it would fail at every try
    /// again, and log and head would grow until the disk is full.
    pub(crate) on_damage: &'a dyn Fn(HeadPos, CutError) -> Result<(), CutError>,
}

/// What is deleted once a cut is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeletedSamples<'a> {
    /// The series that any of these accepts.
    pub(crate) selectors: &'a [Vec<Matcher>],
    /// When.
    pub(crate) range: TimeRange,
}

/// A block being written.
struct Unfinished {
    id: BlockId,
    window: Window,
    chunker: Chunker,
}

/// The blocks being written.
struct Writers {
    by_window: BTreeMap<TimestampMs, Unfinished>,
    postponed: BTreeSet<TimestampMs>,
    columns: ColumnRoom,
}

/// Scratch that is reused from series to series.
#[derive(Default)]
struct Scratch {
    symbols: Symbols,
    /// The labels of some series, and where each one's end.
    labels: Vec<LabelId>,
    label_ends: Vec<usize>,
    parts: Vec<Samples>,
    merged: Samples,
}

/// What the block calls the labels of a shard's head.
#[derive(Default)]
struct Symbols {
    by_name: Vec<Vec<Option<LabelId>>>,
}

impl Cutter<'_> {
    /// Writes a block for each window that has records, up to [`WINDOWS_MAX`] of them.
    pub(crate) fn write_blocks(&self) -> Result<Blocks, CutError> {
        let columns = ColumnRoom::new(COLUMNS_BYTES_MAX);
        let mut writers = Writers { by_window: BTreeMap::new(), postponed: BTreeSet::new(), columns };
        let mut frozen = Frozen::default();
        let mut found = FoundRecords::default();
        let mut scratch = Scratch::default();
        for shard in &self.head.shards {
            let position = self.freeze(shard, &mut frozen);
            let log = found.collect(self, shard, position)?;
            for of_window in found.by_window() {
                self.write_window(shard, of_window, (&found, &log), &mut writers, &mut scratch)?;
            }
        }
        let newest_lsn = (self.newest_lsn)();
        let finish = |mut u: Unfinished| {
            u.chunker.set_newest_lsn(newest_lsn);
            Ok(Written { id: u.id, window: u.window, meta: u.chunker.finish()? })
        };
        let written = writers.by_window.into_values().map(finish).collect::<Result<_, CutError>>()?;
        Ok(Blocks { written, postponed: writers.postponed, frozen })
    }

    /// Moves everything of a shard in windows that are cut to the head-chunk log; returns the position below which it stands.
    fn freeze(&self, shard: &Shard, frozen: &mut Frozen) -> HeadPos {
        shard.for_each_slice(|series, slots| {
            series.freeze_until(slots, self.until, &self.head.log);
        });
        let position = self.head.log.end();
        frozen.positions.push(position);
        if let Some(deleted) = &self.deleted {
            // After the position: what stands below it is of series that the index has by now.
            let slots = deleted.slots(shard);
            shard.for_each_slice(|series, slice| {
                frozen.doubted |= series.doubt_last(slice, &slots, deleted.range);
            });
        }
        position
    }

    /// Writes what a shard has of one window.
    fn write_window(
        &self,
        shard: &Shard,
        series: &[Found],
        (found, log): (&FoundRecords, &LogSnapshot),
        writers: &mut Writers,
        scratch: &mut Scratch,
    ) -> Result<(), CutError> {
        let Some(first) = series.first() else { return Ok(()) };
        let window = Window { start: first.window, len: self.head.window };
        let Some(chunker) = self.chunker(writers, window)? else { return Ok(()) };
        chunker.begin_shard(shard.id)?;
        scratch.symbols.forget();
        for series in series.chunks(LABELS_BATCH) {
            scratch.tell_labels(series, shard, chunker);
            let mut from = 0;
            for (series, i) in series.iter().zip(0..) {
                if (self.is_closing)() {
                    return Err(CutError::Closed);
                }
                let Scratch { labels, label_ends, parts, merged, .. } = scratch;
                let labels = &labels[std::mem::replace(&mut from, label_ends[i])..label_ends[i]];
                let samples = self.read_samples(found.records_of(series), log, parts, merged)?;
                chunker.push_ids(labels, series.key, samples)?;
            }
        }
        Ok(chunker.end_shard()?)
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
                lsns: Some(LsnRange { first: Lsn(0), last: (self.newest_lsn)() }),
            };
            let dir = self.blocks_dir.join(id.to_string());
            let writer = BlockWriter::create_paced(self.fs.clone(), &dir, spec, self.pace)?;
            let chunker = Chunker::new(writer.with_column_room(writers.columns.clone()));
            entry.insert(Unfinished { id, window, chunker });
        }
        Ok(writers.by_window.get_mut(&window.start).map(|u| &mut u.chunker))
    }

    /// The samples of a series' records, which come newest first, merged.
    fn read_samples<'s>(
        &self,
        records: &[HeadPos],
        log: &LogSnapshot,
        parts: &'s mut Vec<Samples>,
        merged: &'s mut Samples,
    ) -> Result<&'s Samples, CutError> {
        if let [at] = records {
            self.read_record(*at, log, merged)?;
            return Ok(merged);
        }
        parts.resize_with(records.len().max(parts.len()), Samples::default);
        let parts = &mut parts[..records.len()];
        for (part, at) in parts.iter_mut().zip(records.iter().rev()) {
            self.read_record(*at, log, part)?;
        }
        codec::merge(parts, merged);
        Ok(merged)
    }

    /// The samples of a record; none of a damaged one.
    fn read_record(&self, at: HeadPos, log: &LogSnapshot, out: &mut Samples) -> Result<(), CutError> {
        out.clear();
        let Some(record) = self.read(log, at)? else { return Ok(()) };
        let decoded =
            codec::verify(record.chunk).and_then(|_| codec::decode(record.chunk, &NothingShared, out));
        if let Err(source) = decoded {
            out.clear();
            (self.on_damage)(at, CutError::Chunk { at: at.0, source })?;
        }
        Ok(())
    }
}

impl DeletedSamples<'_> {
    /// The series of a shard's head.
    fn slots(&self, shard: &Shard) -> Bitmap {
        let mut slots = Bitmap::new();
        for matchers in self.selectors {
            match select(&ShardLabels(shard), matchers) {
                Ok(selected) => slots.or_inplace(&selected),
                Err(never) => match never {},
            }
        }
        slots
    }
}

impl Scratch {
    /// Tells the labels of these series by the block's numbers.
    fn tell_labels(&mut self, series: &[Found], shard: &Shard, chunker: &mut Chunker) {
        self.labels.clear();
        self.label_ends.clear();
        let index = shard.index.read();
        for found in series {
            let row = index.row(found.slot).expect("nothing leaves while a cut runs");
            self.symbols.translate(&index, row, chunker, &mut self.labels);
            self.label_ends.push(self.labels.len());
        }
    }
}

impl Symbols {
    /// To be called when another shard is begun, of the head or of a block.
    fn forget(&mut self) {
        self.by_name.iter_mut().for_each(Vec::clear);
    }

    /// Appends the labels of a row; the block gets to know those that are new to it.
    fn translate(&mut self, index: &HeadIndex, row: &[u8], chunker: &mut Chunker, out: &mut Vec<LabelId>) {
        for (name, value) in index.ids(row) {
            let (at, of_name) = (value.0 as usize, name.0 as usize);
            if self.by_name.len() <= of_name {
                self.by_name.resize_with(of_name + 1, Vec::new);
            }
            let known = &mut self.by_name[of_name];
            if known.len() <= at {
                known.resize(at + 1, None);
            }
            let tell = || chunker.label(index.name_text(name), index.value_text(name, value));
            let label = known[at].or_else(tell);
            known[at] = label;
            out.extend(label);
        }
    }
}
