//! Sums, averages, variances, and counts of neighbouring pairs.

use super::{RangeScratch, Spans, each, filled};
use crate::eval::kahan::{Kahan, Mean};
use crate::eval::rows::RowBuf;

/// Integers beyond this are not all doubles.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Whether a counter restarted between the two samples.
pub(super) fn fell(before: f64, after: f64) -> bool {
    after < before
}

/// Whether the value changed between the two samples; NaN is equal to NaN.
pub(super) fn changed(before: f64, after: f64) -> bool {
    before != after && !(before.is_nan() && after.is_nan())
}

/// How many neighbours in each window satisfy `test`, by differences of exact counts.
pub(super) fn pairs(
    v: &[f64],
    spans: Spans<'_>,
    test: fn(f64, f64) -> bool,
    scratch: &mut RangeScratch,
    out: &mut RowBuf,
) {
    let counts = &mut scratch.integers;
    counts.clear();
    let mut count = 0;
    for i in 0..v.len() {
        count += i64::from(i > 0 && test(v[i - 1], v[i]));
        counts.push(count);
    }
    filled(spans, out, |w| (counts[w.hi - 1] - counts[w.lo]) as f64);
}

/// The sum of each window.
pub(super) fn sums(v: &[f64], spans: Spans<'_>, scratch: &mut RangeScratch, out: &mut RowBuf) {
    if prefix_sums(v, &mut scratch.integers) {
        let sums = &scratch.integers;
        return filled(spans, out, |w| (sums[w.hi] - sums[w.lo]) as f64);
    }
    filled(spans, out, |w| {
        let mut sum = Kahan::default();
        v[w.lo..w.hi].iter().for_each(|&v| sum.add(v));
        if sum.sum.is_infinite() { sum.sum } else { sum.total() }
    });
}

/// The average of each window.
pub(super) fn averages(v: &[f64], spans: Spans<'_>, scratch: &mut RangeScratch, out: &mut RowBuf) {
    if prefix_sums(v, &mut scratch.integers) {
        let sums = &scratch.integers;
        return filled(spans, out, |w| (sums[w.hi] - sums[w.lo]) as f64 / w.len() as f64);
    }
    each(spans, out, |_, w| {
        let (&first, rest) = v[w.lo..w.hi].split_first()?;
        let mut mean = Mean::of(first);
        rest.iter().for_each(|&v| mean.add(v));
        Some(mean.total())
    });
}

/// Fills `sums` with the sums of the first 0, 1, 2… values, if all of them are integers so small that no sum of any
/// of them is rounded: then differences of prefix sums are exact, and equal to the bit to any other order. `-0` is
/// no integer here, since a lone one averages to itself.
fn prefix_sums(v: &[f64], sums: &mut Vec<i64>) -> bool {
    sums.clear();
    sums.push(0);
    let (mut sum, mut size) = (0i64, 0.0);
    for &x in v {
        size += x.abs();
        let integer = x as i64;
        // Compared by bits: `-0` and everything with a fraction differ; NaN and infinities make `size` fail too.
        if size.is_nan() || size >= EXACT_MAX || (integer as f64).to_bits() != x.to_bits() {
            return false;
        }
        sum += integer;
        sums.push(sum);
    }
    true
}

/// The population variance of a window, by Welford's recurrence with compensated sums; `0/0` for none.
pub(super) fn variance(v: &[f64]) -> f64 {
    let (mut mean, mut squares, mut count) = (Kahan::default(), Kahan::default(), 0.0);
    for &x in v {
        count += 1.0;
        let delta = x - mean.total();
        mean.add(delta / count);
        squares.add(delta * (x - mean.total()));
    }
    squares.total() / count
}
