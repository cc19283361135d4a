//! The head's share of a selection: slots, and copies of their series a thousand at a time.

use super::grouping::RowIds;
use super::head_chunks::{HeadChunk, HeadPlace};
use super::missing::Missing;
use super::pieces::{Piece, Pieces};
use super::stop::Stop;
use super::{ReadError, Wanted};
use crate::codec::ChunkError;
use crate::head::Head;
use crate::head::cuts::CutPositions;
use crate::head::keys::KeyHashes;
use crate::head::log::record::{Record, RecordHeader};
use crate::head::log::{HeadPos, LogSnapshot};
use crate::head::series::{Reach, SeriesCopies, SeriesCopy};
use crate::head::shard::{SLICE, Shard};
use crate::index::{Bitmap, NameId, ValueId};
use crate::model::{
    HistogramSample, LabelSet, SeriesKey, SeriesSlot, TimeRange, TimestampMs, Window, varint,
};

/// The selected series of one shard's head, in order of their keys where blocks are merged in, else of their slots.
#[derive(Debug)]
pub(crate) struct HeadRows<'a> {
    head: &'a Head,
    shard: &'a Shard,
    cuts: &'a CutPositions,
    slots: Vec<u32>,
    /// Of these: series whose newest sample may be deleted.
    pub(super) suspects: Bitmap,
    /// Keys of `slots`, in their order; empty where nobody needs them.
    keys: Vec<SeriesKey>,
    /// How many slots have been copied.
    copied: usize,
    copies: SeriesCopies,
    /// Whether more than the records is copied; what is not, is copied when it is asked for.
    whole: bool,
    /// Rows of the copied series, and where each ends.
    rows: Vec<u8>,
    row_ends: Vec<usize>,
    copied_keys: Vec<SeriesKey>,
    /// The names of schemas seen so far.
    schemas: Vec<Option<Box<[NameId]>>>,
    at: usize,
    log: Option<LogSnapshot>,
    missing: &'a Missing,
}

impl<'a> HeadRows<'a> {
    pub(crate) fn new(
        head: &'a Head,
        shard: &'a Shard,
        cuts: &'a CutPositions,
        slots: Vec<u32>,
        wanted: Wanted,
        missing: &'a Missing,
    ) -> Self {
        Self {
            head,
            shard,
            cuts,
            slots,
            keys: Vec::new(),
            copied: 0,
            copies: SeriesCopies::default(),
            whole: wanted != Wanted::Newest,
            rows: Vec::new(),
            row_ends: Vec::new(),
            copied_keys: Vec::new(),
            schemas: Vec::new(),
            at: 0,
            log: None,
            missing,
            suspects: Bitmap::new(),
        }
    }

    /// How many series are still to come, the current one included.
    pub(crate) fn remaining(&self) -> u64 {
        (self.slots.len() - self.copied + self.copies.series.len() - self.at) as u64
    }

    /// Computes the keys of all slots and sorts by them. Slots whose series has left since are dropped, and those of which all that
    /// is in `range` is in the view's blocks.
    pub(crate) fn sort_by_key(&mut self, range: TimeRange, stop: &Stop) -> Result<(), ReadError> {
        let mut keyed: Vec<(SeriesKey, u32)> = Vec::with_capacity(self.slots.len());
        let mut families = Vec::new();
        let mut hashes = KeyHashes::new(self.head);
        let reach = self.reach(range);
        for slots in self.slots.chunks(SLICE as usize) {
            stop.check()?;
            families.clear();
            {
                let series = self.shard.series.lock();
                let family =
                    |slot| series.record(slot).map(|r| r.family).filter(|_| series.may_have(slot, &reach));
                families.extend(slots.iter().map(|s| family(SeriesSlot(*s))));
            }
            let index = self.shard.index.read();
            for (slot, family) in slots.iter().zip(&families) {
                if let (Some(family), Some(row)) = (family, index.row(SeriesSlot(*slot))) {
                    keyed.push((hashes.key(&index, row, *family), *slot));
                }
            }
        }
        keyed.sort_unstable();
        let index = self.shard.index.read();
        for equal in keyed.chunk_by_mut(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            equal.sort_by_cached_key(|(_, slot)| index.row(SeriesSlot(*slot)).map(|row| index.labels(row)));
        }
        drop(index);
        self.slots = keyed.iter().map(|k| k.1).collect();
        self.keys = keyed.iter().map(|k| k.0).collect();
        Ok(())
    }

    /// What a series must have to be of use to a reader of `range`.
    fn reach(&self, range: TimeRange) -> Reach {
        // What is sealed from here on stands behind this end, whatever window it is of. Windows that the log has forgotten are cut.
        let end = self.head.log.end();
        let windows = self.head.log.windows().into_iter();
        let position = |(_, window)| self.cuts.position(window, self.shard.id);
        Reach { range, cut_below: windows.map(position).fold(end, HeadPos::min) }
    }

    /// Makes sure that there is a current series, copying the next thousand where needed; false at the end.
    pub(crate) fn fill(&mut self) -> bool {
        while self.at >= self.copies.series.len() {
            let to = self.slots.len().min(self.copied + SLICE as usize);
            if self.copied == to {
                return false;
            }
            self.copy(self.copied..to);
            self.copied = to;
        }
        true
    }

    fn copy(&mut self, range: std::ops::Range<usize>) {
        let slots = &self.slots[range.clone()];
        let series = self.shard.series.lock();
        match self.whole {
            true => series.copy(slots, &mut self.copies),
            false => series.copy_records(slots, &mut self.copies),
        }
        drop(series);
        self.at = 0;
        self.rows.clear();
        self.row_ends.clear();
        let index = self.shard.index.read();
        // A series that left between the two locks has a later view's block to be found in, not ours: views that may miss
        // it are waited for before anything leaves, so this is for completeness alone.
        self.copies.series.retain(|s| index.row(s.slot).is_some());
        for series in &self.copies.series {
            self.rows.extend_from_slice(index.row(series.slot).unwrap_or_default());
            self.row_ends.push(self.rows.len());
        }
        self.copied_keys.clear();
        if let Some(keys) = self.keys.get(range) {
            let mut copied = self.copies.series.iter().peekable();
            let of_copied = |(slot, _): &(&u32, &SeriesKey)| copied.next_if(|c| c.slot.0 == **slot).is_some();
            self.copied_keys.extend(slots.iter().zip(keys).filter(of_copied).map(|(_, key)| *key));
        }
    }

    /// Goes past the current series.
    pub(crate) fn skip(&mut self) {
        self.at += 1;
    }

    fn current(&self) -> &SeriesCopy {
        &self.copies.series[self.at]
    }

    /// Copies the current series' chunks, if only its record was.
    fn fill_current(&mut self) {
        let SeriesCopy { slot, is_whole, .. } = *self.current();
        if !is_whole && let Some(whole) = self.shard.series.lock().copy_one(slot, &mut self.copies) {
            self.copies.series[self.at] = whole;
        }
    }

    /// The time of the current series' newest sample, and whether it is a staleness marker; `None` where only its chunks can
    /// tell.
    pub(crate) fn newest(&self) -> Option<(TimestampMs, bool)> {
        let SeriesCopy { last_t, is_stale, .. } = self.current();
        is_stale.map(|is_stale| (*last_t, is_stale))
    }

    /// The key of the current series; only with keys.
    pub(crate) fn key(&self) -> SeriesKey {
        self.copied_keys[self.at]
    }

    /// The histograms of the current series that are in memory: those in order, and those that came late.
    fn histograms(&self) -> impl Iterator<Item = (HeadPlace, &[HistogramSample])> {
        let places = [HeadPlace::Open, HeadPlace::LateBuffer];
        let copied = places.into_iter().zip(self.current().histograms);
        copied.filter_map(|(place, at)| Some((place, self.copies.histograms.get(at?)?.as_slice())))
    }

    fn row(&self) -> &[u8] {
        let from = if self.at == 0 { 0 } else { self.row_ends[self.at - 1] };
        &self.rows[from..self.row_ends[self.at]]
    }

    /// The current series' labels as ids.
    pub(crate) fn ids(&mut self, out: &mut RowIds) {
        out.clear();
        let from = if self.at == 0 { 0 } else { self.row_ends[self.at - 1] };
        let mut row = &self.rows[from..self.row_ends[self.at]];
        let schema = varint::take(&mut row).unwrap_or(0) as usize;
        if self.schemas.len() <= schema {
            self.schemas.resize(schema + 1, None);
        }
        let shard = self.shard;
        let names =
            self.schemas[schema].get_or_insert_with(|| shard.index.read().schema(schema as u32).into());
        for name in names.iter() {
            out.push((name.0, varint::take(&mut row).unwrap_or(0) as u32));
        }
    }

    /// The text of a name.
    pub(crate) fn name(&self, id: u32) -> String {
        self.shard.index.read().name_text(NameId(id)).to_string()
    }

    /// The text of a value.
    pub(crate) fn value(&self, name: u32, value: u32) -> String {
        self.shard.index.read().value_text(NameId(name), ValueId(value)).to_string()
    }

    /// Whether the current series has a sample after the start of `range`, or may have.
    pub(crate) fn may_have_samples(&mut self, range: TimeRange) -> bool {
        let SeriesCopy { slot, last_t, .. } = self.current();
        *last_t > range.after && (!self.suspects.contains(slot.0) || self.has_samples(range))
    }

    /// Whether the head has a chunk of the current series that may have samples in `range` and is in no block of the view.
    pub(crate) fn has_samples(&mut self, range: TimeRange) -> bool {
        self.fill_current();
        let series = self.current();
        let open = series.open.as_ref().map(|(chunk, _)| TimeRange::closed(chunk.first_t(), chunk.last_t()));
        let late = &self.copies.late[series.late.clone()];
        if open.is_some_and(|o| o.overlaps(range)) || late.iter().any(|(t, _)| range.contains(*t)) {
            return true;
        }
        if self.histograms().any(|(_, some)| is_in(some, range)) {
            return true;
        }
        let mut found = false;
        let walked = self.each_record(|_, _, record| {
            found |= TimeRange::closed(record.header.first_t, record.header.last_t).overlaps(range);
        });
        self.missing.or_note(walked);
        found
    }

    /// The slot of the current series.
    pub(crate) fn slot(&self) -> SeriesSlot {
        self.current().slot
    }

    /// The current series' labels.
    pub(crate) fn labels(&self) -> LabelSet {
        self.shard.index.read().labels(self.row())
    }

    /// One label of the current series.
    pub(crate) fn label(&self, name: &str) -> Option<String> {
        let index = self.shard.index.read();
        let id = index.name_id(name)?;
        let value = index.value_in(self.row(), id)?;
        Some(index.value_text(id, value).to_string())
    }

    /// Adds what the head has of the current series in `range`, without what cannot be read.
    pub(crate) fn pieces(&mut self, range: TimeRange, pieces: &mut Pieces) {
        self.each_piece(range, |piece| pieces.push(piece));
    }

    /// How many pieces [`Self::pieces`] would add, and their bytes.
    pub(crate) fn weigh(&mut self, range: TimeRange) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        self.each_piece(range, |piece| {
            count += 1;
            bytes += piece.bytes();
            Ok(())
        });
        (count, bytes)
    }

    /// Visits what the head has of the current series in `range`. Where a visit fails, that piece is noted as missing.
    fn each_piece(&mut self, range: TimeRange, mut visit: impl FnMut(Piece<'_>) -> Result<(), ChunkError>) {
        let missing = self.missing;
        let walked = self.each_record(|log, at, record| {
            let RecordHeader { first_t, last_t, .. } = record.header;
            if TimeRange::closed(first_t, last_t).overlaps(range)
                && let Err(error) = visit(Piece::Chunk(record.chunk))
            {
                missing.note(&log.corruption(at, error.to_string()).into());
            }
        });
        missing.or_note(walked);
        self.fill_current();
        let series = self.current();
        if let Some((chunk, bytes)) = &series.open {
            let times = TimeRange::closed(chunk.first_t(), chunk.last_t());
            if times.overlaps(range) {
                missing.or_note(visit(Piece::Open(chunk, &self.copies.bytes[bytes.clone()])));
            }
        }
        let late = &self.copies.late[series.late.clone()];
        if let (Some(first), Some(last)) = (late.first(), late.last())
            && TimeRange::closed(first.0, last.0).overlaps(range)
        {
            missing.or_note(visit(Piece::Late(late)));
        }
        for (_, some) in self.histograms() {
            if is_in(some, range) {
                missing.or_note(visit(Piece::Histograms(some)));
            }
        }
    }

    /// Adds what the head has of the current series, newest place first: what was found before an error stays in `out`.
    pub(crate) fn chunks(&mut self, out: &mut Vec<HeadChunk>) -> Result<(), ReadError> {
        self.fill_current();
        let series = self.current();
        out.extend(series.open.as_ref().map(|(chunk, _)| HeadChunk::of_open(chunk)));
        out.extend(HeadChunk::of_late(&self.copies.late[series.late.clone()]));
        out.extend(self.histograms().filter_map(|(place, some)| HeadChunk::of_histograms(some, place)));
        self.each_record(|_, _, record| out.push(HeadChunk::of_record(record)))
    }

    /// Visits those of the current series' records in the head-chunk log that are in no block of the view, newest first.
    fn each_record(
        &mut self,
        mut visit: impl FnMut(&LogSnapshot, HeadPos, &Record<'_>),
    ) -> Result<(), ReadError> {
        let (slot, tail) = (self.current().slot, self.current().tail);
        if tail == HeadPos::NONE {
            return Ok(());
        }
        let log = match &mut self.log {
            Some(log) if tail < log.end() => log,
            log => log.insert(self.head.log.snapshot()),
        };
        let mut at = tail;
        while let Some(record) = log.get(at)? {
            let RecordHeader { prev, shard, slot: found, first_t, .. } = record.header;
            if found != slot {
                return Err(ReadError::corrupt(format!(
                    "head-chunk log position {:x}: expected a chunk of slot {}, found one of slot {}",
                    at.0, slot.0, found.0
                )));
            }
            if !self.cuts.is_cut(Window::of(first_t, self.head.window).start, shard, at) {
                visit(log, at, &record);
            }
            at = prev;
        }
        Ok(())
    }
}

/// Whether histograms, sorted by time, may have some in a range.
fn is_in(histograms: &[HistogramSample], range: TimeRange) -> bool {
    let ends = histograms.first().zip(histograms.last());
    ends.is_some_and(|(first, last)| TimeRange::closed(first.t, last.t).overlaps(range))
}
