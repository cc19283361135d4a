//! What an arriving native histogram does to its series.

use super::{SampleOutcome, SeriesTable};
use crate::codec::{self, ChunkKind, Packing, Times};
use crate::head::late::LateOutcome;
use crate::head::log::HeadLog;
use crate::head::log::record::RecordHeader;
use crate::model::{HistogramSample, SeriesSlot, TimestampMs, Window};
use xxhash_rust::xxh3::Xxh3;

/// What of a histogram stands in its series' record where a float's bits would: a hash of what the log has of it.
pub(crate) fn histogram_bits(kind: ChunkKind, encoded: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[kind.number()]);
    hash.update(encoded);
    hash.digest()
}

impl SeriesTable {
    /// Adds a histogram to the series at `slot`; `bits` are its [`histogram_bits`].
    pub(crate) fn append_histogram(
        &mut self,
        slot: SeriesSlot,
        sample: &HistogramSample,
        bits: u64,
        log: &HeadLog,
    ) -> SampleOutcome {
        let record = &self.records[slot.0 as usize];
        let outcome = if sample.t > record.last_t {
            self.append_histogram_in_order(slot, sample, bits, log);
            SampleOutcome::Appended
        } else if sample.t == record.last_t && !record.last_in_doubt {
            match record.last_is_histogram && record.last_bits == bits {
                true => SampleOutcome::Duplicate,
                false => SampleOutcome::Conflict,
            }
        } else {
            self.append_late_histogram(slot, sample, log)
        };
        self.note(slot, sample.t, outcome);
        outcome
    }

    /// As [`Self::append_logged`], for a histogram.
    pub(crate) fn append_logged_histogram(
        &mut self,
        slot: SeriesSlot,
        sample: &HistogramSample,
        bits: u64,
        log: &HeadLog,
    ) {
        if self.append_histogram(slot, sample, bits, log) == SampleOutcome::Conflict {
            self.histograms.settle(slot, sample);
        }
    }

    /// A float that stands before it ends its chunk.
    fn append_histogram_in_order(
        &mut self,
        slot: SeriesSlot,
        sample: &HistogramSample,
        bits: u64,
        log: &HeadLog,
    ) {
        self.freeze(slot, log);
        if !self.histograms.takes(slot, sample, self.window) {
            self.freeze_histograms(slot, log);
        }
        self.histograms.push(slot, sample.clone());
        let record = &mut self.records[slot.0 as usize];
        if std::mem::take(&mut record.last_in_doubt) {
            self.doubted.remove(slot.0);
        }
        (record.last_t, record.last_bits, record.last_is_histogram) = (sample.t, bits, true);
    }

    fn append_late_histogram(
        &mut self,
        slot: SeriesSlot,
        sample: &HistogramSample,
        log: &HeadLog,
    ) -> SampleOutcome {
        let is_float = self.late.get(slot).binary_search_by_key(&sample.t, |s| s.0).is_ok()
            || self.value_in_open(slot, sample.t).is_some();
        if is_float {
            return SampleOutcome::Conflict;
        }
        let (outcome, full) = self.histograms.add_late(slot, sample);
        if full {
            self.move_late_histograms(slot, |_| true, log);
        }
        match outcome {
            LateOutcome::Added => SampleOutcome::Late,
            LateOutcome::Duplicate => SampleOutcome::Duplicate,
            LateOutcome::Conflict => SampleOutcome::Conflict,
        }
    }

    /// Moves the histograms in order of a series to the log.
    pub(super) fn freeze_histograms(&mut self, slot: SeriesSlot, log: &HeadLog) {
        let taken = self.histograms.take_open(slot);
        self.log_histograms(slot, &taken, false, log);
    }

    /// Moves late histograms that are `wanted` to the log.
    pub(super) fn move_late_histograms(
        &mut self,
        slot: SeriesSlot,
        wanted: impl Fn(TimestampMs) -> bool,
        log: &HeadLog,
    ) {
        let (taken, window) = (self.histograms.take_late(slot, wanted), self.window);
        for of_window in taken.chunk_by(|a, b| Window::of(a.t, window) == Window::of(b.t, window)) {
            self.log_histograms(slot, of_window, true, log);
        }
    }

    /// Moves all histograms of a series to the log that lie in windows which end by `until`.
    pub(super) fn freeze_histograms_until(&mut self, slot: SeriesSlot, until: TimestampMs, log: &HeadLog) {
        let window = self.window;
        let is_over = |t: TimestampMs| Window::of(t, window).end() <= until;
        if self.histograms.newest(slot).is_some_and(is_over) {
            self.freeze_histograms(slot, log);
        }
        self.move_late_histograms(slot, is_over, log);
    }

    /// Appends histograms of one window to the log, as few chunks as they fit in.
    fn log_histograms(
        &mut self,
        slot: SeriesSlot,
        mut samples: &[HistogramSample],
        late: bool,
        log: &HeadLog,
    ) {
        while let Some((first, last)) = samples.first().map(|h| h.t).zip(samples.last()) {
            let (run, rest) = samples.split_at(codec::histogram_run(samples));
            let last_t = run.last().unwrap_or(last).t;
            self.scratch.clear();
            codec::seal_histograms(run, Times::Inline, Packing::Quick, &mut self.scratch);
            let record = &mut self.records[slot.0 as usize];
            let header = RecordHeader {
                prev: record.tail,
                slot,
                shard: self.shard,
                generation: record.generation,
                late,
                first_t: first,
                last_t,
            };
            record.tail = log.append(&header, &self.scratch);
            samples = rest;
        }
    }
}
