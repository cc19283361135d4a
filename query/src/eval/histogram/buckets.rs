//! Quantiles and fractions from cumulative buckets.

/// Counts that differ by less than this share of themselves are taken for equal: they come from rounded sums.
const DIFFERENCE_MIN: f64 = 1e-12;

/// How many observations were at most `bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) bound: f64,
    pub(super) count: f64,
}

/// What had to be changed so that counts do not fall from bucket to bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fixed {
    pub(super) bucket_min: f64,
    pub(super) bucket_max: f64,
    pub(super) difference_max: f64,
}

/// The value below which a share `q` of the observations lies, interpolated inside its bucket, with what was fixed on
/// the way. `buckets` is not empty and ascends by bound; NaN where they say nothing.
pub(super) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Fixed>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets[buckets.len() - 1].bound != f64::INFINITY {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let fixed = make_monotonic(buckets);
    (rank(q, buckets), fixed)
}

fn rank(q: f64, buckets: &[Bucket]) -> f64 {
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * observations;
    let b = buckets[..last].iter().position(|b| b.count >= rank).unwrap_or(last);
    if b == last {
        return buckets[last - 1].bound;
    }
    if b == 0 && buckets[0].bound <= 0.0 {
        return buckets[0].bound;
    }
    let Bucket { bound: end, mut count } = buckets[b];
    let mut start = 0.0;
    if b > 0 {
        start = buckets[b - 1].bound;
        count -= buckets[b - 1].count;
        rank -= buckets[b - 1].count;
    }
    start + (end - start) * (rank / count)
}

/// The share of observations between `lower` and `upper`, interpolated inside buckets.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets[buckets.len() - 1].bound != f64::INFINITY {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (below(upper, buckets).min(count) - below(lower, buckets).min(count)) / count
}

/// How many observations lie below `v`. Nothing is interpolated in a bucket without a finite end.
fn below(v: f64, buckets: &[Bucket]) -> f64 {
    // With only positive buckets, the first begins at zero.
    let mut start = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut before = 0.0;
    for b in buckets {
        if start >= v {
            return before;
        }
        if b.bound > v {
            if start == f64::NEG_INFINITY {
                return b.count;
            }
            return before + (b.count - before) * (v - start) / (b.bound - start);
        }
        before = b.count;
        start = b.bound;
    }
    before
}

/// Adds up the counts of buckets with equal bounds (different spellings of one number).
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|b, kept| {
        let same = b.bound == kept.bound;
        if same {
            kept.count += b.count;
        }
        same
    });
}

/// Raises counts that are below the one before, and levels out differences that rounding explains.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Fixed> {
    let mut fixed: Option<Fixed> = None;
    let mut before = buckets[0].count;
    for b in &mut buckets[1..] {
        if b.count == before {
            continue;
        }
        let level = almost_equal(before, b.count);
        if !level && b.count < before {
            let f = fixed.get_or_insert(Fixed {
                bucket_min: f64::INFINITY,
                bucket_max: f64::NEG_INFINITY,
                difference_max: 0.0,
            });
            f.bucket_min = f.bucket_min.min(b.bound);
            f.bucket_max = f.bucket_max.max(b.bound);
            f.difference_max = f.difference_max.max(before - b.count);
        }
        if level || b.count < before {
            b.count = before;
        } else {
            before = b.count;
        }
    }
    fixed
}

fn almost_equal(a: f64, b: f64) -> bool {
    let (size, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < DIFFERENCE_MIN * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < DIFFERENCE_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn buckets(of: &[(f64, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    #[test]
    fn quantiles() {
        let check = |q: f64, of: &[(f64, f64)], want: f64| {
            let (got, fixed) = quantile(q, &mut buckets(of));
            assert!(got == want || got.is_nan() && want.is_nan(), "{q} of {of:?}: {got}, not {want}");
            assert_eq!(fixed, None);
        };
        let usual = [(0.1, 2.0), (0.2, 3.0), (1.0, 4.0), (INF, 4.0)];
        check(0.5, &usual, 0.1);
        check(0.75, &usual, 0.2);
        check(1.0, &usual, 1.0);
        check(0.0, &usual, 0.0);
        check(1.01, &usual, INF);
        check(-0.1, &usual, -INF);
        check(0.5, &[(1.0, 5.0)], f64::NAN);
        check(0.5, &[(INF, 5.0)], f64::NAN);
        check(0.5, &[(1.0, 0.0), (INF, 0.0)], f64::NAN);
        check(0.9, &[(1.0, 5.0), (INF, 10.0)], 1.0);
        check(0.1, &[(-1.0, 5.0), (1.0, 10.0), (INF, 10.0)], -1.0);
        check(0.5, &[(1.0, 2.0), (1.0, 2.0), (INF, 8.0)], 1.0);
    }

    #[test]
    fn falling_counts_are_raised() {
        let (v, fixed) = quantile(0.5, &mut buckets(&[(1.0, 6.0), (2.0, 4.0), (3.0, 8.0), (INF, 8.0)]));
        assert_eq!(v, 4.0 / 6.0);
        assert_eq!(fixed, Some(Fixed { bucket_min: 2.0, bucket_max: 2.0, difference_max: 2.0 }));
        let (_, fixed) = quantile(0.5, &mut buckets(&[(1.0, 1e15), (2.0, 1e15 - 1.0), (INF, 1e15)]));
        assert_eq!(fixed, None);
    }

    #[test]
    fn fractions() {
        let check = |lower: f64, upper: f64, of: &[(f64, f64)], want: f64| {
            let got = fraction(lower, upper, &mut buckets(of));
            assert!(got == want || got.is_nan() && want.is_nan(), "{lower}..{upper} of {of:?}: {got}");
        };
        let usual = [(1.0, 2.0), (2.0, 6.0), (INF, 8.0)];
        check(0.0, 1.0, &usual, 0.25);
        check(-INF, INF, &usual, 1.0);
        check(1.0, 2.0, &usual, 0.5);
        check(1.5, 2.0, &usual, 0.25);
        check(2.0, INF, &usual, 0.25);
        check(2.0, 1.0, &usual, 0.0);
        check(f64::NAN, 1.0, &usual, f64::NAN);
        check(0.0, 1.0, &[(1.0, 2.0)], f64::NAN);
        check(-5.0, -1.0, &[(-1.0, 4.0), (INF, 8.0)], 0.0);
    }
}
