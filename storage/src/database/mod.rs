//! The database: a data directory, opened.
//!
//! ```text
//! append ──► Wal, Head          view ──► blocks + head, one consistent whole
//! maintain ──► cut (head → block), checkpoint, retire; each commits by one edit of the manifest
//! compaction ──► blocks → block, and what is past retention; on a thread of its own
//! ```

mod accounts;
mod aliases;
mod append;
mod backoff;
mod compaction;
mod deletions;
mod faults;
mod folders;
mod inspect;
mod limits;
mod maintain;
mod manifest;
mod memory;
mod open;
mod options;
mod replay;
mod reserve;
mod retire;
mod stats;
#[cfg(test)]
mod tests;
mod threads;
mod times;
mod verify;
mod write_out;

pub use accounts::{AccountUsage, AccountsUsage};
pub use append::{AppendError, AppendRow, Appended, RefusalClass, Refused, Resolve};
pub use deletions::{DeleteError, Deletion, UndeleteError};
pub use faults::FAULTS_FILE;
pub use folders::{block_dir, wal_dir};
pub use inspect::{BlockReport, CheckpointReport, DirectoryReport, InspectError, inspect, inspect_view};
pub use limits::{AccountRefusals, SeriesLimits, SeriesMax, SeriesRate};
pub use manifest::ManifestError;
#[cfg(feature = "fuzz")]
pub(crate) use manifest::{fuzz as fuzz_manifest, make_checksums_fit as make_manifest_fit};
pub use open::OpenError;
pub use options::DatabaseOptions;
pub use stats::{CompactionResult, CompactionStats, HeadStats, Stats};
pub use verify::{Finding, Part, Progress, Repair, RepairError, Verification, VerifyError, repair, verify};

use crate::compact::passage::Passage;
use crate::head::Head;
use crate::index::Matcher;
use crate::io::{Clock, DirLock, Fs, Pace};
use crate::model::{HashSeed, MetricMetadata, ShardCount, ShardId};
use crate::read::{ChangeLog, View, ViewState};
use crate::wal::{BatchBuilder, Wal, WalError};
use aliases::Aliases;
use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use maintain::Maintenance;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::thread::JoinHandle;

pub use crate::compact::cut::CutError;
pub use crate::compact::merge::CompactError;
pub use crate::compact::retention::Retention;

/// An open data directory. All methods may be called from any thread.
#[derive(Debug)]
pub struct Database {
    dir: PathBuf,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    /// What blocks and checkpoints are written at, beside the log.
    pace: Arc<Pace>,
    options: DatabaseOptions,
    shards: ShardCount,
    head: Arc<Head>,
    wal: Wal,
    view: ArcSwap<ViewState>,
    aliases: Mutex<Aliases>,
    limits: limits::LimitKeeper,
    /// Builders of log batches, reused by requests.
    batches: ArrayQueue<BatchBuilder>,
    refuse_new_series: AtomicBool,
    /// Whether the last flush for memory has not helped, and the next one waits.
    flush_is_far: AtomicBool,
    /// The time of the newest sample of a series for which there was no room, since the start.
    newest_refused: AtomicI64,
    /// What of the time is believed.
    passage: Mutex<Passage>,
    /// What the manifest says, for those who do not wait for `maintenance`.
    committed: Arc<ArcSwap<manifest::State>>,
    /// Held by whoever cuts, makes a checkpoint or retires: one at a time.
    maintenance: Mutex<Maintenance>,
    /// Held by whoever merges or drops blocks; taken before `maintenance`.
    compaction: Mutex<compaction::Compaction>,
    counters: stats::Counters,
    /// What changed of times that were settled.
    changes: Arc<ChangeLog>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<(crossbeam::channel::Sender<()>, JoinHandle<()>)>>,
    _lock: Box<dyn DirLock>,
}

impl Database {
    /// The seed of the directory's fingerprints.
    pub fn seed(&self) -> HashSeed {
        self.head.seed
    }

    /// How many shards the directory has.
    pub fn shards(&self) -> ShardCount {
        self.shards
    }

    /// The label that owns a series.
    pub fn account_label(&self) -> &str {
        &self.head.account_label
    }

    /// The data directory.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// A consistent view of everything acknowledged so far.
    pub fn view(&self) -> View {
        // Before the view: what it lacks has a greater number then.
        let mark = self.changes.mark();
        View::new(self.head.clone(), self.view.load_full()).marked(mark, self.changes.clone())
    }

    /// What senders said about metric families, sorted by family.
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        self.head.metadata.lock().iter().cloned().collect()
    }

    /// Whether writes are refused because the disk failed. Queries go on.
    pub fn is_read_only(&self) -> bool {
        self.wal.is_read_only()
    }

    /// How many series of a shard's head the matchers accept.
    pub fn head_series(&self, shard: ShardId, matchers: &[Matcher]) -> u64 {
        self.view().head_series(shard, matchers)
    }

    /// Stops the background, and makes everything appended durable. Later appends fail. Again is success.
    pub fn close(&self) -> Result<(), WalError> {
        self.closing.store(true, std::sync::atomic::Ordering::Release);
        let threads = std::mem::take(&mut *self.threads.lock());
        for (stop, thread) in threads {
            drop(stop);
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.wal.close()
    }
}
