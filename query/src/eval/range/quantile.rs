//! Quantiles and the median absolute deviation.

use std::cmp::Ordering;

/// The order in which quantiles rank: NaN before every number.
fn rank_order(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The `q`-quantile of `values` (at least one), interpolated between neighbours. `scratch` is overwritten.
pub(super) fn quantile(q: f64, values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend_from_slice(values);
    quantile_of(q, scratch)
}

/// The `q`-quantile of `values`, which are sorted by this; NaN if there are none.
pub(crate) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(rank_order);
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// The median of the distances from the median; NaN if any value is.
pub(super) fn mad(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, values, scratch);
    scratch.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile_of(0.5, scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_rank_nan_lowest() {
        let check = |q: f64, values: &[f64], want: f64| {
            let got = quantile(q, values, &mut Vec::new());
            assert!(got == want || got.is_nan() && want.is_nan(), "{q} of {values:?}: {got}, not {want}");
        };
        check(0.5, &[3.0, 1.0, 2.0], 2.0);
        check(0.75, &[1.0, 2.0], 1.75);
        check(0.0, &[2.0, 1.0], 1.0);
        check(1.0, &[2.0, 1.0, f64::NAN], 2.0);
        check(0.0, &[2.0, f64::NAN], f64::NAN);
        check(-0.1, &[1.0], f64::NEG_INFINITY);
        check(1.1, &[1.0], f64::INFINITY);
        check(f64::NAN, &[1.0], f64::NAN);
    }

    #[test]
    fn the_deviation_is_from_the_median() {
        assert_eq!(mad(&[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0], &mut Vec::new()), 1.0);
        assert!(mad(&[1.0, f64::NAN], &mut Vec::new()).is_nan());
    }
}
