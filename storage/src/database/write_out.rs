//! The thread that writes the head-chunk log's full pages.

use super::Database;
use super::backoff::Backoff;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it looks for full pages.
pub(super) const WRITE_OUT_EVERY: Duration = Duration::from_millis(100);
/// The longest wait after failures: each try writes a whole segment anew, and a full disk stays full for a while. The pages stay in
/// memory meanwhile.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Failures in a row for each line about them: one line a minute, so that the lines do not fill what holds them as well.
const FAILURES_PER_LINE: u32 = 6;

/// What the thread remembers from one look to the next.
#[derive(Debug)]
pub(super) struct WriteOut {
    backoff: Backoff,
    /// In a row.
    failures: u32,
}

impl WriteOut {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(WRITE_OUT_EVERY, RETRY_MAX), failures: 0 }
    }

    /// Writes what is full, unless it failed a short while ago.
    pub(super) fn run(&mut self, database: &Database) {
        let now = database.clock.monotonic();
        if self.backoff.is_waiting(now) {
            return;
        }
        let Err(error) = database.head.log.write_out() else {
            self.backoff.succeeded();
            self.failures = 0;
            return;
        };
        self.backoff.failed(now);
        database.counters.head_log_failures.fetch_add(1, Ordering::Relaxed);
        if self.failures.is_multiple_of(FAILURES_PER_LINE) {
            tracing::error!(%error, "the head-chunk log could not be written; its pages stay in memory and are written again");
        }
        self.failures = self.failures.wrapping_add(1);
    }
}
