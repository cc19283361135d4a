//! From pieces of one series (chunks, open chunks, late samples; of head and blocks) to two plain columns, and its histograms.

use super::known_times::{KnownTimes, Remembering};
use crate::block::BlockShard;
use crate::codec::{self, ChunkError, NothingShared, OpenChunk, Samples};
use crate::model::{HistogramSample, TimeRange, TimestampMs};

/// A run of samples of one series, ascending in time.
pub(crate) enum Piece<'a> {
    /// A chunk whose times stand in it.
    Chunk(&'a [u8]),
    /// A chunk of a block, and the shard whose chunks it may share times and values with.
    BlockChunk(&'a [u8], BlockShard<'a>),
    /// An open chunk with its bytes.
    Open(&'a OpenChunk, &'a [u8]),
    /// Late samples.
    Late(&'a [(TimestampMs, f64)]),
    /// Histograms of the head.
    Histograms(&'a [HistogramSample]),
}

impl Piece<'_> {
    /// The bytes that are read for it.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Chunk(chunk) | Self::BlockChunk(chunk, _) => chunk.len(),
            Self::Open(_, bytes) => bytes.len(),
            Self::Late(samples) => size_of_val(*samples),
            Self::Histograms(samples) => size_of_val(*samples),
        };
        bytes as u64
    }
}

/// Decodes pieces as they come and puts them in order at the end; scratch that is reused from series to series.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    decoded: Vec<Samples>,
    used: usize,
    merged: Samples,
    /// Whether `merged` is what the pieces are together.
    is_merged: bool,
    known: KnownTimes,
    times: Vec<i64>,
    /// Pieces that were added since the beginning, and their bytes.
    read: (u64, u64),
}

impl Pieces {
    /// How many pieces were added since the beginning, and their bytes.
    pub(crate) fn read_so_far(&self) -> (u64, u64) {
        self.read
    }

    /// Forgets all pieces and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.is_merged = false;
    }

    /// Adds a piece. Pieces may come in any order and overlap. One that cannot be decoded changes nothing.
    pub(crate) fn push(&mut self, piece: Piece<'_>) -> Result<(), ChunkError> {
        if self.decoded.len() == self.used {
            self.decoded.push(Samples::default());
        }
        self.read = (self.read.0 + 1, self.read.1 + piece.bytes());
        let out = &mut self.decoded[self.used];
        out.clear();
        match piece {
            Piece::Chunk(chunk) => {
                codec::verify(chunk)?;
                codec::decode(chunk, &NothingShared, out)?;
            }
            Piece::BlockChunk(chunk, shard) => {
                let block = shard.block().spec().id;
                codec::decode(chunk, &Remembering { shared: shard, block, known: &self.known }, out)?;
            }
            Piece::Open(chunk, bytes) => chunk.decode(bytes, out)?,
            Piece::Late(samples) => samples.iter().for_each(|(t, v)| out.push(t.0, *v)),
            Piece::Histograms(samples) => out.histograms.extend_from_slice(samples),
        }
        self.used += 1;
        Ok(())
    }

    /// Forgets the times that were added.
    pub(crate) fn clear_times(&mut self) {
        self.times.clear();
    }

    /// Adds the times of a block's chunk, if its form tells that no staleness marker is in it; whether it does.
    pub(crate) fn push_times(&mut self, chunk: &[u8], shard: BlockShard<'_>) -> Result<bool, ChunkError> {
        let shared = &Remembering { shared: shard, block: shard.block().spec().id, known: &self.known };
        codec::times_without_stale(chunk, shared, &mut self.times)
    }

    /// The times that were added, inside `range`: strictly ascending.
    pub(crate) fn times(&mut self, range: TimeRange) -> &[i64] {
        let times = &mut self.times;
        if !times.is_sorted_by(|a, b| a < b) {
            times.sort_unstable();
            times.dedup();
        }
        let from = times.partition_point(|t| *t <= range.after.0);
        let to = times.partition_point(|t| *t <= range.until.0).max(from);
        &times[from..to]
    }

    /// Takes samples in `ranges` out of the piece that was added last.
    pub(crate) fn hide(&mut self, ranges: &[TimeRange]) {
        let Some(samples) = self.decoded[..self.used].last_mut() else { return };
        ranges.iter().for_each(|range| samples.remove(*range));
        if samples.is_empty() {
            self.used -= 1;
        }
    }

    /// The floats of all pieces inside `range`: times strictly ascending, the merge rule at equal ones.
    pub(crate) fn columns(&mut self, range: TimeRange) -> (&[i64], &[f64]) {
        let Some(all) = self.all() else { return (&[], &[]) };
        let from = all.t.partition_point(|t| *t <= range.after.0);
        let to = all.t.partition_point(|t| *t <= range.until.0).max(from);
        (&all.t[from..to], &all.v[from..to])
    }

    /// The histograms of all pieces inside `range`, likewise; none of them has the time of a float.
    pub(crate) fn histograms(&mut self, range: TimeRange) -> &[HistogramSample] {
        let Some(all) = self.all() else { return &[] };
        let from = all.histograms.partition_point(|h| h.t <= range.after);
        let to = all.histograms.partition_point(|h| h.t <= range.until).max(from);
        &all.histograms[from..to]
    }

    /// All pieces, merged once.
    fn all(&mut self) -> Option<&Samples> {
        let n = self.used;
        if n > 1 && !self.is_merged {
            codec::merge(&mut self.decoded[..n], &mut self.merged);
            self.is_merged = true;
        }
        match n {
            0 => None,
            1 => Some(&self.decoded[0]),
            _ => Some(&self.merged),
        }
    }
}
