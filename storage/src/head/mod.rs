//! The head: recent samples of all series in memory, covered by the log.
//!
//! ```text
//! Head ── Shard × 16 ── HeadIndex (names, values, rows, postings)
//!      │             └─ SeriesTable (records, open chunks, late samples)
//!      ├─ HeadLog (chunks on their way to a block)
//!      └─ MetadataStore
//! ```

pub(crate) mod accounts;
pub(crate) mod checkpoint;
pub(crate) mod cuts;
mod fingerprints;
mod histograms;
pub(crate) mod keys;
mod late;
pub(crate) mod log;
mod metadata;
mod records;
pub(crate) mod series;
pub(crate) mod shard;
mod slab;
pub(crate) mod symbols;

use crate::model::{DurationMs, HashSeed, ShardCount, ShardId, TimeRange, TimestampMs, Window};
use log::HeadLog;
use metadata::MetadataStore;
use parking_lot::Mutex;
use shard::Shard;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

pub use checkpoint::CheckpointError;
pub use log::{HeadLogError, LogCorruption};

/// What a head is made with; all of it is fixed for a data directory.
#[derive(Clone, Debug)]
pub(crate) struct HeadOptions {
    pub(crate) seed: HashSeed,
    pub(crate) shards: ShardCount,
    pub(crate) account_label: Arc<str>,
    pub(crate) window: DurationMs,
    pub(crate) log_dir: PathBuf,
}

/// The head. See the module.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) seed: HashSeed,
    pub(crate) account_label: Arc<str>,
    pub(crate) window: DurationMs,
    pub(crate) shards: Vec<Shard>,
    pub(crate) log: HeadLog,
    pub(crate) metadata: Mutex<MetadataStore>,
    /// Heap bytes of it, as whoever changed it last has told.
    metadata_bytes: AtomicU64,
    /// What of it could not be read when it was loaded; unset where nothing is missing.
    pub(crate) damage: OnceLock<HeadDamage>,
}

/// What a head lacks that was found damaged at the start.
#[derive(Clone, Debug)]
pub(crate) struct HeadDamage {
    /// Each file, offset, expected and found.
    pub(crate) texts: Vec<String>,
    /// Where the samples lie that may be missing.
    pub(crate) range: TimeRange,
}

impl Head {
    /// An empty head over a log.
    pub(crate) fn with_log(options: &HeadOptions, log: HeadLog) -> Self {
        let shard = |id| {
            let shard = Shard::new(id, options.window);
            shard.index.write().own_by(&options.account_label);
            shard
        };
        Self {
            seed: options.seed,
            account_label: options.account_label.clone(),
            window: options.window,
            shards: options.shards.iter().map(shard).collect(),
            log,
            metadata: Mutex::default(),
            metadata_bytes: AtomicU64::new(0),
            damage: OnceLock::new(),
        }
    }

    /// How many shards there are.
    pub(crate) fn shard_count(&self) -> ShardCount {
        u16::try_from(self.shards.len())
            .ok()
            .and_then(ShardCount::new)
            .expect("a head has as many shards as it was made with")
    }

    /// The shard with this id.
    pub(crate) fn shard(&self, id: ShardId) -> &Shard {
        &self.shards[id.index()]
    }

    /// The time of the newest sample of any series.
    pub(crate) fn newest(&self) -> TimestampMs {
        self.shards.iter().map(|s| s.series.lock().newest()).max().unwrap_or(TimestampMs::MIN)
    }

    /// The time of the oldest sample that came since the start or is in the checkpoint.
    pub(crate) fn oldest(&self) -> Option<TimestampMs> {
        let oldest = self.shards.iter().map(|s| s.series.lock().oldest()).min();
        oldest.filter(|t| *t != TimestampMs::MAX)
    }

    /// The windows that the head has data of, in any order and perhaps several times; not those of late samples alone.
    pub(crate) fn windows(&self) -> Vec<Window> {
        let of_log = self.log.windows().into_iter().map(|(_, start)| Window { start, len: self.window });
        let mut windows: Vec<Window> = of_log.collect();
        for shard in &self.shards {
            let series = shard.series.lock();
            for t in series.newest_of_each().filter(|t| *t > TimestampMs::MIN) {
                let window = Window::of(t, self.window);
                if windows.last() != Some(&window) {
                    windows.push(window);
                }
            }
        }
        windows
    }

    /// Of [`Self::memory_bytes`] what late samples and histograms take that may be moved to the head-chunk log at any time.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.buffer_bytes() as u64).sum()
    }

    /// Heap bytes of everything but the log's buffer.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.memory_bytes() as u64).sum::<u64>()
            + self.log.memory_bytes()
            + self.metadata_bytes.load(Relaxed)
    }

    /// Tells what metadata take, after a change and under their lock.
    pub(crate) fn tell_metadata_bytes(&self, metadata: &MetadataStore) {
        self.metadata_bytes.store(metadata.memory_bytes(), Relaxed);
    }

    /// Gives log and metadata their parts of the memory budget.
    pub(crate) fn fit_budget(&self, budget: u64) {
        self.log.fit_budget(budget);
        let mut metadata = self.metadata.lock();
        metadata.fit_budget(budget);
        self.tell_metadata_bytes(&metadata);
    }
}
