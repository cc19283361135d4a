//! The series table: for each series its schema, its values and where its chunks are.

use super::error::Corruption;
use super::section::{Cursor, Section};
use crate::index::{NameId, ValueId};
use crate::model::{DurationMs, TimeRange, TimestampMs, Window, varint};

/// Series between two whose rows are found without a walk.
pub(super) const GROUP: u32 = 16;
/// Bytes of one entry of the groups section: offset of the row, zero, offset of the chunks.
pub(super) const GROUP_LEN: u64 = 16;

/// The most bytes of a row: 64 labels and thousands of chunks fit. What claims more is damage.
const ROW_LEN_MAX: u64 = 16 << 20;

/// Coarse times: a window in 256 steps, enough to leave out the chunks that a query does not need.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoarseTime {
    window: Window,
    unit: i64,
}

impl CoarseTime {
    pub(super) fn new(window: Window) -> Self {
        Self { window, unit: (window.len.0.saturating_add(255) / 256).max(1) }
    }

    /// The step that an instant of the window is in.
    pub(super) fn step(self, t: TimestampMs) -> u8 {
        (t.since(self.window.start).0.saturating_sub(1) / self.unit).clamp(0, 255) as u8
    }

    /// What lies in the steps from `first` to `last`.
    pub(super) fn range(self, first: u8, last: u8) -> TimeRange {
        TimeRange {
            after: self.window.start + DurationMs(self.unit.saturating_mul(i64::from(first))),
            until: self.window.start + DurationMs(self.unit.saturating_mul(i64::from(last) + 1)),
        }
    }
}

/// A chunk to be written.
#[derive(Clone, Copy, Debug)]
pub struct ChunkEntry<'a> {
    /// The time of its first sample.
    pub first: TimestampMs,
    /// The time of its last sample.
    pub last: TimestampMs,
    /// How many samples it has.
    pub samples: u32,
    /// The encoded chunk.
    pub bytes: &'a [u8],
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// From the start of the shard's chunks.
    pub(super) offset: u64,
    /// How long it is.
    pub len: u32,
    /// A range that holds all its samples; somewhat wider than they are.
    pub range: TimeRange,
}

impl ChunkRef {
    /// Where it starts and ends among the shard's chunks.
    pub(super) fn extent(&self) -> (u64, u64) {
        (self.offset, self.offset.saturating_add(u64::from(self.len)))
    }
}

/// Reads rows. Remembers where it stands, so that ascending ordinals cost no walk.
pub(super) struct Rows<'a> {
    groups: Section<'a>,
    rows: Section<'a>,
    coarse: CoarseTime,
    /// The next row of the group that was read last.
    next: Option<(u32, Cursor<'a>)>,
    /// Where the chunks of that group start.
    chunk_offset: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(groups: Section<'a>, rows: Section<'a>, coarse: CoarseTime) -> Self {
        Self { groups, rows, coarse, next: None, chunk_offset: 0 }
    }

    /// The row of a series.
    pub(super) fn row(&mut self, ordinal: u32) -> Result<Row<'a>, Corruption> {
        let (mut at, mut cursor) = match self.next.take() {
            Some((at, cursor)) if at <= ordinal && at / GROUP == ordinal / GROUP => (at, cursor),
            _ => self.start_group(ordinal / GROUP)?,
        };
        loop {
            let offset = cursor.at();
            let len = cursor.varint()?;
            if len > ROW_LEN_MAX {
                let expected = format!("a row of at most {ROW_LEN_MAX} bytes");
                return Err(self.rows.corruption(offset, expected, len.to_string()));
            }
            if at == ordinal {
                let bytes = cursor.bytes(len)?;
                self.next = (!(at + 1).is_multiple_of(GROUP)).then_some((at + 1, cursor));
                return self.decode(bytes, offset);
            }
            cursor.skip(len)?;
            at += 1;
        }
    }

    fn start_group(&mut self, group: u32) -> Result<(u32, Cursor<'a>), Corruption> {
        let at = u64::from(group) * GROUP_LEN;
        self.chunk_offset = self.groups.u64(at + 8)?;
        Ok((group * GROUP, self.rows.cursor(u64::from(self.groups.u32(at)?))))
    }

    fn decode(&self, mut bytes: &'a [u8], offset: u64) -> Result<Row<'a>, Corruption> {
        let schema = varint::take(&mut bytes).and_then(|s| u32::try_from(s).ok());
        let schema = schema.ok_or_else(|| self.rows.corruption(offset, "a schema", "none"))?;
        Ok(Row {
            schema,
            rest: bytes,
            section: self.rows,
            offset,
            coarse: self.coarse,
            chunk_offset: self.chunk_offset,
        })
    }
}

/// One series.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) schema: u32,
    /// Values, then chunks.
    rest: &'a [u8],
    section: Section<'a>,
    offset: u64,
    coarse: CoarseTime,
    chunk_offset: u64,
}

impl<'a> Row<'a> {
    /// The values of the names of the row's schema.
    pub(super) fn values<N: IntoIterator<Item = NameId>>(
        &self,
        names: N,
    ) -> impl Iterator<Item = Result<(NameId, ValueId), Corruption>> + use<'a, N> {
        let row = *self;
        let mut rest = self.rest;
        names.into_iter().map(move |name| {
            let value = varint::take(&mut rest).and_then(|v| u32::try_from(v).ok());
            value.map(|v| (name, ValueId(v))).ok_or_else(|| row.cut("a value"))
        })
    }

    /// The series' chunks; `names` is the number of names in its schema.
    pub(super) fn chunks(&self, names: usize) -> Result<ChunkRefs<'a>, Corruption> {
        let mut rest = self.rest;
        for _ in 0..names {
            varint::take(&mut rest).ok_or_else(|| self.cut("a value"))?;
        }
        let count = varint::take(&mut rest).ok_or_else(|| self.cut("a number of chunks"))?;
        let start = match count {
            0 => 0,
            _ => varint::take(&mut rest).ok_or_else(|| self.cut("where the chunks start"))?,
        };
        let offset = self.chunk_offset.saturating_add(start);
        Ok(ChunkRefs { row: *self, rest, count, offset })
    }

    pub(super) fn damaged(&self, expected: &str, found: &str) -> Corruption {
        self.section.corruption(self.offset, expected, found)
    }

    fn cut(&self, expected: &str) -> Corruption {
        self.damaged(&format!("a row with {expected}"), "none")
    }
}

/// The chunks of a series in order. Ends after the first error.
pub struct ChunkRefs<'a> {
    row: Row<'a>,
    rest: &'a [u8],
    count: u64,
    offset: u64,
}

impl ChunkRefs<'_> {
    fn read(&mut self) -> Option<ChunkRef> {
        let len = u32::try_from(varint::take(&mut self.rest)?).ok()?;
        let (&[first, last], rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        let chunk = ChunkRef { offset: self.offset, len, range: self.row.coarse.range(first, last) };
        self.offset = self.offset.saturating_add(u64::from(len));
        Some(chunk)
    }
}

impl Iterator for ChunkRefs<'_> {
    type Item = Result<ChunkRef, Corruption>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let chunk = self.read().ok_or_else(|| self.row.cut("a chunk reference"));
        if chunk.is_err() {
            self.count = 0;
        }
        Some(chunk)
    }
}

/// Appends the chunk references of a series to its row. `start` counts from the chunks of its group.
pub(super) fn put_chunks(
    out: &mut Vec<u8>,
    start: u64,
    chunks: impl ExactSizeIterator<Item = (u64, u8, u8)>,
) {
    varint::put(out, chunks.len() as u64);
    if chunks.len() > 0 {
        varint::put(out, start);
    }
    for (len, first, last) in chunks {
        varint::put(out, len);
        out.extend_from_slice(&[first, last]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_times_hold_what_they_stand_for() {
        for len in [1, 100, 256, 1000, 7_200_000, 86_400_000 * 30] {
            let window = Window { start: TimestampMs(-len), len: DurationMs(len) };
            let coarse = CoarseTime::new(window);
            for t in [1, 2, len / 3, len / 2, len - 1, len].map(|t| TimestampMs(t.max(1) - len)) {
                let t = TimestampMs(t.0.min(window.end().0));
                let step = coarse.step(t);
                assert!(coarse.range(step, step).contains(t), "{t} in {len}");
            }
        }
    }
}
