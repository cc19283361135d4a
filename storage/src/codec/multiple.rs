//! Encoding 9: values as whole multiples of one double: counters that grow by a price, a page or a block at a time.

use super::decimal::INT_MAX;
use super::error::{ChunkError, take_array};
use super::exceptions::{self, Columns};
use super::ints::{self, IntScratch, IntStream, Packing};
use super::lanes::{self, as_ints};

/// Greater factors are chance: any double is a multiple of its last place.
const FACTOR_MAX: f64 = (1u64 << 40) as f64;

/// The mantissa's bits below the leading one.
const MANTISSA_BITS: u32 = 52;

/// A positive double as `odd · 2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dyadic {
    odd: u64,
    exponent: i32,
}

impl Dyadic {
    /// `None` for zero, denormals and what is not finite.
    fn of(v: f64) -> Option<Self> {
        let bits = v.to_bits();
        let biased = (bits >> MANTISSA_BITS & 0x7ff) as i32;
        if biased == 0 || biased == 0x7ff {
            return None;
        }
        let mantissa = bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS;
        let zeros = mantissa.trailing_zeros();
        let exponent = biased - 1023 - MANTISSA_BITS as i32 + zeros as i32;
        Some(Self { odd: mantissa >> zeros, exponent })
    }

    /// The greatest quantum of which both are multiples; `None` where that needs more than 64 bits.
    fn common(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let scaled = |d: Self| {
            let shift = (d.exponent - exponent) as u32;
            (shift <= d.odd.leading_zeros()).then(|| d.odd << shift)
        };
        let divisor = greatest_common_divisor(scaled(self)?, scaled(other)?);
        let zeros = divisor.trailing_zeros();
        Some(Self { odd: divisor >> zeros, exponent: exponent + zeros as i32 })
    }

    fn value(self) -> f64 {
        self.odd as f64 * 2f64.powi(self.exponent)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The greatest double of which all finite values are multiples by moderate factors. `None` where there is none, and where
/// it is 1: decimals serve whole numbers.
pub(super) fn quantum(values: &[f64]) -> Option<f64> {
    let (mut quantum, mut greatest): (Option<Dyadic>, f64) = (None, 0.0);
    let mut last = 0.0;
    for &v in values.iter().filter(|v| v.is_finite() && **v != 0.0) {
        if v == last {
            continue;
        }
        last = v;
        let one = Dyadic::of(v)?;
        let common = quantum.map_or(Some(one), |q| q.common(one))?;
        quantum = Some(common);
        greatest = greatest.max(v.abs());
        if greatest / common.value() > FACTOR_MAX || common == (Dyadic { odd: 1, exponent: 0 }) {
            return None;
        }
    }
    quantum.map(Dyadic::value)
}

/// The factor `n` with `n · quantum` = `v` to the bit.
#[inline]
fn factor(v: f64, quantum: f64) -> Option<i64> {
    let n = (v / quantum).round_ties_even();
    (n.abs() <= INT_MAX as f64 && (n as i64 as f64 * quantum).to_bits() == v.to_bits()).then_some(n as i64)
}

/// Appends the values section.
pub(super) fn encode(values: &[f64], quantum: f64, packing: Packing, out: &mut Vec<u8>) {
    let Columns { columns: [factors], exceptions } = Columns::of(values, |v| factor(v, quantum).map(|n| [n]));
    exceptions::put_shape(0, values, &exceptions, out);
    out.extend_from_slice(&quantum.to_bits().to_le_bytes());
    ints::encode(&factors, None, &mut IntScratch::new(packing), out);
}

/// Appends the `count` values of a section to `out`.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let ((quantum, mut factors), exceptions) =
        exceptions::take_section(section, count, |shape, bytes| match shape {
            0 => Ok((f64::from_bits(u64::from_le_bytes(take_array(bytes)?)), IntStream::take(bytes, count)?)),
            _ => Err(ChunkError::Malformed("multiples have an impossible shape")),
        })?;
    exceptions.extend(count, out, |values| {
        factors.fill(as_ints(values));
        lanes::products(values, quantum);
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

    fn check_round_trip(values: &[f64], quantum: f64) -> Vec<u8> {
        let mut out = vec![];
        encode(values, quantum, Packing::Quick, &mut out);
        check_decoded(decode, &out, values);
        out
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let out = check_round_trip(&[0.0, 1536.0, 512.0], 512.0);
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 0x80, 0x40, 2, 0, 0, 0b01_11_00]);
        let out = check_round_trip(&[stale_nan(), -0.5], -0.5);
        assert_eq!(out, [0x80, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0xe0, 0xbf, 0, 2, 0]);
    }

    #[test]
    fn the_quantum_is_the_greatest_of_which_all_are_multiples() {
        let check = |values: &[f64], want| assert_eq!(quantum(values), want, "{values:?}");
        check(&[], None);
        check(&[0.0, -0.0, f64::NAN], None);
        check(&[4096.0, 12_288.0, -8192.0, f64::INFINITY], Some(4096.0));
        check(&[1.5, 0.75], Some(0.75));
        check(&[10.0, 15.0], Some(5.0));
        check(&[10.0, 15.0, 3.0], None);
        check(&[0.1, 0.2, 0.3], None);
        check(&[f64::MAX, 1.0], None);
        check(&[f64::MIN_POSITIVE / 4.0, 8.0], None);
        let price = f64::from(0.35f32);
        check(&[price * 7.0, price * 1_000_001.0, price * 12.0], Some(price));
    }

    proptest! {
        #[test]
        fn round_trip(values in values(1..200), quantum: u64) {
            check_round_trip(&values, f64::from_bits(quantum));
            if let Some(quantum) = super::quantum(&values) {
                check_round_trip(&values, quantum);
            }
        }

        #[test]
        fn multiples_are_found(factors in proptest::collection::vec(-10_000i64..10_000, 1..100), price: f32) {
            let values: Vec<f64> = factors.iter().map(|&n| n as f64 * f64::from(price)).collect();
            if let Some(quantum) = super::quantum(&values) {
                prop_assert!(values.iter().all(|&v| v.to_bits() == 1 << 63 || factor(v, quantum).is_some()));
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..1000) {
            let _ = decode(&bytes, count, &mut vec![]);
        }
    }
}
