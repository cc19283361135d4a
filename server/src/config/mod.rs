//! Configuration: one table of settings, read from flags, the environment and a file.
//!
//! ```text
//! wal.sync   in cardinal.yaml (nested by dots)
//! --wal-sync as a flag of `cardinal serve`
//! CARDINAL_WAL_SYNC in the environment
//! ```
//!
//! A flag wins over the environment, the environment over the file, the file over the default. [`table`] is the only place that
//! names settings: flags, variables, keys, `docs/configuration.md` and `deploy/cardinal.yaml` all follow from it.

mod features;
mod file;
mod memory;
mod page;
mod resolve;
mod table;
pub mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cardinal_storage::database::{Retention, SeriesLimits};
use cardinal_storage::model::{DurationMs, ShardCount};

pub use features::QueryFeatures;
pub use file::{FileError, FileKey, read_file, read_text};
pub use memory::memory_available;
pub use page::{configuration_page, sample_file};
pub use resolve::{ConfigError, Origin, Problem, Resolved, Row, Sources, check_file, resolve};
pub use table::{SETTINGS, Setting, setting};

/// Every setting, typed. Fields bear the settings' names.
#[derive(Clone, Debug)]
pub struct Config {
    /// `listen`
    pub listen: SocketAddr,
    /// `data_dir`
    pub data_dir: PathBuf,
    /// `account.label`
    pub account_label: String,
    /// `shards`
    pub shards: ShardCount,
    /// `wal.sync`
    pub wal_sync: WalSync,
    /// `wal.sync_interval`
    pub wal_sync_interval: Duration,
    /// `head.window`
    pub head_window: DurationMs,
    /// `head.memory_budget`; `None` is `auto`
    pub head_memory_budget: Option<u64>,
    /// `ingest.future_max`
    pub ingest_future_max: DurationMs,
    /// `ingest.late_max`; `None` is `auto`
    pub ingest_late_max: Option<DurationMs>,
    /// `ingest.request_bytes`
    pub ingest_request_bytes: u64,
    /// `ingest.request_samples`
    pub ingest_request_samples: u64,
    /// `ingest.inflight_bytes`
    pub ingest_inflight_bytes: u64,
    /// `retention.*`
    pub retention: Retention,
    /// `delete.grace`
    pub delete_grace: DurationMs,
    /// `limits.series`, `limits.series_created`, those in total, `limits.accounts`
    pub limits_series: SeriesLimits,
    /// `limits.label_names`
    pub limits_label_names: u64,
    /// `limits.label_name_bytes`
    pub limits_label_name_bytes: u64,
    /// `limits.label_value_bytes`
    pub limits_label_value_bytes: u64,
    /// `query.lookback`
    pub query_lookback: DurationMs,
    /// `query.timeout`
    pub query_timeout: Duration,
    /// `query.max_samples`
    pub query_max_samples: u64,
    /// `query.max_series`; `None` for no limit.
    pub query_max_series: Option<u64>,
    /// `query.cache_bytes`; `None` where nothing is kept.
    pub query_cache_bytes: Option<u64>,
    /// `query.max_bytes`; `None` for no limit.
    pub query_max_bytes: Option<u64>,
    /// `query.concurrency`; `None` is `auto`
    pub query_concurrency: Option<u64>,
    /// `query.queue`
    pub query_queue: u64,
    /// `query.features`
    pub query_features: QueryFeatures,
    /// `admin.enabled`; `None` is `auto`
    pub admin_enabled: Option<bool>,
    /// `self_scrape`; `None` is `off`
    pub self_scrape: Option<Duration>,
    /// `log.level`
    pub log_level: LogLevel,
    /// `log.format`
    pub log_format: LogFormat,
}

/// When an acknowledged sample is synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalSync {
    /// Before it is acknowledged.
    Commit,
    /// Within an interval; written before it is acknowledged all the same.
    Interval,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// And what may go wrong.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text, for people.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// The least that `head.memory_budget` may be.
const MEMORY_BUDGET_MIN: u64 = 16 << 20;

impl Config {
    /// The head's memory budget in bytes: as set, else a quarter of the memory that the cgroup, else the machine, allows.
    pub fn head_memory_budget(&self) -> u64 {
        self.head_memory_budget.unwrap_or_else(|| (memory_available() / 4).max(MEMORY_BUDGET_MIN))
    }

    /// How far behind the clock a sample may be: as set, else the longest retention.
    pub fn ingest_late_max(&self) -> DurationMs {
        self.ingest_late_max.unwrap_or_else(|| self.retention.longest())
    }

    /// How many queries run at once: as set, else two per core.
    pub fn query_concurrency(&self) -> usize {
        let auto = || 2 * std::thread::available_parallelism().map_or(1, usize::from);
        self.query_concurrency.map_or_else(auto, |n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// Whether the admin calls answer: as set, else only where `listen` is loopback.
    pub fn admin_enabled(&self) -> bool {
        self.admin_enabled.unwrap_or_else(|| self.listen.ip().is_loopback())
    }
}
