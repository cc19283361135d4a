//! LEB128 varints and zigzag, the integers of every variable-length structure on disk and of protobuf.

/// The most bytes that a 64-bit varint takes.
pub const VARINT_LEN_MAX: usize = 10;

/// Appends `v` in its shortest form.
pub fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// The number of bytes that [`put`] writes for `v`.
pub fn len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads one varint from the front of `bytes`, and moves past it. `None` when it is cut off or exceeds 64 bits; forms
/// longer than necessary are read.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    match *bytes {
        // Most numbers are small.
        [b @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u64::from(*b))
        }
        _ => take_long(bytes),
    }
}

/// [`take`] of any length.
fn take_long(bytes: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for (i, &b) in bytes.iter().enumerate().take(VARINT_LEN_MAX) {
        if i == VARINT_LEN_MAX - 1 && b > 1 {
            return None;
        }
        v |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some(v);
        }
    }
    None
}

/// Maps small magnitudes of either sign to small unsigned numbers.
pub fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// Reads a varint length and that many bytes, and moves past them. `None` when they are not all there.
pub fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = usize::try_from(take(bytes)?).ok()?;
    let (head, tail) = bytes.split_at_checked(n)?;
    *bytes = tail;
    Some(head)
}

/// Appends the length of `s` as a varint, then `s`.
pub fn put_bytes(out: &mut Vec<u8>, s: &[u8]) {
    put(out, s.len() as u64);
    out.extend_from_slice(s);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden() {
        let check = |v, want: &[u8]| {
            let mut out = vec![];
            put(&mut out, v);
            assert_eq!(out, want, "{v}");
        };
        check(0, &[0]);
        check(127, &[0x7f]);
        check(128, &[0x80, 1]);
        check(u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }

    #[test]
    fn too_long_or_cut_off_is_refused() {
        assert_eq!(take(&mut &[0x80u8][..]), None);
        assert_eq!(take(&mut &[0xffu8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
        assert_eq!(take_bytes(&mut &[3u8, 1, 2][..]), None);
    }

    proptest! {
        #[test]
        fn round_trip(v: u64, shift in 0u32..64, s: i64, tail: Vec<u8>) {
            let v = v >> shift;
            let mut out = vec![];
            put(&mut out, v);
            prop_assert_eq!(out.len(), len(v));
            out.extend_from_slice(&tail);
            let mut rest = &out[..];
            prop_assert_eq!(take(&mut rest), Some(v));
            prop_assert_eq!(rest, &tail[..]);
            prop_assert_eq!(unzigzag(zigzag(s)), s);
        }
    }
}
