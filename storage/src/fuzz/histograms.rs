//! Native histograms on their own, and as the columns of a chunk.

use crate::codec::{
    self, ChunkKind, NothingShared, Packing, Samples, Times, histogram_run, kind_of, put_histogram,
    seal_histograms, take_histogram,
};
use crate::model::{
    BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, Histogram, HistogramSample, ResetHint, TimestampMs,
    varint,
};

const KINDS: [ChunkKind; 2] = [ChunkKind::IntegerHistogram, ChunkKind::FloatHistogram];

/// A byte that tells the kind, one that tells how many samples, and a histogram on its own or the section of a chunk: read both ways. What
/// can be read is written again, and comes back.
pub fn histogram(bytes: &[u8]) {
    let [kind, count, section @ ..] = bytes else { return };
    let (kind, count) = (KINDS[usize::from(kind % 2)], u64::from(count % 64) + 1);
    if let Ok(h) = take_histogram(kind, section) {
        let mut again = Vec::new();
        put_histogram(&h, &mut again);
        let back = take_histogram(kind, &again).expect("what was read is written");
        assert!(back.total_cmp(&h).is_eq() && h.memory_bytes() > 0);
        check_chunk(&[HistogramSample { t: TimestampMs(1), h }]);
    }
    let mut out = Samples::new();
    if codec::decode(&chunk_of(kind, count, section), &NothingShared, &mut out).is_ok() {
        let mut rest = &out.histograms[..];
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(histogram_run(rest));
            check_chunk(run);
            rest = behind;
        }
    }
}

/// Samples of one chunk come back from it.
fn check_chunk(samples: &[HistogramSample]) {
    let (mut chunk, mut back) = (Vec::new(), Samples::new());
    seal_histograms(samples, Times::Inline, Packing::Dense, &mut chunk);
    codec::decode(&chunk, &NothingShared, &mut back).expect("what was sealed is read");
    let is_same = |(a, b): (&HistogramSample, &HistogramSample)| a.t == b.t && a.h.total_cmp(&b.h).is_eq();
    assert!(back.histograms.len() == samples.len() && back.histograms.iter().zip(samples).all(is_same));
}

/// A chunk of `count` samples, a second apart, with this section and any checksum.
fn chunk_of(kind: ChunkKind, count: u64, section: &[u8]) -> Vec<u8> {
    let mut times = vec![0, 0];
    if count > 1 {
        varint::put(&mut times, 1000);
    }
    let mut chunk = vec![kind.number(), codec::Encoding::Histograms.number()];
    varint::put(&mut chunk, count);
    varint::put(&mut chunk, (times.len() as u64) << 1);
    varint::put(&mut chunk, section.len() as u64);
    chunk.extend(times);
    chunk.extend_from_slice(section);
    chunk.extend([0; 4]);
    chunk
}

/// Samples of two kinds whose buckets change, each kind a chunk.
pub(super) fn sound_runs() -> [Vec<HistogramSample>; 2] {
    let of = |sample: fn(u64) -> Histogram| {
        (0..12).map(|n| HistogramSample { t: TimestampMs(1000 * n as i64), h: sample(n) }).collect()
    };
    [of(integers), of(floats)]
}

/// Seeds of [`histogram`].
pub fn sound_histograms() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (kind, samples) in (0u8..).zip(sound_runs()) {
        let mut alone = vec![kind, 0];
        put_histogram(&samples[3].h, &mut alone);
        let mut chunk = Vec::new();
        seal_histograms(&samples, Times::Inline, Packing::Quick, &mut chunk);
        let header = codec::header(&chunk).expect("it was sealed");
        let from = chunk.len() - 4 - header.values_len as usize;
        let section = [&[kind, samples.len() as u8 - 1], &chunk[from..chunk.len() - 4]].concat();
        assert!(kind_of(&samples[0].h) == KINDS[usize::from(kind)]);
        seeds.extend([alone, section]);
    }
    seeds
}

/// A histogram of `n` observations and some more.
pub(super) fn integers(n: u64) -> Histogram {
    let positive = vec![n, n / 2, 3 * n];
    Histogram {
        schema: 2,
        reset_hint: if n.is_multiple_of(5) { ResetHint::Reset } else { ResetHint::NotReset },
        zero_threshold: 0.001,
        sum: n as f64 / 4.0,
        positive_spans: vec![
            BucketSpan { offset: -(n as i32 / 6), length: 2 },
            BucketSpan { offset: 1, length: 1 },
        ],
        negative_spans: vec![BucketSpan { offset: 3, length: 1 }],
        custom_bounds: Vec::new(),
        counts: Counts::Integer(BucketCounts {
            count: positive.iter().sum::<u64>() + 2 * n,
            zero: n,
            positive,
            negative: vec![n],
        }),
    }
}

pub(super) fn floats(n: u64) -> Histogram {
    let v = n as f64 / 7.0;
    let counts = BucketCounts { count: 2.0 * v, zero: 0.0, positive: vec![v, v], negative: Vec::new() };
    Histogram {
        schema: CUSTOM_SCHEMA,
        zero_threshold: 0.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_spans: Vec::new(),
        custom_bounds: vec![0.5, 2.5],
        counts: Counts::Float(counts),
        ..integers(n)
    }
}
