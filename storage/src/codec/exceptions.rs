//! Values that do not fit a chunk's model, as runs of equal bits: staleness markers, NaN payloads, negative zeros.

use super::error::{ChunkError, take_array, take_u8, take_varint};
use crate::model::{STALE_NAN_BITS, varint};

const AS_IS: u8 = 0;
const STALE: u8 = 1;

/// Appends the exceptions of `values` at the ascending `indices`.
pub(super) fn put(values: &[f64], indices: &[u32], out: &mut Vec<u8>) {
    let bits = |i: u32| values[i as usize].to_bits();
    let same_run = |a: &u32, b: &u32| a + 1 == *b && bits(*a) == bits(*b);
    varint::put(out, indices.chunk_by(same_run).count() as u64);
    let mut end = 0;
    for run in indices.chunk_by(same_run) {
        varint::put(out, u64::from(run[0] - end));
        varint::put(out, run.len() as u64);
        end = run[0] + run.len() as u32;
        if bits(run[0]) == STALE_NAN_BITS {
            out.push(STALE);
        } else {
            out.push(AS_IS);
            out.extend_from_slice(&bits(run[0]).to_le_bytes());
        }
    }
}

/// Exceptions as they stand in a chunk, checked.
#[derive(Default)]
pub(super) struct Exceptions<'a> {
    runs: usize,
    bytes: &'a [u8],
}

/// One run of equal values: how far from the end of the last, how many.
struct Run {
    gap: usize,
    len: usize,
    value: f64,
}

/// Checks the exceptions of `count` values at the front of `bytes`, and moves past them.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<Exceptions<'a>, ChunkError> {
    let malformed = ChunkError::Malformed("an exception lies beyond its values");
    let runs = usize::try_from(take_varint(bytes)?).ok().filter(|&n| n <= count).ok_or(malformed)?;
    let start = *bytes;
    let mut left = count;
    for _ in 0..runs {
        let run = Run::take(bytes)?;
        left = left.checked_sub(run.gap).and_then(|n| n.checked_sub(run.len)).ok_or(malformed)?;
    }
    Ok(Exceptions { runs, bytes: start })
}

impl Exceptions<'_> {
    /// Puts the exceptions in their places.
    pub(super) fn apply(mut self, values: &mut [f64]) {
        let mut rest = values;
        for _ in 0..self.runs {
            let Ok(run) = Run::take(&mut self.bytes) else { return };
            let Some((_, tail)) = rest.split_at_mut_checked(run.gap) else { return };
            let Some((places, tail)) = tail.split_at_mut_checked(run.len) else { return };
            places.fill(run.value);
            rest = tail;
        }
    }
}

impl Run {
    fn take(bytes: &mut &[u8]) -> Result<Self, ChunkError> {
        let too_long = |_| ChunkError::Malformed("an exception lies beyond its values");
        let gap = usize::try_from(take_varint(bytes)?).map_err(too_long)?;
        let len = usize::try_from(take_varint(bytes)?).map_err(too_long)?;
        let bits = match take_u8(bytes)? {
            AS_IS => u64::from_le_bytes(take_array(bytes)?),
            STALE => STALE_NAN_BITS,
            _ => return Err(ChunkError::Malformed("an exception is of no known form")),
        };
        if len == 0 {
            return Err(ChunkError::Malformed("an exception covers no value"));
        }
        Ok(Self { gap, len, value: f64::from_bits(bits) })
    }
}
