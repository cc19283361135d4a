//! The loops for processors of the third level of x86-64: in AVX2, four numbers at a time; and loops in plain Rust compiled for
//! them.

#![allow(unsafe_code)]

use super::{Loop, scalar};
use std::arch::x86_64::*;

/// The proof that the processor has AVX2 and BMI2.
#[derive(Clone, Copy)]
pub(super) struct V3(());

impl V3 {
    #[inline]
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        found.then_some(Self(()))
    }

    /// Runs a loop that is compiled for what the processor has.
    pub(super) fn run(self, work: impl Loop) {
        #[target_feature(enable = "avx2,bmi2")]
        fn run(work: impl Loop) {
            work.run();
        }
        // SAFETY: `self` proves AVX2 and BMI2.
        unsafe { run(work) }
    }

    pub(super) fn unpack(self, packed: &[u8], width: u32, base: i64, first: usize, out: &mut [i64]) {
        if width > WIDTH_MAX {
            return scalar::unpack(packed, width, base, first, out);
        }
        // SAFETY: `self` proves AVX2.
        unsafe { unpack(packed, width, base, first, out) }
    }

    pub(super) fn sum_up(self, last: &mut i64, numbers: &mut [i64]) {
        // SAFETY: `self` proves AVX2.
        unsafe { sum_up(last, numbers) }
    }

    pub(super) fn quotients(self, values: &mut [f64], divisor: f64) {
        // SAFETY: `self` proves AVX2.
        unsafe { quotients(values, divisor) }
    }

    pub(super) fn products(self, values: &mut [f64], factor: f64) {
        // SAFETY: `self` proves AVX2.
        unsafe { products(values, factor) }
    }

    pub(super) fn spread(self, runs: &[f64], changes: &[u64], values: &mut [f64]) {
        // SAFETY: `self` proves AVX2.
        unsafe { spread(runs, changes, values) }
    }
}

/// A number and the bits before it in its first byte lie within a word of 64.
const WIDTH_MAX: u32 = 56;

/// What the end of a column is copied to, so that loads may go beyond it: less than [`Unpacking::reach`] and one load.
const PADDED: usize = 128;

/// Where the numbers of a group of eight lie. All groups are alike: eight numbers of W bits are W bytes.
struct Unpacking {
    width: usize,
    /// The first bytes of numbers 0, 2, 4 and 6. Sixteen bytes from there hold two numbers, so that four of these loads
    /// are a group.
    at: [usize; 4],
    /// For numbers 0 to 3 and 4 to 7: which bytes of the loads go to which lane, and the bits before the numbers there.
    bytes: [__m256i; 2],
    shifts: [__m256i; 2],
    mask: __m256i,
    base: __m256i,
}

impl Unpacking {
    /// `bit` is where in its first byte the first number of each group starts.
    #[target_feature(enable = "avx2")]
    fn new(width: u32, base: i64, bit: usize) -> Self {
        let width = width as usize;
        let at = |n: usize| (bit + n * width) / 8;
        let shift = |n: usize| ((bit + n * width) % 8) as i64;
        // The eight bytes of an even number start at byte 0 of its load, those of an odd one so much further.
        let bytes = |n: usize| 0x0706_0504_0302_0100 + (at(n) - at(n & !1)) as i64 * 0x0101_0101_0101_0101;
        Self {
            width,
            at: [at(0), at(2), at(4), at(6)],
            bytes: [
                _mm256_setr_epi64x(bytes(0), bytes(1), bytes(2), bytes(3)),
                _mm256_setr_epi64x(bytes(4), bytes(5), bytes(6), bytes(7)),
            ],
            shifts: [
                _mm256_setr_epi64x(shift(0), shift(1), shift(2), shift(3)),
                _mm256_setr_epi64x(shift(4), shift(5), shift(6), shift(7)),
            ],
            mask: _mm256_set1_epi64x((1 << width) - 1),
            base: _mm256_set1_epi64x(base),
        }
    }

    /// How far from its first byte the loads of a group reach.
    fn reach(&self) -> usize {
        self.at[3] + 16
    }

    /// Unpacks groups from the front of `packed` until `out` has no room for a whole one or its loads would leave
    /// `packed`; gives how many.
    #[target_feature(enable = "avx2")]
    fn groups(&self, packed: &[u8], out: &mut [i64]) -> usize {
        let fitting = packed.len().checked_sub(self.reach()).map_or(0, |room| room / self.width + 1);
        let n = fitting.min(out.len() / 8);
        for group in 0..n {
            let from = group * self.width;
            for half in 0..2 {
                let load = |i: usize| {
                    debug_assert!(from + self.at[i] + 16 <= packed.len(), "a load leaves the column");
                    // SAFETY: group < fitting, so from + reach ≤ packed.len(), and no load of a group goes beyond reach.
                    unsafe { _mm_loadu_si128(packed.as_ptr().add(from + self.at[i]).cast()) }
                };
                let both = _mm256_set_m128i(load(2 * half + 1), load(2 * half));
                let words = _mm256_srlv_epi64(_mm256_shuffle_epi8(both, self.bytes[half]), self.shifts[half]);
                let numbers = _mm256_add_epi64(_mm256_and_si256(words, self.mask), self.base);
                // SAFETY: group < out.len() / 8, so that eight numbers from 8 · group on are in `out`.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(8 * group + 4 * half).cast(), numbers) }
            }
        }
        n
    }
}

#[target_feature(enable = "avx2")]
fn unpack(packed: &[u8], width: u32, base: i64, first: usize, out: &mut [i64]) {
    let bit = first * width as usize;
    let unpacking = Unpacking::new(width, base, bit % 8);
    let packed = packed.get(bit / 8..).unwrap_or(&[]);
    let done = unpacking.groups(packed, out);
    let out = &mut out[8 * done..];
    if out.is_empty() {
        return;
    }
    let rest = packed.get(done * unpacking.width..).unwrap_or(&[]);
    let n = rest.len().min(PADDED / 2);
    let mut padded = [0; PADDED];
    padded[..n].copy_from_slice(&rest[..n]);
    let done = unpacking.groups(&padded, out);
    let out = &mut out[8 * done..];
    let mut group = [base; 8];
    unpacking.groups(padded.get(done * unpacking.width..).unwrap_or(&[]), &mut group);
    // Where a whole group is left, all bits of the column are behind it.
    let (last, beyond) = out.split_at_mut(out.len().min(8));
    last.copy_from_slice(&group[..last.len()]);
    beyond.fill(base);
}

#[target_feature(enable = "avx2")]
fn sum_up(last: &mut i64, numbers: &mut [i64]) {
    let (fours, rest) = numbers.as_chunks_mut::<4>();
    let mut before = _mm256_set1_epi64x(*last);
    for four in fours {
        // SAFETY: `four` is 32 bytes.
        let x = unsafe { _mm256_loadu_si256(four.as_ptr().cast()) };
        // a, a+b | c, c+d
        let pairs = _mm256_add_epi64(x, _mm256_slli_si256::<8>(x));
        // 0, 0 | a+b, a+b
        let low = _mm256_permute2x128_si256::<0x08>(pairs, pairs);
        let sums = _mm256_add_epi64(pairs, _mm256_unpackhi_epi64(low, low));
        // SAFETY: `four` is 32 bytes.
        unsafe { _mm256_storeu_si256(four.as_mut_ptr().cast(), _mm256_add_epi64(sums, before)) };
        before = _mm256_add_epi64(before, _mm256_permute4x64_epi64::<0xff>(sums));
    }
    *last = _mm256_extract_epi64::<0>(before);
    scalar::sum_up(last, rest);
}

/// Four integers as the nearest doubles. The high and the low 32 bits are put into the mantissas of doubles that are greater
/// by a known number; both are exact then, and their sum is rounded once.
#[target_feature(enable = "avx2")]
#[inline]
fn doubles(x: __m256i) -> __m256d {
    // 2^52; 2^84 + 2^63, which makes the sign a part of the mantissa; what both are too great by.
    let low = _mm256_set1_epi64x(0x4330_0000_0000_0000);
    let high = _mm256_set1_epi64x(0x4530_0000_8000_0000);
    let both = _mm256_set1_pd(f64::from_bits(0x4530_0000_8010_0000));
    let low = _mm256_castsi256_pd(_mm256_blend_epi32::<0b0101_0101>(low, x));
    let high = _mm256_castsi256_pd(_mm256_xor_si256(_mm256_srli_epi64::<32>(x), high));
    _mm256_add_pd(_mm256_sub_pd(high, both), low)
}

/// Replaces the integers in the bits of whole groups of four by what `op` makes of their doubles; gives what is left.
#[target_feature(enable = "avx2")]
#[inline]
fn by_fours(values: &mut [f64], op: impl Fn(__m256d) -> __m256d) -> &mut [f64] {
    let (fours, rest) = values.as_chunks_mut::<4>();
    for four in fours {
        // SAFETY: `four` is 32 bytes.
        let x = unsafe { _mm256_loadu_si256(four.as_ptr().cast()) };
        // SAFETY: `four` is 32 bytes.
        unsafe { _mm256_storeu_pd(four.as_mut_ptr(), op(doubles(x))) };
    }
    rest
}

#[target_feature(enable = "avx2")]
fn quotients(values: &mut [f64], divisor: f64) {
    let by = _mm256_set1_pd(divisor);
    let rest = match divisor {
        1.0 => by_fours(values, |x| x),
        _ => by_fours(values, |x| _mm256_div_pd(x, by)),
    };
    scalar::quotients(rest, divisor);
}

#[target_feature(enable = "avx2")]
fn products(values: &mut [f64], factor: f64) {
    let by = _mm256_set1_pd(factor);
    let rest = by_fours(values, |x| _mm256_mul_pd(x, by));
    scalar::products(rest, factor);
}

/// For four places of which bits 0 to 2 say whether the second, third and fourth go on: how far on each is, as the halves
/// that a permutation of four doubles moves; and how far on the last is.
const PLACES: [([u32; 8], u8); 8] = {
    let mut table = [([0; 8], 0); 8];
    let mut bits = 0;
    while bits < 8 {
        let (mut place, mut on) = (0, 0);
        while place < 4 {
            table[bits].0[2 * place] = 2 * on;
            table[bits].0[2 * place + 1] = 2 * on + 1;
            table[bits].1 = on as u8;
            on += (bits as u32 >> place) & 1;
            place += 1;
        }
        bits += 1;
    }
    table
};

#[target_feature(enable = "avx2")]
fn spread(runs: &[f64], changes: &[u64], values: &mut [f64]) {
    let (mut at, mut carry) = (0, 0);
    for (values, &word) in values.chunks_mut(64).zip(changes) {
        // Bit i is to say whether place i goes on, not the one behind it.
        let mut starts = word << 1 | carry;
        carry = word >> 63;
        let (fours, rest) = values.as_chunks_mut::<4>();
        for four in fours {
            at += (starts & 1) as usize;
            let (order, on) = &PLACES[(starts >> 1) as usize % 8];
            let Some(window) = runs.get(at..).and_then(|r| r.first_chunk::<4>()) else { return };
            // SAFETY: `window` is 32 bytes.
            let window = unsafe { _mm256_loadu_si256(window.as_ptr().cast()) };
            // SAFETY: `order` is 32 bytes.
            let order = unsafe { _mm256_loadu_si256(order.as_ptr().cast()) };
            let spread = _mm256_permutevar8x32_epi32(window, order);
            // SAFETY: `four` is 32 bytes.
            unsafe { _mm256_storeu_si256(four.as_mut_ptr().cast(), spread) };
            at += usize::from(*on);
            starts >>= 4;
        }
        for v in rest {
            at += (starts & 1) as usize;
            let Some(run) = runs.get(at) else { return };
            *v = *run;
            starts >>= 1;
        }
    }
}
