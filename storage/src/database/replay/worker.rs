//! One of the threads that apply the log: what it does with the batches of a segment.

use crate::codec;
use crate::head::checkpoint::{Loaded, SliceLsns};
use crate::head::series::{SeriesTable, histogram_bits};
use crate::head::shard::{SLICE, Shard};
use crate::head::symbols::Released;
use crate::model::{Fingerprint, HistogramSample, LabelSet, Lsn, SeriesSlot, ShardId, TimestampMs};
use crate::wal::{HistogramRecord, LogBatch, LoggedSample, Record, SamplesRecord};
use crossbeam::channel::Receiver;
use std::hint::black_box;
use std::sync::Arc;

/// Samples of a shard, runs of them counted too, that wait to be applied together: enough for each series of a large shard to have
/// several, and 24 MiB at most.
const WAITING_MAX: usize = 1 << 20;
/// Samples whose series are read before any of them is applied, so that their cache misses overlap: what they touch fits the
/// smallest cache.
const TOUCHED: usize = 64;

/// Batches of one segment, for all workers.
pub(super) struct Dealt {
    pub(super) batches: Vec<LogBatch>,
    /// How far beyond the slots that there are a registration may be, for each batch: some may be lost.
    pub(super) gaps_max: Vec<u32>,
}

/// What workers have done.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) samples: u64,
    /// Samples of series that no registration was found for.
    pub(super) orphans: u64,
}

impl Applied {
    pub(super) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.orphans += other.orphans;
    }
}

/// One of the threads that apply batches: it has every `of`-th shard.
pub(super) struct Worker<'a> {
    loaded: &'a Loaded,
    at: usize,
    of: usize,
    by_slice: BySlice,
    applied: Applied,
}

/// Samples of one shard that are still to be applied.
#[derive(Clone, Default)]
struct Waiting<'a> {
    runs: Vec<(Lsn, SamplesRecord<'a>)>,
    histograms: Vec<(Lsn, HistogramRecord<'a>)>,
    len: usize,
}

impl<'a> Waiting<'a> {
    fn push(&mut self, lsn: Lsn, samples: SamplesRecord<'a>) {
        self.len += samples.len() + 1;
        self.runs.push((lsn, samples));
    }

    fn push_histogram(&mut self, lsn: Lsn, histogram: HistogramRecord<'a>) {
        self.len += 1;
        self.histograms.push((lsn, histogram));
    }
}

/// A registration of the log.
struct Registration<'a> {
    slot: SeriesSlot,
    generation: u8,
    section: &'a [u8],
    gap_max: u32,
}

impl<'a> Worker<'a> {
    pub(super) fn new(loaded: &'a Loaded, at: usize, of: usize) -> Self {
        Self { loaded, at, of, by_slice: BySlice::default(), applied: Applied::default() }
    }

    /// Applies the records of its shards until no more segments come, and leaves the shards ready.
    pub(super) fn run(mut self, segments: &Receiver<Arc<Dealt>>) -> Applied {
        for dealt in segments {
            self.apply(&dealt);
        }
        for shard in self.loaded.head.shards.iter().skip(self.at).step_by(self.of) {
            shard.series.lock().collect_free();
            shard.count_memory();
        }
        self.applied
    }

    fn apply(&mut self, dealt: &Dealt) {
        let shards = self.loaded.head.shards.len();
        let mut waiting = vec![Waiting::default(); shards];
        let (at, of) = (self.at, self.of);
        let is_mine = |shard: ShardId| shard.index() < shards && shard.index() % of == at;
        for (batch, &gap_max) in dealt.batches.iter().zip(&dealt.gaps_max) {
            for record in batch.records() {
                match record {
                    Ok(Record::Registration { shard, slot, generation, section }) if is_mine(shard) => {
                        let registration = Registration { slot, generation, section, gap_max };
                        self.register(shard, batch.lsn, &registration, &mut waiting[shard.index()]);
                    }
                    Ok(Record::Samples(samples)) if is_mine(samples.shard) => {
                        let (shard, waiting) = (samples.shard, &mut waiting[samples.shard.index()]);
                        waiting.push(batch.lsn, samples);
                        if waiting.len >= WAITING_MAX {
                            self.append(shard, waiting);
                        }
                    }
                    Ok(Record::Histogram(histogram)) if is_mine(histogram.shard) => {
                        let (shard, waiting) = (histogram.shard, &mut waiting[histogram.shard.index()]);
                        waiting.push_histogram(batch.lsn, histogram);
                        if waiting.len >= WAITING_MAX {
                            self.append(shard, waiting);
                        }
                    }
                    _ => {}
                }
            }
        }
        waiting.iter_mut().zip(0..).for_each(|(waiting, shard)| self.append(ShardId(shard), waiting));
    }

    fn shard(&self, id: ShardId) -> (&'a Shard, &'a SliceLsns) {
        (self.loaded.head.shard(id), &self.loaded.slice_lsns[id.index()])
    }

    /// Puts a series where the log says. What stood there, or was it, has left before it was registered: the samples that it got are
    /// applied first.
    fn register(&mut self, id: ShardId, lsn: Lsn, new: &Registration<'_>, waiting: &mut Waiting<'_>) {
        let (shard, lsns) = self.shard(id);
        let slots = shard.series.lock().slots().max(lsns.slots);
        if u64::from(new.slot.0) > u64::from(slots) + u64::from(new.gap_max) {
            tracing::warn!(shard = %id, slot = new.slot.0, slots, "skipped a registration of the log for an impossible slot");
            return;
        }
        if !lsns.is_newer(new.slot, lsn) {
            return;
        }
        let labels = match LabelSet::from_section(new.section) {
            Ok(labels) => labels,
            Err(error) => {
                tracing::warn!(shard = %id, %error, "skipped a registration of the log");
                return;
            }
        };
        let head = &self.loaded.head;
        let fingerprint = labels.fingerprint(head.seed);
        let Some(old) = standing(shard, new, fingerprint) else { return };
        if !old.is_empty() {
            self.append(id, waiting);
            remove(shard, &old);
        }
        let mut index = shard.index.write();
        let Some(row) = index.row_of(&labels) else { return };
        let family = labels.key(&head.account_label, head.seed).family;
        shard.series.lock().place(new.slot, new.generation, fingerprint, family);
        index.insert(new.slot, &row);
    }

    /// Applies what waits.
    fn append(&mut self, id: ShardId, waiting: &mut Waiting<'_>) {
        let (shard, lsns) = self.shard(id);
        let log = &self.loaded.head.log;
        let mut series = shard.series.lock();
        let Waiting { runs, histograms, .. } = std::mem::take(waiting);
        self.applied.orphans += self.by_slice.sort(&runs, lsns, series.slots());
        for some in self.by_slice.samples.chunks(TOUCHED) {
            let slots = || some.iter().map(|s| s.slot);
            black_box((series.touch_records(slots()), series.touch_open(slots())));
            for sample in some {
                match series.record(sample.slot).map(|r| r.generation) {
                    Some(generation) if generation == sample.generation => {
                        series.append_logged(sample.slot, sample.t, sample.v, log);
                        self.applied.samples += 1;
                    }
                    _ => self.applied.orphans += 1,
                }
            }
        }
        // Behind the floats: of a series that has both, what is late thereby comes to the same.
        for (_, record) in histograms.iter().filter(|(lsn, h)| lsns.is_newer(h.slot, *lsn)) {
            match logged_histogram(&series, record) {
                Some(sample) => {
                    let bits = histogram_bits(record.kind, record.encoded);
                    series.append_logged_histogram(record.slot, &sample, bits, log);
                    self.applied.samples += 1;
                }
                None => self.applied.orphans += 1,
            }
        }
    }
}

/// The histogram of a record; `None` where its series is not there, or it is no histogram, which no writer logs.
fn logged_histogram(series: &SeriesTable, record: &HistogramRecord<'_>) -> Option<HistogramSample> {
    series.record(record.slot).filter(|r| r.generation == record.generation)?;
    match codec::take_histogram(record.kind, record.encoded) {
        Ok(h) => Some(HistogramSample { t: record.t, h }),
        Err(error) => {
            let (shard, slot) = (record.shard, record.slot.0);
            tracing::warn!(%shard, slot, %error, "skipped a histogram of the log");
            None
        }
    }
}

/// The slots whose series must leave before a new one gets its own; `None` where it stands there already.
fn standing(shard: &Shard, new: &Registration<'_>, fingerprint: Fingerprint) -> Option<Vec<SeriesSlot>> {
    let series = shard.series.lock();
    let standing = series.record(new.slot).map(|r| (r.fingerprint, r.generation));
    if standing == Some((fingerprint, new.generation)) {
        return None;
    }
    Some(standing.map(|_| new.slot).into_iter().chain(series.find(fingerprint)).collect())
}

fn remove(shard: &Shard, slots: &[SeriesSlot]) {
    let mut index = shard.index.write();
    let mut series = shard.series.lock();
    let mut released = Released::default();
    for slot in slots {
        series.remove(*slot);
        index.remove(*slot, &mut released);
    }
    index.release(&released);
}

/// Samples of one shard in order of their slices, those of a slice as they came.
#[derive(Default)]
struct BySlice {
    samples: Vec<LoggedSample>,
    /// Where the next sample of each slice goes.
    next: Vec<usize>,
}

impl BySlice {
    /// Takes the samples of `runs` that are newer than their slices and whose slots are below `slots`; returns how many newer ones
    /// are left out.
    fn sort(&mut self, runs: &[(Lsn, SamplesRecord<'_>)], lsns: &SliceLsns, slots: u32) -> u64 {
        let Self { samples, next } = self;
        let slice = |s: &LoggedSample| (s.slot.0 / SLICE) as usize;
        let (mut left_out, mut taken) = (0, 0);
        next.clear();
        next.resize(slots.div_ceil(SLICE) as usize, 0);
        for_each_newer(runs, lsns, |s| match s.slot.0 < slots {
            true => next[slice(&s)] += 1,
            false => left_out += 1,
        });
        for count in next.iter_mut() {
            taken += std::mem::replace(count, taken);
        }
        let none = LoggedSample {
            shard: ShardId(0),
            slot: SeriesSlot(0),
            generation: 0,
            t: TimestampMs::MIN,
            v: 0.0,
        };
        samples.resize(taken, none);
        for_each_newer(runs, lsns, |s| {
            if s.slot.0 < slots {
                let place = &mut next[slice(&s)];
                samples[*place] = s;
                *place += 1;
            }
        });
        left_out
    }
}

fn for_each_newer(runs: &[(Lsn, SamplesRecord<'_>)], lsns: &SliceLsns, mut f: impl FnMut(LoggedSample)) {
    for (lsn, run) in runs {
        run.iter().filter(|s| lsns.is_newer(s.slot, *lsn)).for_each(&mut f);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::BatchBuilder;

    #[test]
    fn samples_are_sorted_by_slice_and_stay_in_order_within_it() {
        let mut builder = BatchBuilder::default();
        // Slot and value, all in batch 5.
        for (slot, v) in [(1500, 1.0), (3, 2.0), (1030, 3.0), (2, 4.0), (2100, 5.0), (9999, 6.0)] {
            builder.sample(ShardId(0), SeriesSlot(slot), 0, TimestampMs(7), v);
        }
        let mut check = |lsns: &[u64], slots: u32, want: &[f64], left_out: u64| {
            let runs: Vec<_> = builder.built_samples().map(|run| (Lsn(5), run)).collect();
            let lsns = SliceLsns::new(lsns.iter().map(|l| Lsn(*l)).collect(), slots);
            let mut by_slice = BySlice::default();
            assert_eq!(by_slice.sort(&runs, &lsns, slots), left_out);
            let values: Vec<f64> = by_slice.samples.iter().map(|s| s.v).collect();
            assert_eq!(values, want);
        };
        check(&[], 3000, &[2.0, 4.0, 1.0, 3.0, 5.0], 1);
        check(&[4, 5], 3000, &[2.0, 4.0, 5.0], 1);
        check(&[5, 4, 5], 3000, &[1.0, 3.0], 1);
        check(&[], 2000, &[2.0, 4.0, 1.0, 3.0], 2);
        check(&[], 0, &[], 6);
    }
}
