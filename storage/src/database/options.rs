//! What a database is opened with.

use super::limits::SeriesLimits;
use crate::compact::retention::Retention;
use crate::io::{Clock, Fs, RealFs, SystemClock};
use crate::model::{DurationMs, ShardCount};
use crate::wal::{SyncMode, WalOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a database. [`DatabaseOptions::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// The data directory; made where missing.
    pub dir: PathBuf,
    /// The label that owns a series. Fixed when the directory is made.
    pub account_label: String,
    /// Fixed when the directory is made.
    pub shards: ShardCount,
    /// The seed of a new directory's fingerprints; drawn where there is none. For tests: else two runs differ.
    pub hash_seed: Option<u64>,
    /// Length of a raw window. Fixed when the directory is made.
    pub window: DurationMs,
    /// Bytes of memory that the head may take; beyond it the head is flushed early.
    pub memory_budget: u64,
    /// When a write is acknowledged.
    pub sync: SyncMode,
    /// Bytes of one log segment.
    pub wal_segment_bytes: u64,
    /// Bytes of log that wait for the disk at most, before writers wait.
    pub wal_buffer_bytes: usize,
    /// A checkpoint starts when the log since the last one exceeds this, or the last one's size.
    pub checkpoint_bytes: u64,
    /// Whether samples beyond the clock count as of now when it is judged which windows are over and which series are idle: they
    /// came from senders whose clocks are ahead, or while this one was wrong. Without, samples alone tell the time: for tests, and
    /// for loads of invented times.
    pub trust_clock: bool,
    /// How long data are kept.
    pub retention: Retention,
    /// How long a deletion can be undone, before what it hides is reclaimed.
    pub delete_grace: DurationMs,
    /// How many series accounts may have.
    pub limits: SeriesLimits,
    /// Whether threads of its own write out chunks, cut windows and make checkpoints. Without, the owner calls
    /// [`super::Database::maintain`] and [`super::Database::compact_due`]: for tests that own time.
    pub background: bool,
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl DatabaseOptions {
    /// The defaults, on the real disk.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            account_label: "account".into(),
            shards: ShardCount::new(16).expect("16 is a shard count"),
            hash_seed: None,
            window: DurationMs::hours(2),
            memory_budget: 1 << 30,
            sync: SyncMode::Commit,
            wal_segment_bytes: 64 << 20,
            wal_buffer_bytes: 64 << 20,
            checkpoint_bytes: 256 << 20,
            trust_clock: false,
            retention: Retention::default(),
            delete_grace: DurationMs::hours(24),
            limits: SeriesLimits::default(),
            background: true,
            fs: Arc::new(RealFs),
            clock: Arc::new(SystemClock::default()),
        }
    }

    pub(super) fn wal(&self) -> WalOptions {
        WalOptions {
            sync: self.sync,
            segment_bytes: self.wal_segment_bytes,
            buffer_bytes_max: self.wal_buffer_bytes,
            ..WalOptions::default()
        }
    }

    /// How often the background looks whether there is something to do.
    pub(super) const TICK: Duration = Duration::from_secs(1);
}
