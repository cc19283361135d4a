//! What bounds a query, and how it is ended from outside.

use crate::explain::Explain;
use cardinal_storage::model::DurationMs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The bounds of every query of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How far an instant selector looks back. 5m: a series scraped each minute survives four lost scrapes.
    pub lookback: DurationMs,
    /// How long a query may take. 2m, as the clients' own deadlines are.
    pub timeout: Duration,
    /// How many samples a query may hold at once (streamed ones do not count). 50 million: some 600 MB.
    pub samples_max: u64,
    /// How many series all selectors of a query may find together; no limit if `None`. 20 million: twice what one server is
    /// made for, so that only churn over days gets there.
    pub series_max: Option<u64>,
    /// How many bytes of chunks a query may read; no limit if `None`, as by default: time bounds it.
    pub bytes_max: Option<u64>,
    /// How long a query's text may be. 1 MiB: generated queries with long lists of alternatives fit.
    pub query_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookback: DurationMs::mins(5),
            timeout: Duration::from_secs(120),
            samples_max: 50_000_000,
            series_max: Some(20_000_000),
            bytes_max: None,
            query_bytes_max: 1 << 20,
        }
    }
}

/// What one query asks for beyond its text. The default asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// In place of [`Limits::lookback`].
    pub lookback: Option<DurationMs>,
    /// Lowers [`Limits::timeout`]; never raises it.
    pub timeout: Option<Duration>,
    /// Whether the query is explained, and whether it is run then.
    pub explain: Explain,
    /// Whether results that are kept of earlier queries are left alone, and none are kept of this one.
    pub no_cache: bool,
    /// Whether what each step looked at is counted too.
    pub step_stats: bool,
    /// Ends the query.
    pub cancel: CancelToken,
    /// Tells how far the query has come.
    pub progress: Progress,
}

/// What a query has come to so far, told some times a second while it runs; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<ProgressCounts>);

#[derive(Debug, Default)]
pub(crate) struct ProgressCounts {
    /// Series that selectors found.
    pub(crate) series: AtomicU64,
    /// Samples that the source gave.
    pub(crate) samples: AtomicU64,
    /// Chunks that they came from, and their bytes.
    pub(crate) chunks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Samples held, now and at most.
    pub(crate) held: AtomicU64,
    pub(crate) held_max: AtomicU64,
}

impl Progress {
    /// Series that its selectors have found.
    pub fn series(&self) -> u64 {
        self.0.series.load(Ordering::Relaxed)
    }

    /// Samples that the storage has given.
    pub fn samples_decoded(&self) -> u64 {
        self.0.samples.load(Ordering::Relaxed)
    }

    /// Chunks that they came from.
    pub fn chunks(&self) -> u64 {
        self.0.chunks.load(Ordering::Relaxed)
    }

    /// Bytes of these chunks.
    pub fn chunk_bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Samples that it holds.
    pub fn samples_held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// The most samples that it held.
    pub fn samples_held_max(&self) -> u64 {
        self.0.held_max.load(Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> &ProgressCounts {
        &self.0
    }

    /// Begins anew: a query may be run a second time.
    pub(crate) fn reset(&self) {
        let ProgressCounts { series, samples, chunks, bytes, held, held_max } = &*self.0;
        [series, samples, chunks, bytes, held, held_max].iter().for_each(|n| n.store(0, Ordering::Relaxed));
    }
}

/// A flag that ends a query soon after it is raised; clones share it.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Raises the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was raised.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
