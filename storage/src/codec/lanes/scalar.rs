//! The loops in plain Rust: what all others must equal.

use super::SPREAD_ROOM;
use crate::codec::bitpack::word;

pub(super) fn unpack(packed: &[u8], width: u32, base: i64, first: usize, out: &mut [i64]) {
    let head = (first.next_multiple_of(8) - first).min(out.len());
    let (head, rest) = out.split_at_mut(head);
    unpack_each(packed, width, base, first, head);
    let first = first + head.len();
    let groups = packed.get(first * width as usize / 8..).unwrap_or(&[]);
    let done = unpack_groups(groups, width, base, rest);
    unpack_each(packed, width, base, first + done, &mut rest[done..]);
}

/// [`unpack`] number by number.
fn unpack_each(packed: &[u8], width: u32, base: i64, first: usize, out: &mut [i64]) {
    let mask = u64::MAX >> (64 - width);
    for (bit, o) in (first * width as usize..).step_by(width as usize).zip(out) {
        let v = word(packed, bit >> 3) >> (bit & 7) & mask;
        *o = base.wrapping_add(v as i64);
    }
}

/// Unpacks as many whole groups of eight numbers as there are; gives how many numbers those are. Eight numbers of W bits
/// are W bytes, so that with W known all offsets and shifts are constants.
fn unpack_groups(packed: &[u8], width: u32, base: i64, out: &mut [i64]) -> usize {
    macro_rules! by_width {
        ($($w:literal)*) => {
            match width {
                $($w => groups_of::<$w>(packed, base, out),)*
                _ => 0,
            }
        };
    }
    by_width!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41
        42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 64
    )
}

fn groups_of<const W: usize>(packed: &[u8], base: i64, out: &mut [i64]) -> usize {
    let (groups, _) = packed.as_chunks::<W>();
    let (outs, _) = out.as_chunks_mut::<8>();
    let done = groups.len().min(outs.len());
    for (group, out) in groups.iter().zip(outs) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = base.wrapping_add(one_of_group(group, i) as i64);
        }
    }
    8 * done
}

/// Number `i` of a group.
#[inline(always)]
fn one_of_group<const W: usize>(group: &[u8; W], i: usize) -> u64 {
    let bit = i * W;
    // The last loads begin earlier, so that none leaves the group.
    let at = (bit / 8).min(W.saturating_sub(8));
    let mut bytes = [0; 8];
    let n = W.min(8);
    bytes[..n].copy_from_slice(&group[at..at + n]);
    u64::from_le_bytes(bytes) >> (bit - 8 * at) & (u64::MAX >> (64 - W))
}

pub(super) fn sum_up(last: &mut i64, numbers: &mut [i64]) {
    let mut sum = *last;
    for x in numbers {
        sum = sum.wrapping_add(*x);
        *x = sum;
    }
    *last = sum;
}

pub(super) fn quotients(values: &mut [f64], divisor: f64) {
    values.iter_mut().for_each(|v| *v = v.to_bits() as i64 as f64 / divisor);
}

pub(super) fn products(values: &mut [f64], factor: f64) {
    values.iter_mut().for_each(|v| *v = v.to_bits() as i64 as f64 * factor);
}

/// Eight at a time and without a branch for each run: where runs end is what the processor cannot foresee.
pub(super) fn spread(runs: &[f64], changes: &[u64], values: &mut [f64]) {
    let (mut at, mut carry) = (0, 0);
    for (values, &word) in values.chunks_mut(64).zip(changes) {
        // Bit i is to say whether place i goes on, not the one behind it.
        let starts = word << 1 | carry;
        carry = word >> 63;
        for (values, byte) in values.chunks_mut(8).zip(starts.to_le_bytes()) {
            let Some(window) = runs.get(at..).and_then(|r| r.first_chunk::<SPREAD_ROOM>()) else { return };
            if byte == 0 {
                values.fill(window[0]);
                continue;
            }
            let upto = set_upto(byte);
            for (i, v) in values.iter_mut().enumerate() {
                *v = window[(upto >> (8 * i)) as usize % SPREAD_ROOM];
            }
            at += byte.count_ones() as usize;
        }
    }
}

/// In byte i the number of bits that are set in bits 0 to i.
fn set_upto(byte: u8) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let picked = (u64::from(byte) * EACH) & 0x8040_2010_0804_0201;
    // A byte that is not zero has its highest bit set by this, and bytes are at most 128.
    let set = ((picked + 0x7f * EACH) >> 7) & EACH;
    set.wrapping_mul(EACH)
}
