//! Encoding 8: runs of equal values. Where the runs start, and their values in an encoding of their own: for gauges that are
//! computed anew now and then, and cost many bits each time.

use super::chunk::Encoding;
use super::error::{ChunkError, take, take_u8, take_varint};
use super::ints::{self, IntScratch, IntStream, PIECE, Packing};
use super::lanes::{self, SPREAD_ROOM};
use super::plain;
use crate::model::varint;

/// In a section's first byte: the starts are bits, not lengths.
const BITS: u8 = 0x80;

/// More runs than this share of the samples (in fifths) are not worth their starts.
const RUNS_FIFTHS_MAX: usize = 2;

/// One bit for each value but the first, N words of them: whether it differs from the one before.
type Starts<const N: usize> = [u64; N];

/// Words for any chunk, and for one of the lengths that are common.
const WORDS_MAX: usize = super::SAMPLES_MAX.div_ceil(64);
const WORDS_COMMON: usize = 64;

/// The first value of each run; `None` where there are too many runs, or one only.
pub(super) fn heads(values: &[f64]) -> Option<Vec<f64>> {
    let runs = 1 + changes(values).filter(|&changed| changed).count();
    if runs == 1 || runs * 5 > values.len() * RUNS_FIFTHS_MAX {
        return None;
    }
    let later = values.iter().skip(1).zip(changes(values)).filter(|(_, changed)| *changed).map(|(v, _)| *v);
    Some(values.first().copied().into_iter().chain(later).collect())
}

fn changes(values: &[f64]) -> impl Iterator<Item = bool> + '_ {
    values.iter().zip(values.iter().skip(1)).map(|(a, b)| a.to_bits() != b.to_bits())
}

/// Appends the values section, given the runs' values: how many, in what encoding, their section.
pub(super) fn encode(values: &[f64], heads: (usize, Encoding, &[u8]), packing: Packing, out: &mut Vec<u8>) {
    let (runs, encoding, heads) = heads;
    let mut lengths = Vec::with_capacity(runs);
    let mut start = 0;
    for (i, _) in changes(values).enumerate().filter(|(_, changed)| *changed) {
        lengths.push((i - start) as i64);
        start = i + 1;
    }
    let shape = out.len();
    out.push(encoding.number());
    varint::put(out, runs as u64);
    let starts = out.len();
    ints::encode(&lengths, None, &mut IntScratch::new(packing), out);
    if out.len() - starts > (values.len() - 1).div_ceil(8) {
        out[shape] |= BITS;
        out.truncate(starts);
        put_bits(changes(values), out);
    }
    out.extend_from_slice(heads);
}

fn put_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    for (i, bit) in bits.enumerate() {
        if i % 8 == 0 {
            out.push(0);
        }
        if let Some(byte) = out.last_mut() {
            *byte |= u8::from(bit) << (i % 8);
        }
    }
}

/// Appends the `count` values of a section to `out`. On error `out` may have grown.
pub(super) fn decode(section: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    // To clear room for the starts of the longest chunk would take longer than to decode a common one.
    if count <= 64 * WORDS_COMMON {
        decode_within::<WORDS_COMMON>(section, count, out)
    } else {
        decode_within::<WORDS_MAX>(section, count, out)
    }
}

/// The encoding and the section of the runs' values, of a section of `count` values.
pub(super) fn take_heads(mut section: &[u8], count: usize) -> Result<(Encoding, &[u8]), ChunkError> {
    let bytes = &mut section;
    let (shape, runs) = take_shape(bytes, count)?;
    match shape & BITS {
        0 => IntStream::take(bytes, runs - 1).map(|_| ())?,
        _ => take(bytes, (count - 1).div_ceil(8)).map(|_| ())?,
    }
    Ok((Encoding::from_number(shape & !BITS), bytes))
}

/// The first byte, and the number of runs.
fn take_shape(bytes: &mut &[u8], count: usize) -> Result<(u8, usize), ChunkError> {
    let shape = take_u8(bytes)?;
    let runs = usize::try_from(take_varint(bytes)?).map_err(|_| MISFIT)?;
    if runs < 2 || runs > count { Err(MISFIT) } else { Ok((shape, runs)) }
}

/// [`decode`] of at most `64 · N` values.
fn decode_within<const N: usize>(
    mut section: &[u8],
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    let bytes = &mut section;
    let (shape, runs) = take_shape(bytes, count)?;
    let mut starts: Starts<N> = [0; N];
    let starts = &mut starts[..count.div_ceil(64)];
    match shape & BITS {
        0 => take_lengths(bytes, runs - 1, count, starts)?,
        _ => take_bits(bytes, runs - 1, count, starts)?,
    }
    // The values of the runs are decoded behind the places over which they are spread.
    let before = out.len();
    out.reserve(count + runs + SPREAD_ROOM);
    out.resize(before + count, 0.0);
    let encoding = Encoding::from_number(shape & !BITS);
    plain::decode(encoding, bytes, runs, out)
        .unwrap_or(Err(ChunkError::Malformed("runs have values of an impossible encoding")))?;
    out.resize(before + count + runs + SPREAD_ROOM, 0.0);
    let (values, heads) = out[before..].split_at_mut(count);
    lanes::spread(heads, starts, values);
    out.truncate(before + count);
    Ok(())
}

const MISFIT: ChunkError = ChunkError::Malformed("runs do not fit their samples");

/// Turns `n` lengths into starts.
fn take_lengths(bytes: &mut &[u8], n: usize, count: usize, starts: &mut [u64]) -> Result<(), ChunkError> {
    let mut lengths = IntStream::take(bytes, n)?;
    let mut piece = [0; PIECE];
    let mut at = 0u64;
    for from in (0..n).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(n - from)];
        lengths.fill(piece);
        for &mut length in piece {
            at = at.saturating_add(length as u64);
            // The start of the next run is value `at + 1`.
            let word = starts.get_mut(at as usize / 64).filter(|_| at < count as u64 - 1);
            *word.ok_or(MISFIT)? |= 1 << (at % 64);
            at += 1;
        }
    }
    Ok(())
}

/// Reads starts, of which there must be `n`.
fn take_bits(bytes: &mut &[u8], n: usize, count: usize, starts: &mut [u64]) -> Result<(), ChunkError> {
    let bits = take(bytes, (count - 1).div_ceil(8))?;
    for (word, bytes) in starts.iter_mut().zip(bits.chunks(8)) {
        *word = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    let beyond = starts.get((count - 1) / 64).is_some_and(|word| word >> ((count - 1) % 64) != 0);
    let found: usize = starts.iter().map(|word| word.count_ones() as usize).sum();
    if beyond || found != n { Err(MISFIT) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::check_decoded;
    use proptest::prelude::*;

    fn encoded(values: &[f64]) -> Option<Vec<u8>> {
        let heads = heads(values)?;
        let (mut inner, mut out) = (vec![], vec![]);
        super::super::xor::encode(&heads, &mut inner);
        encode(values, (heads.len(), Encoding::Xor, &inner), Packing::Quick, &mut out);
        Some(out)
    }

    fn check_round_trip(values: &[f64]) -> Option<Vec<u8>> {
        let out = encoded(values)?;
        check_decoded(decode, &out, values);
        Some(out)
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let mut values = vec![0.0; 5];
        // A change after five values, known by its length less one; then the two heads as XOR.
        values.extend([1.0; 95]);
        let out = check_round_trip(&values).unwrap();
        assert_eq!(out[..5], [4, 2, 0, 8, 0]);
        assert_eq!(out[5..13], [0; 8]);
        // As bits: values 1, 3, 4 and 6 of ten differ from the ones before.
        let values = [0.0, 1.0, 1.0, 2.0, 0.0, 0.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0];
        let out = check_round_trip(&values).unwrap();
        assert_eq!(out[..4], [0x84, 5, 0b00101101, 0]);
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let check = |bytes: &[u8], count| assert!(decode(bytes, count, &mut vec![]).is_err(), "{bytes:?}");
        check(&[2, 1, 0, 2], 9);
        check(&[2, 10, 0, 2], 9);
        check(&[0x82, 2, 0b11, 0, 0, 2], 9);
        check(&[0x82, 2, 0, 1, 0, 2], 9);
        check(&[8, 2, 0, 2, 0, 0, 2], 9);
        check(&[2, 2, 0, 16, 0, 0, 2], 9);
    }

    proptest! {
        #[test]
        fn round_trip(runs in proptest::collection::vec((any::<u64>(), 1usize..40), 1..300)) {
            let values: Vec<f64> =
                runs.iter().flat_map(|&(bits, n)| std::iter::repeat_n(f64::from_bits(bits), n)).collect();
            check_round_trip(&values);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bits: bool, encoding in 2u8..10, runs in 0u8..40, bytes: Vec<u8>, count in 1usize..1000) {
            let head = [encoding | if bits { BITS } else { 0 }, runs];
            let _ = decode(&[&head[..], &bytes].concat(), count, &mut vec![]);
        }
    }
}
