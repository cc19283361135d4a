//! Native histograms as queries compute with them: counts are floats, buckets a list by index, and empty buckets are
//! nothing.
//!
//! What is stored has its buckets as spans over counts; a list of (index, count), sorted, is as short and can be
//! merged, thinned and coarsened in place.

mod add;
mod bounds;
mod buckets;
#[cfg(test)]
mod laws;
mod quantile;
mod reset;
mod shape;
mod sum;
mod tally;
mod text;
mod trim;

pub use add::Outcome;
pub use buckets::Interval;
pub(crate) use quantile::Nan;
pub(crate) use sum::{Average, Met, Total};
pub(crate) use trim::Keep;

use cardinal_storage::model::{BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, Histogram, ResetHint};
use std::sync::Arc;
use tally::Tally;

/// Bytes of a histogram without buckets and bounds, with its time.
const SAMPLE_BYTES: usize = 176;

/// A distribution of observations, at one time or over some. `C` is what counts and sums are kept as.
#[derive(Clone, Debug)]
pub struct FloatHistogram<C = f64> {
    /// What is known of counter resets before it.
    pub reset_hint: ResetHint,
    /// How fine the buckets are, or [`CUSTOM_SCHEMA`].
    pub schema: i8,
    /// Observations of at most this magnitude are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero: C,
    /// Observations in all.
    pub count: C,
    /// The sum of all observations.
    pub sum: C,
    /// The buckets above zero, ascending by index without duplicates; those of custom bounds too.
    pub positive: Vec<Bucket<C>>,
    /// The buckets below zero, by what they are mirrored.
    pub negative: Vec<Bucket<C>>,
    /// The upper bounds of custom buckets, ascending, without +Inf.
    pub custom_bounds: Arc<[f64]>,
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket<C = f64> {
    /// Which bucket of the schema.
    pub index: i32,
    /// Observations in it.
    pub count: C,
}

/// Exponential and custom buckets have no bounds in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

impl FloatHistogram {
    /// Whether its buckets have bounds of their own.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// No observations, in the shape of `other`.
    pub(crate) fn empty_like(other: &Self) -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            schema: other.schema,
            zero_threshold: 0.0,
            zero: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_bounds: Arc::clone(&other.custom_bounds),
        }
    }

    /// Count and sum alone.
    pub(crate) fn without_buckets(&self) -> Self {
        Self {
            reset_hint: self.reset_hint,
            count: self.count,
            sum: self.sum,
            custom_bounds: Arc::default(),
            ..Self::empty_like(self)
        }
    }

    /// Whether the two are the same to the bit, empty buckets included; reset hints do not count.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let bits = |h: &Self| [h.count, h.sum, h.zero].map(f64::to_bits);
        let buckets = |a: &[Bucket], b: &[Bucket]| {
            let same =
                |(a, b): (&Bucket, &Bucket)| a.index == b.index && a.count.to_bits() == b.count.to_bits();
            a.len() == b.len() && a.iter().zip(b).all(same)
        };
        self.schema == other.schema
            && bits(self) == bits(other)
            && self.zero_threshold == other.zero_threshold
            && self.custom_bounds == other.custom_bounds
            && buckets(&self.positive, &other.positive)
            && buckets(&self.negative, &other.negative)
    }
}

impl<C: Tally> FloatHistogram<C> {
    /// The same histogram with its numbers kept as something else.
    pub(crate) fn map<D>(&self, f: impl Fn(&C) -> D) -> FloatHistogram<D> {
        let buckets =
            |b: &[Bucket<C>]| b.iter().map(|b| Bucket { index: b.index, count: f(&b.count) }).collect();
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero: f(&self.zero),
            count: f(&self.count),
            sum: f(&self.sum),
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            custom_bounds: Arc::clone(&self.custom_bounds),
        }
    }

    /// Changes every number in place. Custom buckets have none around zero that could become anything.
    pub(crate) fn change(&mut self, f: impl Fn(&mut C)) {
        if self.schema != CUSTOM_SCHEMA {
            f(&mut self.zero);
        }
        f(&mut self.count);
        f(&mut self.sum);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|b| f(&mut b.count));
    }

    /// Drops empty buckets.
    pub fn compact(&mut self) {
        self.positive.retain(|b| !b.count.is_zero());
        self.negative.retain(|b| !b.count.is_zero());
    }

    /// What it counts as against the bound of samples, as the reference counts: samples have 16 bytes, and its histograms
    /// have spans.
    pub(crate) fn samples(&self) -> usize {
        let side = |b: &[Bucket<C>]| {
            let gaps = b.windows(2).filter(|w| w[0].index.wrapping_add(1) != w[1].index).count();
            b.len() + gaps + usize::from(!b.is_empty())
        };
        let words = side(&self.positive) + side(&self.negative) + self.custom_bounds.len();
        (SAMPLE_BYTES + 8 * words) / 16
    }
}

impl FloatHistogram {
    /// Multiplies every number; a negative factor makes a gauge of it.
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.change(|v| *v *= factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides every number; division by zero leaves no buckets.
    pub(crate) fn divide(&mut self, by: f64) {
        self.change(|v| *v /= by);
        if by == 0.0 {
            self.positive.clear();
            self.negative.clear();
        } else if by < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }
}

impl From<&Histogram> for FloatHistogram {
    fn from(h: &Histogram) -> Self {
        match &h.counts {
            Counts::Integer(counts) => read(h, counts, |&n| n as f64),
            Counts::Float(counts) => read(h, counts, |&v| v),
        }
    }
}

/// Reads what is stored. Bounds that no sound histogram has are read as the nearest that one may have.
fn read<C>(h: &Histogram, counts: &BucketCounts<C>, number: impl Fn(&C) -> f64) -> FloatHistogram {
    let custom = h.schema == CUSTOM_SCHEMA;
    FloatHistogram {
        reset_hint: h.reset_hint,
        schema: h.schema,
        zero_threshold: if custom { 0.0 } else { h.zero_threshold.max(0.0) },
        zero: if custom { 0.0 } else { number(&counts.zero) },
        count: number(&counts.count),
        sum: h.sum,
        positive: read_buckets(&h.positive_spans, &counts.positive, &number),
        negative: if custom {
            Vec::new()
        } else {
            read_buckets(&h.negative_spans, &counts.negative, &number)
        },
        custom_bounds: if custom { Arc::from(h.custom_bounds.as_slice()) } else { Arc::default() },
    }
}

fn read_buckets<C>(spans: &[BucketSpan], counts: &[C], number: impl Fn(&C) -> f64) -> Vec<Bucket> {
    let mut buckets = Vec::with_capacity(counts.len());
    let mut counts = counts.iter();
    let mut next = 0i64;
    for (n, span) in spans.iter().enumerate() {
        // Only the first may lie before what comes before it.
        next += i64::from(if n == 0 { span.offset } else { span.offset.max(0) });
        for count in counts.by_ref().take(span.length as usize) {
            let Ok(index) = i32::try_from(next) else { return buckets };
            buckets.push(Bucket { index, count: number(count) });
            next += 1;
        }
    }
    buckets
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A histogram of schema 0 with positive buckets from index 0 on.
    pub(crate) fn histogram(count: f64, sum: f64, positive: &[f64]) -> FloatHistogram {
        let bucket = |(i, &count): (usize, &f64)| Bucket { index: i as i32, count };
        FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero: 0.0,
            count,
            sum,
            positive: positive.iter().enumerate().map(bucket).collect(),
            negative: Vec::new(),
            custom_bounds: Arc::default(),
        }
    }

    /// A histogram of custom buckets.
    pub(crate) fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
        let all = counts.iter().sum();
        FloatHistogram {
            schema: CUSTOM_SCHEMA,
            custom_bounds: Arc::from(bounds),
            ..histogram(all, all, counts)
        }
    }

    /// The buckets as pairs.
    pub(crate) fn pairs(buckets: &[Bucket]) -> Vec<(i32, f64)> {
        buckets.iter().map(|b| (b.index, b.count)).collect()
    }

    #[test]
    fn spans_become_indices() {
        let span = |offset, length| BucketSpan { offset, length };
        let stored = Histogram {
            schema: 2,
            reset_hint: ResetHint::Gauge,
            zero_threshold: 0.5,
            sum: 3.0,
            positive_spans: vec![span(-2, 2), span(3, 1), span(0, 1)],
            negative_spans: vec![span(1, 1), span(-9, 5)],
            custom_bounds: vec![1.0],
            counts: Counts::Integer(BucketCounts {
                count: 9,
                zero: 1,
                positive: vec![1, 2, 0, 4],
                negative: vec![7, 8],
            }),
        };
        let h = FloatHistogram::from(&stored);
        assert_eq!((h.count, h.sum, h.zero, h.zero_threshold), (9.0, 3.0, 1.0, 0.5));
        assert_eq!(pairs(&h.positive), [(-2, 1.0), (-1, 2.0), (3, 0.0), (4, 4.0)]);
        assert_eq!(pairs(&h.negative), [(1, 7.0), (2, 8.0)]);
        assert!(h.custom_bounds.is_empty() && h.reset_hint == ResetHint::Gauge);
    }

    #[test]
    fn what_no_sound_histogram_has_does_no_harm() {
        let span = |offset, length| BucketSpan { offset, length };
        let counts = BucketCounts { count: 1.0, zero: 1.0, positive: vec![1.0; 3], negative: vec![] };
        let stored = Histogram {
            schema: 0,
            reset_hint: ResetHint::Unknown,
            zero_threshold: f64::NAN,
            sum: 0.0,
            positive_spans: vec![span(i32::MAX, u32::MAX)],
            negative_spans: vec![span(0, u32::MAX)],
            custom_bounds: vec![],
            counts: Counts::Float(counts),
        };
        let h = FloatHistogram::from(&stored);
        assert_eq!(pairs(&h.positive), [(i32::MAX, 1.0)]);
        assert_eq!(h.zero_threshold, 0.0);
    }

    #[test]
    fn multiplied_and_divided() {
        let mut h = histogram(4.0, 6.0, &[1.0, 3.0]);
        h.multiply(-2.0);
        assert_eq!((h.count, h.sum, h.reset_hint), (-8.0, -12.0, ResetHint::Gauge));
        assert_eq!(pairs(&h.positive), [(0, -2.0), (1, -6.0)]);
        h.divide(0.0);
        assert!(h.positive.is_empty() && h.count == f64::NEG_INFINITY && h.zero.is_nan());
        let mut h = custom(&[1.0], &[2.0]);
        h.divide(0.0);
        assert_eq!((h.count, h.zero), (f64::INFINITY, 0.0));
    }
}
