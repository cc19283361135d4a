//! Encoding 2: one value for all samples.

use super::decimal::{EXPONENT_MAX, exponent_of, from_int};
use super::error::{ChunkError, take_array, take_u8, take_zigzag};
use crate::model::varint::{self, zigzag};

/// Instead of an exponent: the value follows as it is.
const AS_IS: u8 = 255;

/// Appends the values section for any number of values with the bits of `v`.
pub(super) fn encode(v: f64, out: &mut Vec<u8>) {
    match exponent_of(v, 0, EXPONENT_MAX) {
        Some((exponent, d)) => {
            out.push(exponent);
            varint::put(out, zigzag(d));
        }
        None => {
            out.push(AS_IS);
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
    }
}

/// Appends the value `count` times to `out`.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let v = value(section)?;
    out.resize(out.len() + count, v);
    Ok(())
}

/// The value.
pub(super) fn value(mut section: &[u8]) -> Result<f64, ChunkError> {
    let bytes = &mut section;
    let v = match take_u8(bytes)? {
        AS_IS => f64::from_bits(u64::from_le_bytes(take_array(bytes)?)),
        exponent @ 0..=EXPONENT_MAX => from_int(take_zigzag(bytes)?, exponent),
        _ => return Err(ChunkError::Malformed("a constant has an impossible exponent")),
    };
    if !bytes.is_empty() {
        return Err(ChunkError::Malformed("bytes follow the constant"));
    }
    Ok(v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::check_decoded;
    use proptest::prelude::*;

    fn check_round_trip(v: f64) -> Vec<u8> {
        let mut out = vec![];
        encode(v, &mut out);
        check_decoded(decode, &out, &[v; 3]);
        out
    }

    #[test]
    fn golden() {
        assert_eq!(check_round_trip(1.0), [0, 2]);
        assert_eq!(check_round_trip(-0.25), [2, 49]);
        assert_eq!(check_round_trip(-0.0), [255, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    }

    proptest! {
        #[test]
        fn round_trip(bits: u64) {
            check_round_trip(f64::from_bits(bits));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, 3, &mut vec![]);
        }
    }
}
