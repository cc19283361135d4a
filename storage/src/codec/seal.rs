//! Sealing: a run of samples becomes a chunk in the encoding that costs least.

use super::chunk::{self, Encoding, PutTimes};
use super::ints::Order;
use super::times::{self, TimeColumnId};
use super::{constant, decimal, xor};

/// Where a sealed chunk's times go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Into the chunk.
    Inline,
    /// They are the times of this column.
    Column(TimeColumnId),
}

/// What served a series' last chunk, so that the next one is not searched for. Two bytes, kept or not as the caller
/// likes: it changes sizes, never the meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncoderHint {
    mode: Option<Mode>,
    /// How many chunks were encoded on this hint.
    used: u8,
}

/// An encoding with what had to be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Decimal(Order),
    Xor,
}

/// A hint serves so many chunks; then the search is made again, since series change.
const HINT_USES_MAX: u8 = 15;

/// Beyond so many bytes per sample decimals may not be the best, and XOR is tried as well.
const DECIMAL_BYTES_GOOD: usize = 4;

impl EncoderHint {
    /// The mode to use without a search.
    fn take(&mut self) -> Option<Mode> {
        self.used += 1;
        if self.used > HINT_USES_MAX {
            *self = Self::default();
        }
        self.mode
    }
}

/// Appends the samples as a chunk: 1 to 65,535 of them, `(times, values)`, times strictly ascending.
///
/// # Panics
/// When the columns differ in length, are empty or too long.
pub fn seal(samples: (&[i64], &[f64]), times: Times, hint: &mut EncoderHint, out: &mut Vec<u8>) {
    let (t, v) = samples;
    assert_eq!(t.len(), v.len(), "a sample has a time and a value");
    assert!(!t.is_empty(), "a chunk has samples");
    debug_assert!(t.is_sorted_by(|a, b| a < b), "times ascend strictly");
    let mut values = Vec::with_capacity(v.len() * 2 + 16);
    let encoding = encode_values(v, hint, &mut values);
    let mut grid = Vec::new();
    let times = match times {
        Times::Column(id) => PutTimes::Column(id),
        Times::Inline => {
            times::encode_grid(t, &mut grid);
            PutTimes::Inline(&grid)
        }
    };
    chunk::put(encoding, v.len(), times, &values, out);
}

/// Chooses and encodes.
fn encode_values(v: &[f64], hint: &mut EncoderHint, out: &mut Vec<u8>) -> Encoding {
    if v.iter().all(|x| x.to_bits() == v[0].to_bits()) {
        constant::encode(v[0], out);
        return Encoding::Constant;
    }
    let mode = hint.take();
    if mode != Some(Mode::Xor) {
        let order = match mode {
            Some(Mode::Decimal(order)) => Some(order),
            _ => None,
        };
        if let Some(order) = decimal::encode(v, order, out) {
            if out.len() < v.len() * DECIMAL_BYTES_GOOD || !xor_is_shorter(v, out) {
                hint.mode = Some(Mode::Decimal(order));
                return Encoding::Decimal;
            }
            hint.mode = Some(Mode::Xor);
            return Encoding::Xor;
        }
    }
    xor::encode(v, out);
    hint.mode = Some(Mode::Xor);
    Encoding::Xor
}

/// Replaces what `out` holds by the XOR encoding where that is shorter.
fn xor_is_shorter(v: &[f64], out: &mut Vec<u8>) -> bool {
    let decimal_len = out.len();
    xor::encode(v, out);
    let shorter = out.len() - decimal_len < decimal_len;
    if shorter {
        out.drain(..decimal_len);
    } else {
        out.truncate(decimal_len);
    }
    shorter
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::codec::ChunkError;
    use crate::codec::times::tests::times;
    use crate::codec::{NoColumns, Samples, TimeColumns, decode, encode_column, verify};
    use crate::model::STALE_NAN_BITS;
    use proptest::prelude::*;

    /// Any double, with the special ones often.
    fn any_value() -> impl Strategy<Value = f64> {
        let special = [
            0,
            1 << 63,
            STALE_NAN_BITS,
            f64::NAN.to_bits(),
            0xfff8_dead_beef_0001,
            f64::INFINITY.to_bits(),
            f64::NEG_INFINITY.to_bits(),
            1,
            f64::MAX.to_bits(),
            9_007_199_254_740_993f64.to_bits(),
            (0.1f64 + 0.2).to_bits(),
            i64::MIN as u64,
            1e22f64.to_bits(),
            (-(i64::MIN as f64)).to_bits(),
        ];
        prop_oneof![any::<u64>(), proptest::sample::select(special.to_vec())].prop_map(f64::from_bits)
    }

    /// Values of all manners: counters with resets, gauges of some decimals, doubles of many digits, steps, anything;
    /// a few of them replaced by anything.
    pub(in crate::codec) fn values(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
        let moves = proptest::collection::vec((-50i64..50, any::<u32>(), any_value()), n);
        (moves, 0u8..6, 0i32..10, any::<i32>(), 0u32..3).prop_map(|(moves, manner, places, start, rarity)| {
            let mut sum = i64::from(start);
            let specials = [u32::MAX, u32::MAX / 50, 0][rarity as usize];
            let one = |(step, pick, any): (i64, u32, f64)| {
                sum += match manner {
                    0 => step.abs(),
                    5 => step / 49,
                    _ => step,
                };
                if manner == 0 && pick % 97 == 0 {
                    sum = 0
                }
                match manner {
                    _ if pick < specials && rarity == 1 => any,
                    0 | 1 | 5 => sum as f64,
                    2 => sum as f64 / 10f64.powi(places),
                    3 => (sum as f64).sin(),
                    _ => any,
                }
            };
            moves.into_iter().map(one).collect()
        })
    }

    /// One column, number 0.
    struct OneColumn(Vec<u8>);

    impl TimeColumns for OneColumn {
        fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
            if id.0 == 0 { Ok(&self.0) } else { Err(ChunkError::NoColumn(id)) }
        }
    }

    fn check_round_trip(t: &[i64], v: &[f64], hint: &mut EncoderHint) -> Encoding {
        let (mut inline, mut shared, mut column) = (vec![], vec![], vec![]);
        seal((t, v), Times::Inline, hint, &mut inline);
        seal((t, v), Times::Column(TimeColumnId(0)), hint, &mut shared);
        encode_column(t, &mut column);
        let mut out = Samples::new();
        decode(&inline, &NoColumns, &mut out).unwrap();
        decode(&shared, &OneColumn(column), &mut out).unwrap();
        let want = t.iter().zip(v).map(|(&t, v)| (t, v.to_bits()));
        assert!(out.t.iter().zip(&out.v).map(|(&t, v)| (t, v.to_bits())).eq(want.clone().chain(want)));
        assert_eq!(verify(&inline).unwrap().chunk_len(), inline.len());
        verify(&shared).unwrap().encoding
    }

    #[test]
    fn each_kind_of_series_gets_its_encoding() {
        let check = |value: fn(i32) -> f64, want| {
            let v: Vec<f64> = (0..120).map(value).collect();
            let t: Vec<i64> = (0..120).map(|i| i * 15_000).collect();
            assert_eq!(check_round_trip(&t, &v, &mut EncoderHint::default()), want, "{:?}", &v[..3]);
        };
        check(|_| 0.1 + 0.2, Encoding::Constant);
        check(|i| f64::from(i * i), Encoding::Decimal);
        check(|i| f64::from(i * i) / 1000.0, Encoding::Decimal);
        check(|i| f64::from(i).sin(), Encoding::Xor);
    }

    #[test]
    fn a_hint_is_dropped_when_the_series_changes() {
        let t: Vec<i64> = (0..120).collect();
        let wild: Vec<f64> = (0..120).map(|i| f64::from(i).sin()).collect();
        let tame: Vec<f64> = (0..120).map(f64::from).collect();
        let mut hint = EncoderHint::default();
        assert_eq!(check_round_trip(&t, &tame, &mut hint), Encoding::Decimal);
        assert_eq!(check_round_trip(&t, &wild, &mut hint), Encoding::Xor);
        let back = (0..20).map(|_| check_round_trip(&t, &tame, &mut hint));
        assert!(back.into_iter().any(|e| e == Encoding::Decimal));
    }

    proptest! {
        #[test]
        fn round_trip((t, v) in (times(1..300), values(300..301)), again: bool) {
            let mut hint = EncoderHint::default();
            check_round_trip(&t, &v[..t.len()], &mut hint);
            if again {
                check_round_trip(&t, &v[300 - t.len()..], &mut hint);
            }
        }
    }
}
