//! What chunks of one file share: time columns, and one another's values.

use super::error::{ChunkError, take_varint};
use super::times::{self, TimeColumnId};
use crate::model::varint;

/// Where a chunk finds what it does not hold itself.
pub trait Shared {
    /// The encoded bytes of a time column, as [`encode_column`](super::encode_column) wrote them.
    fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError>;

    /// Appends the times of a column, which must be `count`, strictly ascending. On error `out` is as before. Whoever reads many
    /// chunks of the same times may know them by now.
    fn times(&self, id: TimeColumnId, count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
        times::decode_column_of(self.column(id)?, count, out)
    }

    /// The bytes of a chunk that another one rests on.
    fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError>;
}

/// Where a chunk lies among those that may refer to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// From the start of the shard's chunks.
    pub offset: u64,
    /// How long it is.
    pub len: u32,
}

/// For chunks that stand on their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingShared;

impl Shared for NothingShared {
    fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
        Err(ChunkError::NoColumn(id))
    }

    fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
        Err(ChunkError::NoBase(place.offset))
    }
}

impl ChunkPlace {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        varint::put(out, self.offset);
        varint::put(out, u64::from(self.len));
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, ChunkError> {
        let offset = take_varint(bytes)?;
        let len = u32::try_from(take_varint(bytes)?);
        let len = len.map_err(|_| ChunkError::Malformed("a chunk refers to one of an impossible length"))?;
        Ok(Self { offset, len })
    }

    /// Reads a section that is a place and nothing else.
    pub(super) fn take_whole(mut section: &[u8]) -> Result<Self, ChunkError> {
        let place = Self::take(&mut section)?;
        if section.is_empty() {
            Ok(place)
        } else {
            Err(ChunkError::Malformed("bytes follow a chunk's place"))
        }
    }
}
