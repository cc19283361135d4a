//! What a distribution says: quantiles, fractions, variance.

use super::FloatHistogram;
use super::buckets::Interval;
use crate::eval::kahan::Kahan;

/// A value taken from a histogram, and what NaN among the observations did to it. They are counted, but are in no bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) value: f64,
    pub(crate) nan: Nan,
}

/// What observations of NaN did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nan {
    /// Nothing: there are none.
    Nothing,
    /// They rank above all others, so that the value is higher than it would be.
    Skewed,
    /// The value is one of them.
    Result,
}

impl Taken {
    fn of(value: f64) -> Self {
        Self { value, nan: Nan::Nothing }
    }
}

impl FloatHistogram {
    /// The value below which a share `q` of the observations lies. Inside a bucket it is interpolated: on a logarithmic scale
    /// in exponential buckets, on a straight one in custom buckets and in the zero bucket.
    pub(crate) fn quantile(&self, q: f64) -> Taken {
        if q < 0.0 {
            return Taken::of(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Taken::of(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return Taken::of(f64::NAN);
        }
        // From the nearer end, unless NaN is counted above all buckets.
        let upward = self.sum.is_nan() || q < 0.5;
        let rank = if upward { q * self.count } else { (1.0 - q) * self.count };
        let (bucket, passed) =
            if upward { bucket_at(self.intervals(), rank) } else { bucket_at(self.intervals().rev(), rank) };
        let Some(bucket) = self.finite_part(bucket) else {
            return Taken::of(if bucket.upper == f64::INFINITY { bucket.lower } else { bucket.upper });
        };
        let passed = passed.min(self.count);
        if passed < rank {
            let nan = self.sum.is_nan();
            return if nan { Taken { value: f64::NAN, nan: Nan::Result } } else { Taken::of(bucket.upper) };
        }
        let inside = if upward { rank - (passed - bucket.count) } else { passed - rank };
        let value = self.interpolated(&bucket, inside / bucket.count);
        let nan = if self.counts_nan() { Nan::Skewed } else { Nan::Nothing };
        Taken { value, nan }
    }

    /// The share of observations between `lower` and `upper`, interpolated inside buckets; whether NaN is among the
    /// observations.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, bool) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, false);
        }
        if lower >= upper {
            return (0.0, false);
        }
        let in_buckets = if self.sum.is_nan() { self.in_buckets() } else { self.count };
        let rank = |v: f64| self.rank(v).unwrap_or(in_buckets).min(in_buckets);
        ((rank(upper) - rank(lower)) / self.count, self.counts_nan())
    }

    /// The variance, every observation taken for the middle of its bucket.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut variance = Kahan::default();
        for i in self.intervals().filter(|i| i.count != 0.0) {
            let middle = if self.is_custom() {
                (i.upper + i.lower) / 2.0
            } else if i.lower <= 0.0 && i.upper >= 0.0 {
                0.0
            } else {
                (i.upper * i.lower).sqrt().copysign(i.upper)
            };
            let delta = middle - mean;
            variance.add(i.count * delta * delta);
        }
        variance.total() / self.count
    }

    /// The part of a bucket in which a quantile may lie; nothing where the bucket is open towards infinity, and the quantile
    /// is its other end.
    fn finite_part(&self, i: Interval) -> Option<Interval> {
        if !self.is_custom() {
            return Some(if i.lower < 0.0 && i.upper > 0.0 { self.one_sided(i) } else { i });
        }
        if i.lower == f64::NEG_INFINITY {
            return (i.upper > 0.0).then_some(Interval { lower: 0.0, ..i });
        }
        (i.upper != f64::INFINITY).then_some(i)
    }

    fn interpolated(&self, i: &Interval, share: f64) -> f64 {
        if self.is_custom() || (i.lower <= 0.0 && i.upper >= 0.0) {
            return i.lower + (i.upper - i.lower) * share;
        }
        let (lower, upper) = (i.lower.abs().log2(), i.upper.abs().log2());
        if i.lower > 0.0 {
            (lower + (upper - lower) * share).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - share)).exp2()
        }
    }

    /// How many observations lie below `v`; nothing if no bucket reaches up to it.
    fn rank(&self, v: f64) -> Option<f64> {
        let mut rank = 0.0;
        for i in self.intervals() {
            let zero = i.lower <= 0.0 && i.upper >= 0.0;
            let i = if zero { self.one_sided(i) } else { i };
            if i.lower >= v {
                return Some(rank);
            }
            if i.upper > v {
                let linear = self.is_custom() || zero;
                // Nothing can be interpolated from -Inf on.
                let open = linear && i.lower == f64::NEG_INFINITY;
                return Some(if open { i.count } else { rank + i.count * i.share_below(v, linear) });
            }
            rank += i.count;
        }
        None
    }

    fn in_buckets(&self) -> f64 {
        self.intervals().map(|i| i.count).sum()
    }

    /// Whether there are observations of NaN: the sum is NaN then, and more is counted than is in the buckets.
    fn counts_nan(&self) -> bool {
        self.sum.is_nan() && self.in_buckets() < self.count
    }
}

/// The first bucket up to which at least `rank` observations lie, else the last one; with how many lie up to its end. Of no
/// buckets, nothing around zero.
fn bucket_at(buckets: impl Iterator<Item = Interval>, rank: f64) -> (Interval, f64) {
    let mut at =
        Interval { lower: 0.0, upper: 0.0, lower_inclusive: true, upper_inclusive: true, count: 0.0 };
    let mut passed = 0.0;
    for bucket in buckets {
        at = bucket;
        if bucket.count == 0.0 {
            continue;
        }
        passed += bucket.count;
        if passed >= rank {
            break;
        }
    }
    (at, passed)
}

#[cfg(test)]
mod tests {
    use super::super::Bucket;
    use super::super::tests::{custom, histogram};
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn near(got: f64, want: f64) -> bool {
        got == want || got.is_nan() && want.is_nan() || (got - want).abs() < 1e-12 * want.abs()
    }

    #[test]
    fn quantiles() {
        let check = |h: &FloatHistogram, q: f64, want: f64| {
            let got = h.quantile(q);
            assert!(near(got.value, want), "{q} of {h:?}: {got:?}, not {want}");
            assert_eq!(got.nan, Nan::Nothing);
        };
        let mut h = histogram(12.0, 100.0, &[2.0, 3.0, 0.0, 1.0, 4.0]);
        (h.zero, h.zero_threshold) = (2.0, 0.001);
        check(&h, 1.0, 16.0);
        check(&h, 0.99, 15.67072476139083);
        check(&h, 0.5, 1.5874010519681994);
        check(&h, 0.1, 0.0006);
        check(&h, 0.0, 0.0);
        check(&h, 1.1, INF);
        check(&h, -0.1, -INF);
        check(&h, f64::NAN, f64::NAN);
        check(&histogram(0.0, 0.0, &[]), 0.5, f64::NAN);
        let h = custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]);
        check(&h, 0.5, 7.5);
        check(&h, 0.1, 2.0);
        check(&h, 1.0, 10.0);
        check(&custom(&[-5.0], &[1.0, 1.0]), 0.1, -5.0);
    }

    #[test]
    fn nan_ranks_above_all_buckets() {
        let h = histogram(15.0, f64::NAN, &[12.0]);
        assert_eq!(h.quantile(0.8), Taken { value: 1.0, nan: Nan::Skewed });
        let above = h.quantile(0.81);
        assert!(above.value.is_nan() && above.nan == Nan::Result);
        assert_eq!(h.fraction(-INF, INF), (0.8, true));
        assert!(histogram(3.0, f64::NAN, &[]).quantile(0.5).value.is_nan());
    }

    #[test]
    fn fractions() {
        let check = |h: &FloatHistogram, lower: f64, upper: f64, want: f64| {
            let (got, nan) = h.fraction(lower, upper);
            assert!(near(got, want) && !nan, "{lower}..{upper} of {h:?}: {got}, not {want}");
        };
        let mut h = histogram(12.0, 100.0, &[2.0, 3.0, 0.0, 1.0, 4.0]);
        (h.zero, h.zero_threshold) = (2.0, 0.001);
        check(&h, -INF, INF, 1.0);
        check(&h, 0.0, 0.0005, 1.0 / 12.0);
        check(&h, 1.0, 2.0, 0.25);
        check(&h, 0.0, 1.5, 0.4795739585136224);
        check(&h, 2.0, 1.0, 0.0);
        check(&h, f64::NAN, 1.0, f64::NAN);
        check(&custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]), 5.0, 10.0, 0.5);
        check(&custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]), -INF, 7.5, 0.5);
    }

    #[test]
    fn variances() {
        let mut h = histogram(10.0, -100.0, &[]);
        h.negative = vec![Bucket { index: 4, count: 10.0 }];
        assert!((h.variance() - 1.725830020304794).abs() < 1e-12, "{}", h.variance());
        assert!(histogram(0.0, 0.0, &[]).variance().is_nan());
    }
}
