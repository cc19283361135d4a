//! How long to wait after a failure before the next try.

use std::time::Duration;

/// Waits longer after each failure in a row: what failed is likely to fail again, and each try costs the disk that failed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    /// On the clock that never goes back.
    until: Duration,
}

impl Backoff {
    /// Waits `first` after a failure, twice as long after each further one, at most `max`.
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0, until: Duration::ZERO }
    }

    pub(super) fn is_waiting(&self, now: Duration) -> bool {
        now < self.until
    }

    pub(super) fn failed(&mut self, now: Duration) {
        let wait = self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.until = now.saturating_add(wait);
    }

    pub(super) fn succeeded(&mut self) {
        (self.failures, self.until) = (0, Duration::ZERO);
    }

    /// When the next try is due, on the clock that never goes back.
    pub(super) fn until(&self) -> Duration {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_wait_longer() {
        let secs = Duration::from_secs;
        let mut backoff = Backoff::new(secs(5), secs(60));
        assert!(!backoff.is_waiting(secs(0)));
        let mut now = secs(100);
        for wait in [5, 10, 20, 40, 60, 60] {
            backoff.failed(now);
            assert!(backoff.is_waiting(now + secs(wait - 1)));
            now += secs(wait);
            assert!(!backoff.is_waiting(now), "after {wait} s");
        }
        backoff.succeeded();
        backoff.failed(now);
        assert_eq!(backoff.until(), now + secs(5));
    }
}
