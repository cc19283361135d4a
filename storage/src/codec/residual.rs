//! Encoding 6: decimals with a residual in units of the last place, for accumulated sums of floats; with the decimal 0
//! throughout, doubles as integers.
//!
//! The value is made of the *integer*, not of a rounded double: so negative zero comes back as residual and is not lost.

use super::decimal::{self, INT_MAX, from_int, nearest_int};
use super::error::ChunkError;
use super::exceptions::{self, Columns};
use super::ints::{self, IntScratch, IntStream, PIECE, Packing};
use super::lanes::as_ints;

/// What the residuals refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The nearest decimal of so many places.
    Decimal(u8),
    /// Zero: the residuals are the bits.
    Zero,
}

/// Beyond so many units of the last place a value is an exception.
const RESIDUAL_MAX: u64 = 1 << 20;

/// Values as near to decimals as this make the encoding worth trying.
const RESIDUAL_GOOD: u64 = 1 << 14;

/// The places that sums are tried with: milli, micro, nano.
const PLACES: [u8; 3] = [3, 6, 9];

impl Basis {
    /// Integer and residual of `v`; `None` where they are too large.
    fn split(self, v: f64) -> Option<[i64; 2]> {
        let Self::Decimal(exponent) = self else { return Some([0, v.to_bits() as i64]) };
        let d = nearest_int(v, exponent);
        let r = (v.to_bits() as i64).wrapping_sub(from_int(d, exponent).to_bits() as i64);
        (d.unsigned_abs() <= INT_MAX && r.unsigned_abs() < RESIDUAL_MAX).then_some([d, r])
    }

    /// The decimals that all of `probes` are near to, of the fewest places.
    pub(super) fn of_sums(probes: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let near = |basis: Self, v| basis.split(v).is_some_and(|[_, r]| r.unsigned_abs() < RESIDUAL_GOOD);
        PLACES.into_iter().map(Self::Decimal).find(|&b| probes.clone().all(|v| near(b, v)))
    }
}

/// Appends the values section.
pub(super) fn encode(values: &[f64], basis: Basis, packing: Packing, out: &mut Vec<u8>) {
    let Columns { columns: [d, r], exceptions } = Columns::of(values, |v| basis.split(v));
    let exponent = match basis {
        Basis::Decimal(exponent) => exponent,
        Basis::Zero => 0,
    };
    exceptions::put_shape(exponent, values, &exceptions, out);
    let mut scratch = IntScratch::new(packing);
    ints::encode(&d, None, &mut scratch, out);
    ints::encode(&r, None, &mut scratch, out);
}

/// Appends the `count` values of a section to `out`.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let ((exponent, mut d, mut r), exceptions) = exceptions::take_section(section, count, |shape, bytes| {
        let exponent = decimal::take_exponent(shape)?;
        Ok((exponent, IntStream::take(bytes, count)?, IntStream::take(bytes, count)?))
    })?;
    let mut residuals = [0; PIECE];
    exceptions.extend(count, out, |values| {
        d.fill(as_ints(values));
        decimal::divide(values, exponent);
        let residuals = &mut residuals[..values.len()];
        r.fill(residuals);
        values
            .iter_mut()
            .zip(residuals)
            .for_each(|(v, r)| *v = f64::from_bits(v.to_bits().wrapping_add(*r as u64)));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal::tests::values;
    use crate::codec::testing::check_decoded;
    use proptest::prelude::*;

    fn check_round_trip(values: &[f64], basis: Basis) -> Vec<u8> {
        let mut out = vec![];
        encode(values, basis, Packing::Quick, &mut out);
        check_decoded(decode, &out, values);
        out
    }

    #[test]
    fn golden() {
        // 0.1 + 0.2 is one unit above 0.3.
        let out = check_round_trip(&[0.1 + 0.2, 0.3], Basis::Decimal(3));
        assert_eq!(out, [3, 0, 0xd8, 4, 0, 1, 0, 0, 0b01]);
        let out = check_round_trip(&[1.0, 1.0f64.next_up()], Basis::Zero);
        let base = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xf0, 0x7f];
        assert_eq!(out, [&[0, 0, 0, 0, 1][..], &base, &[0, 0b10]].concat());
    }

    #[test]
    fn negative_zero_is_kept() {
        check_round_trip(&[-0.0, 0.0, -0.001, 0.001], Basis::Decimal(3));
        check_round_trip(&[-0.0, 0.0], Basis::Zero);
    }

    #[test]
    fn sums_are_told_from_other_doubles() {
        let basis = |values: &[f64]| Basis::of_sums(values.iter().copied());
        assert_eq!(basis(&[1.001 + 0.002, 5.5]), Some(Basis::Decimal(3)));
        assert_eq!(basis(&[1_000.001, 1_000.000_000_2]), Some(Basis::Decimal(9)));
        assert_eq!(basis(&[1.0 / 3.0]), None);
    }

    proptest! {
        #[test]
        fn round_trip(values in values(1..200), places in 0u8..=15, zero: bool) {
            check_round_trip(&values, if zero { Basis::Zero } else { Basis::Decimal(places) });
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..1000) {
            let _ = decode(&bytes, count, &mut vec![]);
        }
    }
}
