//! One edit: what it names, and its bytes.

use super::TombstoneEntry;
use crate::block::Tier;
use crate::model::{BlockId, DurationMs, HashSeed, ShardCount, TimestampMs, Window};
use serde::{Deserialize, Serialize};

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const BYTES_MAX: usize = 16 << 20;
/// The payload of the edit that changes nothing, and says that the one before it was synced.
pub(super) const MARK_PAYLOAD: &[u8] = b"{}";

/// What is fixed when a directory is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Init {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) account_label: String,
    /// Shards per account: anything but 1 is refused for now.
    pub(crate) spread: u16,
    pub(crate) window_ms: i64,
}

/// A block as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockEntry {
    pub(crate) id: u64,
    /// The resolution of its samples. An edit with one that is not known is refused: another version wrote it.
    pub(crate) tier: Tier,
    pub(crate) level: u8,
    pub(crate) window_start: i64,
    pub(crate) window_ms: i64,
    pub(crate) index_bytes: u64,
    pub(crate) chunks_bytes: u64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// The id by which deletions judge it, where it is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) covered_as: Option<u64>,
    /// The newest sample known when the newest of its data came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrived_ms: Option<i64>,
}

/// The checkpoint in force and what it needs beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointEntry {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// The first WAL segment to replay.
    pub(crate) wal_segment: u64,
    /// Bytes of the head-chunk log from here on are ignored.
    pub(crate) head_log_end: u64,
}

/// One atomic change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<Init>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add_blocks: Vec<BlockEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove_blocks: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<CheckpointEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add_tombstones: Vec<TombstoneEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove_tombstones: Vec<u64>,
}

impl Init {
    pub(crate) fn seed(&self) -> HashSeed {
        HashSeed(self.seed)
    }

    pub(crate) fn window(&self) -> DurationMs {
        DurationMs(self.window_ms)
    }

    pub(crate) fn shard_count(&self) -> Option<ShardCount> {
        ShardCount::new(self.shards)
    }

    pub(super) fn is_valid(&self) -> bool {
        self.shard_count().is_some()
            && self.window_ms > 0
            && self.spread == 1
            && !self.account_label.is_empty()
    }
}

impl BlockEntry {
    /// The id by which deletions judge it.
    pub(crate) fn covered_as(&self) -> BlockId {
        BlockId(self.covered_as.unwrap_or(self.id))
    }

    pub(crate) fn arrived(&self) -> Option<TimestampMs> {
        self.arrived_ms.map(TimestampMs)
    }

    pub(crate) fn window(&self) -> Window {
        Window { start: TimestampMs(self.window_start), len: DurationMs(self.window_ms) }
    }
}

pub(super) fn encode(edit: &Edit, sequence: u64) -> Vec<u8> {
    let payload = serde_json::to_vec(edit).expect("an edit has string keys and finite numbers");
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&payload);
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The edit that changes nothing: it says that everything before it was synced.
pub(super) fn mark(sequence: u64) -> Vec<u8> {
    encode(&Edit::default(), sequence)
}

/// Why bytes are no edit.
pub(super) struct Bad {
    pub(super) expected: String,
    pub(super) found: String,
}

/// Reads the edit at the front of `bytes`: the edit (or what is not understood of it, where the checksum holds), its sequence,
/// its length.
pub(super) fn decode(bytes: &[u8]) -> Result<(Result<Edit, serde_json::Error>, u64, usize), Bad> {
    let bad = |expected: &str, found: String| Bad { expected: expected.into(), found };
    let cut_off = || bad("a whole edit", "the end of the file".into());
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let (crc, checked) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > BYTES_MAX {
        return Err(bad("an edit of at most 16 MiB", format!("a length of {length}")));
    }
    let checked = checked.get(..8 + length).ok_or_else(cut_off)?;
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c::crc32c(checked));
    if expected != found {
        return Err(bad(&format!("checksum {expected:08x}"), format!("{found:08x}")));
    }
    let (sequence, payload) = checked.split_first_chunk::<8>().ok_or_else(cut_off)?;
    Ok((serde_json::from_slice(payload), u64::from_le_bytes(*sequence), HEADER_BYTES + length))
}
