//! Encoding 3: values as integers over one power of ten, with exceptions for what is no such decimal.

use super::error::ChunkError;
use super::exceptions::{self, Columns, Exceptions};
use super::ints::{self, IntScratch, IntStream, Order, Packing};
use super::lanes::{self, as_ints};

/// The greatest exponent: beyond it a double's 17 digits leave nothing before the point.
pub(super) const EXPONENT_MAX: u8 = 15;

const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Greater integers than this say nothing about places: any double is one of them over some power.
pub(super) const INT_MAX: u64 = 1 << 53;

/// How many values are looked at to find the exponent.
const PROBES: usize = 24;

/// More finite values than one in so many without a decimal: the series is not one of decimals.
const MISSES_ONE_IN: usize = 12;

/// The integer `d` with `d / 10^exponent` = `v` to the bit. Negative zero, NaN, infinities and many digits have none.
#[inline]
pub(super) fn to_int(v: f64, exponent: u8) -> Option<i64> {
    if exponent == 0 {
        let d = v as i64;
        return ((d as f64).to_bits() == v.to_bits()).then_some(d);
    }
    let d = nearest_int(v, exponent);
    (d.unsigned_abs() <= INT_MAX && from_int(d, exponent).to_bits() == v.to_bits()).then_some(d)
}

/// The integer nearest to `v · 10^exponent`, but for the last unit of large ones.
#[inline]
pub(super) fn nearest_int(v: f64, exponent: u8) -> i64 {
    let scaled = v * POWERS[usize::from(exponent)];
    (scaled + 0.5f64.copysign(scaled)) as i64
}

/// The inverse of [`to_int`].
#[inline]
pub(super) fn from_int(d: i64, exponent: u8) -> f64 {
    if exponent == 0 { d as f64 } else { d as f64 / POWERS[usize::from(exponent)] }
}

/// The least exponent from `from` up to `max` under which `v` is a decimal.
pub(super) fn exponent_of(v: f64, from: u8, max: u8) -> Option<(u8, i64)> {
    let enough = |e: &u8| *e == from || (v * POWERS[usize::from(*e)]).abs() <= INT_MAX as f64;
    (from..=max).take_while(enough).find_map(|e| to_int(v, e).map(|d| (e, d)))
}

/// Appends the values section. `None`, and nothing appended, when too many of the values are no decimals.
pub(super) fn encode(
    values: &[f64],
    order: Option<Order>,
    packing: Packing,
    out: &mut Vec<u8>,
) -> Option<Order> {
    let (exponent, Columns { columns: [ints], exceptions }) = split(values)?;
    exceptions::put_shape(exponent, values, &exceptions, out);
    Some(ints::encode(&ints, order, &mut IntScratch::new(packing), out))
}

/// The exponent and the integers under it. `None` when too many of the values are no decimals.
pub(super) fn split(values: &[f64]) -> Option<(u8, Columns<1>)> {
    let with_exponent = |e| Columns::of(values, |v| to_int(v, e).map(|d| [d]));
    let mut exponent = probe(values)?;
    let mut columns = with_exponent(exponent);
    // A finite value that the probes missed may need more places: once more with those.
    let missed = finite_misses(values, &columns).next();
    if let Some((higher, _)) = missed.and_then(|v| exponent_of(v, exponent + 1, EXPONENT_MAX)) {
        exponent = higher;
        columns = with_exponent(exponent);
    }
    let misses = finite_misses(values, &columns).count();
    (misses * MISSES_ONE_IN <= values.len()).then_some((exponent, columns))
}

/// The exceptions that may be decimals under another exponent.
fn finite_misses<'a>(values: &'a [f64], columns: &'a Columns<1>) -> impl Iterator<Item = f64> + 'a {
    columns.exceptions.iter().map(|&i| values[i as usize]).filter(|v| v.is_finite() && *v != 0.0)
}

/// Some finite values, picked evenly.
pub(super) fn probes(values: &[f64]) -> impl Iterator<Item = f64> + Clone + '_ {
    values.iter().copied().step_by((values.len() / PROBES).max(1)).filter(|v| v.is_finite())
}

/// The exponent that serves a few values picked evenly. `None` when more than one in eight of them has none.
pub(super) fn probe(values: &[f64]) -> Option<u8> {
    let (mut exponent, mut seen, mut misses) = (0, 0, 0);
    for v in probes(values).filter(|v| *v != 0.0) {
        seen += 1;
        match exponent_of(v, exponent, EXPONENT_MAX) {
            Some((e, _)) => exponent = e,
            None => misses += 1,
        }
    }
    (misses * 8 <= seen).then_some(exponent)
}

/// Appends the `count` values of a section to `out`.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let ((exponent, mut ints), exceptions) = take(section, count)?;
    exceptions.extend(count, out, |values| {
        ints.fill(as_ints(values));
        divide(values, exponent);
    });
    Ok(())
}

/// Takes a section of `count` values apart: the exponent and the integers; the exceptions.
pub(super) fn take(
    section: &[u8],
    count: usize,
) -> Result<((u8, IntStream<'_>), Exceptions<'_>), ChunkError> {
    exceptions::take_section(section, count, |shape, bytes| {
        Ok((take_exponent(shape)?, IntStream::take(bytes, count)?))
    })
}

/// The exponent that a section's first byte is.
pub(super) fn take_exponent(shape: u8) -> Result<u8, ChunkError> {
    if shape <= EXPONENT_MAX {
        Ok(shape)
    } else {
        Err(ChunkError::Malformed("decimals have an impossible exponent"))
    }
}

/// Replaces integers in the bits of `values` by what they are over `10^exponent`.
pub(super) fn divide(values: &mut [f64], exponent: u8) {
    lanes::quotients(values, POWERS[usize::from(exponent)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal::tests::values;
    use crate::codec::testing::check_decoded;
    use crate::model::stale_nan;
    use proptest::prelude::*;

    fn check_golden(values: &[f64], want: &[u8]) {
        let mut out = vec![];
        encode(values, None, Packing::Quick, &mut out).unwrap();
        assert_eq!(out, want, "{values:?}");
        check_decoded(decode, &out, values);
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        check_golden(&[10.0, 12.0, 13.0, 11.0], &[0, 2, 20, 0, 0b01_11_10_00]);
        check_golden(&[0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0], &[2, 0x40, 50, 50, 0]);
        // A staleness marker takes its neighbour's number; negative zero is listed as it is.
        check_golden(
            &[5.0, stale_nan(), -0.0, 5.0],
            &[0x80, 2, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 10, 0],
        );
    }

    #[test]
    fn decimals_are_found_where_there_are_some() {
        let check = |v: f64, e: u8, want: Option<i64>| assert_eq!(to_int(v, e), want, "{v} {e}");
        check(0.1, 1, Some(1));
        check(0.1, 0, None);
        check(-1.005, 3, Some(-1005));
        check(-0.0, 0, None);
        check(f64::NAN, 0, None);
        check(f64::INFINITY, 3, None);
        check(0.1 + 0.2, 6, None);
        check(9_007_199_254_740_994.0, 0, Some(9_007_199_254_740_994));
        check(i64::MIN as f64, 0, Some(i64::MIN));
        check(1e19, 0, None);
    }

    #[test]
    fn many_digit_doubles_are_left_to_others() {
        let values: Vec<f64> = (1..100).map(|i| 1.0 / f64::from(i)).collect();
        let mut out = vec![];
        assert_eq!(encode(&values, None, Packing::Quick, &mut out), None);
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn round_trip(values in values(1..300)) {
            let mut out = vec![];
            if encode(&values, None, Packing::Quick, &mut out).is_some() {
                check_decoded(decode, &out, &values);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..1000) {
            let _ = decode(&bytes, count, &mut vec![]);
        }
    }
}
