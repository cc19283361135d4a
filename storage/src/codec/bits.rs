//! Bit streams of the XOR encodings, highest bit of each byte first, and the window of significant bits that both share.

use super::error::ChunkError;

/// Writes into a buffer that has nine bytes of room behind the position of every write.
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    /// Bits written, those of the buffer's partial first byte included.
    position: usize,
}

impl<'a> BitWriter<'a> {
    /// A writer that goes on after the first `position` bits of `bytes`.
    pub(super) fn new(bytes: &'a mut [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    /// Writes the low `n` bits of `v`, 1 to 64; the higher ones must be 0. The rest of the last byte becomes 0.
    pub(super) fn put(&mut self, v: u64, n: u32) {
        debug_assert!((1..=64).contains(&n) && v.checked_shr(n).unwrap_or(0) == 0);
        let (at, used) = (self.position / 8, (self.position % 8) as u32);
        let window = self.bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<9>());
        let window = window.expect("a bit writer is given nine bytes of room");
        let kept = u128::from(window[0]) & (0xff00 >> used);
        let word = kept << 120 | u128::from(v) << (128 - used - n);
        window.copy_from_slice(&word.to_be_bytes()[..9]);
        self.position += n as usize;
    }

    /// How many bits stand in the buffer.
    pub(super) fn position(&self) -> usize {
        self.position
    }
}

/// Reads bits from bytes of any origin. Beyond the end there are zeros: [`BitReader::finish`] finds out, so that the
/// hot loop need not ask.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// A reader from the first bit on.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next 57 bits or more, on top of the word.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.position / 8..).unwrap_or(&[]);
        let word = match rest.first_chunk::<8>() {
            Some(b) => u64::from_be_bytes(*b),
            None => last_word(rest),
        };
        word << (self.position % 8)
    }

    /// Moves past `n` bits.
    #[inline(always)]
    pub(super) fn skip(&mut self, n: u32) {
        self.position += n as usize;
    }

    /// The next `n` bits, 1 to 64, as the low bits of a number.
    #[inline(always)]
    pub(super) fn take(&mut self, n: u32) -> u64 {
        if n > 57 {
            let high = self.take(n - 32);
            return high << 32 | self.take(32);
        }
        let v = self.peek() >> (64 - n);
        self.skip(n);
        v
    }

    /// How many bits were read; refuses reading beyond the end, and anything left but the zeros that fill up the last byte.
    pub(super) fn finish(mut self) -> Result<usize, ChunkError> {
        let (position, end) = (self.position, self.bytes.len() * 8);
        if position > end {
            let expected = position.div_ceil(8) as u64;
            return Err(ChunkError::CutOff { expected, found: self.bytes.len() as u64 });
        }
        let left = (end - position) as u32;
        if left > 7 || (left > 0 && self.take(left) != 0) {
            return Err(ChunkError::Malformed("bits follow the values"));
        }
        Ok(position)
    }
}

/// The word of fewer than eight bytes, zeros behind them.
#[cold]
fn last_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(word)
}

/// Where the significant bits of a XOR stand: after `leading` zeros, `length` of them; length 0 where there was none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct XorWindow {
    leading: u8,
    length: u8,
}

impl XorWindow {
    /// The bits by which a window is written.
    const HEADER_BITS: u32 = 11;

    /// The narrowest window of `x`, which is not 0. Leading zeros are counted up to 31.
    fn of(x: u64) -> Self {
        let leading = x.leading_zeros().min(31);
        Self { leading: leading as u8, length: (64 - leading - x.trailing_zeros()) as u8 }
    }

    fn trailing(self) -> u32 {
        64 - u32::from(self.leading) - u32::from(self.length)
    }

    /// Whether `x` can be written through this window and saves nothing by a window of its own.
    fn serves(self, x: u64, own: Self) -> bool {
        self.length > 0
            && x.leading_zeros() >= u32::from(self.leading)
            && x.trailing_zeros() >= self.trailing()
            && u32::from(self.length) <= u32::from(own.length) + Self::HEADER_BITS
    }

    /// Writes `x`, not 0: `10` and the bits within this window, or `own` (with its length) and a window of its own.
    pub(super) fn put(&mut self, x: u64, own: (u64, u32), w: &mut BitWriter<'_>) {
        let narrowest = Self::of(x);
        if self.serves(x, narrowest) {
            w.put(0b10, 2);
        } else {
            *self = narrowest;
            let header = u64::from(self.leading) << 6 | u64::from(self.length - 1);
            w.put(own.0 << Self::HEADER_BITS | header, own.1 + Self::HEADER_BITS);
        }
        w.put(x >> self.trailing(), u32::from(self.length));
    }

    /// Reads the header of a new window.
    #[inline]
    pub(super) fn take(bits: &mut BitReader<'_>) -> Result<Self, ChunkError> {
        let header = bits.take(Self::HEADER_BITS);
        let window = Self { leading: (header >> 6) as u8, length: (header & 63) as u8 + 1 };
        if window.leading + window.length > 64 {
            return Err(ChunkError::Malformed("a XOR has more than 64 bits"));
        }
        Ok(window)
    }

    /// Reads the bits of a XOR within this window.
    #[inline]
    pub(super) fn take_xor(self, bits: &mut BitReader<'_>) -> Result<u64, ChunkError> {
        if self.length == 0 {
            return Err(ChunkError::Malformed("a XOR comes before its window"));
        }
        Ok(bits.take(u32::from(self.length)) << self.trailing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(numbers in proptest::collection::vec((any::<u64>(), 1u32..=64), 0..50)) {
            let mut bytes = vec![0xff; 50 * 8 + 9];
            let mut w = BitWriter::new(&mut bytes, 0);
            for &(v, n) in &numbers {
                w.put(v >> (64 - n), n);
            }
            let bits = w.position();
            bytes.truncate(bits.div_ceil(8));
            let mut r = BitReader::new(&bytes);
            for &(v, n) in &numbers {
                prop_assert_eq!(r.take(n), v >> (64 - n));
            }
            prop_assert_eq!(r.finish(), Ok(bits));
            let mut beyond = BitReader::new(&bytes);
            beyond.skip(bytes.len() as u32 * 8);
            prop_assert_eq!(beyond.take(64), 0);
            prop_assert!(beyond.finish().is_err());
        }
    }
}
