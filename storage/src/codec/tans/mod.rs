//! Entropy coding of residuals: tabled asymmetric numeral systems over tokens, with raw low bits.
//!
//! ```text
//! number ──► number >> shift ──► token 0–39, else the escape ──► bits of the state
//!       └──► the low `shift` bits, as they are
//! ```
//!
//! After Duda, *Asymmetric numeral systems* (arXiv 1311.2540), with the spread and the tables of Collet's FSE. Two states
//! take turns, so that one table look-up need not wait for the other. The encoder goes from the last number to the first and
//! the bits are then written in the order in which they are read.
//!
//! The tables are part of the format ([`counts`]), not of a block: they need neither room nor training, and a chunk can be
//! read wherever it is.

mod counts;

use super::bitpack::width_of;
use super::lanes::{self, Loop};
use counts::COUNTS;
use std::sync::LazyLock;

/// Distributions to choose from.
pub(super) const TABLES: usize = 64;
/// 40 tokens that stand for themselves, and the escape.
const TOKENS: usize = 41;
const ESCAPE: u64 = TOKENS as u64 - 1;

const STATE_BITS: u32 = 10;
const STATES: usize = 1 << STATE_BITS;
const _: () = assert!(STATES == 1024, "the counts add up to it");

/// The bits that say how many bits an escaped number has, less one.
const ESCAPE_BITS: u32 = 6;

/// The bits of a word read from any bit on.
const WORD_BITS: u32 = 57;
/// The most raw low bits: a state's bits and they lie within one word.
const SHIFT_MAX: u32 = 44;
/// Up to so many raw low bits the bits of four numbers lie within one word, and those of two.
const SHIFT_OF_FOUR: u32 = WORD_BITS / 4 - STATE_BITS;
const SHIFT_OF_TWO: u32 = WORD_BITS / 2 - STATE_BITS;

/// Numbers of this share are meant to have tokens below 16, so that few are escaped.
const COMMON_FIFTHS: usize = 4;

/// What a state stands for.
#[derive(Clone, Copy, Default)]
#[repr(align(8))]
struct Step {
    token: u8,
    /// How many bits are read for the next state, and a mask of so many.
    bits: u8,
    mask: u16,
    /// The next state with none of them set.
    next: u16,
}

/// One distribution, ready for use.
struct Table {
    steps: [Step; STATES],
    /// The states of each token, one token's after another's.
    states: Vec<u16>,
    tokens: [TokenStates; TOKENS],
}

/// Where an encoder finds a token's states.
#[derive(Clone, Copy, Default)]
struct TokenStates {
    count: u16,
    /// `(state + threshold) >> 16` is how many bits of the state are written.
    threshold: u32,
    /// The first of the token's states, less how many there are.
    first: i32,
    /// What the token costs in bits; of one without states, what the escape costs.
    cost: f32,
}

static TABLE: LazyLock<Vec<Table>> = LazyLock::new(|| COUNTS.iter().map(Table::new).collect());

impl Table {
    fn new(counts: &[u16; TOKENS]) -> Self {
        let mut spread = [0u8; STATES];
        let mut at = 0;
        for (token, &count) in (0..).zip(counts) {
            for _ in 0..count {
                spread[at] = token;
                at = (at + STATES / 2 + STATES / 8 + 3) % STATES;
            }
        }
        let tokens = token_states(counts);
        let mut next: Vec<u32> = counts.iter().map(|&c| u32::from(c)).collect();
        let (mut steps, mut states) = ([Step::default(); STATES], vec![0; STATES]);
        for (state, &token) in spread.iter().enumerate() {
            let of = usize::from(token);
            let x = next[of];
            next[of] += 1;
            let bits = STATE_BITS + 1 - width_of(x.into());
            let (next, mask) = ((x << bits) as usize - STATES, (1u16 << bits) - 1);
            steps[state] = Step { token, bits: bits as u8, mask, next: next as u16 };
            // The `x`-th visit of a token is found where its states start.
            let slot = tokens[of].first + x as i32;
            states[slot as usize] = (STATES + state) as u16;
        }
        Self { steps, states, tokens }
    }

    /// What numbers with these tokens cost, in bits, but for what escapes hold.
    fn cost(&self, histogram: &[u32; TOKENS]) -> f32 {
        self.tokens.iter().zip(histogram).map(|(t, &n)| t.cost * n as f32).sum()
    }
}

fn token_states(counts: &[u16; TOKENS]) -> [TokenStates; TOKENS] {
    let mut out = [TokenStates::default(); TOKENS];
    let bits = |count: u16| STATE_BITS as f32 - f32::from(count).log2();
    let escape = bits(counts[ESCAPE as usize]) + ESCAPE_BITS as f32;
    let mut start = 0;
    for (token, (states, &count)) in out.iter_mut().zip(counts).enumerate() {
        let n = u32::from(count);
        states.count = count;
        states.first = start - n as i32;
        states.cost = match count {
            _ if token as u64 == ESCAPE => escape,
            0 => escape + width_of(token as u64) as f32,
            _ => bits(count),
        };
        // States from `count << most` on give away one bit more than those below.
        let most = STATE_BITS + 1 - width_of(u64::from(n.saturating_sub(1)));
        states.threshold = (most << 16).wrapping_sub(n << most);
        start += n as i32;
    }
    out
}

/// How a column of numbers is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) table: u8,
    pub(super) shift: u8,
    /// What the column will take, in bits.
    pub(super) cost: usize,
}

/// The cheapest code for the numbers.
pub(super) fn choose(numbers: &[u64]) -> Code {
    let shift = shift_for(numbers);
    let mut histogram = [0; TOKENS];
    let mut escaped = 0;
    for &n in numbers {
        let n = n >> shift;
        histogram[n.min(ESCAPE) as usize] += 1;
        escaped += if n >= ESCAPE { width_of(n) as usize } else { 0 };
    }
    let costs = TABLE.iter().map(|t| t.cost(&histogram));
    let (table, cost) = (0u8..).zip(costs).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
    let raw = escaped + numbers.len() * shift as usize + 2 * STATE_BITS as usize;
    Code { table, shift: shift as u8, cost: cost as usize + raw }
}

/// How many low bits to leave raw.
fn shift_for(numbers: &[u64]) -> u32 {
    let mut widths = [0usize; 65];
    numbers.iter().for_each(|&n| widths[width_of(n) as usize] += 1);
    let mut below = 0;
    let common = widths.iter().position(|&n| {
        below += n;
        below * 5 >= numbers.len() * COMMON_FIFTHS
    });
    (common.unwrap_or(0) as u32).saturating_sub(4).min(SHIFT_MAX)
}

/// Appends the numbers as `code` says.
pub(super) fn encode(numbers: &[u64], code: Code, out: &mut Vec<u8>) {
    let table = &TABLE[usize::from(code.table)];
    let shift = u32::from(code.shift);
    let mut states = [STATES as u32; 2];
    let mut pieces = vec![(0u16, 0u8, false); numbers.len()];
    for (i, (&n, piece)) in numbers.iter().zip(&mut pieces).enumerate().rev() {
        let mut token = (n >> shift).min(ESCAPE) as usize;
        if table.tokens[token].count == 0 {
            token = ESCAPE as usize;
        }
        let of = table.tokens[token];
        let state = &mut states[i % 2];
        let bits = state.wrapping_add(of.threshold) >> 16;
        *piece = ((*state & ((1 << bits) - 1)) as u16, bits as u8, token as u64 == ESCAPE);
        *state = u32::from(table.states[((*state >> bits) as i32 + of.first) as usize]);
    }
    let mut bits = BitsOut { out, word: 0, filled: 0 };
    for state in states {
        bits.put(u64::from(state) - STATES as u64, STATE_BITS);
    }
    for (&n, (state, state_bits, escaped)) in numbers.iter().zip(pieces) {
        bits.put(state.into(), state_bits.into());
        if escaped {
            let width = width_of(n >> shift).max(1);
            bits.put(u64::from(width) - 1, ESCAPE_BITS);
            bits.put(n >> shift, width);
        }
        bits.put(n & low_bits(shift), shift);
    }
    bits.finish();
}

/// Writes bits, the lowest first.
struct BitsOut<'a> {
    out: &'a mut Vec<u8>,
    word: u64,
    filled: u32,
}

impl BitsOut<'_> {
    /// Writes the lowest `n` bits of `v`, which has no others.
    fn put(&mut self, v: u64, n: u32) {
        if n == 0 {
            return;
        }
        self.word |= v << self.filled;
        self.filled += n;
        if self.filled >= 64 {
            self.out.extend_from_slice(&self.word.to_le_bytes());
            self.filled -= 64;
            self.word = if self.filled == 0 { 0 } else { v >> (n - self.filled) };
        }
    }

    fn finish(self) {
        self.out.extend_from_slice(&self.word.to_le_bytes()[..self.filled.div_ceil(8) as usize]);
    }
}

/// A mask of `n` bits, fewer than 64.
#[inline(always)]
fn low_bits(n: u32) -> u64 {
    (1 << n) - 1
}

/// A column being read from its first number on. Bits beyond the end read as zeros.
pub(super) struct Reader<'a> {
    steps: &'static [Step; STATES],
    shift: u32,
    bits: &'a [u8],
    /// The last eight bytes of the bits and zeros behind them, and where those eight start.
    tail: [u8; 16],
    tail_at: usize,
    at: usize,
    /// The state of the next number, and of the one after it.
    states: [u32; 2],
}

impl<'a> Reader<'a> {
    /// `None` where there is no such code.
    pub(super) fn new(table: u8, shift: u8, bits: &'a [u8]) -> Option<Self> {
        let steps = &TABLE.get(usize::from(table))?.steps;
        let shift = u32::from(shift);
        if shift > SHIFT_MAX {
            return None;
        }
        let tail_at = bits.len().saturating_sub(8);
        let mut tail = [0; 16];
        tail[..bits.len() - tail_at].copy_from_slice(&bits[tail_at..]);
        let mut reader = Self { steps, shift, bits, tail, tail_at, at: 0, states: [0; 2] };
        reader.states = [reader.take(STATE_BITS) as u32, reader.take(STATE_BITS) as u32];
        Some(reader)
    }

    /// Gives the next numbers, one for each place of `out`.
    pub(super) fn fill(&mut self, out: &mut [i64]) {
        lanes::run(Fill { reader: self, out });
    }

    /// [`fill`](Self::fill) by groups of G, an even number, whose bits lie within one word where none of them is escaped;
    /// RAW where there are raw low bits.
    #[inline(always)]
    fn fill_groups<const G: usize, const RAW: bool>(&mut self, out: &mut [i64]) {
        let shift = if RAW { self.shift } else { 0 };
        let (steps, low) = (self.steps, low_bits(shift));
        let (mut states, mut at) = (self.states, self.at);
        let (groups, rest) = out.as_chunks_mut::<G>();
        for group in groups {
            let mut word = self.word(at);
            let ([mut a, mut b], mut end, mut escaped) = (states, at + G * shift as usize, false);
            for x in group.iter_mut() {
                let Some(step) = steps.get(a as usize) else { return };
                (a, b) = (b, u32::from(step.next) + (word as u32 & u32::from(step.mask)));
                word >>= step.bits;
                end += usize::from(step.bits);
                escaped |= u64::from(step.token) == ESCAPE;
                *x = (u64::from(step.token) << shift | word & low) as i64;
                word >>= shift;
            }
            if escaped {
                (self.states, self.at) = (states, at);
                self.fill_each(group);
                (states, at) = (self.states, self.at);
            } else {
                (states, at) = ([a, b], end);
            }
        }
        (self.states, self.at) = (states, at);
        self.fill_each(rest);
    }

    /// [`fill`](Self::fill) number by number.
    #[inline(never)]
    fn fill_each(&mut self, out: &mut [i64]) {
        for x in out {
            let [state, other] = self.states;
            let Some(step) = self.steps.get(state as usize) else { return };
            let next = u32::from(step.next) + self.take(step.bits.into()) as u32;
            self.states = [other, next];
            *x = match u64::from(step.token) {
                ESCAPE => self.escaped() as i64,
                token => (token << self.shift | self.take(self.shift)) as i64,
            };
        }
    }

    fn escaped(&mut self) -> u64 {
        let width = self.take(ESCAPE_BITS) as u32 + 1;
        let low = self.take(width.min(32));
        let number = if width > 32 { low | self.take(width - 32) << 32 } else { low };
        number << self.shift | self.take(self.shift)
    }

    /// The next `n` bits, at most [`WORD_BITS`].
    #[inline(always)]
    fn take(&mut self, n: u32) -> u64 {
        let v = self.word(self.at) & low_bits(n);
        self.at += n as usize;
        v
    }

    /// The bits from `at` on, [`WORD_BITS`] of them at least.
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        let bytes = match self.bits.get(at >> 3..).and_then(|b| b.first_chunk::<8>()) {
            Some(bytes) => *bytes,
            None => self.last_bytes(at >> 3),
        };
        u64::from_le_bytes(bytes) >> (at & 7)
    }

    /// Eight bytes from `from` on, where fewer are left.
    fn last_bytes(&self, from: usize) -> [u8; 8] {
        let at = from.saturating_sub(self.tail_at).min(8);
        self.tail.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default()
    }
}

/// The work of [`Reader::fill`].
struct Fill<'a, 'b> {
    reader: &'a mut Reader<'b>,
    out: &'a mut [i64],
}

impl Loop for Fill<'_, '_> {
    #[inline(always)]
    fn run(self) {
        match self.reader.shift {
            0 => self.reader.fill_groups::<4, false>(self.out),
            1..=SHIFT_OF_FOUR => self.reader.fill_groups::<4, true>(self.out),
            shift if shift <= SHIFT_OF_TWO => self.reader.fill_groups::<2, true>(self.out),
            _ => self.reader.fill_each(self.out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_round_trip(numbers: &[u64], code: Code, piece: usize) -> Vec<u8> {
        let mut out = vec![];
        encode(numbers, code, &mut out);
        let mut reader = Reader::new(code.table, code.shift, &out).unwrap();
        let mut back = vec![0; numbers.len()];
        back.chunks_mut(piece).for_each(|p| reader.fill(p));
        assert!(back.iter().map(|&n| n as u64).eq(numbers.iter().copied()));
        assert_eq!(reader.at.div_ceil(8), out.len());
        out
    }

    #[test]
    fn the_tables_are_a_contract() {
        let mut bytes = vec![];
        for counts in &COUNTS {
            assert_eq!(counts.iter().map(|&n| usize::from(n)).sum::<usize>(), STATES);
            assert!(counts[ESCAPE as usize] > 0);
            bytes.extend(counts.iter().flat_map(|n| n.to_le_bytes()));
        }
        assert_eq!(crc32c::crc32c(&bytes), CONTRACT);
    }

    const CONTRACT: u32 = 2_066_802_091;

    #[test]
    fn golden() {
        let code = Code { table: 10, shift: 0, cost: 0 };
        assert_eq!(check_round_trip(&[0, 1, 2, 0, 1, 100], code, 2), GOLDEN);
        let code = Code { table: 50, shift: 3, cost: 0 };
        assert_eq!(check_round_trip(&[8, 17, 0, 9], code, 3), GOLDEN_SHIFTED);
    }

    const GOLDEN: &[u8] = &[57, 153, 247, 2, 128, 65, 6];
    const GOLDEN_SHIFTED: &[u8] = &[67, 38, 57, 14, 32];

    #[test]
    fn columns_take_what_their_entropy_says() {
        // Ten tokens alike often: 3.32 bits each.
        let numbers: Vec<u64> =
            (0..4000u64).map(|i| xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()) % 10).collect();
        let bytes = check_round_trip(&numbers, choose(&numbers), 256).len();
        assert!((1660..1790).contains(&bytes), "{bytes}");
        let zeros = vec![0; 4000];
        assert!(check_round_trip(&zeros, choose(&zeros), 256).len() < 12);
    }

    #[test]
    fn codes_that_no_writer_makes_are_refused() {
        assert!(Reader::new(64, 0, &[]).is_none());
        assert!(Reader::new(0, 45, &[]).is_none());
    }

    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let one = prop_oneof![20 => 0u64..12, 5 => 0u64..300, 1 => any::<u64>(), 1 => Just(u64::MAX)];
        (proptest::collection::vec(one, 0..300), 0u32..40).prop_map(|(mut v, scale)| {
            v.iter_mut().for_each(|n| *n = n.checked_shl(scale).filter(|s| s >> scale == *n).unwrap_or(*n));
            v
        })
    }

    proptest! {
        #[test]
        fn round_trip(numbers in numbers(), table in 0u8..64, shift in 0u8..=44, piece in 1usize..40) {
            check_round_trip(&numbers, Code { table, shift, cost: 0 }, piece);
            let code = choose(&numbers);
            let bits = check_round_trip(&numbers, code, piece).len() * 8;
            prop_assert!(bits.abs_diff(code.cost) <= 32 + numbers.len() / 8, "{} of {}", bits, code.cost);
        }

        #[test]
        fn arbitrary_bytes_give_the_same_by_any_form(bytes: Vec<u8>, table in 0u8..66, shift in 0u8..48, n in 0usize..500) {
            let filled = |fill: fn(&mut Reader<'_>, &mut [i64])| {
                let mut out = vec![0; n];
                Reader::new(table, shift, &bytes).map(|mut reader| fill(&mut reader, &mut out)).map(|()| out)
            };
            let each = filled(|reader, out| reader.fill_each(out));
            prop_assert_eq!(&filled(|reader, out| Fill { reader, out }.run()), &each);
            prop_assert_eq!(&filled(|reader, out| reader.fill(out)), &each);
        }
    }
}
