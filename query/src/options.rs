//! What bounds a query, and how it is ended from outside.

use cardinal_storage::model::DurationMs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// How long a query's text may be. 1 MiB: generated queries with long lists of alternatives fit.
    pub query_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookback: DurationMs::mins(5),
            timeout: Duration::from_secs(120),
            samples_max: 50_000_000,
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
    /// Whether what each step looked at is counted too.
    pub step_stats: bool,
    /// Ends the query.
    pub cancel: CancelToken,
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
