//! Values that do not fit a chunk's model, as runs of equal bits: staleness markers, NaN payloads, negative zeros; and the
//! split of values into columns of integers and such exceptions.

use super::error::{ChunkError, take_array, take_u8, take_varint};
use super::ints::PIECE;
use crate::model::{STALE_NAN_BITS, varint};

const AS_IS: u8 = 0;
const STALE: u8 = 1;

/// In a section's first byte: exceptions follow it.
const HAS_EXCEPTIONS: u8 = 0x80;

/// Values as N columns of integers.
pub(super) struct Columns<const N: usize> {
    /// One integer per value in each; in the place of an exception stands a neighbour's.
    pub(super) columns: [Vec<i64>; N],
    /// The ascending indices of values that are no such integers.
    pub(super) exceptions: Vec<u32>,
}

impl<const N: usize> Columns<N> {
    /// Splits each value by `split`; where that gives none, it is an exception.
    #[inline]
    pub(super) fn of(values: &[f64], split: impl Fn(f64) -> Option<[i64; N]>) -> Self {
        let mut columns = [(); N].map(|()| Vec::with_capacity(values.len()));
        let mut exceptions = Vec::new();
        // Exceptions at the front stand where the first integers do.
        let mut last = values.iter().find_map(|&v| split(v)).unwrap_or([0; N]);
        // Values often repeat, and some ways to split them are slow.
        let mut before: Option<(u64, bool)> = None;
        for (i, &v) in values.iter().enumerate() {
            let fits = match before {
                Some((bits, fits)) if bits == v.to_bits() => fits,
                _ => split(v).map(|ints| last = ints).is_some(),
            };
            before = Some((v.to_bits(), fits));
            if !fits {
                exceptions.push(i as u32);
            }
            for (column, d) in columns.iter_mut().zip(last) {
                column.push(d);
            }
        }
        Self { columns, exceptions }
    }
}

/// Appends a section's first byte, and the exceptions if there are any.
pub(super) fn put_shape(shape: u8, values: &[f64], exceptions: &[u32], out: &mut Vec<u8>) {
    if exceptions.is_empty() {
        out.push(shape);
    } else {
        out.push(shape | HAS_EXCEPTIONS);
        put(values, exceptions, out);
    }
}

/// Whether a section has exceptions; one without a first byte is damaged, and may have had some.
pub(super) fn has_some(section: &[u8]) -> bool {
    section.first().is_none_or(|shape| shape & HAS_EXCEPTIONS != 0)
}

/// Takes a whole section of `count` values apart: its first byte, the exceptions that it announces, and what `rest` takes of
/// the bytes behind them, given the first byte's other bits.
pub(super) fn take_section<'a, T>(
    mut section: &'a [u8],
    count: usize,
    rest: impl FnOnce(u8, &mut &'a [u8]) -> Result<T, ChunkError>,
) -> Result<(T, Exceptions<'a>), ChunkError> {
    let bytes = &mut section;
    let shape = take_u8(bytes)?;
    let exceptions = if shape & HAS_EXCEPTIONS != 0 { take(bytes, count)? } else { Exceptions::default() };
    let rest = rest(shape & !HAS_EXCEPTIONS, bytes)?;
    if !bytes.is_empty() {
        return Err(ChunkError::Malformed("bytes follow the values"));
    }
    Ok((rest, exceptions))
}

/// Appends the exceptions of `values` at the ascending `indices`.
fn put(values: &[f64], indices: &[u32], out: &mut Vec<u8>) {
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
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<Exceptions<'a>, ChunkError> {
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
    /// Appends `count` values: those that `fill` gives, piece by piece, and the exceptions in their places.
    #[inline]
    pub(super) fn extend(self, count: usize, out: &mut Vec<f64>, fill: impl FnMut(&mut [f64])) {
        let before = out.len();
        out.resize(before + count, 0.0);
        out[before..].chunks_mut(PIECE).for_each(fill);
        self.apply(&mut out[before..]);
    }

    /// Puts the exceptions in their places.
    fn apply(mut self, values: &mut [f64]) {
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
