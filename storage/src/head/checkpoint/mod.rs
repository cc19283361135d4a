//! Checkpoints: the head as of one LSN per slice of 1024 series, written while ingest goes on.

mod layout;
mod postings;
mod read;
mod write;

#[cfg(feature = "fuzz")]
pub(crate) use layout::{fuzz, make_checksums_fit};
#[cfg(feature = "fuzz")]
pub(crate) use postings::{fuzz as fuzz_postings, sound_image};
pub(crate) use read::{Loaded, Named, SliceLsns, count, load, origin};
pub(crate) use write::{Written, write};

use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The disk refused.
    #[error("checkpoint {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("checkpoint {path} offset {offset}: expected {expected}, found {found}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// The head-chunk log that the checkpoint refers to.
    #[error(transparent)]
    Log(#[from] super::log::HeadLogError),
}

/// The path of checkpoint `number` in its folder.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.ckpt"))
}
