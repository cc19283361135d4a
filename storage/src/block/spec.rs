//! What a block is, as its writer, the manifest and `meta.json` say it.

use super::META_FILE;
use super::error::{Corruption, OpenBlockError};
use crate::io::{Fs, OpenMode};
use crate::model::{BlockId, HashSeed, LsnRange, ShardCount, Window};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The resolution of a block's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// As they came.
    #[serde(rename = "raw")]
    Raw,
    /// Buckets of five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// Buckets of an hour.
    #[serde(rename = "1h")]
    Hour,
    /// Buckets of a day.
    #[serde(rename = "1d")]
    Day,
}

impl Tier {
    /// All of them, finest first.
    pub const ALL: [Self; 4] = [Self::Raw, Self::FiveMinutes, Self::Hour, Self::Day];

    /// The number on disk.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::FiveMinutes => 1,
            Self::Hour => 2,
            Self::Day => 3,
        }
    }

    pub(super) fn from_number(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n)).copied()
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        })
    }
}

/// What is known of a block before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// Its name.
    pub id: BlockId,
    /// What its samples lie in.
    pub window: Window,
    /// Its resolution.
    pub tier: Tier,
    /// The place of the window's length among those of its tier: 0 for what comes from the head.
    pub level: u8,
    /// The blocks that it was made of.
    pub sources: Vec<BlockId>,
    /// The seed of its keys.
    pub seed: HashSeed,
    /// The label that shards and orders its series.
    pub account_label: String,
    /// The number of shards of the directory.
    pub shards: ShardCount,
    /// What the log had given when the samples left it: no LSN up to the last is given again. `None` where they came by no log.
    pub lsns: Option<LsnRange>,
}

/// What is known of a block after it was written: what the manifest records, and `meta.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// The version of the format.
    pub format: u32,
    /// The block's id, as in the name of its directory.
    pub id: String,
    /// The resolution.
    pub tier: Tier,
    /// The place of the window's length among those of its tier.
    pub level: u8,
    /// Exclusive start of the window, in milliseconds.
    pub window_start: i64,
    /// Length of the window, in milliseconds.
    pub window_ms: i64,
    /// The blocks that it was made of.
    pub sources: Vec<String>,
    /// The seed of keys and fingerprints.
    pub seed: u64,
    /// The label that shards and orders the series.
    pub account_label: String,
    /// The number of shards of the directory.
    pub shards: u16,
    /// What the log had given when the samples left it.
    pub lsns: Option<LsnRange>,
    /// The length of the file `index`.
    pub index_bytes: u64,
    /// The length of the file `chunks`.
    pub chunks_bytes: u64,
    /// How many series there are.
    pub series: u64,
    /// How many chunks.
    pub chunks: u64,
    /// How many samples.
    pub samples: u64,
    /// How many time columns.
    pub time_columns: u64,
}

impl BlockMeta {
    /// Reads the `meta.json` of the block in `dir`: for repair and inspection, where no manifest tells the lengths.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, OpenBlockError> {
        let path = dir.join(META_FILE);
        let json = fs
            .open(&path, OpenMode::Read)
            .and_then(|file| file.read_all())
            .map_err(|source| OpenBlockError::Io { file: path.clone(), source })?;
        serde_json::from_slice(&json).map_err(|e| {
            let expected = "the facts of a block as JSON".to_owned();
            Corruption { file: path, offset: 0, expected, found: e.to_string() }.into()
        })
    }
}
