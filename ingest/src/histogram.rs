//! Native histograms as remote write has them, into those that are stored.

use cardinal_proto::remote_write as proto;
use cardinal_storage::model::{
    BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, EXPONENTIAL_SCHEMAS, Histogram, HistogramError,
    HistogramSample, ResetHint, Side, TimestampMs,
};
use prost::Message;
use std::ops::AddAssign;

/// The longest message that is decoded: more than the most buckets, spans and bounds of a histogram take. Decoding takes eight times
/// as much memory.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Schemas that are finer than any that is stored, which are brought to the finest one.
const FINER_SCHEMAS: std::ops::RangeInclusive<i32> = 9..=52;
const FINEST: i8 = *EXPONENTIAL_SCHEMAS.end();

/// Why a histogram is not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadHistogram {
    #[error("it has {len} bytes, more than {MESSAGE_BYTES_MAX}")]
    TooLong { len: usize },
    #[error("it cannot be decoded: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("expected schema -4 to 52, or -53 for custom bounds, found {0}")]
    Schema(i32),
    #[error("{side} bucket {number} has the negative count {count}")]
    NegativeBucket { side: Side, number: usize, count: i64 },
    #[error("its buckets are too far apart for schema {FINEST}")]
    TooFarApart,
    #[error("{0}")]
    Invalid(#[from] HistogramError),
}

/// Reads a histogram message. What comes back is sound.
pub(crate) fn read(message: &[u8]) -> Result<HistogramSample, BadHistogram> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(BadHistogram::TooLong { len: message.len() });
    }
    let message = proto::Histogram::decode(message)?;
    let t = TimestampMs(message.timestamp);
    let (schema, finer) = match message.schema {
        finer if FINER_SCHEMAS.contains(&finer) => (FINEST, (finer - i32::from(FINEST)) as u32),
        schema => (i8::try_from(schema).map_err(|_| BadHistogram::Schema(schema))?, 0),
    };
    if schema != CUSTOM_SCHEMA && !EXPONENTIAL_SCHEMAS.contains(&schema) {
        return Err(BadHistogram::Schema(message.schema));
    }
    let counts = counts(&message)?;
    let spans = |spans: Vec<proto::BucketSpan>| {
        spans.into_iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect()
    };
    let h = Histogram {
        schema,
        reset_hint: match message.reset_hint() {
            proto::ResetHint::Unknown => ResetHint::Unknown,
            proto::ResetHint::Yes => ResetHint::Reset,
            proto::ResetHint::No => ResetHint::NotReset,
            proto::ResetHint::Gauge => ResetHint::Gauge,
        },
        zero_threshold: message.zero_threshold,
        sum: message.sum,
        positive_spans: spans(message.positive_spans),
        negative_spans: spans(message.negative_spans),
        custom_bounds: message.custom_values,
        counts,
    };
    h.check()?;
    let h = if finer == 0 { h } else { coarsen(h, finer).ok_or(BadHistogram::TooFarApart)? };
    Ok(HistogramSample { t, h })
}

/// Floats exactly where the count is one; what is of the other kind then is not looked at, as in the reference.
fn counts(message: &proto::Histogram) -> Result<Counts, BadHistogram> {
    use proto::{HistogramCount, HistogramZeroCount};
    Ok(match message.count {
        Some(HistogramCount::Float(count)) => Counts::Float(BucketCounts {
            count,
            zero: match message.zero_count {
                Some(HistogramZeroCount::Float(zero)) => zero,
                _ => 0.0,
            },
            positive: message.positive_counts.clone(),
            negative: message.negative_counts.clone(),
        }),
        Some(HistogramCount::Int(_)) | None => Counts::Integer(BucketCounts {
            count: match message.count {
                Some(HistogramCount::Int(count)) => count,
                _ => 0,
            },
            zero: match message.zero_count {
                Some(HistogramZeroCount::Int(zero)) => zero,
                _ => 0,
            },
            positive: sum_up(Side::Positive, &message.positive_deltas)?,
            negative: sum_up(Side::Negative, &message.negative_deltas)?,
        }),
    })
}

/// Counts from what each has more than the one before.
fn sum_up(side: Side, deltas: &[i64]) -> Result<Vec<u64>, BadHistogram> {
    let mut count = 0i64;
    let next = |(number, delta): (usize, &i64)| {
        count = count.wrapping_add(*delta);
        u64::try_from(count).map_err(|_| BadHistogram::NegativeBucket { side, number, count })
    };
    (1..).zip(deltas).map(next).collect()
}

/// Puts each 2^`by` buckets of a sound histogram into one.
fn coarsen(h: Histogram, by: u32) -> Option<Histogram> {
    let (positive_spans, negative_spans, counts) = match h.counts {
        Counts::Integer(c) => {
            let (positive_spans, positive) = coarsen_side(&h.positive_spans, &c.positive, by)?;
            let (negative_spans, negative) = coarsen_side(&h.negative_spans, &c.negative, by)?;
            (positive_spans, negative_spans, Counts::Integer(BucketCounts { positive, negative, ..c }))
        }
        Counts::Float(c) => {
            let (positive_spans, positive) = coarsen_side(&h.positive_spans, &c.positive, by)?;
            let (negative_spans, negative) = coarsen_side(&h.negative_spans, &c.negative, by)?;
            (positive_spans, negative_spans, Counts::Float(BucketCounts { positive, negative, ..c }))
        }
    };
    Some(Histogram { positive_spans, negative_spans, counts, ..h })
}

fn coarsen_side<C: Copy + AddAssign>(
    spans: &[BucketSpan],
    counts: &[C],
    by: u32,
) -> Option<(Vec<BucketSpan>, Vec<C>)> {
    let (mut coarse, mut sums): (Vec<BucketSpan>, Vec<C>) = (Vec::new(), Vec::new());
    // The bucket behind the last one, fine and coarse.
    let (mut fine_end, mut end) = (0i64, 0i64);
    let mut counts = counts.iter();
    for span in spans {
        fine_end += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            // Bucket i ends at its upper bound, the i-th power: so do those of the coarser schema.
            let index = ((fine_end - 1) >> by) + 1;
            fine_end += 1;
            match (sums.last_mut(), coarse.last_mut()) {
                (Some(sum), _) if index < end => *sum += *count,
                (_, Some(last)) if index == end => {
                    last.length += 1;
                    sums.push(*count);
                }
                _ => {
                    coarse.push(BucketSpan { offset: i32::try_from(index - end).ok()?, length: 1 });
                    sums.push(*count);
                }
            }
            end = index + 1;
        }
    }
    Some((coarse, sums))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integers() -> proto::Histogram {
        proto::Histogram {
            count: Some(proto::HistogramCount::Int(10)),
            sum: 4.5,
            schema: 2,
            zero_threshold: 0.5,
            zero_count: Some(proto::HistogramZeroCount::Int(1)),
            positive_spans: vec![
                proto::BucketSpan { offset: -3, length: 2 },
                proto::BucketSpan { offset: 1, length: 1 },
            ],
            positive_deltas: vec![2, -1, 3],
            negative_spans: vec![proto::BucketSpan { offset: 0, length: 1 }],
            negative_deltas: vec![2],
            reset_hint: 2,
            timestamp: 77,
            ..Default::default()
        }
    }

    fn read_one(change: impl FnOnce(&mut proto::Histogram)) -> Result<HistogramSample, BadHistogram> {
        let mut message = integers();
        change(&mut message);
        read(&message.encode_to_vec())
    }

    #[test]
    fn integers_are_summed_up() {
        let HistogramSample { t, h } = read_one(|_| {}).unwrap();
        let counts = BucketCounts { count: 10, zero: 1, positive: vec![2, 1, 4], negative: vec![2] };
        assert_eq!(
            (t, h.counts, h.reset_hint),
            (TimestampMs(77), Counts::Integer(counts), ResetHint::NotReset)
        );
        assert_eq!((h.schema, h.sum, h.zero_threshold), (2, 4.5, 0.5));
        assert_eq!(h.positive_spans[0], BucketSpan { offset: -3, length: 2 });
    }

    #[test]
    fn floats_are_those_with_a_count_of_floats() {
        let floats = |m: &mut proto::Histogram| {
            m.count = Some(proto::HistogramCount::Float(2.5));
            (m.positive_counts, m.negative_counts) = (vec![0.5, 1.0, 0.25], vec![0.5]);
        };
        let counts =
            BucketCounts { count: 2.5, zero: 0.0, positive: vec![0.5, 1.0, 0.25], negative: vec![0.5] };
        assert_eq!(read_one(floats).unwrap().h.counts, Counts::Float(counts));
        let custom = |m: &mut proto::Histogram| {
            floats(m);
            (m.schema, m.zero_threshold, m.custom_values) = (-53, 0.0, vec![1.0, 2.0, 4.0]);
            (m.negative_spans, m.negative_counts) = (vec![], vec![]);
            m.positive_spans[0].offset = 0;
        };
        assert_eq!(read_one(custom).unwrap().h.custom_bounds, [1.0, 2.0, 4.0]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |change: fn(&mut proto::Histogram), want: &str| {
            assert_eq!(read_one(change).unwrap_err().to_string(), want);
        };
        check(|m| m.positive_deltas[1] = -3, "positive bucket 2 has the negative count -1");
        check(|m| m.schema = 53, "expected schema -4 to 52, or -53 for custom bounds, found 53");
        check(|m| m.schema = -5, "expected schema -4 to 52, or -53 for custom bounds, found -5");
        check(|m| m.schema = 300, "expected schema -4 to 52, or -53 for custom bounds, found 300");
        check(|m| m.count = None, "buckets hold 10 observations, the count is 0");
        check(|m| m.custom_values = vec![1.0], "a histogram with exponential buckets has custom bounds");
        check(|m| m.positive_deltas = vec![0; 300_000], "it has 300051 bytes, more than 262144");
        let cut = read(&integers().encode_to_vec()[..5]).unwrap_err().to_string();
        assert!(cut.starts_with("it cannot be decoded: "), "{cut}");
    }

    #[test]
    fn finer_schemas_are_brought_to_the_finest() {
        let check =
            |spans: &[(i32, u32)], deltas: &[i64], schema: i32, want: &[(i32, u32)], counts: &[u64]| {
                let read = read_one(|m| {
                    m.schema = schema;
                    m.positive_spans =
                        spans.iter().map(|&(offset, length)| proto::BucketSpan { offset, length }).collect();
                    m.positive_deltas = deltas.to_vec();
                    m.count = Some(proto::HistogramCount::Int(3 + counts.iter().sum::<u64>()));
                });
                let h = read.unwrap().h;
                assert_eq!(h.check(), Ok(()));
                let found: Vec<(i32, u32)> = h.positive_spans.iter().map(|s| (s.offset, s.length)).collect();
                let Counts::Integer(c) = h.counts else { panic!("integers") };
                assert_eq!((h.schema, &found[..], &c.positive[..]), (8, want, counts), "{spans:?}");
            };
        check(&[(1, 4)], &[1, 0, 0, 0], 9, &[(1, 2)], &[2, 2]);
        check(&[(0, 4)], &[1, 0, 0, 0], 9, &[(0, 3)], &[1, 2, 1]);
        check(&[(-1, 1), (0, 1), (9, 2)], &[1, 0, 2, 2], 10, &[(0, 1), (2, 1)], &[2, 8]);
        check(&[(5, 1), (0, 0), (1, 1)], &[1, 0], 9, &[(3, 2)], &[1, 1]);
        check(&[(-1000, 1), (998, 1)], &[1, 0], 52, &[(0, 1)], &[2]);
        let far = |m: &mut proto::Histogram| {
            m.schema = 9;
            let empty = proto::BucketSpan { offset: i32::MAX, length: 0 };
            m.positive_spans =
                vec![proto::BucketSpan { offset: i32::MIN, length: 1 }, empty, empty, empty, empty];
            m.positive_spans.push(proto::BucketSpan { offset: i32::MAX, length: 2 });
        };
        assert!(matches!(read_one(far), Err(BadHistogram::TooFarApart)));
    }

    proptest! {
        #[test]
        fn coarse_buckets_hold_what_the_fine_ones_held(
            spans in proptest::collection::vec((0i32..9, 0u32..5), 1..6), first in -99i32..99, by in 1u32..5,
        ) {
            let mut fine: Vec<BucketSpan> =
                spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect();
            fine[0].offset = first;
            let places = |spans: &[BucketSpan]| -> Vec<i64> {
                let mut end = 0;
                let each = |s: &BucketSpan| {
                    let from = end + i64::from(s.offset);
                    end = from + i64::from(s.length);
                    from..end
                };
                spans.iter().flat_map(each).collect()
            };
            let fine_places = places(&fine);
            let counts: Vec<u64> = (1..=fine_places.len() as u64).collect();
            let (coarse, sums) = coarsen_side(&fine, &counts, by).unwrap();
            let mut want = std::collections::BTreeMap::<i64, u64>::new();
            for (index, count) in fine_places.iter().zip(&counts) {
                // The coarse bucket whose bounds lie around those of the fine one.
                let index = (*index as f64 / f64::from(1u32 << by)).ceil() as i64;
                *want.entry(index).or_default() += count;
            }
            let found: Vec<(i64, u64)> = places(&coarse).into_iter().zip(sums).collect();
            prop_assert_eq!(found, want.into_iter().collect::<Vec<_>>());
            prop_assert!(coarse.iter().skip(1).all(|s| s.offset > 0));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
