//! The series of a shard: their records, open chunks and late samples, and what an arriving sample does to them.
//!
//! ```text
//!            t > last_t                 full, window over, idle, stale
//! sample ──► open chunk (slab) ───────────────────────────────────────┐
//!        │   t < last_t                 32 samples or more             ├──► head-chunk log, chained from `tail`
//!        └─► late buffer (sorted) ────────────────────────────────────┘
//! ```
//!
//! Invariants: `last_t` is the newest time of the series, wherever its sample is; all samples of an open chunk lie in one
//! window; every sample that was accepted is in exactly one of open chunk, late buffer, log, block.
//!
//! Native histograms go the same ways beside it, through [`HeadHistograms`]: where a series' newest sample is one, it has no open
//! chunk of floats.

mod histograms;

use super::fingerprints::FingerprintTable;
use super::histograms::{HeadHistograms, Kept};
use super::late::{LateBuffers, LateOutcome};
use super::log::record::RecordHeader;
use super::log::{HeadLog, HeadPos};
use super::records::Records;
use super::slab::{Slab, SlabRef};
use crate::codec::{self, Append, EncoderHint, OpenChunk, Samples, TOKEN_BYTES_MAX, Times};
use crate::index::Bitmap;
use crate::model::{DurationMs, Fingerprint, SeriesSlot, ShardId, TimeRange, TimestampMs, Window, is_stale};
use croaring::Portable;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

pub(crate) use histograms::histogram_bits;

/// Samples of an open chunk; the first one of a series ends up to half earlier, by its fingerprint, so that series that began
/// together do not all fill up together.
const CHUNK_SAMPLES_MAX: u32 = 120;
/// A series without a sample for so long gives its open chunk back, and may leave once the rest is in a block.
pub(crate) const IDLE: DurationMs = DurationMs::mins(10);
/// The same where memory is short: two scrapes of a slow target.
pub(crate) const IDLE_UNDER_PRESSURE: DurationMs = DurationMs::mins(2);

/// One series, or a free slot.
#[derive(Clone, Debug)]
pub(crate) struct SeriesRecord {
    pub(crate) fingerprint: Fingerprint,
    /// The hash of the series' key that `le` takes no part in.
    pub(crate) family: u64,
    pub(crate) last_t: TimestampMs,
    /// The value at `last_t`, to tell a repeated sample from a conflict; of a histogram its [`histogram_bits`].
    pub(crate) last_bits: u64,
    /// The newest of the series' records in the head-chunk log.
    pub(crate) tail: HeadPos,
    pub(crate) open: Option<Open>,
    pub(crate) generation: u8,
    pub(crate) live: bool,
    /// Whether the sample at `last_t` may be deleted: another one at that time is then not compared with it.
    last_in_doubt: bool,
    /// Whether the sample at `last_t` is a histogram. There is no open chunk then.
    last_is_histogram: bool,
    /// Whether a sample came since the last checkpoint copied the record.
    touched: bool,
    /// Whether a chunk was filled since the series began.
    filled: bool,
}

impl SeriesRecord {
    /// The record of a free slot.
    pub(crate) fn vacant(generation: u8) -> Self {
        Self { generation, ..VACANT }
    }
}

/// A chunk that still grows.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) chunk: OpenChunk,
    at: SlabRef,
    /// Inclusive end of the window that it lies in.
    window_end: TimestampMs,
}

const VACANT: SeriesRecord = SeriesRecord {
    fingerprint: Fingerprint(0),
    family: 0,
    last_t: TimestampMs::MIN,
    last_bits: 0,
    tail: HeadPos::NONE,
    open: None,
    generation: 0,
    live: false,
    last_in_doubt: false,
    last_is_histogram: false,
    touched: false,
    filled: false,
};

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleOutcome {
    /// Newest of its series.
    Appended,
    /// Accepted, older than the series' newest.
    Late,
    /// There already, to the bit: success, nothing to do.
    Duplicate,
    /// There with another value: refused.
    Conflict,
}

impl From<LateOutcome> for SampleOutcome {
    fn from(outcome: LateOutcome) -> Self {
        match outcome {
            LateOutcome::Added => Self::Late,
            LateOutcome::Duplicate => Self::Duplicate,
            LateOutcome::Conflict => Self::Conflict,
        }
    }
}

/// All series of one shard.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    shard: ShardId,
    window: DurationMs,
    records: Records,
    by_fingerprint: FingerprintTable,
    slab: Slab,
    late: LateBuffers,
    histograms: HeadHistograms,
    /// The lowest is given first, so that series gather in few pages and the others can be given back.
    free: BinaryHeap<Reverse<SeriesSlot>>,
    live: usize,
    open: usize,
    /// The slots of the series whose `last_in_doubt` is set.
    doubted: Bitmap,
    newest: TimestampMs,
    oldest: TimestampMs,
    scratch: Vec<u8>,
    samples: Samples,
    hint: EncoderHint,
}

/// A series' state as a checkpoint holds it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesState<'a> {
    pub(crate) slot: u32,
    pub(crate) generation: u8,
    pub(crate) fingerprint: u128,
    pub(crate) family: u64,
    pub(crate) last_t: i64,
    pub(crate) last_bits: u64,
    pub(crate) last_in_doubt: bool,
    pub(crate) last_is_histogram: bool,
    pub(crate) tail: u64,
    /// The open chunk, as a chunk; empty without one.
    pub(crate) open: Cow<'a, [u8]>,
    pub(crate) late: Vec<(TimestampMs, f64)>,
}

/// What a reader of the head looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub(crate) range: TimeRange,
    /// The shard's records of the head-chunk log below this are in the reader's blocks.
    pub(crate) cut_below: HeadPos,
}

/// What a reader needs of a series that a shard's lock protects.
#[derive(Clone, Debug)]
pub(crate) struct SeriesCopy {
    pub(crate) slot: SeriesSlot,
    pub(crate) last_t: TimestampMs,
    pub(crate) tail: HeadPos,
    /// The open chunk, and where its bytes stand among those copied.
    pub(crate) open: Option<(OpenChunk, Range<usize>)>,
    /// Late samples among those copied.
    pub(crate) late: Range<usize>,
    /// Histograms among those copied: those in order, then the late ones.
    pub(crate) histograms: [Option<usize>; 2],
    /// Whether the sample at `last_t` is a staleness marker; `None` where it may be elsewhere than in the open chunk, or deleted.
    pub(crate) is_stale: Option<bool>,
    /// Whether open chunk, late samples and histograms are those of the series, or left out.
    pub(crate) is_whole: bool,
}

/// Where the chain of a series begins in the head-chunk log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesTail {
    pub(crate) slot: SeriesSlot,
    /// The hash of its key that `le` takes no part in.
    pub(crate) family: u64,
    pub(crate) tail: HeadPos,
}

/// Which series may leave a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    /// All that they ever got lies in windows that end by then.
    pub(crate) until: TimestampMs,
    /// And in records of the head-chunk log below this position.
    pub(crate) position: HeadPos,
    /// They have had no sample since then, or have ended.
    pub(crate) idle_before: TimestampMs,
}

/// Copies of up to 1024 series, reused from one hold of the lock to the next.
#[derive(Debug, Default)]
pub(crate) struct SeriesCopies {
    pub(crate) series: Vec<SeriesCopy>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) late: Vec<(TimestampMs, f64)>,
    pub(crate) histograms: Vec<Kept>,
}

impl SeriesCopies {
    fn clear(&mut self) {
        self.series.clear();
        self.bytes.clear();
        self.late.clear();
        self.histograms.clear();
    }
}

impl SeriesCopy {
    /// What the record says alone.
    fn of_record(slot: SeriesSlot, record: &SeriesRecord) -> Self {
        let in_open = record.open.as_ref().is_some_and(|o| o.chunk.last_t() == record.last_t);
        let is_known = in_open && !record.last_in_doubt && !record.last_is_histogram;
        Self {
            slot,
            last_t: record.last_t,
            tail: record.tail,
            open: None,
            late: 0..0,
            histograms: [None; 2],
            is_stale: is_known.then(|| is_stale(f64::from_bits(record.last_bits))),
            is_whole: false,
        }
    }
}

impl SeriesTable {
    pub(crate) fn new(shard: ShardId, window: DurationMs) -> Self {
        Self {
            shard,
            window,
            records: Records::default(),
            by_fingerprint: FingerprintTable::default(),
            slab: Slab::default(),
            late: LateBuffers::default(),
            histograms: HeadHistograms::default(),
            free: BinaryHeap::new(),
            live: 0,
            open: 0,
            doubted: Bitmap::new(),
            newest: TimestampMs::MIN,
            oldest: TimestampMs::MAX,
            scratch: Vec::new(),
            samples: Samples::default(),
            hint: EncoderHint::default(),
        }
    }

    /// Reads what searches for these fingerprints will read first, so that the cache misses of a batch overlap.
    pub(crate) fn touch(&self, fingerprints: impl Iterator<Item = Fingerprint>) -> u64 {
        let mut seen = 0;
        for f in fingerprints {
            seen ^= self.by_fingerprint.touch(f);
        }
        seen
    }

    /// As [`Self::touch`], for the records of these slots.
    pub(crate) fn touch_records(&self, slots: impl Iterator<Item = SeriesSlot>) -> u64 {
        slots.fold(0, |seen, s| seen ^ self.record(s).map_or(0, |r| r.last_bits ^ u64::from(r.generation)))
    }

    /// As [`Self::touch`], for where the open chunks of these slots end.
    pub(crate) fn touch_open(&self, slots: impl Iterator<Item = SeriesSlot>) -> u8 {
        let open = slots.filter_map(|s| self.record(s)?.open.as_ref());
        open.fold(0, |seen, o| seen ^ self.slab.bytes(o.at).get(o.chunk.used()).copied().unwrap_or(0))
    }

    /// The slot of a known series.
    pub(crate) fn find(&self, fingerprint: Fingerprint) -> Option<SeriesSlot> {
        self.by_fingerprint.find(fingerprint, |s| self.records[s.0 as usize].fingerprint == fingerprint)
    }

    /// The record at a slot.
    pub(crate) fn record(&self, slot: SeriesSlot) -> Option<&SeriesRecord> {
        self.records.get(slot.0 as usize).filter(|r| r.live)
    }

    /// How many slots there are, free ones included.
    pub(crate) fn slots(&self) -> u32 {
        self.records.len() as u32
    }

    /// Series that have a record.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Series that have an open chunk, or histograms that will be one.
    pub(crate) fn open(&self) -> usize {
        self.open + self.histograms.open()
    }

    /// The slots of series whose newest sample may be deleted.
    pub(crate) fn doubted(&self) -> &Bitmap {
        &self.doubted
    }

    /// The time of each series' newest sample.
    pub(crate) fn newest_of_each(&self) -> impl Iterator<Item = TimestampMs> {
        (0..self.slots()).filter_map(|slot| Some(self.record(SeriesSlot(slot))?.last_t))
    }

    /// The time of the newest and the oldest sample that ever came.
    pub(crate) fn newest(&self) -> TimestampMs {
        self.newest
    }

    /// The time of the oldest sample that ever came.
    pub(crate) fn oldest(&self) -> TimestampMs {
        self.oldest
    }

    /// Gives a new series a slot. It must not be in the table.
    pub(crate) fn register(&mut self, fingerprint: Fingerprint, family: u64) -> (SeriesSlot, u8) {
        let (slot, generation) = match self.free.pop() {
            Some(Reverse(slot)) => (slot, self.records.generation(slot.0 as usize).wrapping_add(1)),
            None => (SeriesSlot(self.records.push() as u32), 0),
        };
        self.place(slot, generation, fingerprint, family);
        (slot, generation)
    }

    /// Puts a series at the slot that the log gave it, whatever is there now must have been removed.
    pub(crate) fn place(&mut self, slot: SeriesSlot, generation: u8, fingerprint: Fingerprint, family: u64) {
        self.put(slot, generation, fingerprint, family);
        self.by_fingerprint.insert(fingerprint, slot);
    }

    fn put(&mut self, slot: SeriesSlot, generation: u8, fingerprint: Fingerprint, family: u64) {
        while self.records.len() <= slot.0 as usize {
            self.records.push();
        }
        let record = SeriesRecord { fingerprint, family, generation, live: true, touched: true, ..VACANT };
        self.records.put(slot.0 as usize, record);
        self.live += 1;
    }

    /// Takes a series out of the table; its slot is free once [`Self::reuse`] says so.
    pub(crate) fn remove(&mut self, slot: SeriesSlot) {
        let Some(record) = self.records.get_mut(slot.0 as usize).filter(|r| r.live) else { return };
        let (fingerprint, generation) = (record.fingerprint, record.generation);
        if let Some(open) = record.open.take() {
            self.slab.free(open.at);
            self.open -= 1;
        }
        if record.last_in_doubt {
            self.doubted.remove(slot.0);
        }
        *record = SeriesRecord::vacant(generation);
        self.by_fingerprint.remove(fingerprint, slot);
        self.late.take(slot, |_| true);
        self.histograms.take_open(slot);
        self.histograms.take_late(slot, |_| true);
        self.live -= 1;
    }

    /// Slots that may be given to new series. Memory that they leave unused goes back.
    pub(crate) fn reuse(&mut self, slots: &[SeriesSlot]) {
        self.free.extend(slots.iter().copied().map(Reverse));
        self.records.give_back(slots);
        self.by_fingerprint.shrink();
        self.histograms.shrink();
        self.slab.shrink();
    }

    /// After recovery: every slot without a series is free.
    pub(crate) fn collect_free(&mut self) {
        let vacant = |s: &SeriesSlot| self.record(*s).is_none();
        let free: Vec<SeriesSlot> = (0..self.slots()).map(SeriesSlot).filter(vacant).collect();
        self.free.clear();
        self.reuse(&free);
    }

    /// Adds a sample to the series at `slot`.
    pub(crate) fn append(
        &mut self,
        slot: SeriesSlot,
        t: TimestampMs,
        v: f64,
        log: &HeadLog,
    ) -> SampleOutcome {
        let record = &mut self.records[slot.0 as usize];
        let outcome = if t > record.last_t {
            self.append_in_order(slot, t, v, log);
            SampleOutcome::Appended
        } else if t == record.last_t && !record.last_in_doubt {
            match record.last_bits == v.to_bits() && !record.last_is_histogram {
                true => SampleOutcome::Duplicate,
                false => SampleOutcome::Conflict,
            }
        } else {
            self.append_late(slot, t, v, log)
        };
        self.note(slot, t, outcome);
        outcome
    }

    /// Notes that a sample came, if it did.
    fn note(&mut self, slot: SeriesSlot, t: TimestampMs, outcome: SampleOutcome) {
        if matches!(outcome, SampleOutcome::Appended | SampleOutcome::Late) {
            self.records[slot.0 as usize].touched = true;
            self.newest = self.newest.max(t);
            self.oldest = self.oldest.min(t);
        }
    }

    /// Adds a sample that the log has. It was accepted, and is so again: a chunk that had left the head then may be open here, and
    /// contradict it. The merge rule decides, as it did between chunk and late sample.
    pub(crate) fn append_logged(&mut self, slot: SeriesSlot, t: TimestampMs, v: f64, log: &HeadLog) {
        if self.append(slot, t, v, log) == SampleOutcome::Conflict && self.late.settle(slot, t, v) {
            self.move_late(slot, |_| true, log);
        }
    }

    fn append_in_order(&mut self, slot: SeriesSlot, t: TimestampMs, v: f64, log: &HeadLog) {
        let record = &mut self.records[slot.0 as usize];
        if std::mem::take(&mut record.last_in_doubt) {
            self.doubted.remove(slot.0);
        }
        (record.last_t, record.last_bits) = (t, v.to_bits());
        let limit = match record.filled {
            true => CHUNK_SAMPLES_MAX,
            false => CHUNK_SAMPLES_MAX - (record.fingerprint.0 as u32 % (CHUNK_SAMPLES_MAX / 2)),
        };
        match &mut record.open {
            Some(open) if t <= open.window_end && open.chunk.count() < limit => {
                if open.chunk.append(self.slab.bytes_mut(open.at), t, v) == Append::Full {
                    let needed = open.chunk.used() + TOKEN_BYTES_MAX;
                    if needed > Slab::LEN_MAX {
                        self.freeze(slot, log);
                        self.start(slot, t, v);
                    } else {
                        open.at = self.slab.grow(open.at, open.chunk.used(), needed);
                        let appended = open.chunk.append(self.slab.bytes_mut(open.at), t, v);
                        assert_eq!(appended, Append::Done, "a later sample with room for it");
                    }
                }
            }
            Some(open) => {
                record.filled |= t <= open.window_end;
                self.freeze(slot, log);
                self.start(slot, t, v);
            }
            None => {
                if std::mem::take(&mut record.last_is_histogram) {
                    self.freeze_histograms(slot, log);
                }
                self.start(slot, t, v);
            }
        }
        if is_stale(v) {
            self.freeze(slot, log);
        }
    }

    fn start(&mut self, slot: SeriesSlot, t: TimestampMs, v: f64) {
        let at = self.slab.allocate(TOKEN_BYTES_MAX);
        let (chunk, _) = OpenChunk::start(t, v, self.slab.bytes_mut(at));
        let window_end = Window::of(t, self.window).end();
        self.records[slot.0 as usize].open = Some(Open { chunk, at, window_end });
        self.open += 1;
    }

    fn append_late(&mut self, slot: SeriesSlot, t: TimestampMs, v: f64, log: &HeadLog) -> SampleOutcome {
        if let Some(found) = self.value_in_open(slot, t) {
            return if found.to_bits() == v.to_bits() {
                SampleOutcome::Duplicate
            } else {
                SampleOutcome::Conflict
            };
        }
        if !self.histograms.is_empty() && self.histograms.find(slot, t).is_some() {
            return SampleOutcome::Conflict;
        }
        let (outcome, full) = self.late.add(slot, t, v);
        if full {
            self.move_late(slot, |_| true, log);
        }
        outcome.into()
    }

    /// The value at `t` if the open chunk has one.
    fn value_in_open(&mut self, slot: SeriesSlot, t: TimestampMs) -> Option<f64> {
        let open = self.records[slot.0 as usize].open.as_ref()?;
        if t < open.chunk.first_t() {
            return None;
        }
        self.samples.clear();
        let bytes = &self.slab.bytes(open.at)[..open.chunk.used()];
        open.chunk.decode(bytes, &mut self.samples).expect("the head's own open chunk decodes");
        let at = self.samples.t.binary_search(&t.0).ok()?;
        Some(self.samples.v[at])
    }

    /// Moves the open chunk to the log as it is.
    fn freeze(&mut self, slot: SeriesSlot, log: &HeadLog) {
        let record = &mut self.records[slot.0 as usize];
        let Some(open) = record.open.take() else { return };
        self.scratch.clear();
        open.chunk.to_chunk(&self.slab.bytes(open.at)[..open.chunk.used()], &mut self.scratch);
        let header = RecordHeader {
            prev: record.tail,
            slot,
            shard: self.shard,
            generation: record.generation,
            late: false,
            first_t: open.chunk.first_t(),
            last_t: open.chunk.last_t(),
        };
        record.tail = log.append(&header, &self.scratch);
        self.slab.free(open.at);
        self.open -= 1;
    }

    /// Moves late samples that `wanted` accepts to the log, a chunk for each window.
    fn move_late(&mut self, slot: SeriesSlot, wanted: impl Fn(TimestampMs) -> bool, log: &HeadLog) {
        let taken = self.late.take(slot, wanted);
        let window = self.window;
        for run in taken.chunk_by(|a, b| Window::of(a.0, window) == Window::of(b.0, window)) {
            self.samples.clear();
            run.iter().for_each(|(t, v)| self.samples.push(t.0, *v));
            self.scratch.clear();
            let columns = (&self.samples.t[..], &self.samples.v[..]);
            codec::seal(columns, Times::Inline, &mut self.hint, &mut self.scratch);
            let record = &mut self.records[slot.0 as usize];
            let header = RecordHeader {
                prev: record.tail,
                slot,
                shard: self.shard,
                generation: record.generation,
                late: true,
                first_t: run[0].0,
                last_t: run[run.len() - 1].0,
            };
            record.tail = log.append(&header, &self.scratch);
        }
    }

    /// Moves all late samples and histograms to the log, where they take a part of the memory and that but until they are written.
    pub(crate) fn move_buffers(&mut self, log: &HeadLog) {
        for slot in self.late.slots() {
            self.move_late(slot, |_| true, log);
        }
        for slot in self.histograms.slots() {
            self.freeze_histograms_until(slot, TimestampMs::MAX, log);
        }
    }

    /// Heap bytes that [`Self::move_buffers`] frees.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.late.sample_bytes() + self.histograms.histogram_bytes()
    }

    /// Whether a sample of that time would be a late one of its series.
    pub(crate) fn is_late(&self, slot: SeriesSlot, t: TimestampMs) -> bool {
        self.record(slot).is_some_and(|r| t < r.last_t || t == r.last_t && r.last_in_doubt)
    }

    /// Moves to the log what lies in windows that end by `until`, for the slots of a slice.
    pub(crate) fn freeze_until(&mut self, slots: Range<u32>, until: TimestampMs, log: &HeadLog) {
        for slot in slots.map(SeriesSlot) {
            let Some(record) = self.record(slot) else { continue };
            if record.open.as_ref().is_some_and(|o| o.window_end <= until) {
                self.freeze(slot, log);
            }
            if !self.late.get(slot).is_empty() {
                let window = self.window;
                self.move_late(slot, |t| Window::of(t, window).end() <= until, log);
            }
            if self.histograms.has(slot) {
                self.freeze_histograms_until(slot, until, log);
            }
        }
    }

    /// Notes, for those `wanted` of a slice, of which everything in `range` was frozen, that the newest sample may be deleted where
    /// it lies in `range`. Whether there are such.
    pub(crate) fn doubt_last(&mut self, slice: Range<u32>, wanted: &Bitmap, range: TimeRange) -> bool {
        let mut any = false;
        for slot in slice.filter(|slot| wanted.contains(*slot)) {
            if self.histograms.newest(SeriesSlot(slot)).is_some() {
                continue;
            }
            let record = self.records.get_mut(slot as usize).filter(|r| r.live && r.open.is_none());
            if let Some(record) = record.filter(|r| range.contains(r.last_t)) {
                record.last_in_doubt = true;
                self.doubted.add(slot);
                any = true;
            }
        }
        any
    }

    /// Moves the open chunks of those series of a slice to the log that have had no sample since `idle_before`.
    pub(crate) fn freeze_idle(&mut self, slots: Range<u32>, idle_before: TimestampMs, log: &HeadLog) {
        for slot in slots.map(SeriesSlot) {
            if self.record(slot).is_some_and(|r| r.open.is_some() && r.last_t < idle_before) {
                self.freeze(slot, log);
            }
            if self.histograms.newest(slot).is_some_and(|t| t < idle_before) {
                self.freeze_histograms(slot, log);
            }
        }
    }

    /// Whether a series may leave: the checkpoint in force knows all of it.
    pub(crate) fn may_leave(&self, slot: SeriesSlot, departure: &Departure) -> bool {
        self.could_leave(slot, departure) && self.record(slot).is_some_and(|r| !r.touched)
    }

    /// Whether a series might leave once there is a checkpoint.
    pub(crate) fn could_leave(&self, slot: SeriesSlot, departure: &Departure) -> bool {
        self.record(slot).is_some_and(|r| {
            r.open.is_none()
                && r.tail < departure.position
                && (r.last_t < departure.idle_before
                    || is_stale(f64::from_bits(r.last_bits)) && !r.last_is_histogram)
                && Window::of(r.last_t, self.window).end() <= departure.until
        }) && self.late.get(slot).is_empty()
            && !self.histograms.has(slot)
    }

    /// Copies a slice for a checkpoint; its histograms go to the log, which the checkpoint names to its end. Series that get no sample
    /// from here on may leave once it is in force.
    pub(crate) fn copy_states(&mut self, slots: Range<u32>, log: &HeadLog, out: &mut Vec<SeriesState<'_>>) {
        for slot in slots {
            if self.histograms.has(SeriesSlot(slot)) {
                self.freeze_histograms_until(SeriesSlot(slot), TimestampMs::MAX, log);
            }
            let Some(record) = self.records.get_mut(slot as usize).filter(|r| r.live) else { continue };
            record.touched = false;
            let mut open = Vec::new();
            if let Some(o) = &record.open {
                o.chunk.to_chunk(&self.slab.bytes(o.at)[..o.chunk.used()], &mut open);
            }
            out.push(SeriesState {
                slot,
                generation: record.generation,
                fingerprint: record.fingerprint.0,
                family: record.family,
                last_t: record.last_t.0,
                last_bits: record.last_bits,
                last_in_doubt: record.last_in_doubt,
                last_is_histogram: record.last_is_histogram,
                tail: record.tail.0,
                open: open.into(),
                late: self.late.get(SeriesSlot(slot)).to_vec(),
            });
        }
    }

    /// Lets these restored series be found. All at once: one by one their places would leave the cache in between.
    pub(crate) fn find_restored(&mut self, slots: &[u32]) {
        self.by_fingerprint.reserve(slots.len());
        for slot in slots {
            self.by_fingerprint.insert(self.records[*slot as usize].fingerprint, SeriesSlot(*slot));
        }
    }

    /// Restores a series from a checkpoint, at a slot that is free; [`Self::find_restored`] follows. An error names what cannot be;
    /// nothing is restored then.
    pub(crate) fn restore(&mut self, state: &SeriesState<'_>) -> Result<(), codec::ChunkError> {
        let slot = SeriesSlot(state.slot);
        let chunk = open_chunk_of(state)?;
        if state.late.last().is_some_and(|(t, _)| t.0 > state.last_t) {
            return Err(codec::ChunkError::Malformed("late samples are newer than the newest"));
        }
        self.put(slot, state.generation, Fingerprint(state.fingerprint), state.family);
        let mut open = None;
        if let Some((chunk, bytes)) = chunk {
            let at = self.slab.allocate(bytes.len().clamp(TOKEN_BYTES_MAX, Slab::LEN_MAX));
            self.slab.bytes_mut(at)[..bytes.len()].copy_from_slice(bytes);
            let window_end = Window::of(chunk.first_t(), self.window).end();
            open = Some(Open { chunk, at, window_end });
            self.open += 1;
        }
        if !state.late.is_empty() {
            self.oldest = self.oldest.min(state.late[0].0);
            self.late.restore(slot, state.late.clone());
        }
        let record = &mut self.records[state.slot as usize];
        (record.last_t, record.last_bits) = (TimestampMs(state.last_t), state.last_bits);
        record.last_in_doubt = state.last_in_doubt;
        record.last_is_histogram = state.last_is_histogram;
        if record.last_in_doubt {
            self.doubted.add(state.slot);
        }
        record.tail = HeadPos(state.tail);
        record.filled = record.tail != HeadPos::NONE;
        record.open = open;
        record.touched = false;
        if record.last_t != TimestampMs::MIN {
            self.newest = self.newest.max(record.last_t);
            self.oldest = self.oldest.min(record.last_t);
        }
        Ok(())
    }

    /// Copies what a reader needs of these series; slots without a series are left out.
    pub(crate) fn copy(&self, slots: &[u32], out: &mut SeriesCopies) {
        out.clear();
        for slot in slots {
            let copied = self.copy_one(SeriesSlot(*slot), out);
            out.series.extend(copied);
        }
    }

    /// Copies one series more: what of it is not in its record goes behind what `out` has, which it is to be added to.
    pub(crate) fn copy_one(&self, slot: SeriesSlot, out: &mut SeriesCopies) -> Option<SeriesCopy> {
        let record = self.record(slot)?;
        let open = record.open.as_ref().map(|o| {
            let from = out.bytes.len();
            out.bytes.extend_from_slice(&self.slab.bytes(o.at)[..o.chunk.used()]);
            (o.chunk, from..out.bytes.len())
        });
        let from = out.late.len();
        out.late.extend_from_slice(self.late.get(slot));
        let histograms = self.histograms.get(slot).map(|kept| {
            out.histograms.push(kept?.clone());
            Some(out.histograms.len() - 1)
        });
        let late = from..out.late.len();
        Some(SeriesCopy { open, late, histograms, is_whole: true, ..SeriesCopy::of_record(slot, record) })
    }

    /// Whether the series may have samples in the range that are in no block of the reader's.
    pub(crate) fn may_have(&self, slot: SeriesSlot, reach: &Reach) -> bool {
        let Some(record) = self.record(slot).filter(|r| r.last_t > reach.range.after) else { return false };
        let in_open = record
            .open
            .as_ref()
            .is_some_and(|o| TimeRange::closed(o.chunk.first_t(), o.chunk.last_t()).overlaps(reach.range));
        let in_log = record.tail != HeadPos::NONE && record.tail >= reach.cut_below;
        in_open || in_log || self.histograms.has(slot) || !self.late.get(slot).is_empty()
    }

    /// Copies what the records of these slots say.
    pub(crate) fn copy_records(&self, slots: &[u32], out: &mut SeriesCopies) {
        out.clear();
        let of_slot = |slot| self.record(slot).map(|record| SeriesCopy::of_record(slot, record));
        out.series.extend(slots.iter().map(|slot| SeriesSlot(*slot)).filter_map(of_slot));
    }

    /// Where the chains of the series in these slots begin; only of those that have one.
    pub(crate) fn copy_tails(&self, slots: Range<u32>, out: &mut Vec<SeriesTail>) {
        out.clear();
        let tail = |slot| {
            let SeriesRecord { family, tail, .. } = *self.record(slot)?;
            (tail != HeadPos::NONE).then_some(SeriesTail { slot, family, tail })
        };
        out.extend(slots.map(SeriesSlot).filter_map(tail));
    }

    /// Heap bytes of records, table, open chunks and late samples.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.records.memory_bytes()
            + self.by_fingerprint.memory_bytes()
            + self.slab.memory_bytes()
            + self.late.memory_bytes()
            + self.histograms.memory_bytes()
            + self.free.capacity() * size_of::<SeriesSlot>()
            + self.doubted.get_serialized_size_in_bytes::<Portable>()
    }
}

/// The open chunk of a state, checked against what else the state says.
fn open_chunk_of<'a>(state: &'a SeriesState<'_>) -> Result<Option<(OpenChunk, &'a [u8])>, codec::ChunkError> {
    use codec::ChunkError::Malformed;
    if state.open.is_empty() {
        return Ok(None);
    }
    let (chunk, bytes) = OpenChunk::from_chunk(&state.open)?;
    if bytes.len() > Slab::LEN_MAX {
        return Err(Malformed("an open chunk is longer than any in a head"));
    }
    // Else a sample could be later than the series' newest and not later than its chunk's.
    if chunk.last_t().0 > state.last_t {
        return Err(Malformed("an open chunk is newer than its series' newest sample"));
    }
    if state.last_is_histogram {
        return Err(Malformed("an open chunk of floats whose series goes on with a histogram"));
    }
    Ok(Some((chunk, bytes)))
}

#[cfg(test)]
mod tests;
