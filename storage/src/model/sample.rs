//! Samples, staleness markers and the rule that settles equal timestamps.

use super::TimestampMs;
use std::cmp::Ordering;

/// The bits of a staleness marker: the NaN by which senders say that a series has ended.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One measured value. NaN payloads are kept to the bit from sender to answer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was measured.
    pub t: TimestampMs,
    /// The value; a staleness marker where [`is_stale`] says so.
    pub v: f64,
}

/// Whether `v` is the staleness marker (and not just any NaN).
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// The value that stands where two samples of a series have the same timestamp.
///
/// Bit-identical values are one; a value beats a staleness marker; else the greater by [`f64::total_cmp`] wins. The rule
/// does not depend on order or grouping, so compaction cannot change an answer. A histogram beats both, and between two of them
/// [`merge_histograms`](super::merge_histograms) decides.
pub fn merge_values(a: f64, b: f64) -> f64 {
    match (is_stale(a), is_stale(b)) {
        (true, false) => b,
        (false, true) => a,
        _ if a.total_cmp(&b) == Ordering::Less => b,
        _ => a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_merge_rule_prefers_values_to_markers_and_the_greater_value() {
        let check = |a: f64, b: f64, want: f64| {
            assert_eq!(merge_values(a, b).to_bits(), want.to_bits(), "{a} and {b}");
            assert_eq!(merge_values(b, a).to_bits(), want.to_bits(), "{b} and {a}");
        };
        check(1.0, 1.0, 1.0);
        check(1.0, 2.0, 2.0);
        check(-0.0, 0.0, 0.0);
        check(stale_nan(), f64::NEG_INFINITY, f64::NEG_INFINITY);
        check(stale_nan(), stale_nan(), stale_nan());
        check(f64::NAN, f64::INFINITY, f64::NAN);
    }

    proptest! {
        #[test]
        fn the_merge_rule_depends_on_neither_order_nor_grouping(a: u64, b: u64, c: u64, stale in 0u8..8) {
            let pick = |bits: u64, k: u8| f64::from_bits(if stale >> k & 1 == 1 { STALE_NAN_BITS } else { bits });
            let (a, b, c) = (pick(a, 0), pick(b, 1), pick(c, 2));
            let m = |x, y| merge_values(x, y);
            prop_assert_eq!(m(a, b).to_bits(), m(b, a).to_bits());
            prop_assert_eq!(m(m(a, b), c).to_bits(), m(a, m(b, c)).to_bits());
        }
    }
}
