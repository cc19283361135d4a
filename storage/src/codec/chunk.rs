//! The chunk itself: its header, its checksum, its parts.

use super::error::{ChunkError, take, take_u8, take_varint};
use super::shared::Shared;
use super::times::{self, TimeColumnId};
use crate::model::varint;

/// The most samples in a chunk.
pub const SAMPLES_MAX: usize = 65_535;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkKind {
    /// Floats.
    Float,
    /// Native histograms with integer buckets.
    IntegerHistogram,
    /// Native histograms with float buckets.
    FloatHistogram,
    /// Rows of a tier.
    Aggregate,
    /// A number that this version does not know.
    Unknown(u8),
}

/// How a chunk's values are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// The tokens of an open chunk, stored as they were; times included.
    Open,
    /// One value.
    Constant,
    /// Decimal integers.
    Decimal,
    /// XOR of neighbours.
    Xor,
    /// Fractions of integers.
    Rational,
    /// Decimals with a residual in units of the last place.
    Residual,
    /// Runs of equal values; the values of the runs in an encoding of their own.
    Runs,
    /// Multiples of one double.
    Multiple,
    /// Decimal integers as differences to those of another chunk.
    Difference,
    /// The values of another chunk.
    Same,
    /// Native histograms, one column per bucket.
    Histograms,
    /// A number that this version does not know.
    Unknown(u8),
}

/// Where a chunk's times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkTimes {
    /// In the chunk: so many bytes after the header (0 where the values carry them).
    Inline(u32),
    /// In a column that chunks share.
    Column(TimeColumnId),
}

/// What stands before a chunk's times and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// What the chunk holds.
    pub kind: ChunkKind,
    /// How.
    pub encoding: Encoding,
    /// Whether it is in the short form of blocks.
    pub form: ChunkForm,
    /// Where the times are.
    pub times: ChunkTimes,
    /// The bytes of the values.
    pub values_len: u32,
    /// The bytes of the header itself.
    pub header_len: u32,
    /// The number of samples, 1 to 65,535; `None` where the time column has it.
    count: Option<u32>,
}

/// The two forms of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkForm {
    /// With length and checksum: it stands on its own in a log.
    Whole,
    /// Without: the block knows its length and has checksums per page.
    Short,
}

const CRC_LEN: usize = 4;

/// In the first byte: the chunk is in the short form, and the other bits are its encoding.
const SHORT: u8 = 0x80;

impl std::fmt::Display for ChunkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float => f.write_str("float"),
            Self::IntegerHistogram => f.write_str("integer histogram"),
            Self::FloatHistogram => f.write_str("float histogram"),
            Self::Aggregate => f.write_str("aggregate"),
            Self::Unknown(n) => write!(f, "unknown ({n})"),
        }
    }
}

impl ChunkKind {
    /// The number on disk.
    pub fn number(self) -> u8 {
        match self {
            Self::Float => 1,
            Self::IntegerHistogram => 2,
            Self::FloatHistogram => 3,
            Self::Aggregate => 4,
            Self::Unknown(n) => n,
        }
    }

    fn from_number(n: u8) -> Self {
        match n {
            1 => Self::Float,
            2 => Self::IntegerHistogram,
            3 => Self::FloatHistogram,
            4 => Self::Aggregate,
            n => Self::Unknown(n),
        }
    }
}

impl Encoding {
    /// The number on disk.
    pub fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Constant => 2,
            Self::Decimal => 3,
            Self::Xor => 4,
            Self::Rational => 5,
            Self::Residual => 6,
            Self::Runs => 8,
            Self::Multiple => 9,
            Self::Difference => 10,
            Self::Same => 11,
            Self::Histograms => 16,
            Self::Unknown(n) => n,
        }
    }

    pub(super) fn from_number(n: u8) -> Self {
        match n {
            1 => Self::Open,
            2 => Self::Constant,
            3 => Self::Decimal,
            4 => Self::Xor,
            5 => Self::Rational,
            6 => Self::Residual,
            8 => Self::Runs,
            9 => Self::Multiple,
            10 => Self::Difference,
            11 => Self::Same,
            16 => Self::Histograms,
            n => Self::Unknown(n),
        }
    }
}

impl ChunkHeader {
    /// The bytes of inline times.
    fn times_len(&self) -> usize {
        match self.times {
            ChunkTimes::Inline(n) => n as usize,
            ChunkTimes::Column(_) => 0,
        }
    }

    /// The bytes of the whole chunk, checksum included: the next one may follow there.
    pub fn chunk_len(&self) -> usize {
        let crc_len = if self.form == ChunkForm::Whole { CRC_LEN } else { 0 };
        self.header_len as usize + self.times_len() + self.values_len as usize + crc_len
    }

    /// The number of samples, 1 to 65,535.
    pub fn samples(&self, shared: &dyn Shared) -> Result<u32, ChunkError> {
        match (self.count, self.times) {
            (Some(count), _) => Ok(count),
            (None, ChunkTimes::Column(id)) => times::column_count(shared.column(id)?).map(|n| n as u32),
            (None, ChunkTimes::Inline(_)) => Err(IMPOSSIBLE_COUNT),
        }
    }
}

const IMPOSSIBLE_COUNT: ChunkError = ChunkError::Malformed("a chunk has an impossible count");

/// Reads the header of the chunk at the front of `chunk`, where more may follow if it is in the whole form. Kinds and
/// encodings of later versions are read too, so that their chunks can be stepped over. Only the header and the length are
/// checked.
pub fn header(chunk: &[u8]) -> Result<ChunkHeader, ChunkError> {
    let header = match chunk.first() {
        Some(first) if first & SHORT != 0 => short_header(chunk)?,
        _ => whole_header(chunk)?,
    };
    if chunk.len() < header.chunk_len() {
        return Err(ChunkError::CutOff { expected: header.chunk_len() as u64, found: chunk.len() as u64 });
    }
    Ok(header)
}

fn whole_header(chunk: &[u8]) -> Result<ChunkHeader, ChunkError> {
    let mut rest = chunk;
    let kind = ChunkKind::from_number(take_u8(&mut rest)?);
    let encoding = Encoding::from_number(take_u8(&mut rest)?);
    let count = Some(take_count(&mut rest)?);
    let times = take_times(&mut rest)?;
    let values_len = u32::try_from(take_varint(&mut rest)?).map_err(|_| IMPOSSIBLE_LENGTH)?;
    let header_len = (chunk.len() - rest.len()) as u32;
    Ok(ChunkHeader { kind, encoding, form: ChunkForm::Whole, count, times, values_len, header_len })
}

fn short_header(chunk: &[u8]) -> Result<ChunkHeader, ChunkError> {
    let mut rest = chunk;
    let encoding = Encoding::from_number(take_u8(&mut rest)? & !SHORT);
    let times = take_times(&mut rest)?;
    let (count, times_len) = match times {
        ChunkTimes::Inline(n) => (Some(take_count(&mut rest)?), n),
        ChunkTimes::Column(_) => (None, 0),
    };
    let header_len = (chunk.len() - rest.len()) as u32;
    let values_len = u32::try_from(rest.len()).ok().and_then(|n| n.checked_sub(times_len));
    let values_len = values_len.ok_or(IMPOSSIBLE_LENGTH)?;
    let kind = ChunkKind::Float;
    Ok(ChunkHeader { kind, encoding, form: ChunkForm::Short, count, times, values_len, header_len })
}

const IMPOSSIBLE_LENGTH: ChunkError = ChunkError::Malformed("a chunk has an impossible length");

fn take_count(rest: &mut &[u8]) -> Result<u32, ChunkError> {
    let count = take_varint(rest)?;
    if (1..=SAMPLES_MAX as u64).contains(&count) { Ok(count as u32) } else { Err(IMPOSSIBLE_COUNT) }
}

fn take_times(rest: &mut &[u8]) -> Result<ChunkTimes, ChunkError> {
    let times = take_varint(rest)?;
    let number = u32::try_from(times >> 1).map_err(|_| IMPOSSIBLE_LENGTH)?;
    Ok(match times & 1 {
        0 => ChunkTimes::Inline(number),
        _ => ChunkTimes::Column(TimeColumnId(number)),
    })
}

/// [`header`], and the checksum over the whole chunk. The short form has none and is refused: for it the pages of its
/// block are checked.
pub fn verify(chunk: &[u8]) -> Result<ChunkHeader, ChunkError> {
    let header = header(chunk)?;
    if header.form == ChunkForm::Short {
        return Err(ChunkError::Malformed("a chunk has no checksum: this form stands in blocks only"));
    }
    let mut rest = chunk;
    let covered = take(&mut rest, header.chunk_len() - CRC_LEN)?;
    let expected = u32::from_le_bytes(super::error::take_array(&mut rest)?);
    let found = crc32c::crc32c(covered);
    if expected == found { Ok(header) } else { Err(ChunkError::Checksum { expected, found }) }
}

/// The header, the inline times and the values.
pub(super) fn parts(chunk: &[u8]) -> Result<(ChunkHeader, &[u8], &[u8]), ChunkError> {
    let header = header(chunk)?;
    let mut rest = chunk;
    take(&mut rest, header.header_len as usize)?;
    let inline = take(&mut rest, header.times_len())?;
    let values = take(&mut rest, header.values_len as usize)?;
    Ok((header, inline, values))
}

/// The error for a kind or encoding that cannot be decoded.
pub(super) fn unknown(header: &ChunkHeader) -> ChunkError {
    ChunkError::Unknown { kind: header.kind.number(), encoding: header.encoding.number() }
}

/// Appends a float chunk in the short form: header, `times`, values.
pub(super) fn put_short(
    encoding: Encoding,
    count: usize,
    times: PutTimes<'_>,
    values: &[u8],
    out: &mut Vec<u8>,
) {
    assert!((1..=SAMPLES_MAX).contains(&count), "a chunk has 1 to {SAMPLES_MAX} samples");
    out.push(SHORT | encoding.number());
    match times {
        PutTimes::Inline(grid) => {
            varint::put(out, (grid.len() as u64) << 1);
            varint::put(out, count as u64);
            out.extend_from_slice(grid);
        }
        PutTimes::Column(id) => varint::put(out, u64::from(id.0) << 1 | 1),
    }
    out.extend_from_slice(values);
}

/// Appends a float chunk: header, `times` (inline bytes or a column's number), values, checksum.
pub(super) fn put(encoding: Encoding, count: usize, times: PutTimes<'_>, values: &[u8], out: &mut Vec<u8>) {
    put_whole((ChunkKind::Float, encoding), count, times, values, out);
}

/// As [`put`], for a chunk of any kind.
pub(super) fn put_whole(
    (kind, encoding): (ChunkKind, Encoding),
    count: usize,
    times: PutTimes<'_>,
    values: &[u8],
    out: &mut Vec<u8>,
) {
    assert!((1..=SAMPLES_MAX).contains(&count), "a chunk has 1 to {SAMPLES_MAX} samples");
    let start = out.len();
    out.push(kind.number());
    out.push(encoding.number());
    varint::put(out, count as u64);
    let inline = match times {
        PutTimes::Inline(grid) => {
            varint::put(out, (grid.len() as u64) << 1);
            grid
        }
        PutTimes::Column(id) => {
            varint::put(out, u64::from(id.0) << 1 | 1);
            &[]
        }
    };
    varint::put(out, values.len() as u64);
    out.extend_from_slice(inline);
    out.extend_from_slice(values);
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The times of a chunk being written.
pub(super) enum PutTimes<'a> {
    /// An encoded grid; empty where the values carry the times.
    Inline(&'a [u8]),
    /// A shared column.
    Column(TimeColumnId),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{NothingShared, Samples, decode};
    use proptest::prelude::*;

    fn chunk() -> Vec<u8> {
        let mut out = vec![];
        put(Encoding::Constant, 2, PutTimes::Inline(&[0, 2, 4]), &[0, 10], &mut out);
        out
    }

    #[test]
    fn golden() {
        let chunk = chunk();
        assert_eq!(chunk[..chunk.len() - 4], [1, 2, 2, 6, 2, 0, 2, 4, 0, 10]);
        assert_eq!(chunk[chunk.len() - 4..], crc32c::crc32c(&chunk[..10]).to_le_bytes());
        let mut s = Samples::new();
        decode(&chunk, &NothingShared, &mut s).unwrap();
        assert_eq!((s.t, s.v), (vec![1, 5], vec![5.0, 5.0]));
        let mut shared = vec![];
        put(Encoding::Constant, 300, PutTimes::Column(TimeColumnId(70)), &[0, 10], &mut shared);
        assert_eq!(shared[..shared.len() - 4], [1, 2, 0xac, 2, 0x8d, 1, 2, 0, 10]);
        assert_eq!(verify(&shared).unwrap().times, ChunkTimes::Column(TimeColumnId(70)));
    }

    #[test]
    fn what_is_not_known_is_stepped_over() {
        let mut two = chunk();
        (two[0], two[1]) = (9, 200);
        two.extend(chunk());
        let h = header(&two).unwrap();
        assert_eq!((h.kind, h.encoding), (ChunkKind::Unknown(9), Encoding::Unknown(200)));
        let mut s = Samples::new();
        assert_eq!(decode(&two, &NothingShared, &mut s), Err(ChunkError::Unknown { kind: 9, encoding: 200 }));
        decode(&two[h.chunk_len()..], &NothingShared, &mut s).unwrap();
        assert_eq!(s.len(), 2);
    }

    #[test]
    fn damage_is_found_by_the_checksum() {
        let good = chunk();
        for i in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[i / 8] ^= 1 << (i % 8);
            assert!(verify(&bad).is_err(), "bit {i}");
        }
        for n in 0..good.len() {
            assert!(verify(&good[..n]).is_err(), "cut at {n}");
        }
        verify(&good).unwrap();
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(
            encoding in 0u8..8, count in 1u64..70_000, times in 0u64..64, body in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            let mut chunk = vec![1, encoding];
            varint::put(&mut chunk, count);
            varint::put(&mut chunk, times);
            varint::put(&mut chunk, (body.len() as u64).saturating_sub(4 + times / 2));
            chunk.extend_from_slice(&body);
            let mut s = Samples::new();
            s.push(1, 1.0);
            if decode(&chunk, &NothingShared, &mut s).is_err() {
                prop_assert_eq!(s.len(), 1);
            }
            prop_assert_eq!(s.t.len(), s.v.len());
        }
    }
}
