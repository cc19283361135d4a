//! Numbers of one width, packed lowest bit first. Widths are 0 to 56 or 64, so that any number lies within one unaligned
//! 64-bit load: unpacking is a load, a shift and a mask.

use super::lanes;

/// The number of bits that `v` needs.
pub(super) fn width_of(v: u64) -> u32 {
    64 - v.leading_zeros()
}

/// The least width that is packed and not below `width`.
pub(super) fn packed_width(width: u32) -> u32 {
    if width > 56 { 64 } else { width }
}

/// The bytes that `n` numbers of `width` bits take.
pub(super) fn packed_len(n: usize, width: u32) -> usize {
    (n * width as usize).div_ceil(8)
}

/// Appends `numbers`, each below `2^width`.
pub(super) fn pack(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut word, mut filled) = (0u64, 0u32);
    for v in numbers {
        debug_assert!(width_of(v) <= width, "a number is wider than its column");
        word |= v << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= 64;
            word = if filled == 0 { 0 } else { v >> (width - filled) };
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

/// Reads numbers `first..` of a column into `out`, adding `base` to each. Bits beyond the end of `packed` read as zero.
pub(super) fn unpack(packed: &[u8], width: u32, base: i64, first: usize, out: &mut [i64]) {
    match width {
        0 => out.fill(base),
        _ => lanes::unpack(packed, width, base, first, out),
    }
}

/// Eight bytes from `at` on.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        Some(b) => u64::from_le_bytes(*b),
        None => last_word(bytes, at),
    }
}

/// [`word`] where fewer than eight bytes are left.
#[cold]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or(&[]);
    rest.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let mut out = vec![];
        pack([1, 2, 3, 7].into_iter(), 3, &mut out);
        assert_eq!(out, [0b11_010_001, 0b1110]);
    }

    proptest! {
        #[test]
        fn round_trip(
            numbers in proptest::collection::vec(any::<u64>(), 0..200), width in 0u32..=64, base: i64, from in 0usize..200
        ) {
            let width = packed_width(width);
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let mut out = vec![];
            pack(numbers.iter().map(|v| v & mask), width, &mut out);
            prop_assert_eq!(out.len(), packed_len(numbers.len(), width));
            let from = from.min(numbers.len());
            let mut back = vec![0; numbers.len() - from];
            unpack(&out, width, base, from, &mut back);
            let want: Vec<i64> = numbers[from..].iter().map(|v| base.wrapping_add((v & mask) as i64)).collect();
            prop_assert_eq!(back, want);
        }
    }
}
