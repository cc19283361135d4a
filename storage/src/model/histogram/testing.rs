//! Histograms for tests.

use super::{BUCKETS_MAX, BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, Histogram, ResetHint};
use proptest::collection::vec;
use proptest::prelude::*;

/// Spans of a side and how many buckets they have; `first` bounds the first offset from below.
fn spans(first: i32) -> impl Strategy<Value = Vec<BucketSpan>> {
    let offset = prop_oneof![9 => 0i32..4, 1 => Just(i32::MAX)];
    let span = (offset, 0u32..4).prop_map(|(offset, length)| BucketSpan { offset, length });
    (vec(span, 0..5), prop_oneof![first.max(-9)..9, Just(first)]).prop_map(|(mut spans, first)| {
        if let Some(span) = spans.first_mut() {
            span.offset = first;
        }
        spans
    })
}

fn any_double() -> impl Strategy<Value = f64> {
    let special = [0.0, -0.0, f64::NAN, f64::INFINITY, 1e-128, 1.5, f64::from_bits(0x7ff8_dead_0000_0001)];
    prop_oneof![any::<u64>().prop_map(f64::from_bits), proptest::sample::select(special.to_vec())]
}

/// Any histogram that [`Histogram::check`] accepts, but few buckets.
pub(crate) fn any_histogram() -> impl Strategy<Value = Histogram> {
    let layout = (spans(i32::MIN), spans(i32::MIN), -4i8..=8, any_double())
        .prop_map(|(p, n, schema, zero)| (schema, p, n, zero, vec![]));
    let custom = vec(0u32..1000, 0..6).prop_map(|steps| {
        let mut bound = -1000.0;
        let bounds: Vec<f64> = steps
            .iter()
            .map(|step| {
                bound += f64::from(*step) / 7.0 + 0.25;
                bound
            })
            .collect();
        let length = bounds.len() as u32;
        (CUSTOM_SCHEMA, vec![BucketSpan { offset: 1, length }], vec![], 0.0, bounds)
    });
    let hint = proptest::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    let counts = (vec(prop_oneof![0u64..100, 0..u64::MAX / 64], 40), vec(any_double(), 40), any::<bool>());
    (prop_oneof![3 => layout.boxed(), 1 => custom.boxed()], hint, any_double(), counts).prop_map(
        |(
            (schema, positive_spans, negative_spans, zero_threshold, custom_bounds),
            reset_hint,
            sum,
            counts,
        )| {
            let buckets = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum::<usize>();
            let (positive, negative) = (buckets(&positive_spans), buckets(&negative_spans));
            assert!(positive + negative <= BUCKETS_MAX.min(38), "few");
            let (integers, floats, is_integer) = counts;
            let is_custom = schema == CUSTOM_SCHEMA;
            let counts = if is_integer {
                let zero = if is_custom { 0 } else { integers[0] };
                let (positive, negative) =
                    (integers[1..=positive].to_vec(), integers[positive + 1..][..negative].to_vec());
                let in_buckets = positive.iter().chain(&negative).sum::<u64>() + zero;
                let count = in_buckets + if sum.is_nan() { integers[39] } else { 0 };
                Counts::Integer(BucketCounts { count, zero, positive, negative })
            } else {
                let natural = |v: &f64| if *v < 0.0 { -*v } else { *v };
                let floats: Vec<f64> = floats.iter().map(natural).collect();
                Counts::Float(BucketCounts {
                    count: floats[39],
                    zero: if is_custom { 0.0 } else { floats[0] },
                    positive: floats[1..=positive].to_vec(),
                    negative: floats[positive + 1..][..negative].to_vec(),
                })
            };
            let histogram = Histogram {
                schema,
                reset_hint,
                zero_threshold,
                sum,
                positive_spans,
                negative_spans,
                custom_bounds,
                counts,
            };
            assert_eq!(histogram.check(), Ok(()), "{histogram:?}");
            histogram
        },
    )
}
