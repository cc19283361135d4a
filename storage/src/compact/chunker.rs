//! From the samples of series to a block: what a cut and a compaction write goes through here.
//!
//! ```text
//! Chunker::new(BlockWriter)
//!    begin_shard(shard)                  shards ascending
//!    push(labels, key, samples)          series in block order; all samples of the block, merged already
//!    finish() ──► BlockMeta
//! ```
//!
//! How samples are divided into chunks, which chunks share times or values and in what encoding each is kept is decided here
//! alone, so that a block does not tell by which way it was made. Samples must lie in the block's window; callers split by
//! window.

use super::split::{Run, runs, split};
use crate::block::{BlockMeta, BlockWriter, ChunkEntry, LabelId, WriteBlockError};
use crate::codec::{self, ChunkPlace, EncoderHint, Integers, Packing, Samples, Times};
use crate::model::{HistogramSample, LabelSet, Lsn, SeriesKey, ShardId, TimestampMs};
use std::collections::HashMap;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// A chunk of fewer samples keeps its own times: a shared column's entry would cost more.
const COLUMN_SAMPLES_MIN: usize = 4;
/// Shorter chunks are not worth a reference to another one.
const SAME_BYTES_MIN: usize = 12;
/// How many columns of values are remembered for others to be the same as.
const KNOWN_MAX: usize = 100_000;

/// Encodes the series of one block in block order. After an error it is of no more use, as the block is.
///
/// Memory: the block writer's, the chunks of one series, and 40 bytes for each distinct column of values of one account.
pub struct Chunker {
    writer: BlockWriter,
    packing: Packing,
    /// Scratch.
    labels: Vec<LabelId>,
    column: Vec<u8>,
    chunks: Vec<u8>,
    spans: Vec<Span>,
    /// The next lower bucket's chunks, and whose they are.
    lower: Option<SeriesKey>,
    lower_chunks: Vec<Option<Bucket>>,
    known: Known,
}

/// A chunk of the series being pushed: its samples and its bytes.
struct Span {
    first: TimestampMs,
    last: TimestampMs,
    samples: usize,
    bytes: Range<usize>,
}

/// A chunk of a histogram's bucket, to which those of the next higher one may be told as differences.
struct Bucket {
    integers: Integers,
    place: ChunkPlace,
    times: Times,
}

/// Columns of values that were written for the account, by their hashes.
#[derive(Default)]
struct Known {
    account: u64,
    places: HashMap<u128, ChunkPlace>,
}

impl Chunker {
    /// Encodes into `writer`, to which nothing has been written.
    pub fn new(writer: BlockWriter) -> Self {
        // What a cut writes is read the most and compacted soon.
        let packing = if writer.spec().level == 0 { Packing::Quick } else { Packing::Dense };
        Self {
            writer,
            packing,
            labels: Vec::new(),
            column: Vec::new(),
            chunks: Vec::new(),
            spans: Vec::new(),
            lower: None,
            lower_chunks: Vec::new(),
            known: Known::default(),
        }
    }

    /// Begins a shard. Those without series may be left out.
    pub fn begin_shard(&mut self, shard: ShardId) -> Result<(), WriteBlockError> {
        // Chunks refer to others of their shard only.
        self.lower = None;
        self.known.places.clear();
        self.writer.begin_shard(shard)
    }

    /// Adds the next series of the shard with all its samples of the block, strictly ascending. A series without samples
    /// is left out.
    pub fn push(
        &mut self,
        labels: &LabelSet,
        key: SeriesKey,
        samples: &Samples,
    ) -> Result<(), WriteBlockError> {
        if samples.is_empty() {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.labels);
        ids.clear();
        ids.extend(labels.iter().map_while(|l| self.writer.label(l.name, l.value)));
        let pushed = self.push_ids(&ids, key, samples);
        self.labels = ids;
        pushed
    }

    /// The number by which the shard begun last knows a label, as [`BlockWriter::label`] tells it.
    pub(crate) fn label(&mut self, name: &str, value: &str) -> Option<LabelId> {
        self.writer.label(name, value)
    }

    /// As [`Self::push`], with labels by their numbers.
    pub(crate) fn push_ids(
        &mut self,
        labels: &[LabelId],
        key: SeriesKey,
        samples: &Samples,
    ) -> Result<(), WriteBlockError> {
        if samples.is_empty() {
            return Ok(());
        }
        self.begin_series(key);
        let mut hint = EncoderHint::default();
        for run in runs(samples) {
            match run {
                Run::Floats(of_run) => {
                    for range in split(&samples.t[of_run.clone()], self.writer.window()) {
                        let range = of_run.start + range.start..of_run.start + range.end;
                        self.seal(key, samples, range, &mut hint);
                    }
                }
                Run::Histograms(of_run) => self.seal_histograms(&samples.histograms[of_run]),
            }
        }
        let entry = |span: &Span| ChunkEntry {
            first: span.first,
            last: span.last,
            samples: span.samples as u32,
            bytes: &self.chunks[span.bytes.clone()],
        };
        let entries: Vec<ChunkEntry<'_>> = self.spans.iter().map(entry).collect();
        self.writer.push_ids(labels, key, &entries)
    }

    /// Ends the shard begun last: what is kept for its series goes.
    pub(crate) fn end_shard(&mut self) -> Result<(), WriteBlockError> {
        self.lower_chunks = Vec::new();
        self.known = Known::default();
        self.writer.end_shard()
    }

    /// Tells anew which LSN is the newest that may be in the block.
    pub(crate) fn set_newest_lsn(&mut self, newest: Lsn) {
        self.writer.set_newest_lsn(newest);
    }

    /// Whether no series was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// Writes what is left; all is synced then. To publish the block is for the caller.
    pub fn finish(self) -> Result<BlockMeta, WriteBlockError> {
        self.writer.finish()
    }

    fn begin_series(&mut self, key: SeriesKey) {
        self.chunks.clear();
        self.spans.clear();
        let of_family = |lower: SeriesKey| SeriesKey { le: key.le, ..lower } == key && lower.le < key.le;
        if key.le == 0 || !self.lower.is_some_and(of_family) {
            self.lower_chunks.clear();
        }
        self.lower = Some(key);
        if self.known.account != key.account || self.known.places.len() >= KNOWN_MAX {
            self.known.account = key.account;
            self.known.places.clear();
        }
    }

    /// Encodes one chunk of the series.
    fn seal(&mut self, key: SeriesKey, samples: &Samples, which: Range<usize>, hint: &mut EncoderHint) {
        let samples = (&samples.t[which.clone()], &samples.v[which.clone()]);
        let times = self.times(samples.0);
        let (start, number) = (self.chunks.len(), self.spans.len());
        // Few values are as short by themselves.
        let hash = (samples.1.len() >= COLUMN_SAMPLES_MIN).then(|| hash_of(samples.1));
        if let Some(&place) = hash.and_then(|hash| self.known.places.get(&hash)) {
            codec::seal_same(samples, times, place, &mut self.chunks);
        } else {
            let bucket = key.le != 0 && times != Times::Inline;
            let integers = if bucket {
                self.seal_bucket(samples, times, number, hint)
            } else {
                codec::seal_short(samples, times, self.packing, hint, &mut self.chunks);
                None
            };
            let len = self.chunks.len() - start;
            let place = ChunkPlace { offset: self.writer.chunk_offset() + start as u64, len: len as u32 };
            if let Some(hash) = hash.filter(|_| len >= SAME_BYTES_MIN) {
                self.known.places.insert(hash, place);
            }
            if let Some(integers) = integers {
                self.lower_chunks.resize_with(self.lower_chunks.len().max(number + 1), || None);
                self.lower_chunks[number] = Some(Bucket { integers, place, times });
            }
        }
        let (first, last) = (TimestampMs(samples.0[0]), TimestampMs(samples.0[samples.0.len() - 1]));
        self.spans.push(Span { first, last, samples: which.len(), bytes: start..self.chunks.len() });
    }

    /// Encodes histograms between which there are no floats.
    fn seal_histograms(&mut self, samples: &[HistogramSample]) {
        let (mut rest, mut t) = (samples, Vec::new());
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(codec::histogram_run(rest));
            t.clear();
            t.extend(run.iter().map(|h| h.t.0));
            let (times, start) = (self.times(&t), self.chunks.len());
            codec::seal_histograms(run, times, self.packing, &mut self.chunks);
            let (first, last) = (run[0].t, run[run.len() - 1].t);
            self.spans.push(Span { first, last, samples: run.len(), bytes: start..self.chunks.len() });
            rest = behind;
        }
    }

    /// Encodes a chunk of a histogram's bucket; returns its integers, if it has some.
    fn seal_bucket(
        &mut self,
        samples: (&[i64], &[f64]),
        times: Times,
        number: usize,
        hint: &mut EncoderHint,
    ) -> Option<Integers> {
        let lower = self.lower_chunks.get(number).and_then(Option::as_ref).filter(|b| b.times == times);
        let base = lower.map(|b| (&b.integers, b.place));
        codec::seal_bucket(samples, times, base, self.packing, hint, &mut self.chunks)
    }

    fn times(&mut self, t: &[i64]) -> Times {
        if t.len() < COLUMN_SAMPLES_MIN {
            return Times::Inline;
        }
        self.column.clear();
        codec::encode_column(t, &mut self.column);
        self.writer.shared_column(&self.column).map_or(Times::Inline, Times::Column)
    }
}

/// The hash of the bits of values and of their number: equal for equal columns, and at 128 bits for no others.
fn hash_of(values: &[f64]) -> u128 {
    let mut hash = Xxh3::new();
    let mut piece = [0; 2048];
    for values in values.chunks(piece.len() / 8) {
        for (bytes, v) in piece.chunks_exact_mut(8).zip(values) {
            bytes.copy_from_slice(&v.to_bits().to_le_bytes());
        }
        hash.update(&piece[..values.len() * 8]);
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, BlockSpec, Tier};
    use crate::codec::Encoding;
    use crate::io::{Fs, SimFs};
    use crate::model::{BlockId, DurationMs, HashSeed, ShardCount, TimeRange, Window, stale_nan};
    use std::path::Path;
    use std::sync::Arc;

    const SEED: HashSeed = HashSeed(3);
    const SHARD: ShardId = ShardId(0);

    fn labels(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied().chain([("account", "1")])).unwrap()
    }

    fn samples(v: impl Iterator<Item = f64>) -> Samples {
        let v: Vec<f64> = v.collect();
        Samples { t: (1..=v.len() as i64).map(|i| i * 15_000).collect(), v, ..Samples::new() }
    }

    /// Writes the series as a block of a day; gives it back open.
    fn block_of(mut series: Vec<(LabelSet, Samples)>) -> Block {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(1));
        let spec = BlockSpec {
            id: BlockId(1),
            window: Window { start: TimestampMs(0), len: DurationMs::hours(24) },
            tier: Tier::Raw,
            level: 1,
            sources: vec![],
            seed: SEED,
            account_label: "account".into(),
            shards: ShardCount::new(1).unwrap(),
            lsns: None,
        };
        let dir = Path::new("block");
        let mut chunker = Chunker::new(BlockWriter::create(fs.clone(), dir, spec).unwrap());
        chunker.begin_shard(SHARD).unwrap();
        series.sort_by_key(|(labels, _)| labels.key("account", SEED));
        for (labels, samples) in &series {
            chunker.push(labels, labels.key("account", SEED), samples).unwrap();
        }
        let meta = chunker.finish().unwrap();
        Block::open(&*fs, dir, meta.index_bytes, meta.chunks_bytes).unwrap()
    }

    /// Writes the series, compares each with what comes back, and gives the encodings of its chunks.
    fn check(series: Vec<(LabelSet, Samples)>) -> Vec<(String, Vec<Encoding>)> {
        let block = block_of(series.clone());
        let shard = block.shard(SHARD).unwrap();
        let mut reader = shard.reader();
        let mut out = vec![];
        for ordinal in 0..shard.series_count() {
            let (labels, mut found, mut encodings) =
                (reader.labels(ordinal).unwrap(), Samples::new(), vec![]);
            for chunk in reader.chunks(ordinal).unwrap() {
                let (_, bytes) = chunk.unwrap();
                encodings.push(codec::header(bytes).unwrap().encoding);
                codec::decode(bytes, &shard, &mut found).unwrap();
            }
            let wanted = &series.iter().find(|(l, _)| *l == labels).unwrap().1;
            let bits = |s: &Samples| s.v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!((&found.t, bits(&found)), (&wanted.t, bits(wanted)), "{labels}");
            out.push((labels.to_string(), encodings));
        }
        assert_eq!(out.len(), series.iter().filter(|(_, s)| !s.is_empty()).count());
        out
    }

    fn bucket(le: &str, n: usize, per_tick: impl Fn(u64) -> u64) -> (LabelSet, Samples) {
        let mut sum = 0;
        let v = (0..n as u64).map(|i| {
            sum += per_tick(i);
            sum as f64
        });
        (labels(&[("__name__", "x_bucket"), ("le", le)]), samples(v))
    }

    #[test]
    fn buckets_are_told_as_differences_and_counts_as_their_last() {
        for n in [200, 5000] {
            let noise = |i: u64| i * i * 7919 % 97 % 7;
            let low = bucket("0.5", n, noise);
            let high = bucket("+Inf", n, |i| noise(i) + i % 2);
            let count = (labels(&[("__name__", "x_count")]), high.1.clone());
            let encodings = check(vec![low, high, count]);
            let all =
                |e: Encoding| encodings.iter().filter(|(_, found)| found.iter().all(|f| *f == e)).count();
            assert_eq!((all(Encoding::Same), all(Encoding::Decimal)), (1, 1), "{encodings:?}");
            assert_eq!(all(Encoding::Difference), 1, "{encodings:?}");
        }
    }

    #[test]
    fn buckets_with_other_times_stand_by_themselves() {
        let low = bucket("0.5", 200, |i| i % 7);
        let mut high = bucket("1", 200, |i| i % 7 + i * i % 3);
        high.1.t.iter_mut().for_each(|t| *t += 1);
        let encodings = check(vec![low, high]);
        assert!(encodings.iter().all(|(_, e)| *e == [Encoding::Decimal]), "{encodings:?}");
    }

    #[test]
    fn five_minutes_of_a_day_take_one_chunk_or_two() {
        let day = samples((0..5760).map(|i| f64::from(i * i % 1000)));
        let block = block_of(vec![(labels(&[("__name__", "x")]), day)]);
        let shard = block.shard(SHARD).unwrap();
        let chunks: Vec<_> = shard.reader().chunk_refs(0).unwrap().map(|c| c.unwrap()).collect();
        assert_eq!(chunks.len(), 6);
        let mut alone = 0;
        for minute in 5..1440 {
            let until = TimestampMs(minute * 60_000);
            let range = TimeRange { after: until - DurationMs::mins(5), until };
            let touched = chunks.iter().filter(|c| c.range.overlaps(range)).count();
            assert!((1..=2).contains(&touched), "{touched} at minute {minute}");
            alone += usize::from(touched == 1);
        }
        assert!(alone > 1300, "one chunk was enough for {alone} only");
    }

    #[test]
    fn what_is_short_or_special_comes_back() {
        let named = |name: &str, s: Samples| (labels(&[("__name__", name)]), s);
        check(vec![
            named("none", samples(std::iter::empty())),
            named("one", samples(std::iter::once(-0.0))),
            named("three", samples([1.0, stale_nan(), f64::INFINITY].into_iter())),
            named(
                "stale",
                samples((0..50).map(|i| if i % 9 == 0 { stale_nan() } else { 0.1 * f64::from(i) })),
            ),
            named(
                "again",
                samples((0..50).map(|i| if i % 9 == 0 { stale_nan() } else { 0.1 * f64::from(i) })),
            ),
        ]);
    }
}
