//! Encoding 4: the XOR of neighbours, for doubles of many digits. After Pelkonen et al., *Gorilla: a fast, scalable,
//! in-memory time series database* (VLDB 2015), section 4.1.2, with this deviation: a window that is wider than
//! necessary by more than a new window's header is given up.

use super::bits::{BitReader, BitWriter, XorWindow};
use super::error::ChunkError;

/// What introduces a new window.
const NEW_WINDOW: (u64, u32) = (0b11, 2);

/// The most bytes of one value: control bits, header and 64 bits.
const VALUE_BYTES_MAX: usize = 10;

/// Appends the values section for at least one value.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * VALUE_BYTES_MAX + 9, 0);
    let mut w = BitWriter::new(&mut out[start..], 0);
    let mut last = values[0].to_bits();
    w.put(last, 64);
    let mut window = XorWindow::default();
    for v in &values[1..] {
        match v.to_bits() ^ last {
            0 => w.put(0, 1),
            x => window.put(x, NEW_WINDOW, &mut w),
        }
        last = v.to_bits();
    }
    let bits = w.position();
    out.truncate(start + bits.div_ceil(8));
}

/// Appends the `count` values of a section to `out`. On error `out` may have grown.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let mut bits = BitReader::new(section);
    let mut last = bits.take(64);
    let mut window = XorWindow::default();
    out.reserve(count);
    out.push(f64::from_bits(last));
    let mut next = || {
        let control = bits.peek() >> 62;
        if control < 0b10 {
            bits.skip(1);
            return Ok(f64::from_bits(last));
        }
        bits.skip(2);
        if control == NEW_WINDOW.0 {
            window = XorWindow::take(&mut bits)?;
        }
        last ^= window.take_xor(&mut bits)?;
        Ok(f64::from_bits(last))
    };
    for _ in 1..count {
        out.push(next()?);
    }
    bits.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal::tests::values;
    use crate::codec::testing::check_decoded;
    use proptest::prelude::*;

    fn check_round_trip(values: &[f64]) -> Vec<u8> {
        let mut out = vec![];
        encode(values, &mut out);
        check_decoded(decode, &out, values);
        out
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        // 1.0 = 3ff0…, 1.0 again, then 1.5 (XOR 0008…: 12 leading zeros, one bit), then 1.0 through the same window.
        let want = [0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0b0_11_01100, 0b000000_1_1, 0b0_1_000000];
        assert_eq!(check_round_trip(&[1.0, 1.0, 1.5, 1.0]), want);
    }

    #[test]
    fn impossible_bits_are_refused() {
        let check = |tail: &[u8], count, want: &str| {
            let section = [&[0; 8], tail].concat();
            let e = decode(&section, count, &mut vec![]).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        };
        check(&[], 2, "cut off");
        check(&[0b1000_0000], 2, "window");
        check(&[0b1111_1111, 0b1111_1111], 2, "64 bits");
        check(&[0], 1, "follow");
        check(&[1], 2, "follow");
    }

    proptest! {
        #[test]
        fn round_trip(values in values(1..300)) {
            check_round_trip(&values);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..1000) {
            let _ = decode(&bytes, count, &mut vec![]);
        }
    }
}
