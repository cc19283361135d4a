//! Blocks: the series and chunks of one window on disk, immutable. `docs/format/block.md` is the layout.
//!
//! ```text
//! BlockWriter ──► ShardBuilder (one shard in memory: sorts dictionaries, turns rows into postings)
//!      │                └──► names, dictionaries, lists, rows, keys: each writer beside its reader
//!      └──► PagedWriter (index, chunks) ──► PagedFile ──► Section ──► Block, BlockShard, SeriesReader
//! ```
//!
//! Nothing is read when a block is opened but its directory. Every page is checked when it is first touched, and every
//! length before it is used: a damaged part is an error that says where, and the rest keeps serving.

mod check;
mod dictionary;
mod directory;
mod error;
mod inspect;
mod keys;
mod lists;
mod names;
mod paged;
mod reader;
mod rows;
mod section;
mod series;
mod shard_builder;
mod spec;
mod writer;

#[cfg(test)]
mod tests;

pub use check::BlockCounts;
pub(crate) use check::decode_checked;
pub use error::{Corruption, OpenBlockError, WriteBlockError};
pub use inspect::{ChunkStats, NameStats, SectionSize, SeriesWeight, ShardStats};
pub use reader::{Block, BlockShard};
pub use rows::{ChunkEntry, ChunkRef, ChunkRefs};
pub use series::SeriesReader;
pub use shard_builder::LabelId;
pub use spec::{BlockMeta, BlockSpec, Tier};
pub use writer::{BlockWriter, ColumnRoom};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use paged::make_checksums_fit;
#[cfg(test)]
use writer::unpaced;

/// The names of a block's files.
pub const INDEX_FILE: &str = "index";
/// The file with the chunks.
pub const CHUNKS_FILE: &str = "chunks";
/// The file for people.
pub const META_FILE: &str = "meta.json";

const INDEX_MAGIC: &[u8; 8] = b"CRDLBIDX";
const CHUNKS_MAGIC: &[u8; 8] = b"CRDLBCHK";

/// The version of the format.
const FORMAT: u32 = 1;
