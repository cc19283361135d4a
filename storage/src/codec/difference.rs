//! Encoding 10: decimal integers as differences to those of another chunk with the same times: a histogram's bucket to the
//! next lower one.
//!
//! A chain of such chunks ends at one of plain decimals. It is decoded in one go: the integer streams of all its chunks are
//! added up piece by piece, so that no base is decoded to doubles and back.

use super::chunk::{self, ChunkTimes, Encoding};
use super::decimal;
use super::error::ChunkError;
use super::exceptions::{self, Columns, Exceptions};
use super::ints::{self, IntScratch, IntStream, PIECE, Packing};
use super::lanes::as_ints;
use super::shared::{ChunkPlace, Shared};

/// Chunks of a chain: it bounds what one series costs to read.
pub(super) const CHAIN_MAX: usize = 4;

/// The integers of a chunk that was sealed, to which another's may be told as differences.
#[derive(Clone, Debug)]
pub struct Integers {
    exponent: u8,
    /// How many chunks they are the sum of.
    chain: usize,
    ints: Vec<i64>,
}

impl Integers {
    /// Those of `values`, with the indices of values that are no such integers. `None` where they are no decimals.
    pub(super) fn of(values: &[f64]) -> Option<(Self, Vec<u32>)> {
        let (exponent, Columns { columns: [ints], exceptions }) = decimal::split(values)?;
        Some((Self { exponent, chain: 1, ints }, exceptions))
    }

    /// Appends the values section of plain decimals.
    pub(super) fn encode(&self, values: &[f64], exceptions: &[u32], packing: Packing, out: &mut Vec<u8>) {
        exceptions::put_shape(self.exponent, values, exceptions, out);
        ints::encode(&self.ints, None, &mut IntScratch::new(packing), out);
    }

    /// Appends the values section of differences to `base` at `place`. `false`, and nothing appended, where they cannot be
    /// told so.
    pub(super) fn encode_on(
        &mut self,
        values: &[f64],
        exceptions: &[u32],
        (base, place): (&Integers, ChunkPlace),
        packing: Packing,
        out: &mut Vec<u8>,
    ) -> bool {
        let alike = base.exponent == self.exponent && base.ints.len() == self.ints.len();
        if !alike || base.chain >= CHAIN_MAX {
            return false;
        }
        exceptions::put_shape(self.exponent, values, exceptions, out);
        place.put(out);
        let differences: Vec<i64> =
            self.ints.iter().zip(&base.ints).map(|(own, base)| own.wrapping_sub(*base)).collect();
        ints::encode(&differences, None, &mut IntScratch::new(packing), out);
        self.chain = base.chain + 1;
        true
    }

    /// As those of a chunk that rests on no other.
    pub(super) fn alone(&mut self) {
        self.chain = 1;
    }
}

/// Appends the `count` values of a section to `out`.
pub(super) fn decode(
    section: &[u8],
    times: ChunkTimes,
    count: usize,
    shared: &dyn Shared,
    out: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    let (Differences { exponent, base, mut ints }, exceptions) = Differences::take(section, count)?;
    let mut below = [const { None }; CHAIN_MAX - 1];
    let mut next = Some(base);
    for stream in &mut below {
        let Some(place) = next.take() else { break };
        let (header, _, values) = chunk::parts(shared.base(place)?)?;
        let base_exponent;
        (base_exponent, *stream) = match header.encoding {
            Encoding::Decimal => {
                let ((exponent, ints), _) = decimal::take(values, count)?;
                (exponent, Some(ints))
            }
            Encoding::Difference => {
                let (base, _) = Differences::take(values, count)?;
                next = Some(base.base);
                (base.exponent, Some(base.ints))
            }
            _ => return Err(ChunkError::Malformed("a chunk is told as differences to what are no integers")),
        };
        if base_exponent != exponent || header.times != times || matches!(times, ChunkTimes::Inline(_)) {
            return Err(ChunkError::Malformed(
                "a chunk is told as differences to one of other times or places",
            ));
        }
    }
    if next.is_some() {
        return Err(ChunkError::Malformed("a chain of differences is too long"));
    }
    let mut piece = [0; PIECE];
    exceptions.extend(count, out, |values| {
        ints.fill(as_ints(values));
        let piece = &mut piece[..values.len()];
        for stream in below.iter_mut().flatten() {
            stream.fill(piece);
            as_ints(values).iter_mut().zip(&*piece).for_each(|(sum, x)| *sum = sum.wrapping_add(*x));
        }
        decimal::divide(values, exponent);
    });
    Ok(())
}

/// A values section taken apart, without the exceptions.
struct Differences<'a> {
    exponent: u8,
    base: ChunkPlace,
    ints: IntStream<'a>,
}

impl<'a> Differences<'a> {
    fn take(section: &'a [u8], count: usize) -> Result<(Self, Exceptions<'a>), ChunkError> {
        exceptions::take_section(section, count, |shape, bytes| {
            let (exponent, base) = (decimal::take_exponent(shape)?, ChunkPlace::take(bytes)?);
            Ok(Self { exponent, base, ints: IntStream::take(bytes, count)? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal::tests::values;
    use crate::codec::{
        EncoderHint, Samples, TimeColumnId, Times, decode, encode_column, seal_bucket, seal_same,
    };
    use crate::model::stale_nan;
    use proptest::prelude::*;

    /// Chunks of one shard back to back, and time column 0.
    #[derive(Default)]
    struct Chunks {
        column: Vec<u8>,
        bytes: Vec<u8>,
    }

    impl Shared for Chunks {
        fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
            if id.0 == 0 { Ok(&self.column) } else { Err(ChunkError::NoColumn(id)) }
        }

        fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
            let from = self.bytes.get(place.offset as usize..);
            from.and_then(|b| b.get(..place.len as usize)).ok_or(ChunkError::NoBase(place.offset))
        }
    }

    const COLUMN: Times = Times::Column(TimeColumnId(0));

    /// Seals columns of equal length as the buckets of a family, then the last once more as its equal.
    fn sealed(buckets: &[Vec<f64>], packing: Packing) -> (Chunks, Vec<ChunkPlace>) {
        let t: Vec<i64> = (0..buckets[0].len() as i64).map(|i| i * 15_000).collect();
        let mut chunks = Chunks::default();
        encode_column(&t, &mut chunks.column);
        let (mut places, mut base) = (vec![], None);
        let mut end_of = |bytes: &[u8], offset: usize| {
            let place = ChunkPlace { offset: offset as u64, len: (bytes.len() - offset) as u32 };
            places.push(place);
            place
        };
        for v in buckets {
            let offset = chunks.bytes.len();
            let on = base.as_ref().map(|(integers, place)| (integers, *place));
            let hint = &mut EncoderHint::default();
            let integers = seal_bucket((&t, v), COLUMN, on, packing, hint, &mut chunks.bytes);
            let place = end_of(&chunks.bytes, offset);
            base = integers.map(|integers| (integers, place)).or(base);
        }
        let last = places.last().copied().unwrap();
        let offset = chunks.bytes.len();
        seal_same((&t, buckets.last().unwrap()), COLUMN, last, &mut chunks.bytes);
        places.push(ChunkPlace { offset: offset as u64, len: (chunks.bytes.len() - offset) as u32 });
        (chunks, places)
    }

    fn read(chunks: &Chunks, place: ChunkPlace) -> Result<Vec<u64>, ChunkError> {
        let mut out = Samples::new();
        decode(chunks.base(place)?, chunks, &mut out)?;
        Ok(out.v.iter().map(|v| v.to_bits()).collect())
    }

    fn check_round_trip(buckets: &[Vec<f64>]) -> (Chunks, Vec<ChunkPlace>) {
        check_packed(buckets, Packing::Dense);
        check_packed(buckets, Packing::Quick)
    }

    fn check_packed(buckets: &[Vec<f64>], packing: Packing) -> (Chunks, Vec<ChunkPlace>) {
        let (chunks, places) = sealed(buckets, packing);
        for (v, place) in buckets.iter().chain(buckets.last()).zip(&places) {
            assert_eq!(read(&chunks, *place).unwrap(), v.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        }
        (chunks, places)
    }

    /// A family of so many buckets, each with a share of the events.
    fn family(buckets: usize, samples: usize) -> Vec<Vec<f64>> {
        let events =
            |bucket: usize, i: usize| (xxhash_rust::xxh3::xxh3_64(&[bucket as u8, i as u8]) % 5) as f64;
        let mut lower = vec![0.0; samples];
        let mut next = |bucket| {
            let mut own = 1000.0;
            for (i, lower) in lower.iter_mut().enumerate() {
                own += events(bucket, i);
                *lower += own;
            }
            lower.clone()
        };
        (0..buckets).map(&mut next).collect()
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings)] // by fields
    fn golden() {
        let (chunks, places) = check_round_trip(&[vec![1.0, 70.0, 3.0, 900.0], vec![2.0, 71.0, 4.0, 902.0]]);
        let bytes = |n: usize| chunks.base(places[n]).unwrap();
        assert_eq!(bytes(0)[..2], [0x83, 1]);
        // Exponent 0, the base's place, order 0, width 1, base 1, no patches.
        let own = [0x8a, 1, 0, 0, places[0].len as u8, 1, 2, 0, 0b1000];
        assert_eq!(bytes(1), own);
        assert_eq!(bytes(2), [0x8b, 1, places[1].offset as u8, own.len() as u8]);
    }

    #[test]
    fn every_fourth_bucket_stands_by_itself() {
        let (chunks, places) = check_round_trip(&family(11, 200));
        let encodings: Vec<u8> = places.iter().map(|p| chunks.base(*p).unwrap()[0] & 0x7f).collect();
        assert_eq!(encodings, [3, 10, 10, 10, 3, 10, 10, 10, 3, 10, 10, 11]);
    }

    #[test]
    fn exceptions_belong_to_one_bucket() {
        let mut buckets = family(3, 50);
        buckets[0][7] = stale_nan();
        buckets[1][7] = -0.0;
        buckets[1][9] = f64::INFINITY;
        buckets[2][49] = f64::from_bits(0xfff8_dead_beef_0001);
        check_round_trip(&buckets);
    }

    #[test]
    fn what_rests_on_damage_is_lost_and_nothing_else() {
        let (mut chunks, places) = sealed(&family(4, 50), Packing::Quick);
        chunks.bytes[places[1].offset as usize] = 0x8c;
        let lost: Vec<bool> = places.iter().map(|p| read(&chunks, *p).is_err()).collect();
        assert_eq!(lost, [false, true, true, true, true]);
        let gone = ChunkPlace { offset: 1 << 40, len: 9 };
        let mut own = vec![0x8b, 1];
        gone.put(&mut own);
        assert_eq!(decode(&own, &chunks, &mut Samples::new()), Err(ChunkError::NoBase(1 << 40)));
    }

    #[test]
    fn chains_without_end_are_refused() {
        let (mut chunks, _) = sealed(&family(1, 4), Packing::Quick);
        let offset = chunks.bytes.len() as u64;
        // A chunk that rests on itself: as differences, then as its own equal.
        for (encoding, tail) in [(0x8a, &[0, 0, 0][..]), (0x8b, &[])] {
            let mut own = vec![encoding, 1];
            own.extend(if encoding == 0x8a { &[0][..] } else { &[] });
            let place = ChunkPlace { offset, len: (own.len() + 2 + tail.len()) as u32 };
            place.put(&mut own);
            own.extend(tail);
            assert_eq!(own.len(), place.len as usize);
            chunks.bytes.truncate(offset as usize);
            chunks.bytes.extend(&own);
            let error = read(&chunks, place).unwrap_err();
            assert!(matches!(error, ChunkError::Malformed(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(buckets in proptest::collection::vec(values(60..61), 1..9)) {
            check_round_trip(&buckets);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(encoding in 10u8..12, body: Vec<u8>, at: usize, mask: u8) {
            let (mut chunks, places) = sealed(&family(6, 40), Packing::Dense);
            let own = [&[0x80 | encoding, 1][..], &body].concat();
            let _ = decode(&own, &chunks, &mut Samples::new());
            let at = at % chunks.bytes.len();
            chunks.bytes[at] ^= mask;
            places.iter().for_each(|p| drop(read(&chunks, *p)));
        }
    }
}
