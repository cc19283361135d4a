//! From the samples of series to a block: what a cut and a compaction write goes through here.
//!
//! ```text
//! Chunker::new(BlockWriter)
//!    begin_shard(shard)                  shards ascending
//!    push(labels, key, samples)          series in block order; all samples of the block, merged already
//!    finish() ──► BlockMeta
//! ```
//!
//! How samples are divided into chunks, which chunks share times and in what encoding each is kept is decided here alone, so
//! that a block does not tell by which way it was made. Samples must lie in the block's window; callers split by window.

use crate::block::{BlockMeta, BlockWriter, ChunkEntry, WriteBlockError};
use crate::codec::{self, EncoderHint, Samples, Times};
use crate::model::{LabelSet, SeriesKey, ShardId, TimestampMs};
use std::ops::Range;

/// Samples of a chunk at most: a reader of a short range decodes whole chunks.
const CHUNK_SAMPLES_MAX: usize = 4096;
/// A chunk of fewer samples keeps its own times: a shared column's entry would cost more.
const COLUMN_SAMPLES_MIN: usize = 4;

/// Encodes the series of one block in block order. After an error it is of no more use, as the block is.
///
/// Memory: the block writer's, and the chunks of one series.
pub(crate) struct Chunker {
    writer: BlockWriter,
    hint: EncoderHint,
    column: Vec<u8>,
    chunks: Vec<u8>,
    spans: Vec<Span>,
}

/// A chunk of the series being pushed: its samples and its bytes.
struct Span {
    samples: Range<usize>,
    bytes: Range<usize>,
}

impl Chunker {
    /// Encodes into `writer`, to which nothing has been written.
    pub(crate) fn new(writer: BlockWriter) -> Self {
        Self {
            writer,
            hint: EncoderHint::default(),
            column: Vec::new(),
            chunks: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Begins a shard. Those without series may be left out.
    pub(crate) fn begin_shard(&mut self, shard: ShardId) -> Result<(), WriteBlockError> {
        self.writer.begin_shard(shard)
    }

    /// Adds the next series of the shard with all its samples of the block, strictly ascending. A series without samples
    /// is left out.
    pub(crate) fn push(
        &mut self,
        labels: &LabelSet,
        key: SeriesKey,
        samples: &Samples,
    ) -> Result<(), WriteBlockError> {
        if samples.is_empty() {
            return Ok(());
        }
        self.chunks.clear();
        self.spans.clear();
        for from in (0..samples.len()).step_by(CHUNK_SAMPLES_MAX) {
            self.seal(samples, from..samples.len().min(from + CHUNK_SAMPLES_MAX));
        }
        let entry = |span: &Span| ChunkEntry {
            first: TimestampMs(samples.t[span.samples.start]),
            last: TimestampMs(samples.t[span.samples.end - 1]),
            samples: span.samples.len() as u32,
            bytes: &self.chunks[span.bytes.clone()],
        };
        let entries: Vec<ChunkEntry<'_>> = self.spans.iter().map(entry).collect();
        self.writer.push_series(labels, key, &entries)
    }

    /// Writes what is left; all is synced then. To publish the block is for the caller.
    pub(crate) fn finish(self) -> Result<BlockMeta, WriteBlockError> {
        self.writer.finish()
    }

    /// Encodes one chunk of the series.
    fn seal(&mut self, samples: &Samples, which: Range<usize>) {
        let (t, v) = (&samples.t[which.clone()], &samples.v[which.clone()]);
        let times = if t.len() < COLUMN_SAMPLES_MIN {
            Times::Inline
        } else {
            self.column.clear();
            codec::encode_column(t, &mut self.column);
            Times::Column(self.writer.time_column(&self.column))
        };
        let start = self.chunks.len();
        codec::seal((t, v), times, &mut self.hint, &mut self.chunks);
        self.spans.push(Span { samples: which, bytes: start..self.chunks.len() });
    }
}
