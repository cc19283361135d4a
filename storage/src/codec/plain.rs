//! The encodings that stand for themselves: no other chunk and no other encoding has a part in them.

use super::chunk::Encoding;
use super::error::ChunkError;
use super::{constant, decimal, multiple, rational, residual, xor};

/// Appends the `count` values of an encoding that stands for itself; `None` for any other.
pub(super) fn decode(
    encoding: Encoding,
    values: &[u8],
    count: usize,
    out: &mut Vec<f64>,
) -> Option<Result<(), ChunkError>> {
    Some(match encoding {
        Encoding::Constant => constant::decode(values, count, out),
        Encoding::Decimal => decimal::decode(values, count, out),
        Encoding::Xor => xor::decode(values, count, out),
        Encoding::Rational => rational::decode(values, count, out),
        Encoding::Residual => residual::decode(values, count, out),
        Encoding::Multiple => multiple::decode(values, count, out),
        _ => return None,
    })
}
