//! Times of samples: a grid (first time, step) with patched residuals, within a chunk or as a column that chunks share.
//!
//! Writer and reader of the layout *Times* in `docs/format/chunk.md`.

use super::SAMPLES_MAX;
use super::error::{ChunkError, take_u8, take_varint, take_zigzag};
use super::ints::{self, IntScratch, IntStream};
use crate::model::varint::{self, zigzag};

/// The number of a time column within the file that holds the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeColumnId(pub u32);

/// Appends a time column: 1 to 65,535 times in strictly ascending order. Equal times give equal bytes.
pub fn encode_column(times: &[i64], out: &mut Vec<u8>) {
    assert!((1..=SAMPLES_MAX).contains(&times.len()), "a time column has 1 to {SAMPLES_MAX} times");
    varint::put(out, times.len() as u64);
    encode_grid(times, out);
}

/// Appends the times of a column to `out`, strictly ascending. On error `out` is as before.
pub fn decode_column(mut column: &[u8], out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let count = take_count(&mut column)?;
    decode_grid(column, count, out)
}

/// How many times a column has, 1 to 65,535.
pub(super) fn column_count(column: &[u8]) -> Result<usize, ChunkError> {
    take_count(&mut &*column)
}

fn take_count(column: &mut &[u8]) -> Result<usize, ChunkError> {
    let count = usize::try_from(take_varint(column)?).ok().filter(|n| (1..=SAMPLES_MAX).contains(n));
    count.ok_or(ChunkError::Malformed("a time column has an impossible count"))
}

/// [`decode_column`] of a column that must have `count` times.
pub(super) fn decode_column_of(column: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let found = take_varint(&mut &*column)?;
    if found != count as u64 {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(ChunkError::ColumnCount { expected: count as u32, found });
    }
    decode_column(column, out)
}

const HAS_POSITIONS: u8 = 1;
const HAS_RESIDUALS: u8 = 2;

/// Steps above this many milliseconds are rounded to whole seconds where the times are not regular anyway.
const ROUNDED_ABOVE: u64 = 2000;

/// Appends the grid of `times`: at least one, strictly ascending.
pub(super) fn encode_grid(times: &[i64], out: &mut Vec<u8>) {
    let t0 = times[0];
    let mut put_head = |flags: u8, step: u64| {
        out.push(flags);
        varint::put(out, zigzag(t0));
        if times.len() > 1 {
            varint::put(out, step);
        }
    };
    let step = median_step(times);
    if is_regular(times, step) {
        put_head(0, step);
        return;
    }
    let step = if step > ROUNDED_ABOVE { step.saturating_add(500) / 1000 * 1000 } else { step };
    let (mut positions, mut residuals) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
    for (k, r) in on_grid(times, step) {
        positions.push(k);
        residuals.push(r);
    }
    let gaps = positions.iter().zip(0..).any(|(&k, i)| k != i);
    let off = residuals.iter().any(|&r| r != 0);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    put_head(flag(gaps, HAS_POSITIONS) | flag(off, HAS_RESIDUALS), step);
    let mut scratch = IntScratch::default();
    if gaps {
        ints::encode(&positions, None, &mut scratch, out);
    }
    if off {
        ints::encode(&residuals, None, &mut scratch, out);
    }
}

/// The median distance of neighbours, at least 1.
fn median_step(times: &[i64]) -> u64 {
    let Some((&first, &second)) = times.first().zip(times.get(1)) else { return 1 };
    let step = second.wrapping_sub(first) as u64;
    if is_regular(times, step) {
        return step;
    }
    let mut distances: Vec<u64> =
        times.iter().zip(&times[1..]).map(|(a, b)| b.wrapping_sub(*a) as u64).collect();
    let middle = distances.len() / 2;
    (*distances.select_nth_unstable(middle).1).max(1)
}

/// Whether all times are `step` apart.
fn is_regular(times: &[i64], step: u64) -> bool {
    times.iter().zip(times.iter().skip(1)).all(|(a, b)| b.wrapping_sub(*a) as u64 == step)
}

/// Each time as the position of the nearest point of the grid and the distance from there.
fn on_grid(times: &[i64], step: u64) -> impl Iterator<Item = (i64, i64)> {
    let (t0, half) = (times[0], step / 2);
    let mut expected = (0u64, 0u64); // position and its distance from t0
    times.iter().map(move |&t| {
        let d = t.wrapping_sub(t0) as u64;
        if d.wrapping_sub(expected.1).wrapping_add(half) > step {
            let k = d.saturating_add(half) / step;
            expected = (k, k.wrapping_mul(step));
        }
        let (k, at) = expected;
        expected = (k.wrapping_add(1), at.wrapping_add(step));
        (k as i64, d.wrapping_sub(at) as i64)
    })
}

/// Appends `count` times of the grid that `grid` is, the whole of it. On error `out` is as before.
pub(super) fn decode_grid(grid: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let before = out.len();
    let result = take_whole_grid(grid, count, out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn take_whole_grid(mut grid: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    take_grid(&mut grid, count, out)?;
    if grid.is_empty() { Ok(()) } else { Err(ChunkError::Malformed("bytes follow the times")) }
}

fn take_grid(grid: &mut &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let flags = take_u8(grid)?;
    let t0 = take_zigzag(grid)?;
    let step = if count > 1 { take_varint(grid)? } else { 1 };
    if flags & !(HAS_POSITIONS | HAS_RESIDUALS) != 0 || step == 0 {
        return Err(ChunkError::Malformed("a time grid has an impossible shape"));
    }
    if flags == 0 {
        return extend_regular(t0, step, count, out);
    }
    let (before, step) = (out.len(), step as i64);
    if flags & HAS_POSITIONS == 0 {
        extend_even(t0, step, count, out);
    } else {
        let mut positions = IntStream::take(grid, count)?;
        out.resize(before + count, 0);
        let times = &mut out[before..];
        positions.fill(times);
        times.iter_mut().for_each(|t| *t = t0.wrapping_add(t.wrapping_mul(step)));
    }
    if flags & HAS_RESIDUALS != 0 {
        let mut residuals = IntStream::take(grid, count)?;
        let mut piece = [0i64; 256];
        for times in out[before..].chunks_mut(piece.len()) {
            let piece = &mut piece[..times.len()];
            residuals.fill(piece);
            times.iter_mut().zip(piece).for_each(|(t, r)| *t = t.wrapping_add(*r));
        }
    }
    check_ascending(&out[before..])
}

/// Appends `count` times from `t0` on, `step` apart.
fn extend_regular(t0: i64, step: u64, count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let length = step.checked_mul(count as u64 - 1).filter(|&l| l <= i64::MAX.wrapping_sub(t0) as u64);
    if length.is_none() {
        return Err(ChunkError::Malformed("times do not ascend"));
    }
    extend_even(t0, step as i64, count, out);
    Ok(())
}

/// Appends `count` numbers from `t0` on, `step` apart: by groups, so that there is one product for each.
fn extend_even(t0: i64, step: i64, count: usize, out: &mut Vec<i64>) {
    const GROUP: usize = 16;
    let offsets: [i64; GROUP] = std::array::from_fn(|i| step.wrapping_mul(i as i64));
    let before = out.len();
    out.resize(before + count, 0);
    let mut at = t0;
    for group in out[before..].chunks_mut(GROUP) {
        group.iter_mut().zip(&offsets).for_each(|(t, offset)| *t = at.wrapping_add(*offset));
        at = at.wrapping_add(step.wrapping_mul(GROUP as i64));
    }
}

/// Refuses times that do not strictly ascend: all that merges and windows them relies on it.
fn check_ascending(times: &[i64]) -> Result<(), ChunkError> {
    // No early end: the loop then works on several times at once.
    let out_of_order = times.iter().zip(times.iter().skip(1)).fold(false, |bad, (a, b)| bad | (a >= b));
    if out_of_order { Err(ChunkError::Malformed("times do not ascend")) } else { Ok(()) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn encoded(times: &[i64]) -> Vec<u8> {
        let mut out = vec![];
        encode_column(times, &mut out);
        out
    }

    fn check_round_trip(times: &[i64]) -> Vec<u8> {
        let bytes = encoded(times);
        let mut back = vec![7];
        decode_column(&bytes, &mut back).unwrap();
        assert_eq!(&back[1..], times);
        bytes
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let check = |times: &[i64], want: &[u8]| assert_eq!(check_round_trip(times), want, "{times:?}");
        check(&[1000], &[1, 0, 0xd0, 0x0f]);
        check(&[-1, 14_999, 29_999], &[3, 0, 1, 0x98, 0x75]);
        // A gap of three steps: positions 0, 1, 4, 5.
        check(&[0, 10, 40, 50], &[4, 1, 0, 10, 3, 0, 0, 0b00_001_000, 0b0000_101_1]);
        // Jitter on a step of 15 s: residuals 0, 3, 1, 2.
        check(&[0, 15_003, 30_001, 45_002], &[4, 2, 0, 0x98, 0x75, 2, 0, 0, 0b1001_1100]);
    }

    #[test]
    fn the_limits_of_time() {
        check_round_trip(&[i64::MIN, i64::MAX]);
        check_round_trip(&[i64::MIN, -1, 0, 1, i64::MAX - 1, i64::MAX]);
        check_round_trip(&[i64::MIN, i64::MIN + 1, i64::MIN + 2, i64::MAX]);
    }

    #[test]
    fn a_regular_column_costs_the_same_at_any_length() {
        let times: Vec<i64> = (0..5760).map(|i| 1_763_000_000_000 + i * 15_000).collect();
        assert_eq!(encoded(&times).len(), 11);
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let check = |bytes: &[u8], want: &str| {
            let mut out = vec![5];
            let e = decode_column(bytes, &mut out).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
            assert_eq!(out, [5]);
        };
        check(&[0, 0, 0], "count");
        check(&[0x80, 0x80, 4, 0, 0], "count");
        check(&[1, 4, 0], "shape");
        check(&[2, 0, 0, 0], "shape");
        check(&[1, 0, 0, 0], "follow");
        check(&[2, 2, 0, 1, 0, 0, 1, 1, 1], "ascend");
        check(&[3, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "ascend");
        assert_eq!(
            decode_column_of(&encoded(&[1, 2]), 3, &mut vec![]),
            Err(ChunkError::ColumnCount { expected: 3, found: 2 })
        );
    }

    /// Times of all manners: regular, jittered, with gaps, arbitrary up to the limits.
    pub(in crate::codec) fn times(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<i64>> {
        let steps = prop_oneof![Just(15_000i64), Just(1000), 1i64..100_000];
        let walk = move |n| {
            let one =
                prop_oneof![20 => Just((1i64, 0i64)), 3 => (1i64..2, -3i64..4), 2 => (1i64..40, 0i64..50)];
            (steps.clone(), any::<i32>(), proptest::collection::vec(one, n)).prop_map(|(step, t0, moves)| {
                let mut t = i64::from(t0) * 1000;
                let at = |(k, r): (i64, i64)| {
                    t += k * step;
                    t + r.min(step / 2)
                };
                moves.into_iter().map(at).collect::<BTreeSet<_>>().into_iter().collect()
            })
        };
        let any_times = proptest::collection::btree_set(any::<i64>(), n.clone());
        prop_oneof![
            4 => walk(n.clone()),
            1 => any_times.prop_map(|t| t.into_iter().collect::<Vec<_>>()),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(times in times(1..400)) {
            check_round_trip(&times);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in 1usize..1000) {
            let mut out = vec![];
            let _ = decode_column(&bytes, &mut out);
            let _ = decode_grid(&bytes, count, &mut out);
        }
    }
}
