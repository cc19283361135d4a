//! Native histograms as chunks: sealed and decoded, and how many bytes one takes; on their own, as the log has them.
//!
//! Input: 100 series of 480 histograms of schema 3 (two hours at 15 s), 40 to 80 buckets around a place of each series, log-normal; some
//! 200 observations between two, the tails' buckets appear as they are first met. Integers, and the same as floats of a rate. A time is for all
//! histograms, the throughput in histograms. Every chunk is compared to the bit with what it was made from. Not measured: files, log, head.

use cardinal_benches::size;
use cardinal_storage::codec::{
    NothingShared, Packing, Samples, Times, decode, histogram_run, put_histogram, seal_histograms,
};
use cardinal_storage::model::{
    BucketCounts, BucketSpan, Counts, Histogram, HistogramSample, ResetHint, TimestampMs,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const SAMPLES: usize = 480;
const BUCKETS: usize = 160;

/// A seeded sequence (splitmix64: Steele, Lea, Flood 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// About normal, of deviation 1: twelve uniform ones added up.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
    }
}

/// The spans of the buckets that have observations, gaps of up to two filled as clients do, and their counts.
fn layout(counts: &[u64]) -> (Vec<BucketSpan>, Vec<u64>) {
    let (mut spans, mut kept): (Vec<BucketSpan>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut end = 0;
    for (at, count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
        match spans.last_mut() {
            Some(span) if at - end <= 2 => {
                span.length += (at - end) as u32 + 1;
                kept.resize(kept.len() + at - end, 0);
            }
            _ => spans.push(BucketSpan { offset: (at - end) as i32, length: 1 }),
        }
        kept.push(*count);
        end = at + 1;
    }
    (spans, kept)
}

fn series(seed: u64) -> Vec<HistogramSample> {
    let mut draws = Draws(seed);
    let (mut counts, mut sum) = ([0u64; BUCKETS], 0.0);
    let middle = 60.0 + (seed % 40) as f64;
    let mut next = |tick: usize| {
        for _ in 0..150 + draws.next() % 100 {
            let at = (middle + 9.0 * draws.normal()).clamp(0.0, BUCKETS as f64 - 1.0);
            counts[at as usize] += 1;
            sum += (at / 8.0).exp2() / 1000.0;
        }
        let (positive_spans, positive) = layout(&counts);
        let h = Histogram {
            schema: 3,
            reset_hint: ResetHint::Unknown,
            zero_threshold: 2.938_735_877_055_719e-39,
            sum,
            positive_spans,
            negative_spans: vec![],
            custom_bounds: vec![],
            counts: Counts::Integer(BucketCounts {
                count: positive.iter().sum(),
                zero: 0,
                positive,
                negative: vec![],
            }),
        };
        HistogramSample { t: TimestampMs(tick as i64 * 15_000), h }
    };
    (0..SAMPLES).map(&mut next).collect()
}

/// As a rule that computes a rate makes them.
fn rates(of: &[HistogramSample]) -> Vec<HistogramSample> {
    let rate = |s: &HistogramSample| {
        let Counts::Integer(c) = &s.h.counts else { return s.clone() };
        let per_second = |c: &u64| *c as f64 / 300.0;
        let counts = Counts::Float(BucketCounts {
            count: per_second(&c.count),
            zero: 0.0,
            positive: c.positive.iter().map(per_second).collect(),
            negative: vec![],
        });
        HistogramSample { t: s.t, h: Histogram { counts, reset_hint: ResetHint::Gauge, ..s.h.clone() } }
    };
    of.iter().map(rate).collect()
}

fn seal(series: &[Vec<HistogramSample>], packing: Packing) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    for samples in series {
        let mut rest = &samples[..];
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(histogram_run(rest));
            let mut chunk = Vec::new();
            seal_histograms(run, Times::Inline, packing, &mut chunk);
            chunks.push(chunk);
            rest = behind;
        }
    }
    chunks
}

fn decode_all(chunks: &[Vec<u8>], out: &mut Samples) -> usize {
    let mut n = 0;
    for chunk in chunks {
        out.clear();
        decode(black_box(chunk), &NothingShared, out).expect("sealed above");
        n += out.histograms.len();
    }
    n
}

fn check(chunks: &[Vec<u8>], series: &[Vec<HistogramSample>]) {
    let mut wanted = series.iter().flatten();
    let mut out = Samples::new();
    for chunk in chunks {
        out.clear();
        decode(chunk, &NothingShared, &mut out).expect("sealed above");
        let is_next =
            |h: &HistogramSample| wanted.next().is_some_and(|w| w.t == h.t && w.h.total_cmp(&h.h).is_eq());
        assert!(out.histograms.iter().all(is_next), "a chunk comes back to the bit");
    }
    assert!(wanted.next().is_none());
}

fn histogram(c: &mut Criterion) {
    let integers: Vec<_> = (0..size(100, 2) as u64).map(series).collect();
    let floats: Vec<_> = integers.iter().map(|s| rates(s)).collect();
    let mut group = c.benchmark_group("histogram");
    for (name, series) in [("integer", &integers), ("float", &floats)] {
        let count = series.iter().map(Vec::len).sum::<usize>();
        let mut alone = Vec::new();
        series.iter().flatten().for_each(|s| put_histogram(&s.h, &mut alone));
        let per_one = |bytes: usize| bytes as f64 / count as f64;
        println!("{name}: {:.1} B/histogram on its own", per_one(alone.len()));
        group.throughput(Throughput::Elements(count as u64));
        for packing in [Packing::Quick, Packing::Dense] {
            let chunks = seal(series, packing);
            check(&chunks, series);
            let bytes: usize = chunks.iter().map(Vec::len).sum();
            println!("{name}, {packing:?}: {:.1} B/histogram in {} chunks", per_one(bytes), chunks.len());
            group.bench_function(format!("seal/{name}/{packing:?}"), |b| {
                b.iter(|| seal(black_box(series), packing).len())
            });
            let mut out = Samples::new();
            group.bench_function(format!("decode/{name}/{packing:?}"), |b| {
                b.iter(|| decode_all(&chunks, &mut out))
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = histogram
}
criterion_main!(benches);
