//! Encoding 5: values as fractions of small integers, or a hundred times that: the ratios and percentages of counts.

use super::error::ChunkError;
use super::exceptions::{self, Columns};
use super::ints::{self, IntScratch, IntStream, PIECE, Packing};
use super::lanes::{self, as_ints};

/// What a fraction is multiplied with. The discriminants are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// A ratio.
    One = 0,
    /// A percentage.
    Hundred = 1,
}

/// Greater denominators and numerators are chance: a fraction of two large integers is found for any double.
const DENOMINATOR_MAX: i64 = 1 << 12;
const NUMERATOR_MAX: i64 = 1 << 22;

/// Steps of the continued fraction; denominators at least double every other step.
const STEPS_MAX: usize = 16;

impl Scale {
    fn factor(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Hundred => 100.0,
        }
    }

    /// The value of p / q under this scale.
    #[inline]
    fn value(self, p: i64, q: i64) -> f64 {
        self.factor() * p as f64 / q as f64
    }

    /// Denominator and numerator that give `v` to the bit, by the continued fraction of `v / scale`.
    fn fraction(self, v: f64) -> Option<[i64; 2]> {
        if v == 0.0 {
            return (v.to_bits() == 0).then_some([1, 0]);
        }
        if !(v > 0.0 && v < NUMERATOR_MAX as f64) {
            return None;
        }
        let (mut x, mut before, mut last) = (v / self.factor(), (0, 1), (1, 0));
        for _ in 0..STEPS_MAX {
            let whole = x as i64;
            let next = |a: i64, b: i64| whole.checked_mul(b)?.checked_add(a);
            let (p, q) = (next(before.0, last.0)?, next(before.1, last.1)?);
            if q > DENOMINATOR_MAX || p > NUMERATOR_MAX {
                return None;
            }
            if self.value(p, q).to_bits() == v.to_bits() {
                return Some([q, p]);
            }
            (before, last) = (last, (p, q));
            x = 1.0 / (x - whole as f64);
        }
        None
    }

    /// Whether `v` is a fraction under this scale.
    pub(super) fn has(self, v: f64) -> bool {
        self.fraction(v).is_some()
    }
}

/// Appends the values section.
pub(super) fn encode(values: &[f64], scale: Scale, packing: Packing, out: &mut Vec<u8>) {
    let Columns { columns: [q, p], exceptions } = Columns::of(values, |v| scale.fraction(v));
    exceptions::put_shape(scale as u8, values, &exceptions, out);
    let mut scratch = IntScratch::new(packing);
    // A first value that is no fraction may leave zeros, which are fine: exceptions stand above all.
    ints::encode(&q, None, &mut scratch, out);
    ints::encode(&p, None, &mut scratch, out);
}

/// Appends the `count` values of a section to `out`.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let ((scale, mut q, mut p), exceptions) = exceptions::take_section(section, count, |shape, bytes| {
        let scale = match shape {
            0 => Scale::One,
            1 => Scale::Hundred,
            _ => return Err(ChunkError::Malformed("fractions have an impossible scale")),
        };
        Ok((scale, IntStream::take(bytes, count)?, IntStream::take(bytes, count)?))
    })?;
    let mut denominators = [0.0; PIECE];
    exceptions.extend(count, out, |values| {
        p.fill(as_ints(values));
        lanes::products(values, scale.factor());
        let denominators = &mut denominators[..values.len()];
        q.fill(as_ints(denominators));
        lanes::quotients(denominators, 1.0);
        values.iter_mut().zip(denominators).for_each(|(v, q)| *v /= *q);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal::tests::values;
    use crate::codec::testing::check_decoded;
    use crate::model::stale_nan;
    use proptest::prelude::*;

    fn check_round_trip(values: &[f64], scale: Scale) -> Vec<u8> {
        let mut out = vec![];
        encode(values, scale, Packing::Quick, &mut out);
        check_decoded(decode, &out, values);
        out
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let out = check_round_trip(&[1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0], Scale::One);
        assert_eq!(out, [0, 0, 6, 0, 1, 2, 0, 0b1_1_0]);
        let out = check_round_trip(&[stale_nan(), 100.0 * 2.0 / 7.0], Scale::Hundred);
        assert_eq!(out, [0x81, 1, 0, 1, 1, 0, 14, 0, 0, 4, 0]);
    }

    #[test]
    fn fractions_are_found_where_there_are_some() {
        let check = |v: f64, scale: Scale, want| assert_eq!(scale.fraction(v), want, "{v}");
        check(0.0, Scale::One, Some([1, 0]));
        check(-0.0, Scale::One, None);
        check(-0.5, Scale::One, None);
        check(17.0 / 4093.0, Scale::One, Some([4093, 17]));
        check(100.0 * 17.0 / 29.0, Scale::Hundred, Some([29, 17]));
        check(std::f64::consts::PI, Scale::One, None);
        check(f64::NAN, Scale::One, None);
        check(f64::INFINITY, Scale::Hundred, None);
        check(f64::MIN_POSITIVE, Scale::One, None);
    }

    proptest! {
        #[test]
        fn round_trip(values in values(1..100), hundred: bool) {
            check_round_trip(&values, if hundred { Scale::Hundred } else { Scale::One });
        }

        #[test]
        fn round_trip_of_fractions(fractions in proptest::collection::vec((0u32..500, 0u32..500), 1..100), hundred: bool) {
            let scale = if hundred { Scale::Hundred } else { Scale::One };
            let values: Vec<f64> = fractions.iter().map(|&(p, q)| scale.value(p.into(), q.into())).collect();
            prop_assert!(fractions.iter().zip(&values).all(|(&(_, q), v)| q == 0 || scale.has(*v)));
            check_round_trip(&values, scale);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..1000) {
            let _ = decode(&bytes, count, &mut vec![]);
        }
    }
}
