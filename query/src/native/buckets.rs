//! The buckets of a histogram from the lowest to the highest, with their bounds.

use super::bounds::upper_bound;
use super::{Bucket, FloatHistogram};

/// A bucket between its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether its begin is in it.
    pub lower_inclusive: bool,
    /// Whether its end is in it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl Interval {
    /// Which share of the bucket lies below `v`, which is inside it: on a straight scale, or on a logarithmic one, on which
    /// exponential buckets are equally wide.
    pub(super) fn share_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, v_log] = [self.lower, self.upper, v].map(|x| x.abs().log2());
        if v > 0.0 { (v_log - lower) / (upper - lower) } else { 1.0 - (v_log - upper) / (lower - upper) }
    }
}

impl FloatHistogram {
    /// All buckets in ascending order, the zero bucket among them if it holds anything. A bucket next to the zero bucket
    /// that overlaps it begins, or ends, where the zero bucket does.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = Interval> + '_ {
        let threshold = self.zero_threshold;
        let negative = self.negative.iter().rev().map(move |b| {
            let i = self.below_zero(b);
            let overlaps = i.upper < 0.0 && i.upper > -threshold;
            Interval { upper: if overlaps { -threshold } else { i.upper }, ..i }
        });
        let positive = self.positive.iter().map(move |b| {
            let i = self.above_zero(b);
            let overlaps = i.lower > 0.0 && i.lower < threshold;
            Interval { lower: if overlaps { threshold } else { i.lower }, ..i }
        });
        let zero = (self.zero > 0.0).then(|| self.around_zero());
        negative.chain(zero).chain(positive)
    }

    /// A bucket of the positive side.
    pub(super) fn above_zero(&self, b: &Bucket) -> Interval {
        let bound = |index| upper_bound(index, self.schema, &self.custom_bounds);
        Interval {
            lower: bound(b.index.wrapping_sub(1)),
            upper: bound(b.index),
            lower_inclusive: self.is_custom() && b.index == 0,
            upper_inclusive: true,
            count: b.count,
        }
    }

    /// A bucket of the negative side.
    pub(super) fn below_zero(&self, b: &Bucket) -> Interval {
        let bound = |index| -upper_bound(index, self.schema, &self.custom_bounds);
        Interval {
            lower: bound(b.index),
            upper: bound(b.index.wrapping_sub(1)),
            lower_inclusive: true,
            upper_inclusive: false,
            count: b.count,
        }
    }

    /// The zero bucket.
    pub(super) fn around_zero(&self) -> Interval {
        Interval {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero,
        }
    }

    /// The zero bucket, cut to where observations may be: with buckets on one side alone there are none on the other.
    pub(super) fn one_sided(&self, i: Interval) -> Interval {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => Interval { lower: 0.0, ..i },
            (false, true) => Interval { upper: 0.0, ..i },
            _ => i,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{custom, histogram};
    use super::*;

    fn bounds(h: &FloatHistogram) -> Vec<(f64, f64, f64)> {
        h.intervals().map(|i| (i.lower, i.upper, i.count)).collect()
    }

    #[test]
    fn buckets_ascend_around_zero() {
        let mut h = histogram(9.0, 0.0, &[1.0, 2.0]);
        h.negative = vec![Bucket { index: -1, count: 3.0 }, Bucket { index: 1, count: 4.0 }];
        assert_eq!(bounds(&h), [(-2.0, -1.0, 4.0), (-0.5, -0.25, 3.0), (0.5, 1.0, 1.0), (1.0, 2.0, 2.0)]);
        (h.zero, h.zero_threshold) = (5.0, 0.75);
        assert_eq!(bounds(&h)[1..4], [(-0.5, -0.75, 3.0), (-0.75, 0.75, 5.0), (0.75, 1.0, 1.0)]);
        assert_eq!(h.intervals().next_back().map(|i| i.upper), Some(2.0));
    }

    #[test]
    fn custom_buckets_reach_from_infinity_to_infinity() {
        let h = custom(&[1.0, 2.0], &[1.0, 0.0, 3.0]);
        let inf = f64::INFINITY;
        assert_eq!(bounds(&h), [(-inf, 1.0, 1.0), (1.0, 2.0, 0.0), (2.0, inf, 3.0)]);
        assert_eq!(bounds(&custom(&[], &[1.0])), [(-inf, inf, 1.0)]);
    }

    #[test]
    fn shares_are_taken_on_the_scale_of_the_buckets() {
        let check = |lower: f64, upper: f64, v: f64, linear: bool, want: f64| {
            let i = Interval { lower, upper, lower_inclusive: false, upper_inclusive: true, count: 1.0 };
            assert!((i.share_below(v, linear) - want).abs() < 1e-15, "{v} in {lower}..{upper}");
        };
        check(0.0, 4.0, 1.0, true, 0.25);
        check(1.0, 4.0, 2.0, false, 0.5);
        check(-4.0, -1.0, -2.0, false, 0.5);
    }
}
