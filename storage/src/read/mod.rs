//! Reading: one consistent view of head and blocks, and cursors over the series that a selection finds in it.

mod block_rows;
mod cardinality;
mod changes;
mod cursor;
mod equal_labels;
mod estimate;
mod grouping;
mod head_chunks;
mod head_rows;
mod hidden;
mod known_times;
mod missing;
mod pieces;
mod stop;
mod texts;
mod tombstone;
mod view;

pub(crate) use cardinality::TopList;
pub use cardinality::{Cardinality, Counted, Top};
pub(crate) use changes::ChangeLog;
pub use changes::{Change, Mark, SETTLES_AFTER};
pub use cursor::SeriesCursor;
pub use estimate::Estimate;
pub use grouping::Grouper;
pub use head_chunks::{HeadChunk, HeadContent, HeadPlace};
pub(crate) use hidden::Tombstones;
pub use missing::BlockAside;
pub use tombstone::Tombstone;
pub use view::View;
pub(crate) use view::ViewState;

use crate::block::Corruption;
use crate::codec::ChunkError;
use crate::head::log::LogCorruption;

/// What a selection is for. Whatever it is, all of a series can be read; what is not wanted may then take longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Samples.
    Samples,
    /// The times of samples.
    Times,
    /// The time of each series' newest sample.
    Newest,
}

/// Why reading failed. What is damaged is named; the rest of the data can still be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A block could not be read.
    #[error(transparent)]
    Block(#[from] Corruption),
    /// A chunk does not decode.
    #[error("chunk: {0}")]
    Chunk(#[from] ChunkError),
    /// The head-chunk log is damaged.
    #[error(transparent)]
    Log(#[from] LogCorruption),
    /// Whoever asked does not wait any more: [`View::until`].
    #[error("reading was ended")]
    Stopped,
    /// Something else contradicts itself.
    #[error("{0}")]
    Corrupt(String),
}

impl ReadError {
    pub(crate) fn corrupt(what: String) -> Self {
        Self::Corrupt(what)
    }
}
