//! What can be wrong with a chunk.

use super::TimeColumnId;

/// Why a chunk cannot be read. The chunk is lost to the reader, its neighbours are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The bytes end before the chunk does.
    #[error("chunk is cut off: {expected} bytes expected, {found} found")]
    CutOff {
        /// How many bytes the part needs.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// A part has a shape that no writer makes.
    #[error("chunk is malformed: {0}")]
    Malformed(&'static str),
    /// The checksum does not match the bytes.
    #[error("chunk checksum does not match: {expected:08x} stored, {found:08x} computed")]
    Checksum {
        /// As stored in the chunk.
        expected: u32,
        /// As computed over its bytes.
        found: u32,
    },
    /// A kind or encoding that this version does not know.
    #[error("chunk of kind {kind} and encoding {encoding} is not known to this version")]
    Unknown {
        /// The kind's number.
        kind: u8,
        /// The encoding's number.
        encoding: u8,
    },
    /// The chunk names a time column that is not there.
    #[error("chunk names time column {}, which is not there", .0.0)]
    NoColumn(TimeColumnId),
    /// The chunk rests on another one, which cannot be read.
    #[error("chunk rests on the one at {0} among the shard's chunks, which cannot be read")]
    NoBase(u64),
    /// The chunk and its time column differ in length.
    #[error("chunk has {expected} samples, its time column {found}")]
    ColumnCount {
        /// The chunk's count.
        expected: u32,
        /// The column's.
        found: u32,
    },
}

/// The rest of the chunk ended within a varint, or the varint exceeds 64 bits.
pub(super) const BAD_VARINT: ChunkError = ChunkError::Malformed("a number is cut off or exceeds 64 bits");

/// Splits `n` bytes off the front of `bytes`.
pub(super) fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], ChunkError> {
    let Some((head, tail)) = bytes.split_at_checked(n) else {
        return Err(ChunkError::CutOff { expected: n as u64, found: bytes.len() as u64 });
    };
    *bytes = tail;
    Ok(head)
}

/// Splits an array off the front of `bytes`.
pub(super) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ChunkError> {
    let Some((head, tail)) = bytes.split_first_chunk::<N>() else {
        return Err(ChunkError::CutOff { expected: N as u64, found: bytes.len() as u64 });
    };
    *bytes = tail;
    Ok(*head)
}

/// Splits one byte off the front of `bytes`.
pub(super) fn take_u8(bytes: &mut &[u8]) -> Result<u8, ChunkError> {
    take_array::<1>(bytes).map(|[b]| b)
}

/// Splits a varint off the front of `bytes`.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, ChunkError> {
    crate::model::varint::take(bytes).ok_or(BAD_VARINT)
}

/// Splits a zigzag varint off the front of `bytes`.
pub(super) fn take_zigzag(bytes: &mut &[u8]) -> Result<i64, ChunkError> {
    take_varint(bytes).map(crate::model::varint::unzigzag)
}
