//! One record of the head-chunk log (`docs/format/head-log.md`): a header of 40 bytes and a chunk.

use crate::model::{SeriesSlot, ShardId, TimestampMs};

/// Bytes before the chunk.
pub(crate) const HEADER_BYTES: usize = 40;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
/// Set in `flags` where the chunk holds samples that came late.
const FLAG_LATE: u8 = 1;

/// Where a record begins: `segment << 24 | offset`. Grows for ever; 0 is nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HeadPos(pub(crate) u64);

impl HeadPos {
    /// No record.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(segment: u32, offset: usize) -> Self {
        debug_assert!(offset < 1 << 24);
        Self(u64::from(segment) << 24 | offset as u64)
    }

    /// Whether a segment can follow it: what is read from disk may say anything.
    pub(crate) fn is_plausible(self) -> bool {
        self.0 >> 24 < u64::from(u32::MAX)
    }

    /// Above all records of a segment.
    pub(crate) fn after_segment(segment: u32) -> Self {
        Self((u64::from(segment) + 1) << 24)
    }

    pub(crate) fn segment(self) -> u32 {
        (self.0 >> 24) as u32
    }

    pub(crate) fn offset(self) -> usize {
        (self.0 & 0xff_ffff) as usize
    }
}

/// What stands before a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// The series' record before this one.
    pub(crate) prev: HeadPos,
    pub(crate) slot: SeriesSlot,
    pub(crate) shard: ShardId,
    pub(crate) generation: u8,
    /// Whether the samples came late.
    pub(crate) late: bool,
    /// The first and last samples' times; both in one window.
    pub(crate) first_t: TimestampMs,
    pub(crate) last_t: TimestampMs,
}

/// A record as read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) chunk: &'a [u8],
}

/// Appends a record to a page.
pub(crate) fn write(page: &mut Vec<u8>, header: &RecordHeader, chunk: &[u8]) {
    let start = page.len();
    page.extend_from_slice(&header.prev.0.to_le_bytes());
    page.extend_from_slice(&header.slot.0.to_le_bytes());
    page.extend_from_slice(&header.shard.0.to_le_bytes());
    page.push(header.generation);
    page.push(if header.late { FLAG_LATE } else { 0 });
    page.extend_from_slice(&header.first_t.0.to_le_bytes());
    page.extend_from_slice(&header.last_t.0.to_le_bytes());
    page.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c(&page[start..]);
    page.extend_from_slice(&crc.to_le_bytes());
    page.extend_from_slice(chunk);
}

/// Computes the checksum of the record at the start of `bytes` anew; its chunk and the bytes behind it.
#[cfg(feature = "fuzz")]
pub(super) fn make_checksum_fit(bytes: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let (header, rest) = bytes.split_first_chunk_mut::<HEADER_BYTES>()?;
    if *header == [0; HEADER_BYTES] {
        return None;
    }
    let crc = crc32c::crc32c(&header[..CHECKED_BYTES]);
    header[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
    let len = u32::from_le_bytes(field(header, 32)) as usize;
    rest.split_at_mut_checked(len)
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordError {
    CutOff,
    Checksum { expected: u32, found: u32 },
}

/// Reads the record at the front of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(RecordError::CutOff)?;
    let expected = u32::from_le_bytes(field(header, CHECKED_BYTES));
    let found = crc32c::crc32c(&header[..CHECKED_BYTES]);
    if expected != found {
        return Err(RecordError::Checksum { expected, found });
    }
    let len = u32::from_le_bytes(field(header, 32)) as usize;
    Ok(Record {
        header: RecordHeader {
            prev: HeadPos(u64::from_le_bytes(field(header, 0))),
            slot: SeriesSlot(u32::from_le_bytes(field(header, 8))),
            shard: ShardId(u16::from_le_bytes(field(header, 12))),
            generation: header[14],
            late: header[15] & FLAG_LATE != 0,
            first_t: TimestampMs(i64::from_le_bytes(field(header, 16))),
            last_t: TimestampMs(i64::from_le_bytes(field(header, 24))),
        },
        chunk: rest.get(..len).ok_or(RecordError::CutOff)?,
    })
}

/// `N` bytes of a header from `at`; both are constants of the layout.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RecordHeader = RecordHeader {
        prev: HeadPos(0x0102_0304),
        slot: SeriesSlot(5),
        shard: ShardId(6),
        generation: 7,
        late: true,
        first_t: TimestampMs(8),
        last_t: TimestampMs(-1),
    };

    #[test]
    fn golden() {
        let mut page = vec![];
        write(&mut page, &HEADER, b"chunk");
        let fields = b"\x04\x03\x02\x01\0\0\0\0\x05\0\0\0\x06\0\x07\x01\x08\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x05\0\0\0";
        assert_eq!(&page[..36], fields);
        assert_eq!(page[36..40], crc32c::crc32c(fields).to_le_bytes());
        let record = read(&page).unwrap();
        assert_eq!((record.header, record.chunk), (HEADER, &b"chunk"[..]));
    }

    #[test]
    fn every_flipped_header_bit_and_every_cut_is_noticed() {
        let mut page = vec![];
        write(&mut page, &HEADER, b"chunk");
        for cut in 0..page.len() {
            assert!(matches!(read(&page[..cut]), Err(RecordError::CutOff)), "cut at {cut}");
        }
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = page.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
    }
}
