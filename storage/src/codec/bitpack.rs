//! Numbers of one width, packed lowest bit first. Widths are 0 to 56 or 64, so that any number lies within one unaligned
//! 64-bit load: unpacking is a load, a shift and a mask.

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
    if width == 0 {
        out.fill(base);
        return;
    }
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
