//! Integer streams: numbers, differences or differences of differences, packed against a base, outliers patched.
//!
//! Writer and reader of the layout *Integer streams* in `docs/format/chunk.md`. The reader gives the numbers in pieces of
//! any size, so that decoding needs no memory of its own.

use super::bitpack::{pack, packed_len, packed_width, unpack, width_of};
use super::error::{ChunkError, take, take_u8, take_varint, take_zigzag};
use super::{lanes, tans};
use crate::model::varint::{self, unzigzag, zigzag};

/// How residuals are made of the numbers. The discriminants are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The numbers themselves.
    Raw = 0,
    /// Differences.
    Delta = 1,
    /// Differences of differences.
    Delta2 = 2,
}

/// How residuals may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Bit-packed: the quickest to read.
    #[default]
    Quick,
    /// By entropy where that is shorter; it takes longer to read.
    Dense,
}

/// What an encoder of integer streams works with; reused from stream to stream.
#[derive(Default)]
pub(super) struct IntScratch {
    packing: Packing,
    delta: Vec<i64>,
    delta2: Vec<i64>,
    picked: Vec<i64>,
}

impl IntScratch {
    pub(super) fn new(packing: Packing) -> Self {
        Self { packing, ..Self::default() }
    }
}

/// How a stream of residuals is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    base: i64,
    width: u32,
}

/// The code of width 64 in the shape byte.
const WIDTH_64: u8 = 63;
/// Instead of a width: the residuals are coded by entropy.
const CODED: u8 = 62;
/// Beside the table's number: residuals are folded around the base, which is their median then.
const FOLDED: u8 = 0x80;

/// Fewer residuals are not worth the search.
const CODED_MIN: usize = 12;
/// What coded residuals take beyond their bits: table, shift, length.
const CODED_BYTES: usize = 4;
/// What is coded must be shorter than packed by one part in so many, since it takes longer to read.
const CODED_GAIN: usize = 20;

/// How many numbers are decoded at a time: they stay in the nearest cache from step to step.
pub(super) const PIECE: usize = 256;

/// How many residuals a median is estimated from.
const MEDIAN_OF: usize = 63;

/// Appends the numbers of `x`. `order` is what to use, or `None` to have the best searched for; what was used is
/// returned.
pub(super) fn encode(x: &[i64], order: Option<Order>, scratch: &mut IntScratch, out: &mut Vec<u8>) -> Order {
    let IntScratch { packing, delta, delta2, picked } = scratch;
    let order = order.filter(|&o| o as usize <= x.len());
    if order != Some(Order::Raw) {
        differences(x, delta);
        if order != Some(Order::Delta) {
            differences(delta, delta2);
        }
    }
    let order = order.unwrap_or_else(|| choose(x, delta, delta2, picked));
    let residuals: &[i64] = match order {
        Order::Raw => x,
        Order::Delta => delta,
        Order::Delta2 => delta2,
    };
    let plan = plan(residuals, picked);
    let coded = match packing {
        Packing::Dense => Coded::find(residuals, plan, median(residuals, picked)),
        Packing::Quick => None,
    };
    let width_code = match plan.width {
        _ if coded.is_some() => CODED,
        64 => WIDTH_64,
        width => width as u8,
    };
    out.push((order as u8) << 6 | width_code);
    if order != Order::Raw {
        varint::put(out, zigzag(x[0]));
    }
    if order == Order::Delta2 {
        varint::put(out, zigzag(delta[0]));
    }
    match coded {
        Some(coded) => coded.put(out),
        None => {
            varint::put(out, zigzag(plan.base));
            put_patches(residuals, plan, out);
            let packed = residuals.iter().map(|&r| plan.packed(r).unwrap_or(0));
            pack(packed, plan.width, out);
        }
    }
    order
}

/// Residuals as numbers to be coded by entropy.
struct Coded {
    folded: bool,
    base: i64,
    numbers: Vec<u64>,
    code: tans::Code,
}

impl Coded {
    /// How the residuals are coded best; `None` where packing them is as good.
    fn find(residuals: &[i64], plan: Plan, median: i64) -> Option<Self> {
        if residuals.len() < CODED_MIN || plan.width == 0 && residuals.iter().all(|&r| r == plan.base) {
            return None;
        }
        let from = |folded: bool| {
            let base = if folded { median } else { plan.base };
            let number = |r: &i64| {
                let r = r.wrapping_sub(base);
                if folded { zigzag(r) } else { r as u64 }
            };
            let numbers: Vec<u64> = residuals.iter().map(number).collect();
            let code = tans::choose(&numbers);
            Self { folded, base, numbers, code }
        };
        let best = [from(false), from(true)].into_iter().min_by_key(|c| c.code.cost)?;
        let coded = best.code.cost.div_ceil(8) + CODED_BYTES;
        let packed = plan.len(residuals);
        (coded * CODED_GAIN <= packed * (CODED_GAIN - 1)).then_some(best)
    }

    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, zigzag(self.base));
        out.push(self.code.table | if self.folded { FOLDED } else { 0 });
        out.push(self.code.shift);
        let mut bits = Vec::with_capacity(self.code.cost / 8 + 16);
        tans::encode(&self.numbers, self.code, &mut bits);
        varint::put_bytes(out, &bits);
    }
}

/// The differences of neighbours, one fewer than the numbers.
fn differences(x: &[i64], out: &mut Vec<i64>) {
    out.clear();
    out.extend(x.iter().zip(x.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)));
}

/// The order whose residuals spread least, by the sum of their logarithms. Packed sizes are no measure: differences of
/// differences of a noisy counter often pack into the same width, and hold twice the noise.
fn choose(x: &[i64], delta: &[i64], delta2: &[i64], picked: &mut Vec<i64>) -> Order {
    let cost = |residuals: &[i64], picked: &mut Vec<i64>, order: Order| {
        // Each further order stores one more first number.
        spread(residuals, median(residuals, picked)) + 16.0 * f32::from(order as u8)
    };
    let mut best = (cost(x, picked, Order::Raw), Order::Raw);
    for (residuals, order) in [(delta, Order::Delta), (delta2, Order::Delta2)] {
        let enough = x.len() > order as usize;
        let c = if enough { cost(residuals, picked, order) } else { f32::INFINITY };
        if c < best.0 {
            best = (c, order);
        }
    }
    best.1
}

/// `Σ log2(|r − median| + 0.7)`, from the exponent and mantissa of the float: within 0.09 of the logarithm.
fn spread(residuals: &[i64], median: i64) -> f32 {
    const MANTISSA: f32 = 1.0 / (1 << 23) as f32;
    residuals
        .iter()
        .map(|r| {
            let d = r.wrapping_sub(median);
            let magnitude = (d ^ (d >> 63)) as f32 + 0.7;
            magnitude.to_bits() as f32 * MANTISSA - 126.5
        })
        .sum()
}

/// The median of up to [`MEDIAN_OF`] numbers, evenly picked; 0 of none.
fn median(x: &[i64], picked: &mut Vec<i64>) -> i64 {
    picked.clear();
    picked.extend(x.iter().step_by((x.len() / MEDIAN_OF).max(1)));
    if picked.is_empty() {
        return 0;
    }
    let middle = picked.len() / 2;
    *picked.select_nth_unstable(middle).1
}

/// Bits that a patch of `width` takes: its gap and its number.
fn patch_bits(width: usize) -> usize {
    8 + 8 * width.div_ceil(7).max(1)
}

/// The width that makes packed numbers and patches smallest, given how many numbers need each width up to the greatest that
/// any needs.
fn cheapest_width(needed: &[u32], n: usize) -> u32 {
    let mut patches: usize = needed.iter().enumerate().map(|(w, &k)| k as usize * patch_bits(w)).sum();
    let mut best = (usize::MAX, 64);
    for (w, &k) in needed.iter().enumerate() {
        patches -= k as usize * patch_bits(w);
        let packed = packed_width(w as u32);
        let cost = n * packed as usize + patches;
        if cost < best.0 {
            best = (cost, packed);
        }
    }
    best.1
}

/// Finds base and width: outliers around the median are left out, then the rest is measured from its least.
fn plan(residuals: &[i64], picked: &mut Vec<i64>) -> Plan {
    if let [base] = *residuals {
        return Plan { base, width: 0 };
    }
    let median = median(residuals, picked);
    let around = |r: i64| width_of(zigzag(r.wrapping_sub(median)));
    let inner = cheapest_width_of(residuals, around);
    let base = residuals.iter().copied().filter(|&r| around(r) <= inner).min().unwrap_or(median);
    // What lies below the base is patched in any case.
    let above = |r: i64| if r < base { 64 } else { width_of(r.wrapping_sub(base) as u64) };
    Plan { base, width: cheapest_width_of(residuals, above) }
}

/// [`cheapest_width`] of residuals, given what width each needs, 64 at most.
fn cheapest_width_of(residuals: &[i64], width: impl Fn(i64) -> u32) -> u32 {
    let (mut needed, mut widest) = ([0u32; 65], 0);
    for &r in residuals {
        let width = width(r) as usize;
        needed[width] += 1;
        widest = widest.max(width);
    }
    cheapest_width(&needed[..=widest], residuals.len())
}

impl Plan {
    /// The residual as it is packed; `None` where it is patched.
    fn packed(self, r: i64) -> Option<u64> {
        let above = r.wrapping_sub(self.base) as u64;
        (width_of(above) <= self.width).then_some(above)
    }

    /// About the bytes that the residuals take.
    fn len(self, residuals: &[i64]) -> usize {
        let patch = |r: &i64| match self.packed(*r) {
            Some(_) => 0,
            None => patch_bits(width_of(zigzag(r.wrapping_sub(self.base))) as usize) / 8,
        };
        1 + packed_len(residuals.len(), self.width) + residuals.iter().map(patch).sum::<usize>()
    }
}

/// Appends the number of patches and each of them.
fn put_patches(residuals: &[i64], plan: Plan, out: &mut Vec<u8>) {
    let outliers = || residuals.iter().enumerate().filter(|&(_, &r)| plan.packed(r).is_none());
    varint::put(out, outliers().count() as u64);
    let mut last = 0;
    for (i, r) in outliers() {
        varint::put(out, (i - last) as u64);
        varint::put(out, zigzag(r.wrapping_sub(plan.base)));
        last = i;
    }
}

/// A stream being read, in pieces, from its first number on.
pub(super) struct IntStream<'a> {
    order: usize,
    firsts: [i64; 2],
    base: i64,
    residuals: Residuals<'a>,
    /// How many numbers were given.
    given: usize,
    /// The last number and the last difference.
    last: i64,
    last_delta: i64,
}

/// The residuals of a stream being read.
enum Residuals<'a> {
    Packed {
        width: u32,
        packed: &'a [u8],
        patches: Patches<'a>,
    },
    Coded(tans::Reader<'a>),
    /// Coded, and folded around the base.
    Folded(tans::Reader<'a>),
}

impl<'a> Residuals<'a> {
    /// Opens `n` residuals at the front of `bytes`, and moves past them.
    fn take(bytes: &mut &'a [u8], width_code: u8, n: usize) -> Result<Self, ChunkError> {
        let width = match width_code {
            CODED => return Self::take_coded(bytes),
            WIDTH_64 => 64,
            w @ 0..=56 => u32::from(w),
            _ => return Err(ChunkError::Malformed("an integer stream has an impossible width")),
        };
        let patches = Patches::take(bytes, n)?;
        Ok(Self::Packed { width, packed: take(bytes, packed_len(n, width))?, patches })
    }

    fn take_coded(bytes: &mut &'a [u8]) -> Result<Self, ChunkError> {
        let (table, shift) = (take_u8(bytes)?, take_u8(bytes)?);
        let len = usize::try_from(take_varint(bytes)?);
        let coded = take(bytes, len.map_err(|_| ChunkError::Malformed("an integer stream is too long"))?)?;
        let reader = tans::Reader::new(table & !FOLDED, shift, coded);
        let reader = reader.ok_or(ChunkError::Malformed("an integer stream has an impossible code"))?;
        Ok(if table & FOLDED == 0 { Self::Coded(reader) } else { Self::Folded(reader) })
    }

    /// Gives the residuals from `index` on, which is where the last call ended.
    fn fill(&mut self, base: i64, index: usize, out: &mut [i64]) {
        match self {
            Self::Packed { width, packed, patches } => {
                unpack(packed, *width, base, index, out);
                patches.apply(base, index, out);
            }
            Self::Coded(reader) => {
                reader.fill(out);
                out.iter_mut().for_each(|x| *x = base.wrapping_add(*x));
            }
            Self::Folded(reader) => {
                reader.fill(out);
                out.iter_mut().for_each(|x| *x = base.wrapping_add(unzigzag(*x as u64)));
            }
        }
    }
}

/// The patches that are still to come. Their bytes were checked when the stream was opened.
struct Patches<'a> {
    bytes: &'a [u8],
    left: usize,
    /// Index and value of the next one.
    next: Option<(usize, i64)>,
}

impl<'a> IntStream<'a> {
    /// Opens the stream of `n` numbers at the front of `bytes`, and moves past it.
    pub(super) fn take(bytes: &mut &'a [u8], n: usize) -> Result<Self, ChunkError> {
        let shape = take_u8(bytes)?;
        let order = usize::from(shape >> 6);
        if order > 2 || order > n {
            return Err(ChunkError::Malformed("an integer stream has an impossible order"));
        }
        let mut firsts = [0; 2];
        for first in &mut firsts[..order] {
            *first = take_zigzag(bytes)?;
        }
        let base = take_zigzag(bytes)?;
        let residuals = Residuals::take(bytes, shape & 63, n - order)?;
        let last_delta = firsts[1];
        firsts[1] = firsts[0].wrapping_add(last_delta);
        let last = if order == 2 { firsts[1] } else { firsts[0] };
        Ok(Self { order, firsts, base, residuals, given: 0, last, last_delta })
    }

    /// Gives the next numbers. No more than the stream has may be asked for.
    pub(super) fn fill(&mut self, out: &mut [i64]) {
        let firsts = self.order.saturating_sub(self.given).min(out.len());
        let (head, rest) = out.split_at_mut(firsts);
        let from = self.given.min(self.order);
        head.copy_from_slice(&self.firsts[from..from + firsts]);
        let index = (self.given + firsts).saturating_sub(self.order);
        self.residuals.fill(self.base, index, rest);
        match self.order {
            0 => {}
            1 => lanes::sum_up(&mut self.last, rest),
            _ => {
                lanes::sum_up(&mut self.last_delta, rest);
                lanes::sum_up(&mut self.last, rest);
            }
        }
        self.given += out.len();
    }
}

impl<'a> Patches<'a> {
    /// Checks the patches of `residuals` numbers at the front of `bytes`, and moves past them.
    fn take(bytes: &mut &'a [u8], residuals: usize) -> Result<Self, ChunkError> {
        let malformed = ChunkError::Malformed("a patch lies beyond its integer stream");
        let left = usize::try_from(take_varint(bytes)?).ok().filter(|&k| k <= residuals).ok_or(malformed)?;
        let start = *bytes;
        let mut index = 0usize;
        for _ in 0..left {
            let gap = usize::try_from(take_varint(bytes)?).map_err(|_| malformed)?;
            index = index.checked_add(gap).filter(|&i| i < residuals).ok_or(malformed)?;
            take_varint(bytes)?;
        }
        let mut patches = Self { bytes: start, left, next: None };
        patches.advance(0);
        Ok(patches)
    }

    /// Reads the next patch, whose gap counts from `from`.
    fn advance(&mut self, from: usize) {
        self.next = None;
        if self.left > 0 {
            self.left -= 1;
            let gap = varint::take(&mut self.bytes).unwrap_or(0);
            let value = varint::take(&mut self.bytes).unwrap_or(0);
            self.next = Some((from + gap as usize, unzigzag(value)));
        }
    }

    /// Replaces what `residuals`, the numbers from `first` on, hold at patched places.
    fn apply(&mut self, base: i64, first: usize, residuals: &mut [i64]) {
        while let Some((index, value)) = self.next {
            let Some(r) = residuals.get_mut(index - first) else { return };
            *r = base.wrapping_add(value);
            self.advance(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(x: &[i64], order: Option<Order>) -> Vec<u8> {
        let mut out = vec![];
        encode(x, order, &mut IntScratch::default(), &mut out);
        out
    }

    fn encoded_densely(x: &[i64], order: Option<Order>) -> Vec<u8> {
        let mut out = vec![];
        encode(x, order, &mut IntScratch::new(Packing::Dense), &mut out);
        out
    }

    fn decoded(mut bytes: &[u8], n: usize, piece: usize) -> Result<Vec<i64>, ChunkError> {
        let mut stream = IntStream::take(&mut bytes, n)?;
        let mut out = vec![0; n];
        out.chunks_mut(piece).for_each(|p| stream.fill(p));
        assert!(bytes.is_empty());
        Ok(out)
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let check = |x: &[i64], want: &[u8]| assert_eq!(encoded(x, None), want, "{x:?}");
        check(&[7], &[0, 14, 0]);
        check(&[5, 5, 5, 5], &[0, 10, 0]);
        // A straight line: order 1, one width-0 base.
        check(&[1, 1001, 2001, 3001, 4001, 5001, 6001], &[0x40, 2, 0xd0, 0x0f, 0]);
        // Width 1 with one outlier: a patch at index 3.
        check(&[0, 1, 1, 1 << 20, 0, 1, 0, 1, 0, 1], &[1, 0, 1, 3, 0x80, 0x80, 0x80, 1, 0b1010_0110, 0b10]);
    }

    #[test]
    fn a_noisy_counter_is_stored_as_differences() {
        let mut x = 0;
        let x: Vec<i64> = (0..480u64)
            .map(|i| {
                x += 200 + (i * i * 7919 % 61) as i64;
                x
            })
            .collect();
        let mut out = vec![];
        assert_eq!(encode(&x, None, &mut IntScratch::default(), &mut out), Order::Delta);
    }

    #[test]
    fn a_counter_reset_does_not_widen_the_rest() {
        let mut x: Vec<i64> = (0..480).map(|i| 1_000_000 + i * 3 + i % 2).collect();
        let smooth = encoded(&x, None).len();
        x[200..].iter_mut().for_each(|v| *v -= 1_000_000);
        assert!(encoded(&x, None).len() <= smooth + 16);
    }

    #[test]
    fn noise_is_coded_where_that_is_allowed_and_shorter() {
        let noise = |i: u64| (xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()).trailing_zeros()) as i64;
        let x: Vec<i64> = (0..480).map(noise).collect();
        let (quick, dense) = (encoded(&x, None), encoded_densely(&x, None));
        assert_eq!((quick[0] & 63, dense[0]), (2, CODED));
        assert!(dense.len() * 10 < quick.len() * 9, "{} of {}", dense.len(), quick.len());
        assert_eq!(decoded(&dense, 480, 100).unwrap(), x);
        assert_eq!(encoded_densely(&[5; 100], None), encoded(&[5; 100], None));
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let check = |bytes: &[u8], n, want: &str| {
            let e = decoded(bytes, n, 8).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        };
        check(&[], 1, "cut off");
        check(&[57, 0, 0], 1, "width");
        check(&[0xc0, 0, 0, 0, 0], 9, "order");
        check(&[0x80, 0, 0, 0, 0], 1, "order");
        check(&[0, 0, 1, 1, 0], 1, "patch");
        check(&[0, 0, 2, 0, 0, 0, 0], 1, "patch");
        check(&[8, 0, 0, 1], 2, "cut off");
        check(&[CODED, 0, 64, 0, 1, 0], 2, "code");
        check(&[CODED, 0, 0, 45, 1, 0], 2, "code");
        check(&[CODED, 0, 0, 0, 9, 0], 2, "cut off");
    }

    fn numbers() -> impl Strategy<Value = Vec<i64>> {
        let one = prop_oneof![8 => -40i64..40, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        (proptest::collection::vec(one, 1..300), any::<bool>()).prop_map(|(mut x, sums)| {
            if sums {
                let mut sum = 0i64;
                x.iter_mut().for_each(|v| {
                    sum = sum.wrapping_add(*v);
                    *v = sum
                });
            }
            x
        })
    }

    proptest! {
        #[test]
        fn round_trip(x in numbers(), order in 0usize..4, piece in 1usize..70) {
            let order = [None, Some(Order::Raw), Some(Order::Delta), Some(Order::Delta2)][order];
            prop_assert_eq!(&decoded(&encoded(&x, order), x.len(), piece).unwrap(), &x);
            prop_assert_eq!(decoded(&encoded_densely(&x, order), x.len(), piece).unwrap(), x);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, n in 1usize..300) {
            if let Ok(mut stream) = IntStream::take(&mut &bytes[..], n) {
                stream.fill(&mut vec![0; n]);
            }
        }
    }
}
