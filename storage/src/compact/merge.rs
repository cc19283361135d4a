//! The merge: blocks of one tier become one, series by series, in one pass over each.
//!
//! ```text
//! sources, each in order of (key, labels) ─► least key, equal labels ─► samples by the merge rule ─► chunks ─► block
//! ```
//!
//! What is read afterwards is to the bit what was read before. Memory: for each source what its reader keeps, the samples of one
//! series, and the index of the shard that is being written, whose labels are sorted once it is whole; not the series of all. Some
//! 6 MiB for a dozen sources, and 200 bytes for each series of the largest shard (`benches/runs/2026-11-21-engine`).
//!
//! Nothing is published here: see `database`. After an error the directory is garbage and the sources are as they were.

use super::chunker::Chunker;
use crate::block::{
    Block, BlockMeta, BlockShard, BlockSpec, BlockWriter, Corruption, SeriesReader, WriteBlockError,
};
use crate::codec::{self, ChunkError, Samples};
use crate::index::Bitmap;
use crate::io::{Fs, GivingWay, Pace};
use crate::model::{BlockId, LabelSet, SeriesKey, ShardId, TimeRange};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a compaction failed. All blocks are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// A block is damaged. It is left as it is.
    #[error("block {block} cannot be merged and stays as it is: {source}")]
    Damaged {
        /// Which one.
        block: BlockId,
        /// What is wrong.
        source: Corruption,
    },
    /// A chunk of a block cannot be read. The block is left as it is.
    #[error("block {block} cannot be merged and stays as it is: series {labels}: {source}")]
    Chunk {
        /// Which block.
        block: BlockId,
        /// Which series.
        labels: String,
        /// What is wrong with the chunk.
        source: ChunkError,
    },
    /// The block could not be written.
    #[error(transparent)]
    Write(#[from] WriteBlockError),
    /// The block that was just written could not be opened.
    #[error(transparent)]
    Open(#[from] crate::block::OpenBlockError),
    /// There may not be room for the block.
    #[error(
        "{path} has {free} bytes free, merging {blocks} blocks takes up to {needed} and must leave {left}: make room, or lower retention.raw or retention.size"
    )]
    NoSpace {
        /// The directory of the blocks.
        path: PathBuf,
        /// What is left.
        free: u64,
        /// What the merge may write.
        needed: u64,
        /// What must be free beside it.
        left: u64,
        /// How many blocks there are to merge.
        blocks: usize,
    },
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The outcome could not be committed.
    #[error("{0}")]
    Commit(String),
    /// Writes are refused because the disk failed.
    #[error("the disk failed, nothing is written until a restart")]
    ReadOnly,
    /// The database was closed meanwhile.
    #[error("the database is closed")]
    Closed,
}

/// What of one shard of a source is left out: the series, by their ordinals, and when.
pub(crate) type Hidden = Vec<(Bitmap, TimeRange)>;

/// Tells what of a shard of a source is left out.
pub(crate) type Filter<'a> = dyn Fn(&BlockShard<'_>) -> Result<Hidden, Corruption> + 'a;

/// What a merge works with.
pub(crate) struct Merger<'a> {
    pub(crate) fs: &'a Arc<dyn Fs>,
    pub(crate) blocks_dir: &'a Path,
    pub(crate) pace: &'a Arc<Pace>,
    pub(crate) sources: &'a [Arc<Block>],
    /// Of the block that is written.
    pub(crate) spec: BlockSpec,
    pub(crate) filter: &'a Filter<'a>,
    /// Bytes of chunks read so far.
    pub(crate) read_bytes: &'a AtomicU64,
    /// Called between series: whether to give up.
    pub(crate) is_closing: &'a dyn Fn() -> bool,
}

/// One shard of a source, in order of (key, labels).
struct Source<'a> {
    block: BlockId,
    shard: BlockShard<'a>,
    reader: SeriesReader<'a>,
    hidden: Hidden,
    at: u32,
    /// Of the series at `at`; `None` at the end.
    key: Option<SeriesKey>,
}

/// Scratch that is reused from series to series.
#[derive(Default)]
struct Scratch {
    /// Sources that have the current series.
    having: Vec<usize>,
    parts: Vec<Samples>,
    used: usize,
    merged: Samples,
}

impl Merger<'_> {
    /// Writes the block; `None` where nothing is left of the sources, and no block was written.
    pub(crate) fn write(self) -> Result<Option<BlockMeta>, CompactError> {
        let dir = self.blocks_dir.join(self.spec.id.to_string());
        let writer = BlockWriter::create_paced(self.fs.clone(), &dir, self.spec.clone(), self.pace)?;
        let mut chunker = Chunker::new(writer);
        let mut scratch = Scratch::default();
        let mut work = GivingWay::new(self.pace.clock());
        for shard in self.spec.shards.iter() {
            self.write_shard(&mut chunker, shard, &mut scratch, &mut work)?;
        }
        if chunker.is_empty() {
            drop(chunker);
            self.fs.remove_dir_all(&dir).map_err(|source| CompactError::Io { path: dir, source })?;
            return Ok(None);
        }
        Ok(Some(chunker.finish()?))
    }

    fn write_shard(
        &self,
        chunker: &mut Chunker,
        shard: ShardId,
        scratch: &mut Scratch,
        work: &mut GivingWay<'_>,
    ) -> Result<(), CompactError> {
        let shards = self.sources.iter().filter_map(|b| b.shard(shard));
        let mut sources = shards.map(|s| Source::new(s, self.filter)).collect::<Result<Vec<_>, _>>()?;
        if sources.is_empty() {
            return Ok(());
        }
        chunker.begin_shard(shard)?;
        while let Some(key) = sources.iter().filter_map(|s| s.key).min() {
            if (self.is_closing)() {
                return Err(CompactError::Closed);
            }
            let labels = join(&mut sources, key, &mut scratch.having)?;
            scratch.used = 0;
            for at in &scratch.having {
                let source = &mut sources[*at];
                let read = source.decode(&labels, &mut scratch.parts, &mut scratch.used)?;
                self.read_bytes.fetch_add(read, Ordering::Relaxed);
                source.advance()?;
            }
            let Scratch { parts, used, merged, .. } = scratch;
            let samples = match &mut parts[..*used] {
                [one] => &*one,
                parts => {
                    codec::merge(parts, merged);
                    &*merged
                }
            };
            chunker.push(&labels, key, samples)?;
            work.step();
        }
        Ok(())
    }
}

/// Finds the sources that stand at `key` with the smallest labels; returns these labels.
fn join(
    sources: &mut [Source<'_>],
    key: SeriesKey,
    having: &mut Vec<usize>,
) -> Result<LabelSet, CompactError> {
    having.clear();
    let mut least: Option<LabelSet> = None;
    for (at, source) in sources.iter_mut().enumerate().filter(|(_, s)| s.key == Some(key)) {
        let labels = source.labels()?;
        match least.as_ref().map(|l| labels.cmp(l)) {
            Some(std::cmp::Ordering::Greater) => continue,
            Some(std::cmp::Ordering::Equal) => {}
            None | Some(std::cmp::Ordering::Less) => {
                having.clear();
                least = Some(labels);
            }
        }
        having.push(at);
    }
    Ok(least.expect("a source stands at the key"))
}

impl<'a> Source<'a> {
    fn new(shard: BlockShard<'a>, filter: &Filter<'_>) -> Result<Self, CompactError> {
        let block = shard.block().spec().id;
        let hidden = filter(&shard).map_err(|source| CompactError::Damaged { block, source })?;
        let mut source = Self { block, shard, reader: shard.reader(), hidden, at: 0, key: None };
        source.find()?;
        Ok(source)
    }

    fn damaged(&self) -> impl Fn(Corruption) -> CompactError + use<> {
        let block = self.block;
        move |source| CompactError::Damaged { block, source }
    }

    fn advance(&mut self) -> Result<(), CompactError> {
        self.at += 1;
        self.find()
    }

    /// Goes on to the next series that is not left out as a whole.
    fn find(&mut self) -> Result<(), CompactError> {
        let window = self.shard.block().spec().window;
        let whole = |range: &TimeRange| range.after <= window.start && window.end() <= range.until;
        while self.hidden.iter().any(|(series, range)| whole(range) && series.contains(self.at)) {
            self.at += 1;
        }
        self.key = match self.at < self.shard.series_count() {
            true => Some(self.reader.key(self.at).map_err(self.damaged())?),
            false => None,
        };
        Ok(())
    }

    fn labels(&mut self) -> Result<LabelSet, CompactError> {
        self.reader.labels(self.at).map_err(self.damaged())
    }

    /// Decodes the chunks of the current series, each into a part of its own; returns how many bytes they have.
    fn decode(
        &mut self,
        labels: &LabelSet,
        parts: &mut Vec<Samples>,
        used: &mut usize,
    ) -> Result<u64, CompactError> {
        let mut bytes = 0;
        for chunk in self.reader.chunks(self.at).map_err(self.damaged())? {
            let (_, chunk) = chunk.map_err(self.damaged())?;
            if parts.len() == *used {
                parts.push(Samples::default());
            }
            let part = &mut parts[*used];
            part.clear();
            codec::decode(chunk, &self.shard, part).map_err(|source| CompactError::Chunk {
                block: self.block,
                labels: labels.to_string(),
                source,
            })?;
            self.leave_out(part);
            *used += 1;
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    fn leave_out(&self, samples: &mut Samples) {
        let hidden = self.hidden.iter().filter(|(series, _)| series.contains(self.at));
        hidden.for_each(|(_, range)| samples.remove(*range));
    }
}
