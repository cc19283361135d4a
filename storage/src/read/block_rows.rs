//! A block's share of a selection: ordinals of one shard, in order of their keys.

use super::ReadError;
use super::grouping::RowIds;
use super::hidden::HiddenShard;
use super::missing::Missing;
use super::pieces::{Piece, Pieces};
use crate::block::{BlockShard, SeriesReader};
use crate::index::{Bitmap, LabelIndex, NameId, ValueId};
use crate::model::{BlockId, LabelSet, SeriesKey, TimeRange};
use std::sync::Arc;

/// The selected series of one shard of a block.
pub(crate) struct BlockRows<'a> {
    /// Its number among the sources of a cursor.
    pub(crate) number: u32,
    reader: SeriesReader<'a>,
    ordinals: Vec<u32>,
    at: usize,
    key: Option<SeriesKey>,
    missing: &'a Missing,
    /// What of some series is hidden; `None` where none of them has such parts.
    hidden: Option<Arc<HiddenShard>>,
    ranges: Vec<TimeRange>,
}

impl std::fmt::Debug for BlockRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockRows")
            .field("ordinals", &self.ordinals.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<'a> BlockRows<'a> {
    pub(crate) fn new(
        number: u32,
        shard: BlockShard<'a>,
        ordinals: &Bitmap,
        hidden: Option<Arc<HiddenShard>>,
        missing: &'a Missing,
    ) -> Self {
        let (reader, ordinals, ranges) = (shard.reader(), ordinals.to_vec(), Vec::new());
        let mut rows = Self { number, reader, ordinals, at: 0, key: None, missing, hidden, ranges };
        rows.read_key();
        rows
    }

    /// Moves on to the next series whose key can be read. Where the index is known to be damaged, its labels must be
    /// readable too: whoever asks for them later could not go on without them.
    fn read_key(&mut self) {
        self.key = None;
        while let Some(ordinal) = self.ordinals.get(self.at).copied() {
            let damaged = self.reader.shard().block().index_is_damaged();
            let labels = if damaged { self.reader.labels(ordinal).map(drop) } else { Ok(()) };
            self.key = self.missing.or_note(labels.and_then(|()| self.reader.key(ordinal)));
            if self.key.is_some() {
                return;
            }
            self.at += 1;
        }
    }

    /// How many series are still to come, the current one included.
    pub(crate) fn remaining(&self) -> u64 {
        (self.ordinals.len() - self.at) as u64
    }

    /// The key of the current series, `None` at the end.
    pub(crate) fn key(&self) -> Option<SeriesKey> {
        self.key
    }

    /// Goes past the current series.
    pub(crate) fn skip(&mut self) {
        self.at += 1;
        self.read_key();
    }

    fn ordinal(&self) -> u32 {
        self.ordinals[self.at]
    }

    /// The current series' labels as ids.
    pub(crate) fn ids(&mut self, out: &mut RowIds) -> Result<(), ReadError> {
        out.clear();
        for label in self.reader.label_ids(self.ordinal())? {
            let (name, value) = label?;
            out.push((name.0, value.0));
        }
        Ok(())
    }

    /// The text of a name.
    pub(crate) fn name(&self, id: u32) -> Result<String, ReadError> {
        Ok(self.reader.shard().name(NameId(id))?.to_string())
    }

    /// The text of a value.
    pub(crate) fn value(&self, name: u32, value: u32) -> Result<String, ReadError> {
        Ok(self.reader.shard().with_value(NameId(name), ValueId(value), str::to_string)?)
    }

    /// The current series' labels.
    pub(crate) fn labels(&mut self) -> Result<LabelSet, ReadError> {
        Ok(self.reader.labels(self.ordinals[self.at])?)
    }

    /// One label of the current series.
    pub(crate) fn label(&mut self, name: &str) -> Result<Option<String>, ReadError> {
        let shard = self.reader.shard();
        let Some(name) = shard.name_id(name)? else { return Ok(None) };
        let Some(value) = self.reader.value_id(self.ordinals[self.at], name)? else { return Ok(None) };
        Ok(Some(shard.with_value(name, value, str::to_string)?))
    }

    /// Whether the current series can have samples in `range`, told without reading any: by the block's window where it lies
    /// inside, else by where the chunks are. A day's block has many series that lived for minutes.
    pub(crate) fn may_have_samples(&mut self, range: TimeRange) -> bool {
        let window = self.reader.shard().block().spec().window.range();
        let ordinal = self.ordinal();
        self.find_hidden(ordinal, range);
        if range.after <= window.after && window.until <= range.until && self.ranges.is_empty() {
            return true;
        }
        match self.missing.or_note(self.reader.chunk_refs(ordinal)) {
            Some(mut chunks) => {
                let is_seen = |chunk: TimeRange| chunk.overlaps(range) && !self.is_hidden(chunk);
                chunks.any(|c| self.missing.or_note(c).is_none_or(|c| is_seen(c.range)))
            }
            None => true,
        }
    }

    /// Finds when the current series is hidden from a reader of `range`.
    fn find_hidden(&mut self, ordinal: u32, range: TimeRange) {
        if let Some(hidden) = &self.hidden {
            hidden.ranges(ordinal, range, &mut self.ranges);
        }
    }

    /// Whether all of a chunk of the current series is hidden.
    fn is_hidden(&self, chunk: TimeRange) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| hidden.is_hidden(chunk, &self.ranges))
    }

    /// Adds the times of the current series in `range`, if they can be told without its values; whether they can. Where not, some
    /// may have been added.
    pub(crate) fn times(&mut self, range: TimeRange, pieces: &mut Pieces) -> bool {
        let ordinal = self.ordinal();
        self.find_hidden(ordinal, range);
        if !self.ranges.is_empty() {
            return false;
        }
        let shard = self.reader.shard();
        let Ok(chunks) = self.reader.chunk_refs(ordinal) else { return false };
        // What is damaged is noted by who reads the samples instead.
        chunks.into_iter().all(|chunk| match chunk {
            Ok(chunk) if !chunk.range.overlaps(range) => true,
            Ok(chunk) => shard.chunk(&chunk).is_ok_and(|bytes| pieces.push_times(bytes, shard) == Ok(true)),
            Err(_) => false,
        })
    }

    /// The block.
    pub(crate) fn block_id(&self) -> BlockId {
        self.reader.shard().block().spec().id
    }

    /// How many chunks [`Self::pieces`] would add, and their bytes.
    pub(crate) fn weigh(&mut self, range: TimeRange) -> (u64, u64) {
        let ordinal = self.ordinal();
        self.find_hidden(ordinal, range);
        let Some(chunks) = self.missing.or_note(self.reader.chunk_refs(ordinal)) else { return (0, 0) };
        let chunks = chunks.filter_map(|chunk| self.missing.or_note(chunk));
        let wanted = chunks.filter(|c| c.range.overlaps(range) && !self.is_hidden(c.range));
        wanted.fold((0, 0), |(chunks, bytes), c| (chunks + 1, bytes + u64::from(c.len)))
    }

    /// Adds the chunks of the current series that may have samples in `range`, without those that cannot be read.
    pub(crate) fn pieces(&mut self, range: TimeRange, pieces: &mut Pieces) {
        let ordinal = self.ordinal();
        self.find_hidden(ordinal, range);
        let shard = self.reader.shard();
        let Some(chunks) = self.missing.or_note(self.reader.chunk_refs(ordinal)) else { return };
        for chunk in chunks.filter_map(|chunk| self.missing.or_note(chunk)) {
            if !chunk.range.overlaps(range) || self.is_hidden(chunk.range) {
                continue;
            }
            let Some(bytes) = self.missing.or_note(shard.chunk(&chunk)) else { continue };
            match pieces.push(Piece::BlockChunk(bytes, shard)) {
                Ok(()) if self.ranges.is_empty() => {}
                Ok(()) => pieces.hide(&self.ranges),
                Err(error) => self.missing.note(&shard.chunk_corruption(&chunk, &error).into()),
            }
        }
    }
}
