use super::super::times::tests::times;
use super::super::{NothingShared, Samples, decode, header, verify};
use super::*;
use crate::model::{BucketCounts, BucketSpan, CUSTOM_SCHEMA, any_histogram};
use proptest::collection::vec;
use proptest::prelude::*;

fn at(t: i64, h: Histogram) -> HistogramSample {
    HistogramSample { t: TimestampMs(t), h }
}

fn are_same(a: &[HistogramSample], b: &[HistogramSample]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.t == b.t && a.h.total_cmp(&b.h).is_eq())
}

/// Two histograms of two layouts: the second has one bucket more.
fn integers() -> Vec<HistogramSample> {
    let one = Histogram {
        schema: 2,
        reset_hint: ResetHint::NotReset,
        zero_threshold: 0.5,
        sum: 3.0,
        positive_spans: vec![BucketSpan { offset: -1, length: 1 }],
        negative_spans: vec![],
        custom_bounds: vec![],
        counts: Counts::Integer(BucketCounts { count: 3, zero: 1, positive: vec![2], negative: vec![] }),
    };
    let two = Histogram {
        sum: 4.5,
        positive_spans: vec![BucketSpan { offset: -1, length: 1 }, BucketSpan { offset: 2, length: 1 }],
        counts: Counts::Integer(BucketCounts { count: 6, zero: 1, positive: vec![4, 1], negative: vec![] }),
        ..one.clone()
    };
    vec![at(1000, one), at(2000, two)]
}

fn floats() -> Vec<HistogramSample> {
    let h = Histogram {
        schema: CUSTOM_SCHEMA,
        reset_hint: ResetHint::Gauge,
        zero_threshold: 0.0,
        sum: 0.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_spans: vec![],
        custom_bounds: vec![1.0],
        counts: Counts::Float(BucketCounts {
            count: 1.5,
            zero: 0.0,
            positive: vec![0.5, 1.0],
            negative: vec![],
        }),
    };
    vec![at(5, h)]
}

fn sealed(samples: &[HistogramSample]) -> Vec<u8> {
    let mut chunk = vec![];
    seal_histograms(samples, Times::Inline, Packing::Quick, &mut chunk);
    chunk
}

#[test]
fn golden_chunks() {
    let chunk = sealed(&integers());
    let mut want = vec![2, 16, 2, 10, 47];
    want.extend(b"\x00\xd0\x0f\xe8\x07"); // times: every 1000 ms from 1000 on
    want.extend(b"\x02\0\0\0\0\0\0\xe0\x3f\x00"); // schema, zero threshold, no bounds
    want.extend(b"\x02\x01\x01\x01\x00\x02\x01\x01\x04\x01\x00"); // two layouts
    want.extend([1, 0, 0, 0b10]); // the second histogram has the second one
    want.extend([2, 3, 5, 1, 64, 60, 30, 0]); // no reset; sums: tenths, 30 and 15 more
    want.extend([0, 0, 0, 0, 2, 0, 2, 4, 0, 0b1000, 1, 0, 0, 0b10]); // excess, zero, two buckets
    assert_eq!(chunk[..chunk.len() - 4], want, "{chunk:?}");
    assert_eq!(verify(&chunk).unwrap().chunk_len(), chunk.len());
    let chunk = sealed(&floats());
    let mut want = vec![3, 16, 1, 4, 44, 0, 10];
    want.extend([0xcb, 0, 0, 0, 0, 0, 0, 0, 0]); // custom bounds
    want.extend(b"\x01\0\0\0\0\0\0\xf0\x3f\x01\x01\x00\x02\x00\x03"); // one bound, one layout, a gauge
    want.extend(b"\x02\x02\x00\x00\x02\x02\x01\x1e\x02\x02\x00\x00\x02\x02\x01\x0a\x02\x02\x00\x02"); // constants
    assert_eq!(chunk[..chunk.len() - 4], want, "{chunk:?}");
}

#[test]
fn golden_histograms_on_their_own() {
    let check = |h: &Histogram, want: &[u8]| {
        let mut out = vec![];
        put_histogram(h, &mut out);
        assert_eq!(out, want);
        assert!(take_histogram(kind_of(h), &out).unwrap().total_cmp(h).is_eq());
        for cut in 0..out.len() {
            assert!(take_histogram(kind_of(h), &out[..cut]).is_err(), "cut at {cut}");
        }
    };
    let mut want = b"\x02\x02\0\0\0\0\0\0\xe0\x3f\0\0\0\0\0\0\x12\x40\x00\x02\x01\x01\x04\x01\x00".to_vec();
    want.extend(b"\x06\x01\x04\x01");
    check(&integers()[1].h, &want);
    let mut want =
        b"\xcb\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\xf0\x3f\x01\x00\x02\x00".to_vec();
    for v in [1.5f64, 0.0, 0.5, 1.0] {
        want.extend(v.to_bits().to_le_bytes());
    }
    check(&floats()[0].h, &want);
}

#[test]
fn runs_end_where_the_shape_changes_but_for_buckets() {
    let check = |change: fn(&mut Histogram), want: usize| {
        let mut samples = integers();
        change(&mut samples[1].h);
        assert_eq!(histogram_run(&samples), want, "{samples:?}");
    };
    check(|_| {}, 2);
    check(|h| h.reset_hint = ResetHint::Reset, 2);
    check(|h| h.schema = 3, 1);
    check(|h| h.zero_threshold = 0.25, 1);
    check(|h| *h = floats().remove(0).h, 1);
    assert_eq!(histogram_run(&[]), 0);
    let many: Vec<_> = (0..1000).map(|t| at(t, integers().remove(0).h)).collect();
    assert_eq!(histogram_run(&many), SAMPLES_GOOD);
}

/// A histogram of so many buckets from a place on.
fn long(first: i32, length: u32) -> Histogram {
    let positive: Vec<u64> = (0..u64::from(length)).map(|i| u64::MAX / 5000 - i).collect();
    Histogram {
        positive_spans: vec![BucketSpan { offset: first, length }],
        counts: Counts::Integer(BucketCounts {
            count: positive.iter().sum(),
            zero: 0,
            positive,
            negative: vec![],
        }),
        ..integers().remove(0).h
    }
}

#[test]
fn the_largest_histograms_fit_and_wandering_buckets_end_a_chunk() {
    let largest = long(0, 4096);
    assert_eq!(largest.check(), Ok(()));
    let samples = vec![at(1, largest)];
    let chunk = sealed(&samples);
    assert!(chunk.len() < 250_000, "{} bytes", chunk.len());
    let mut back = Samples::new();
    decode(&chunk, &NothingShared, &mut back).unwrap();
    assert!(are_same(&back.histograms, &samples));
    let mut samples: Vec<_> = (0..2000).map(|t| at(t, long(t as i32 * 40, 40))).collect();
    while !samples.is_empty() {
        let run = histogram_run(&samples);
        let chunk = sealed(&samples[..run]);
        back.clear();
        decode(&chunk, &NothingShared, &mut back).unwrap();
        assert!(are_same(&back.histograms, &samples[..run]));
        samples.drain(..run);
    }
}

#[test]
fn claims_of_much_memory_are_refused() {
    // A constant column takes three bytes, whatever the number of samples.
    let mut section = b"\x02\0\0\0\0\0\0\xe0\x3f\x00\x01\x01\x00\x80\x20\x00\x00".to_vec();
    section.extend(b"\x02\x02\x00\x00");
    section.extend([0, 0, 0].repeat(4098));
    let t: Vec<i64> = (0..1000).collect();
    let mut out = vec![];
    assert!(decode_section(&section, &t[..60], &mut out).is_ok() && out.len() == 60);
    out.clear();
    assert_eq!(decode_section(&section, &t[..70], &mut out), Err(TOO_LARGE));
    assert_eq!(decode_section(&section, &vec![0; 40_000], &mut out), Err(TOO_LARGE));
}

fn decode_section(section: &[u8], t: &[i64], out: &mut Vec<HistogramSample>) -> Result<(), ChunkError> {
    super::decode(ChunkKind::IntegerHistogram, section, t, out)
}

/// A series: one histogram, and how it goes on. Most samples are like the one before.
fn any_series() -> impl Strategy<Value = Vec<HistogramSample>> {
    let steps = vec((any_histogram(), 0u8..10, 0u64..1000), 40);
    (times(1..40), steps).prop_map(|(t, steps)| {
        let mut last = steps[0].0.clone();
        let mut next = |(other, manner, more): (Histogram, u8, u64)| {
            match manner {
                0 => last = other,
                1 => last.reset_hint = other.reset_hint,
                _ => grow(&mut last, more),
            }
            last.clone()
        };
        t.into_iter().zip(steps).map(|(t, step)| at(t, next(step))).collect()
    })
}

/// More observations.
fn grow(h: &mut Histogram, more: u64) {
    h.sum += more as f64 / 8.0;
    match &mut h.counts {
        Counts::Integer(c) => {
            c.count = c.count.wrapping_add(more);
            if let Some(first) = c.positive.first_mut() {
                *first = first.wrapping_add(more);
            }
        }
        Counts::Float(c) => c.count += more as f64,
    }
}

proptest! {
    #[test]
    fn round_trip(samples in any_series(), dense: bool) {
        let packing = if dense { Packing::Dense } else { Packing::Quick };
        let (mut rest, mut chunks) = (&samples[..], vec![]);
        while !rest.is_empty() {
            let (run, others) = rest.split_at(histogram_run(rest));
            seal_histograms(run, Times::Inline, packing, &mut chunks);
            rest = others;
        }
        let (mut rest, mut back) = (&chunks[..], Samples::new());
        while !rest.is_empty() {
            verify(rest).unwrap();
            decode(rest, &NothingShared, &mut back).unwrap();
            rest = &rest[header(rest).unwrap().chunk_len()..];
        }
        prop_assert!(are_same(&back.histograms, &samples), "{:?} {:?}", back.histograms, samples);
        prop_assert!(back.t.is_empty());
        for sample in &samples {
            let mut alone = vec![];
            put_histogram(&sample.h, &mut alone);
            let back = take_histogram(kind_of(&sample.h), &alone).unwrap();
            prop_assert!(back.total_cmp(&sample.h).is_eq());
        }
    }

    #[test]
    fn damaged_chunks_are_refused_or_read_within_bounds(samples in any_series(), at: usize, flip in 1u8.., kind in 2u8..4) {
        let run = histogram_run(&samples);
        let mut chunk = sealed(&samples[..run]);
        let n = chunk.len();
        chunk[at % n] ^= flip;
        chunk[0] = kind;
        let mut out = Samples::new();
        if decode(&chunk, &NothingShared, &mut out).is_ok() {
            prop_assert!(out.histograms.is_sorted_by(|a, b| a.t < b.t));
            prop_assert!(out.histograms.iter().all(|s| s.h.check_layout().is_ok()));
        } else {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..300) {
        let t: Vec<i64> = (0..count as i64).collect();
        let mut out = vec![];
        let _ = super::decode(ChunkKind::IntegerHistogram, &bytes, &t, &mut out);
        let _ = super::decode(ChunkKind::FloatHistogram, &bytes, &t, &mut out);
        let _ = take_histogram(ChunkKind::IntegerHistogram, &bytes);
        let _ = take_histogram(ChunkKind::FloatHistogram, &bytes);
    }
}
