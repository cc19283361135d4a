//! A histogram on its own, as the log has it.

use super::super::chunk::ChunkKind;
use super::super::error::{ChunkError, take_array, take_u8, take_varint};
use super::shape::{empty, no_layout, put_bounds, put_spans, take_bounds, take_spans};
use crate::model::{BucketCounts, BucketSpan, Counts, Histogram, ResetHint, varint};

/// Appends a sound histogram. Which kind it is, is told elsewhere.
pub fn put_histogram(h: &Histogram, out: &mut Vec<u8>) {
    out.extend_from_slice(&[h.schema as u8, h.reset_hint.number()]);
    out.extend_from_slice(&h.zero_threshold.to_bits().to_le_bytes());
    out.extend_from_slice(&h.sum.to_bits().to_le_bytes());
    put_bounds(&h.custom_bounds, out);
    put_spans(&h.positive_spans, out);
    put_spans(&h.negative_spans, out);
    match &h.counts {
        Counts::Integer(c) => each(c, |n| varint::put(out, *n)),
        Counts::Float(c) => each(c, |v| out.extend_from_slice(&v.to_bits().to_le_bytes())),
    }
}

/// Reads a histogram that is all of `bytes`. Its spans, bounds and numbers of counts agree; the counts are what they are.
pub fn take_histogram(kind: ChunkKind, mut bytes: &[u8]) -> Result<Histogram, ChunkError> {
    let bytes = &mut bytes;
    let schema = take_u8(bytes)? as i8;
    let hint = ResetHint::from_number(take_u8(bytes)?);
    let zero_threshold = f64::from_le_bytes(take_array(bytes)?);
    let sum = f64::from_le_bytes(take_array(bytes)?);
    let bounds = take_bounds(bytes)?;
    let mut h = Histogram {
        reset_hint: hint.ok_or(ChunkError::Malformed("a histogram has an impossible reset hint"))?,
        sum,
        ..empty(schema, zero_threshold, bounds)
    };
    (h.positive_spans, h.negative_spans) = (take_spans(bytes)?, take_spans(bytes)?);
    h.check_layout().map_err(no_layout)?;
    let buckets = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum();
    let sides = (buckets(&h.positive_spans), buckets(&h.negative_spans));
    h.counts = match kind {
        ChunkKind::IntegerHistogram => Counts::Integer(take_each(sides, || take_varint(bytes))?),
        ChunkKind::FloatHistogram => {
            Counts::Float(take_each(sides, || take_array(bytes).map(f64::from_le_bytes))?)
        }
        _ => return Err(ChunkError::Unknown { kind: kind.number(), encoding: 0 }),
    };
    if bytes.is_empty() { Ok(h) } else { Err(ChunkError::Malformed("bytes follow a histogram")) }
}

fn each<C>(counts: &BucketCounts<C>, f: impl FnMut(&C)) {
    [&counts.count, &counts.zero].into_iter().chain(&counts.positive).chain(&counts.negative).for_each(f);
}

fn take_each<C>(
    (positive, negative): (usize, usize),
    mut take: impl FnMut() -> Result<C, ChunkError>,
) -> Result<BucketCounts<C>, ChunkError> {
    let (count, zero) = (take()?, take()?);
    let mut side = |n: usize| (0..n).map(|_| take()).collect::<Result<Vec<C>, _>>();
    Ok(BucketCounts { count, zero, positive: side(positive)?, negative: side(negative)? })
}
