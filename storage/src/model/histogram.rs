//! Native histograms: one sample that holds a whole distribution.

mod check;
mod order;
#[cfg(test)]
pub(crate) mod testing;

pub use check::{BUCKETS_MAX, HistogramError, Side};
pub use order::merge_histograms;

use super::TimestampMs;

/// The schema of histograms whose bucket bounds are their own.
pub const CUSTOM_SCHEMA: i8 = -53;
/// The coarsest and finest schema of exponential buckets: the bounds of schema `n` are the powers of 2^(2^-n).
pub const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i8> = -4..=8;

/// One histogram at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// When it was taken.
    pub t: TimestampMs,
    /// The distribution.
    pub h: Histogram,
}

/// A distribution of observations.
///
/// What the spans of a side cover together has one count in [`BucketCounts`], in the same order.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// One of [`EXPONENTIAL_SCHEMAS`], or [`CUSTOM_SCHEMA`].
    pub schema: i8,
    /// What the sender says of counter resets between the sample before and this one.
    pub reset_hint: ResetHint,
    /// Observations of at most this magnitude are in the zero bucket.
    pub zero_threshold: f64,
    /// The sum of all observations.
    pub sum: f64,
    /// Where the buckets above zero stand; those of custom bounds too.
    pub positive_spans: Vec<BucketSpan>,
    /// Where the buckets below zero stand.
    pub negative_spans: Vec<BucketSpan>,
    /// The upper bounds of custom buckets, ascending, without the last one (+Inf); empty with exponential schemas.
    pub custom_bounds: Vec<f64>,
    /// How many observations fell where.
    pub counts: Counts,
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSpan {
    /// The gap to the end of the span before; for the first, the index of its first bucket.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// Whether a counter reset lies before a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ResetHint {
    /// Not known: compare with the sample before.
    #[default]
    Unknown = 0,
    /// There is one.
    Reset = 1,
    /// There is none.
    NotReset = 2,
    /// The histogram is a gauge, to which resets do not apply.
    Gauge = 3,
}

impl ResetHint {
    /// The number on disk.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(n: u8) -> Option<Self> {
        [Self::Unknown, Self::Reset, Self::NotReset, Self::Gauge].get(usize::from(n)).copied()
    }
}

/// The counts of a histogram: whole numbers as applications have them, or floats as rules compute them.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// Whole numbers.
    Integer(BucketCounts<u64>),
    /// Floats.
    Float(BucketCounts<f64>),
}

/// Observations in all, around zero, and per bucket; no differences.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketCounts<C> {
    /// Observations in all.
    pub count: C,
    /// In the zero bucket.
    pub zero: C,
    /// In the buckets of the positive spans, in their order.
    pub positive: Vec<C>,
    /// In the buckets of the negative spans, in their order.
    pub negative: Vec<C>,
}
