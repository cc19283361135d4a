//! What makes a histogram one: whether spans, bounds and counts agree.

use super::{BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, EXPONENTIAL_SCHEMAS, Histogram};
use std::fmt;

/// Buckets of a histogram, spans of a side, and custom bounds, each at most. Clients keep to some hundred; one sample of the
/// most buckets still fits a page of the head-chunk log.
pub const BUCKETS_MAX: usize = 4096;

/// A side of the zero bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above zero; custom buckets too.
    Positive,
    /// Below zero.
    Negative,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
        })
    }
}

/// Why a histogram is none. It is refused: a sender that is mended sends another one.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// A schema that there is not.
    #[error("expected schema -4 to 8, or -53 for custom bounds, found {0}")]
    Schema(i8),
    /// Too many buckets, spans or bounds.
    #[error("expected at most {max} {what}, found {found}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
        /// How many there are.
        found: u64,
    },
    /// Only the first span of exponential buckets may begin below 0.
    #[error("{side} span {number} has the negative offset {offset}")]
    SpanOffset {
        /// The side.
        side: Side,
        /// Which span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans and counts differ.
    #[error("the {side} spans have {spanned} buckets, counts are given for {counted}")]
    SpanLength {
        /// The side.
        side: Side,
        /// Buckets by the spans.
        spanned: u64,
        /// Buckets by the counts.
        counted: usize,
    },
    /// A count below zero.
    #[error("{what} have the negative count {count}")]
    NegativeCount {
        /// Of what.
        what: &'static str,
        /// The count.
        count: f64,
    },
    /// The buckets do not add up.
    #[error("buckets hold {buckets} observations, the count is {count}")]
    Sum {
        /// In all buckets.
        buckets: u128,
        /// In all.
        count: u64,
    },
    /// A bound that is NaN, or a last one of +Inf, which is always there and not told.
    #[error("custom bound {number} is {bound}")]
    Bound {
        /// Which one, from 1.
        number: usize,
        /// The bound.
        bound: f64,
    },
    /// Bounds that do not ascend.
    #[error("custom bound {number} is {bound}, not above {before}, which comes before it")]
    BoundOrder {
        /// Which one, from 1.
        number: usize,
        /// The bound.
        bound: f64,
        /// The one before.
        before: f64,
    },
    /// More buckets than bounds make.
    #[error("{bounds} custom bounds are too few for spans over {spanned} buckets")]
    TooFewBounds {
        /// How many there are.
        bounds: usize,
        /// Buckets from the first to the last one of the spans.
        spanned: u64,
    },
    /// Custom buckets have neither a zero bucket nor a negative side.
    #[error("a histogram with custom bounds has {0}")]
    NotCustom(&'static str),
    /// Exponential buckets have no bounds of their own.
    #[error("a histogram with exponential buckets has custom bounds")]
    NotExponential,
}

impl Histogram {
    /// Whether spans, bounds and counts agree, as senders are expected to see to.
    pub fn check(&self) -> Result<(), HistogramError> {
        self.check_layout()?;
        match &self.counts {
            Counts::Integer(counts) => self.check_integers(counts),
            Counts::Float(counts) => self.check_floats(counts),
        }
    }

    /// Schema, spans and bounds, without the counts. The number of buckets is bounded then.
    pub(crate) fn check_layout(&self) -> Result<(), HistogramError> {
        let spanned = self.check_spans(Side::Positive)? + self.check_spans(Side::Negative)?;
        limit("buckets", spanned)?;
        limit("custom bounds", self.custom_bounds.len() as u64)?;
        match self.schema {
            CUSTOM_SCHEMA => self.check_custom(),
            schema if EXPONENTIAL_SCHEMAS.contains(&schema) => match self.custom_bounds[..] {
                [] => Ok(()),
                _ => Err(HistogramError::NotExponential),
            },
            schema => Err(HistogramError::Schema(schema)),
        }
    }

    /// The number of buckets of a side.
    fn check_spans(&self, side: Side) -> Result<u64, HistogramError> {
        let spans = self.spans(side);
        limit("spans on a side", spans.len() as u64)?;
        for (number, BucketSpan { offset, .. }) in (1..).zip(spans) {
            if *offset < 0 && (number > 1 || self.schema == CUSTOM_SCHEMA) {
                return Err(HistogramError::SpanOffset { side, number, offset: *offset });
            }
        }
        Ok(spans.iter().map(|s| u64::from(s.length)).sum())
    }

    fn check_custom(&self) -> Result<(), HistogramError> {
        let mut before = f64::NEG_INFINITY;
        for (number, &bound) in (1..).zip(&self.custom_bounds) {
            if bound.is_nan() {
                return Err(HistogramError::Bound { number, bound });
            }
            if number > 1 && bound <= before {
                return Err(HistogramError::BoundOrder { number, bound, before });
            }
            before = bound;
        }
        let bounds = self.custom_bounds.len();
        if before == f64::INFINITY {
            return Err(HistogramError::Bound { number: bounds, bound: before });
        }
        let ends = |s: &BucketSpan| u64::from(s.length) + s.offset.max(0) as u64;
        let spanned: u64 = self.positive_spans.iter().map(ends).sum();
        if spanned > bounds as u64 + 1 {
            return Err(HistogramError::TooFewBounds { bounds, spanned });
        }
        if !self.negative_spans.is_empty() {
            return Err(HistogramError::NotCustom("buckets below zero"));
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramError::NotCustom("a zero threshold"));
        }
        Ok(())
    }

    fn check_lengths<C>(&self, counts: &BucketCounts<C>) -> Result<(), HistogramError> {
        for (side, counted) in [(Side::Positive, &counts.positive), (Side::Negative, &counts.negative)] {
            let spanned = self.spans(side).iter().map(|s| u64::from(s.length)).sum();
            if spanned != counted.len() as u64 {
                return Err(HistogramError::SpanLength { side, spanned, counted: counted.len() });
            }
        }
        Ok(())
    }

    fn check_integers(&self, counts: &BucketCounts<u64>) -> Result<(), HistogramError> {
        self.check_lengths(counts)?;
        if self.schema == CUSTOM_SCHEMA && counts.zero != 0 {
            return Err(HistogramError::NotCustom("observations around zero"));
        }
        let of = |counts: &[u64]| counts.iter().map(|c| u128::from(*c)).sum::<u128>();
        let buckets = of(&counts.positive) + of(&counts.negative) + u128::from(counts.zero);
        // Observations of NaN are in no bucket, and make the sum NaN.
        let agree = match self.sum.is_nan() {
            true => buckets <= u128::from(counts.count),
            false => buckets == u128::from(counts.count),
        };
        if agree { Ok(()) } else { Err(HistogramError::Sum { buckets, count: counts.count }) }
    }

    fn check_floats(&self, counts: &BucketCounts<f64>) -> Result<(), HistogramError> {
        self.check_lengths(counts)?;
        if self.schema == CUSTOM_SCHEMA && counts.zero != 0.0 {
            return Err(HistogramError::NotCustom("observations around zero"));
        }
        let all = [("observations", std::slice::from_ref(&counts.count))];
        let buckets = [std::slice::from_ref(&counts.zero), &counts.positive, &counts.negative];
        for (what, counts) in all.into_iter().chain(buckets.map(|counts| ("buckets", counts))) {
            if let Some(&count) = counts.iter().find(|c| **c < 0.0) {
                return Err(HistogramError::NegativeCount { what, count });
            }
        }
        Ok(())
    }

    /// The spans of a side.
    pub fn spans(&self, side: Side) -> &[BucketSpan] {
        match side {
            Side::Positive => &self.positive_spans,
            Side::Negative => &self.negative_spans,
        }
    }
}

fn limit(what: &'static str, found: u64) -> Result<(), HistogramError> {
    match found > BUCKETS_MAX as u64 {
        true => Err(HistogramError::TooMany { what, max: BUCKETS_MAX, found }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ResetHint;
    use super::*;

    fn integers() -> Histogram {
        Histogram {
            schema: 3,
            reset_hint: ResetHint::Unknown,
            zero_threshold: 1e-128,
            sum: 18.5,
            positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 0, length: 1 }],
            negative_spans: vec![BucketSpan { offset: 4, length: 1 }],
            custom_bounds: vec![],
            counts: Counts::Integer(BucketCounts {
                count: 12,
                zero: 2,
                positive: vec![1, 2, 3],
                negative: vec![4],
            }),
        }
    }

    fn floats() -> Histogram {
        let counts =
            BucketCounts { count: 1.5, zero: 0.5, positive: vec![1.0, 0.0, f64::NAN], negative: vec![0.0] };
        Histogram { counts: Counts::Float(counts), ..integers() }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_SCHEMA,
            zero_threshold: 0.0,
            positive_spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 1, length: 1 }],
            negative_spans: vec![],
            custom_bounds: vec![1.0, 5.0],
            counts: Counts::Integer(BucketCounts {
                count: 12,
                zero: 0,
                positive: vec![5, 7],
                negative: vec![],
            }),
            ..integers()
        }
    }

    fn change_integers(h: &mut Histogram, change: impl FnOnce(&mut BucketCounts<u64>)) {
        match &mut h.counts {
            Counts::Integer(counts) => change(counts),
            Counts::Float(_) => panic!("integers"),
        }
    }

    fn change_floats(h: &mut Histogram, change: impl FnOnce(&mut BucketCounts<f64>)) {
        match &mut h.counts {
            Counts::Float(counts) => change(counts),
            Counts::Integer(_) => panic!("floats"),
        }
    }

    #[test]
    fn what_agrees_is_accepted() {
        let check = |mut h: Histogram, change: fn(&mut Histogram)| {
            change(&mut h);
            assert_eq!(h.check(), Ok(()), "{h:?}");
        };
        for h in [integers(), floats(), custom()] {
            check(h, |_| {});
        }
        check(integers(), |h| {
            h.sum = f64::NAN;
            change_integers(h, |c| c.count = 100);
        });
        check(integers(), |h| h.zero_threshold = f64::NAN);
        check(custom(), |h| h.custom_bounds[0] = f64::NEG_INFINITY);
        check(custom(), |h| h.sum = f64::INFINITY);
        check(floats(), |h| change_floats(h, |c| c.count = f64::NAN));
    }

    #[test]
    fn what_does_not_agree_is_told() {
        let check = |mut h: Histogram, change: fn(&mut Histogram), want: &str| {
            change(&mut h);
            assert_eq!(h.check().unwrap_err().to_string(), want, "{h:?}");
        };
        check(integers(), |h| h.schema = 9, "expected schema -4 to 8, or -53 for custom bounds, found 9");
        check(integers(), |h| h.schema = -5, "expected schema -4 to 8, or -53 for custom bounds, found -5");
        check(integers(), |h| h.positive_spans[1].offset = -1, "positive span 2 has the negative offset -1");
        let more = "the positive spans have 5 buckets, counts are given for 3";
        check(integers(), |h| h.positive_spans[0].length = 4, more);
        let less = "the negative spans have 1 buckets, counts are given for 0";
        check(integers(), |h| change_integers(h, |c| c.negative = vec![]), less);
        check(
            integers(),
            |h| change_integers(h, |c| c.count = 13),
            "buckets hold 12 observations, the count is 13",
        );
        let nan = |h: &mut Histogram| {
            h.sum = f64::NAN;
            change_integers(h, |c| c.count = 11);
        };
        check(integers(), nan, "buckets hold 12 observations, the count is 11");
        let wraps = |h: &mut Histogram| change_integers(h, |c| (c.positive[0], c.zero) = (u64::MAX, 3));
        check(integers(), wraps, "buckets hold 18446744073709551627 observations, the count is 12");
        check(
            integers(),
            |h| h.custom_bounds = vec![1.0],
            "a histogram with exponential buckets has custom bounds",
        );
        let long = "expected at most 4096 buckets, found 4294967297";
        check(integers(), |h| h.positive_spans[0].length = u32::MAX, long);
        let spans = |h: &mut Histogram| h.positive_spans.resize(5000, BucketSpan { offset: 0, length: 0 });
        check(integers(), spans, "expected at most 4096 spans on a side, found 5000");
        check(floats(), |h| change_floats(h, |c| c.count = -1.0), "observations have the negative count -1");
        check(floats(), |h| change_floats(h, |c| c.zero = -0.5), "buckets have the negative count -0.5");
        check(floats(), |h| change_floats(h, |c| c.negative[0] = -3.0), "buckets have the negative count -3");
        check(custom(), |h| h.custom_bounds[1] = f64::INFINITY, "custom bound 2 is inf");
        check(custom(), |h| h.custom_bounds[0] = f64::NAN, "custom bound 1 is NaN");
        check(
            custom(),
            |h| h.custom_bounds[1] = 1.0,
            "custom bound 2 is 1, not above 1, which comes before it",
        );
        let few = "1 custom bounds are too few for spans over 3 buckets";
        check(custom(), |h| h.custom_bounds = vec![1.0], few);
        check(custom(), |h| h.positive_spans[0].offset = -1, "positive span 1 has the negative offset -1");
        check(custom(), |h| h.zero_threshold = 0.1, "a histogram with custom bounds has a zero threshold");
        let below = |h: &mut Histogram| h.negative_spans = vec![BucketSpan { offset: 0, length: 0 }];
        check(custom(), below, "a histogram with custom bounds has buckets below zero");
        let around = "a histogram with custom bounds has observations around zero";
        check(custom(), |h| change_integers(h, |c| (c.zero, c.count) = (1, 13)), around);
    }
}
