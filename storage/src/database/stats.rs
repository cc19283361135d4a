//! The database in numbers: for `/metrics`, `status/tsdb` and the command line.

use super::Database;
use super::replay::Replayed;
use crate::block::Tier;
use crate::compact::plan::overlapping_windows;
use crate::model::TimestampMs;
use crate::wal::WalStats;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts since the process began.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) deletions: AtomicU64,
    pub(super) undeletions: AtomicU64,
    pub(super) cuts: AtomicU64,
    pub(super) cut_blocks: AtomicU64,
    pub(super) cut_samples: AtomicU64,
    pub(super) cut_ms: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) maintenance_failures: AtomicU64,
    pub(super) head_log_failures: AtomicU64,
    pub(super) cut_corruptions: AtomicU64,
    pub(super) reserve_bytes: AtomicU64,
    pub(super) reserve_releases: AtomicU64,
    pub(super) series_left: AtomicU64,
    pub(super) replayed_samples: AtomicU64,
    pub(super) replay_corruptions: AtomicU64,
    pub(super) panics: AtomicU64,
    /// When the next try is due after a failure, in nanoseconds of the clock that never goes back.
    maintenance_retry_ns: AtomicU64,
    compaction_retry_ns: AtomicU64,
    compactions: [AtomicU64; CompactionResult::ALL.len()],
    compaction_read_bytes: AtomicU64,
    compaction_written_bytes: AtomicU64,
    compaction_ms: AtomicU64,
    dropped_blocks: AtomicU64,
    /// Of the merge under way: bytes of chunks read, and those that there are.
    pub(super) merge_read_bytes: AtomicU64,
    merge_bytes: AtomicU64,
}

/// How a compaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionResult {
    /// Blocks became one.
    Merged,
    /// Blocks were dropped whole.
    Dropped,
    /// The disk might not have had the room.
    NoSpace,
    /// A block is damaged and was set aside.
    Damaged,
    /// The disk refused.
    Failed,
}

impl CompactionResult {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Merged, Self::Dropped, Self::NoSpace, Self::Damaged, Self::Failed];

    /// As a label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Dropped => "dropped",
            Self::NoSpace => "no_space",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
        }
    }
}

/// Compaction in numbers. Counts are since the process began.
#[derive(Clone, Debug, Default)]
pub struct CompactionStats {
    /// How compactions ended, in the order of [`CompactionResult::ALL`].
    pub by_result: [u64; CompactionResult::ALL.len()],
    /// Bytes of the blocks that were merged.
    pub read_bytes: u64,
    /// Bytes of the blocks that they became.
    pub written_bytes: u64,
    /// Time spent in merges that succeeded.
    pub time: Duration,
    /// Blocks that were dropped whole.
    pub dropped_blocks: u64,
    /// Of the merge under way: bytes of chunks read and those that there are; zeroes where there is none.
    pub progress: (u64, u64),
    /// How long nothing is tried after a failure.
    pub backoff: Duration,
    /// Blocks by tier and level.
    pub blocks_by_level: Vec<(Tier, u8, u64)>,
    /// Windows in which blocks overlap.
    pub overlapping_windows: u64,
}

impl Counters {
    pub(super) fn replayed(replayed: &Replayed) -> Self {
        let counters = Self::default();
        counters.replayed_samples.store(replayed.samples, Relaxed);
        let found = replayed.corruptions + replayed.orphans + replayed.head_damage.len() as u64;
        counters.replay_corruptions.store(found, Relaxed);
        counters
    }

    pub(super) fn compacted(&self, result: CompactionResult) {
        self.compactions[result as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn dropped(&self, blocks: u64) {
        self.dropped_blocks.fetch_add(blocks, Relaxed);
    }

    pub(super) fn merge_began(&self, chunk_bytes: u64) {
        self.merge_read_bytes.store(0, Relaxed);
        self.merge_bytes.store(chunk_bytes, Relaxed);
    }

    pub(super) fn merge_ended(&self) {
        self.merge_began(0);
    }

    pub(super) fn merged(&self, read_bytes: u64, written_bytes: u64, took: Duration) {
        self.compacted(CompactionResult::Merged);
        self.compaction_read_bytes.fetch_add(read_bytes, Relaxed);
        self.compaction_written_bytes.fetch_add(written_bytes, Relaxed);
        self.compaction_ms.fetch_add(took.as_millis() as u64, Relaxed);
    }

    pub(super) fn maintenance_retry_at(&self, at: Duration) {
        self.maintenance_retry_ns.store(at.as_nanos() as u64, Relaxed);
    }

    pub(super) fn compaction_retry_at(&self, at: Duration) {
        self.compaction_retry_ns.store(at.as_nanos() as u64, Relaxed);
    }

    pub(super) fn cut(&self, blocks: u64, samples: u64, took: Duration) {
        self.cuts.fetch_add(1, Relaxed);
        self.cut_blocks.fetch_add(blocks, Relaxed);
        self.cut_samples.fetch_add(samples, Relaxed);
        self.cut_ms.fetch_add(took.as_millis() as u64, Relaxed);
    }
}

/// The head in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series that have a record.
    pub series: u64,
    /// Of these: with an open chunk.
    pub open_chunks: u64,
    /// The oldest sample that came since the start or is in the checkpoint; `None` without samples.
    pub oldest: Option<TimestampMs>,
    /// The newest sample.
    pub newest: Option<TimestampMs>,
    /// Bytes of memory that count against the budget.
    pub memory_bytes: u64,
    /// Bytes that it may take.
    pub memory_budget: u64,
    /// Bytes of chunks on their way to a block, on disk.
    pub log_bytes: u64,
    /// Whether new series are refused, since memory is used up.
    pub refuses_new_series: bool,
    /// Other forms of label sections that are remembered.
    pub forms: u64,
    /// Such forms that were forgotten at the limit.
    pub forms_forgotten: u64,
    /// Metadata statements kept.
    pub metadata: u64,
    /// Metadata statements dropped at the limit.
    pub metadata_dropped: u64,
}

/// The database in numbers. Counts are since the process began.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The head.
    pub head: HeadStats,
    /// The log.
    pub wal: WalStats,
    /// Whether writes are refused because the disk failed.
    pub read_only: bool,
    /// Blocks.
    pub blocks: u64,
    /// Blocks that cannot be read and were set aside, and blocks that damage was met in since.
    pub blocks_damaged: u64,
    /// Series in blocks, each block's counted.
    pub block_series: u64,
    /// Bytes of blocks: index, chunks.
    pub block_bytes: (u64, u64),
    /// Tombstones: deletions in force, and not reclaimed as a whole.
    pub tombstones: u64,
    /// Deletions made.
    pub deletions: u64,
    /// Deletions undone.
    pub undeletions: u64,
    /// Cuts of the head.
    pub cuts: u64,
    /// Samples that cuts have put into blocks.
    pub cut_samples: u64,
    /// Time spent in cuts.
    pub cut_time: Duration,
    /// Checkpoints made, those of cuts included.
    pub checkpoints: u64,
    /// Cuts and checkpoints that failed.
    pub maintenance_failures: u64,
    /// How long neither is tried after a failure.
    pub maintenance_backoff: Duration,
    /// Panics of background threads, each of which went on.
    pub panics: u64,
    /// Compaction.
    pub compaction: CompactionStats,
    /// Failed attempts to write the head-chunk log.
    pub head_log_failures: u64,
    /// Damaged records of the head-chunk log that cuts went on without.
    pub cut_corruptions: u64,
    /// Bytes that are kept for commits on a full disk.
    pub reserve_bytes: u64,
    /// How often they were needed.
    pub reserve_releases: u64,
    /// Series that left the head.
    pub series_left: u64,
    /// Samples replayed at the start.
    pub replayed_samples: u64,
    /// Damage found at the start in the log, the checkpoint and the head-chunk log.
    pub replay_corruptions: u64,
}

impl Database {
    /// The database in numbers, from counters.
    pub fn stats(&self) -> Stats {
        let view = self.view.load();
        let c = &self.counters;
        let bytes = view.blocks.values().map(|b| b.file_bytes()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        Stats {
            head: self.head_stats(),
            wal: self.wal.stats(),
            read_only: self.is_read_only(),
            blocks: view.blocks.len() as u64,
            blocks_damaged: (view.aside.len() + view.blocks.values().filter(|b| b.is_damaged()).count())
                as u64,
            block_series: view.blocks.values().map(|b| b.series_count()).sum(),
            block_bytes: bytes,
            tombstones: view.tombstones.by_id.len() as u64,
            deletions: c.deletions.load(Relaxed),
            undeletions: c.undeletions.load(Relaxed),
            cuts: c.cuts.load(Relaxed),
            cut_samples: c.cut_samples.load(Relaxed),
            cut_time: Duration::from_millis(c.cut_ms.load(Relaxed)),
            checkpoints: c.checkpoints.load(Relaxed),
            maintenance_failures: c.maintenance_failures.load(Relaxed),
            maintenance_backoff: self.wait_until(&c.maintenance_retry_ns),
            panics: c.panics.load(Relaxed),
            compaction: self.compaction_stats(),
            head_log_failures: c.head_log_failures.load(Relaxed),
            cut_corruptions: c.cut_corruptions.load(Relaxed),
            reserve_bytes: c.reserve_bytes.load(Relaxed),
            reserve_releases: c.reserve_releases.load(Relaxed),
            series_left: c.series_left.load(Relaxed),
            replayed_samples: c.replayed_samples.load(Relaxed),
            replay_corruptions: c.replay_corruptions.load(Relaxed),
        }
    }

    fn wait_until(&self, retry_ns: &AtomicU64) -> Duration {
        Duration::from_nanos(retry_ns.load(Relaxed)).saturating_sub(self.clock.monotonic())
    }

    fn compaction_stats(&self) -> CompactionStats {
        let (c, view) = (&self.counters, self.view.load());
        let specs = || view.blocks.values().map(|b| b.spec());
        let mut by_level = BTreeMap::<(Tier, u8), u64>::new();
        specs().for_each(|s| *by_level.entry((s.tier, s.level)).or_default() += 1);
        CompactionStats {
            by_result: CompactionResult::ALL.map(|r| c.compactions[r as usize].load(Relaxed)),
            read_bytes: c.compaction_read_bytes.load(Relaxed),
            written_bytes: c.compaction_written_bytes.load(Relaxed),
            time: Duration::from_millis(c.compaction_ms.load(Relaxed)),
            dropped_blocks: c.dropped_blocks.load(Relaxed),
            progress: (c.merge_read_bytes.load(Relaxed), c.merge_bytes.load(Relaxed)),
            backoff: self.wait_until(&c.compaction_retry_ns),
            blocks_by_level: by_level.into_iter().map(|((tier, level), n)| (tier, level, n)).collect(),
            overlapping_windows: overlapping_windows(specs().map(|s| (s.tier, s.window))),
        }
    }

    fn head_stats(&self) -> HeadStats {
        let mut stats = HeadStats {
            memory_bytes: self.memory_bytes(),
            memory_budget: self.options.memory_budget,
            log_bytes: self.head.log.mapped_bytes(),
            refuses_new_series: self.refuse_new_series.load(Relaxed),
            ..HeadStats::default()
        };
        (stats.forms, stats.forms_forgotten) = {
            let aliases = self.aliases.lock();
            (aliases.len(), aliases.forgotten())
        };
        (stats.metadata, stats.metadata_dropped) = {
            let (kept, dropped) = self.head.metadata.lock().counts();
            (kept as u64, dropped)
        };
        for shard in &self.head.shards {
            let series = shard.series.lock();
            stats.series += series.live() as u64;
            stats.open_chunks += series.open() as u64;
            if series.newest() != TimestampMs::MIN {
                stats.newest = stats.newest.max(Some(series.newest()));
                stats.oldest = Some(stats.oldest.map_or(series.oldest(), |o| o.min(series.oldest())));
            }
        }
        stats
    }
}
