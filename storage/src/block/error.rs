//! What can go wrong with a block.

use crate::model::{ShardId, TimestampMs, Window};
use std::io;
use std::path::PathBuf;

/// Damage found while reading. Only what lies on the damaged spot is unreadable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: expected {expected}, found {found}", file.display())]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Why a block cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBlockError {
    /// The file system says no.
    #[error("cannot open {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file is cut off or has grown since it was published.
    #[error("{} has {found} bytes, {expected} expected: restore it from a backup or remove the block", file.display())]
    Length {
        /// The file.
        file: PathBuf,
        /// What was published.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// Another version of the format.
    #[error("{} has format version {found}, this program reads {expected}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// What this program reads.
        expected: u32,
        /// What the file says.
        found: u32,
    },
    /// Damage where the rest cannot be found without.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
}

/// Why a block cannot be written. What there is of it is garbage; nobody reads it, since no manifest names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteBlockError {
    /// The file system says no.
    #[error("cannot write {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A part of a shard exceeds what the format can address.
    #[error("{what} of a shard exceed 4 GiB: use more shards or shorter windows")]
    TooLarge {
        /// Which part.
        what: &'static str,
    },
    /// Shards must come in ascending order, and before series.
    #[error("shard {shard} came out of order")]
    ShardOrder {
        /// Which one.
        shard: ShardId,
    },
    /// Series must come in strictly ascending order of key and labels.
    #[error("series {labels} came out of order")]
    SeriesOrder {
        /// Which one.
        labels: String,
    },
    /// A sample outside the block's window.
    #[error("series {labels} has samples from {first} to {last}, outside the window after {} until {}", window.start, window.end())]
    OutsideWindow {
        /// Which series.
        labels: String,
        /// Its chunk's first sample.
        first: TimestampMs,
        /// Its chunk's last sample.
        last: TimestampMs,
        /// The block's window.
        window: Window,
    },
}

/// Offsets within a shard are u32: checks that of `what`.
pub(super) fn offset_u32(n: usize, what: &'static str) -> Result<u32, WriteBlockError> {
    u32::try_from(n).map_err(|_| WriteBlockError::TooLarge { what })
}
