//! Sealing: a run of samples becomes a chunk in the encoding that costs least.

use super::chunk::{self, ChunkForm, Encoding, PutTimes};
use super::difference::Integers;
use super::ints::{Order, Packing};
use super::rational::{self, Scale};
use super::residual::{self, Basis};
use super::shared::ChunkPlace;
use super::times::{self, TimeColumnId};
use super::{constant, decimal, multiple, runs, xor};

/// Where a sealed chunk's times go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Into the chunk.
    Inline,
    /// They are the times of this column.
    Column(TimeColumnId),
}

/// What served a series' last chunk, so that the next one is not searched for. Kept or not as the caller likes: it
/// changes sizes, never the meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncoderHint {
    found: Option<Found>,
    /// How many chunks were encoded on this hint.
    used: u8,
}

const _: () = assert!(size_of::<EncoderHint>() <= 8);

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    mode: Mode,
    /// What it cost, in sixteenths of a byte per sample.
    cost: u8,
}

/// An encoding with what had to be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Decimal(Order),
    Multiple,
    Rational(Scale),
    Residual(Basis),
    Xor,
}

/// A hint serves so many chunks; then the search is made again, since something better may serve by now.
const HINT_USES_MAX: u8 = 15;

/// Of so few values nothing else is shorter than decimals by more than a byte or two, and whoever has chunks as short as this has
/// millions of them.
const PAIR: usize = 2;

/// Beyond so many bytes per sample decimals may not be the best, and all else is tried as well.
const DECIMAL_BYTES_GOOD: usize = 4;

impl EncoderHint {
    /// The result to use for `v` without a search.
    fn take(&mut self, v: &[f64]) -> Option<Found> {
        self.used += 1;
        let found = self.found.filter(|_| self.used <= HINT_USES_MAX)?;
        // Whether a series has come back to decimals is quickly seen, and worth the most.
        (matches!(found.mode, Mode::Decimal(_)) || decimal::probe(v).is_none()).then_some(found)
    }
}

impl Found {
    fn new(mode: Mode, bytes: usize, samples: usize) -> Self {
        Self { mode, cost: (bytes * 16 / samples).min(255) as u8 }
    }

    /// Whether so many bytes are near enough to what the search found. One unit is rounding.
    fn still_serves(self, bytes: usize, samples: usize) -> bool {
        bytes * 16 * 4 <= samples * (usize::from(self.cost) + 1) * 5
    }
}

impl Mode {
    /// Appends the values section. `None`, and nothing appended, where the mode does not serve at all.
    fn encode(self, v: &[f64], packing: Packing, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Decimal(order) => {
                decimal::encode(v, Some(order), packing, out)?;
            }
            Self::Multiple => multiple::encode(v, multiple::quantum(v)?, packing, out),
            Self::Rational(scale) => rational::encode(v, scale, packing, out),
            Self::Residual(basis) => residual::encode(v, basis, packing, out),
            Self::Xor => xor::encode(v, out),
        }
        Some(())
    }

    fn encoding(self) -> Encoding {
        match self {
            Self::Decimal(_) => Encoding::Decimal,
            Self::Multiple => Encoding::Multiple,
            Self::Rational(_) => Encoding::Rational,
            Self::Residual(_) => Encoding::Residual,
            Self::Xor => Encoding::Xor,
        }
    }
}

/// Appends the samples as a chunk: 1 to 65,535 of them, `(times, values)`, times strictly ascending. It is in the whole form:
/// with its times inline it stands on its own.
///
/// # Panics
/// When the columns differ in length, are empty or too long.
pub fn seal(samples: (&[i64], &[f64]), times: Times, hint: &mut EncoderHint, out: &mut Vec<u8>) {
    let mut values = Vec::with_capacity(samples.1.len() * 2 + 16);
    check(samples);
    let encoding = encode_values(samples.1, Packing::Quick, hint, &mut values);
    put(ChunkForm::Whole, encoding, samples, times, &values, out);
}

/// As [`seal`], in the short form of blocks.
///
/// # Panics
/// As [`seal`].
pub fn seal_short(
    samples: (&[i64], &[f64]),
    times: Times,
    packing: Packing,
    hint: &mut EncoderHint,
    out: &mut Vec<u8>,
) {
    let mut values = Vec::with_capacity(samples.1.len() * 2 + 16);
    check(samples);
    let encoding = encode_values(samples.1, packing, hint, &mut values);
    put(ChunkForm::Short, encoding, samples, times, &values, out);
}

/// As [`seal_short`], for a histogram's bucket: as differences to `base`, the next lower bucket's chunk with the same times,
/// where that is shorter. Returns what the next higher bucket may be told as differences to; `None` for values that
/// are all alike or no decimals.
///
/// # Panics
/// As [`seal`].
pub fn seal_bucket(
    samples: (&[i64], &[f64]),
    times: Times,
    base: Option<(&Integers, ChunkPlace)>,
    packing: Packing,
    hint: &mut EncoderHint,
    out: &mut Vec<u8>,
) -> Option<Integers> {
    check(samples);
    let v = samples.1;
    let found = if all_alike(v) { None } else { Integers::of(v) };
    let Some((mut integers, exceptions)) = found else {
        seal_short(samples, times, packing, hint, out);
        return None;
    };
    let (mut plain, mut on_base) = (Vec::new(), Vec::new());
    integers.encode(v, &exceptions, packing, &mut plain);
    let told = base.is_some_and(|base| integers.encode_on(v, &exceptions, base, packing, &mut on_base));
    if told && on_base.len() < plain.len() {
        put(ChunkForm::Short, Encoding::Difference, samples, times, &on_base, out);
    } else {
        integers.alone();
        put(ChunkForm::Short, Encoding::Decimal, samples, times, &plain, out);
    }
    Some(integers)
}

/// As [`seal_short`], for samples with the values of the chunk at `place`, which is of another encoding than
/// [`Encoding::Same`] itself.
///
/// # Panics
/// As [`seal`].
pub fn seal_same(samples: (&[i64], &[f64]), times: Times, place: ChunkPlace, out: &mut Vec<u8>) {
    check(samples);
    let mut values = Vec::new();
    place.put(&mut values);
    put(ChunkForm::Short, Encoding::Same, samples, times, &values, out);
}

fn check((t, v): (&[i64], &[f64])) {
    assert_eq!(t.len(), v.len(), "a sample has a time and a value");
    assert!(!t.is_empty(), "a chunk has samples");
    debug_assert!(t.is_sorted_by(|a, b| a < b), "times ascend strictly");
}

fn put(
    form: ChunkForm,
    encoding: Encoding,
    (t, v): (&[i64], &[f64]),
    times: Times,
    values: &[u8],
    out: &mut Vec<u8>,
) {
    let mut grid = Vec::new();
    let times = match times {
        Times::Column(id) => PutTimes::Column(id),
        Times::Inline => {
            times::encode_grid(t, &mut grid);
            PutTimes::Inline(&grid)
        }
    };
    match form {
        ChunkForm::Whole => chunk::put(encoding, v.len(), times, values, out),
        ChunkForm::Short => chunk::put_short(encoding, v.len(), times, values, out),
    }
}

fn all_alike(v: &[f64]) -> bool {
    v.iter().all(|x| x.to_bits() == v[0].to_bits())
}

/// Chooses and encodes.
pub(super) fn encode_values(
    v: &[f64],
    packing: Packing,
    hint: &mut EncoderHint,
    out: &mut Vec<u8>,
) -> Encoding {
    if all_alike(v) {
        constant::encode(v[0], out);
        return Encoding::Constant;
    }
    let Some(heads) = runs::heads(v) else { return encode_each(v, packing, hint, out) };
    let mut inner = Vec::new();
    let inner_encoding = encode_each(&heads, packing, hint, &mut inner);
    let mut in_runs = Vec::new();
    runs::encode(v, (heads.len(), inner_encoding, &inner), packing, &mut in_runs);
    // Differences of zero are cheap for decimals as well; for all others runs are shorter without a try.
    if matches!(inner_encoding, Encoding::Decimal | Encoding::Multiple) {
        let encoding = encode_each(v, packing, &mut EncoderHint::default(), out);
        if out.len() <= in_runs.len() {
            return encoding;
        }
    }
    *out = in_runs;
    Encoding::Runs
}

/// Chooses and encodes value by value.
fn encode_each(v: &[f64], packing: Packing, hint: &mut EncoderHint, out: &mut Vec<u8>) -> Encoding {
    if let Some(found) = hint.take(v) {
        if found.mode.encode(v, packing, out).is_some() && found.still_serves(out.len(), v.len()) {
            return found.mode.encoding();
        }
        out.clear();
    }
    let mode = search(v, packing, out);
    *hint = EncoderHint { found: Some(Found::new(mode, out.len(), v.len())), used: 0 };
    mode.encoding()
}

/// Encodes in the shortest mode, into `out`, which is empty.
fn search(v: &[f64], packing: Packing, out: &mut Vec<u8>) -> Mode {
    // Of two numbers the first and their difference are never longer than both against a base.
    let order = Some(Order::Delta).filter(|_| v.len() <= PAIR);
    let decimal = decimal::encode(v, order, packing, out).map(Mode::Decimal);
    if let Some(decimal) = decimal.filter(|_| v.len() <= PAIR) {
        return decimal;
    }
    let mut other = Vec::new();
    if Mode::Multiple.encode(v, packing, &mut other).is_some()
        && (decimal.is_none() || other.len() < out.len())
    {
        *out = other;
        return Mode::Multiple;
    }
    if let Some(decimal) = decimal.filter(|_| out.len() < v.len() * DECIMAL_BYTES_GOOD) {
        return decimal;
    }
    let mut best = decimal;
    for mode in modes_of_many_digits(v) {
        other.clear();
        if mode.encode(v, packing, &mut other).is_some() && (best.is_none() || other.len() < out.len()) {
            std::mem::swap(out, &mut other);
            best = Some(mode);
        }
    }
    best.expect("XOR serves any values")
}

/// What is worth trying for doubles of many digits, judged by some of them.
fn modes_of_many_digits(v: &[f64]) -> impl Iterator<Item = Mode> {
    let probes = decimal::probes(v);
    let fractions = |scale: Scale| {
        let found = probes.clone().filter(|&v| scale.has(v)).count();
        found > 0 && found * 10 >= probes.clone().count() * 8
    };
    // Percentages are ratios of greater numerators too.
    let ratio = Some(Scale::One).filter(|&s| fractions(s));
    let percentage = Some(Scale::Hundred).filter(|&s| fractions(s));
    let sums = Basis::of_sums(probes.clone());
    let always = [Mode::Residual(Basis::Zero), Mode::Xor];
    ratio.into_iter().chain(percentage).map(Mode::Rational).chain(sums.map(Mode::Residual)).chain(always)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::codec::ChunkError;
    use crate::codec::times::tests::times;
    use crate::codec::{NothingShared, Samples, Shared, decode, encode_column, verify};
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

    impl Shared for OneColumn {
        fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
            if id.0 == 0 { Ok(&self.0) } else { Err(ChunkError::NoColumn(id)) }
        }

        fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
            Err(ChunkError::NoBase(place.offset))
        }
    }

    fn check_round_trip(t: &[i64], v: &[f64], hint: &mut EncoderHint) -> Encoding {
        let (mut inline, mut shared, mut column, mut dense) = (vec![], vec![], vec![], vec![]);
        let zero = Times::Column(TimeColumnId(0));
        seal_short((t, v), zero, Packing::Dense, &mut EncoderHint::default(), &mut dense);
        seal((t, v), Times::Inline, hint, &mut inline);
        seal((t, v), Times::Column(TimeColumnId(0)), hint, &mut shared);
        encode_column(t, &mut column);
        let mut out = Samples::new();
        decode(&inline, &NothingShared, &mut out).unwrap();
        decode(&shared, &OneColumn(column.clone()), &mut out).unwrap();
        decode(&dense, &OneColumn(column), &mut out).unwrap();
        let want = t.iter().zip(v).map(|(&t, v)| (t, v.to_bits()));
        assert!(
            out.t
                .iter()
                .zip(&out.v)
                .map(|(&t, v)| (t, v.to_bits()))
                .eq(want.clone().chain(want.clone()).chain(want))
        );
        assert_eq!(verify(&inline).unwrap().chunk_len(), inline.len());
        verify(&shared).unwrap().encoding
    }

    #[test]
    fn golden_chunk() {
        let mut chunk = vec![];
        seal((&[1, 11, 21], &[1.0, 2.0, 4.0]), Times::Inline, &mut EncoderHint::default(), &mut chunk);
        assert_eq!(chunk, [1, 3, 3, 6, 5, 0, 2, 10, 0, 2, 2, 0, 0b110100, 74, 33, 68, 149]);
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
        check(|i| f64::from(i) / f64::from(i * i % 50 + 3), Encoding::Rational);
        check(|i| 100.0 * f64::from(i) / f64::from(i * i % 50 + 3), Encoding::Rational);
        check(|i| (0..i).map(|k| f64::from(k * k % 97) / 1000.0).sum(), Encoding::Residual);
        check(|i| 1.0 + f64::from(i).sin() / 3.0, Encoding::Residual);
        check(|i| f64::from((f64::from(i * i) / 3.0) as f32), Encoding::Multiple);
        check(|i| 4096.0 * f64::from(i * i * 7919 % 61), Encoding::Multiple);
        check(|i| f64::from(i / 7) / f64::from(i / 7 + 3), Encoding::Runs);
        check(|i| (f64::from(i / 2) * 1.7).sin(), Encoding::Xor);
    }

    #[test]
    fn pairs_are_decimals_by_their_difference_or_whatever_serves() {
        let check = |v: [f64; 2], want: &[u8]| {
            let mut chunk = vec![];
            let hint = &mut EncoderHint::default();
            seal_short((&[1, 11], &v), Times::Inline, Packing::Quick, hint, &mut chunk);
            assert_eq!(&chunk[chunk.len() - want.len()..], want, "{chunk:?}");
            check_round_trip(&[1, 11], &v, &mut EncoderHint::default());
        };
        // Exponent, order and width, first number, base of the differences, no patches.
        check([1.5, 4.0], &[1, 1 << 6, 30, 50, 0]);
        check([4.0, 1.0], &[0, 1 << 6, 8, 5, 0]);
        check([f64::NAN, 1.0], &[]);
        check([1.0f64.sin(), 2.0f64.sin()], &[]);
    }

    #[test]
    fn a_hint_is_dropped_when_the_series_changes() {
        let t: Vec<i64> = (0..120).collect();
        let wild: Vec<f64> = (0..120).map(|i| f64::from(i).sin()).collect();
        let tame: Vec<f64> = (0..120).map(f64::from).collect();
        let mut hint = EncoderHint::default();
        assert_eq!(check_round_trip(&t, &tame, &mut hint), Encoding::Decimal);
        assert_ne!(check_round_trip(&t, &wild, &mut hint), Encoding::Decimal);
        assert_eq!(check_round_trip(&t, &tame, &mut hint), Encoding::Decimal);
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
