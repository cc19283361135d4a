//! What an arriving native histogram does to its series.

use super::{SampleOutcome, SeriesTable};
use crate::codec::{self, ChunkKind, Packing, Times};
use crate::head::log::record::RecordHeader;
use crate::head::log::{CHUNK_BYTES_MAX, HeadLog};
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
        outcome.into()
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
        while let Some(first) = samples.first() {
            let (run, rest) = samples.split_at(seal_run(samples, &mut self.scratch));
            let last_t = run.last().unwrap_or(first).t;
            let record = &mut self.records[slot.0 as usize];
            let header = RecordHeader {
                prev: record.tail,
                slot,
                shard: self.shard,
                generation: record.generation,
                late,
                first_t: first.t,
                last_t,
            };
            record.tail = log.append(&header, &self.scratch);
            samples = rest;
        }
    }
}

/// Encodes the first of some histograms, as many as a page of the log takes: how many. A single one always fits.
fn seal_run(samples: &[HistogramSample], chunk: &mut Vec<u8>) -> usize {
    let mut n = codec::histogram_run(samples);
    loop {
        chunk.clear();
        codec::seal_histograms(&samples[..n], Times::Inline, Packing::Quick, chunk);
        if n == 1 || chunk.len() <= CHUNK_BYTES_MAX {
            return n;
        }
        n = n.div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{NothingShared, Samples};
    use crate::model::{BUCKETS_MAX, BucketCounts, BucketSpan, Counts, Histogram, ResetHint};

    /// A histogram as large as there can be, of values that take as much room as they can.
    fn largest(n: u64, is_float: bool) -> Histogram {
        let draw = |i: u64| (n * 7919 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        let spans: Vec<BucketSpan> = (0..BUCKETS_MAX as u32)
            .map(|i| BucketSpan { offset: i32::MAX - (i + n as u32) as i32, length: i % 2 })
            .collect();
        let buckets = |side: u64| (0..BUCKETS_MAX as u64 / 2).map(move |i| (side, i));
        let integers = |side| buckets(side).map(|(s, i)| draw(s * 9999 + i) >> 13).collect::<Vec<_>>();
        let floats = |side| {
            let any = |(s, i)| f64::from_bits(draw(s * 9999 + i) >> 1);
            buckets(side).map(any).collect::<Vec<_>>()
        };
        let counts = match is_float {
            true => {
                let (positive, negative) = (floats(1), floats(2));
                Counts::Float(BucketCounts { count: 1.0 / 3.0, zero: 0.1, positive, negative })
            }
            false => {
                let (positive, negative) = (integers(1), integers(2));
                let count = positive.iter().chain(&negative).sum::<u64>() + n;
                Counts::Integer(BucketCounts { count, zero: n, positive, negative })
            }
        };
        Histogram {
            schema: 8,
            reset_hint: ResetHint::Unknown,
            zero_threshold: 0.1,
            sum: 1.0 / 7.0,
            positive_spans: spans.clone(),
            negative_spans: spans,
            custom_bounds: vec![],
            counts,
        }
    }

    /// As many buckets, none of them one of another number's.
    fn apart(n: u64) -> Histogram {
        let mut h = largest(n, false);
        h.positive_spans = vec![BucketSpan { offset: n as i32 * 5000, length: BUCKETS_MAX as u32 }];
        h.negative_spans.clear();
        if let Counts::Integer(c) = &mut h.counts {
            c.positive.append(&mut c.negative);
        }
        h
    }

    #[test]
    fn every_chunk_fits_a_page() {
        let kinds: [fn(u64) -> Histogram; 3] = [|n| largest(n, false), |n| largest(n, true), apart];
        for (kind, histogram) in kinds.into_iter().enumerate() {
            let all: Vec<HistogramSample> =
                (0..7).map(|n| HistogramSample { t: TimestampMs(n as i64), h: histogram(n) }).collect();
            assert_eq!(all[0].h.check(), Ok(()));
            let (mut rest, mut chunk, mut back) = (&all[..], vec![], Samples::new());
            let mut is_halved = false;
            while !rest.is_empty() {
                let (whole, taken) = (codec::histogram_run(rest), seal_run(rest, &mut chunk));
                is_halved |= taken < whole;
                assert!(chunk.len() <= CHUNK_BYTES_MAX, "{} bytes", chunk.len());
                codec::decode(&chunk, &NothingShared, &mut back).unwrap();
                rest = &rest[taken..];
            }
            assert_eq!(is_halved, kind == 2, "{kind}");
            assert!(back.histograms.iter().zip(&all).all(|(a, b)| a.h.total_cmp(&b.h).is_eq()));
            assert_eq!(back.histograms.len(), all.len());
        }
    }
}
