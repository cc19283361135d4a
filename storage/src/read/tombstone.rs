//! Tombstones: what was deleted of blocks and still stands in them.

use crate::block::{Block, BlockShard, Corruption};
use crate::index::{Bitmap, MatchOp, Matcher};
use crate::model::{BlockId, TimeRange, TimestampMs, TombstoneId, shard_of_account};

/// A deletion: the samples of the series that all `matchers` accept, in `range`, in the blocks that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its name; greater than that of any block that was there when it was made.
    pub id: TombstoneId,
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// Which of their samples.
    pub range: TimeRange,
    /// When it was made.
    pub created: TimestampMs,
    /// Whether it cannot be undone any more: the next merge leaves out what it hides.
    pub is_final: bool,
}

impl Tombstone {
    /// Whether it hides samples of a block that deletions judge by this id.
    pub(crate) fn covers(&self, covered_as: BlockId) -> bool {
        covered_as.0 <= self.id.0
    }

    /// The series of a block's shard that it accepts.
    pub(crate) fn select(&self, shard: &BlockShard<'_>) -> Result<Bitmap, Corruption> {
        let spec = shard.block().spec();
        let is_account = |m: &&Matcher| {
            m.name() == spec.account_label && m.op() == MatchOp::Equal && !m.value().is_empty()
        };
        let account = self.matchers.iter().find(is_account);
        if account.is_some_and(|m| shard_of_account(m.value().as_bytes(), spec.shards) != shard.id()) {
            return Ok(Bitmap::new());
        }
        shard.select(&self.matchers)
    }

    /// Whether it would hide samples of the block, as far as the index tells: a chunk of a series that it accepts may have some.
    pub(crate) fn touches(&self, block: &Block) -> Result<bool, Corruption> {
        if !self.range.overlaps(block.spec().window.range()) {
            return Ok(false);
        }
        for shard in block.shards() {
            let mut reader = shard.reader();
            for ordinal in self.select(&shard)?.iter() {
                for chunk in reader.chunk_refs(ordinal)? {
                    if chunk?.range.overlaps(self.range) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
