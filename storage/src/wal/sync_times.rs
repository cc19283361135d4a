//! How long syncs of the log take.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bounds that syncs are sorted by, in microseconds: from a device with a cache of its own to one that everybody writes to.
const BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// The times of all syncs since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// Of each range between two bounds, the number of syncs; the last one is for those beyond all bounds.
    counts: [u64; BOUNDS_US.len() + 1],
    /// All of them together.
    pub total: Duration,
}

impl SyncTimes {
    /// The number of syncs.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many syncs took at most so long, and longer than the bound before; `None` is for those beyond all bounds.
    pub fn ranges(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = BOUNDS_US.iter().map(|us| Some(Duration::from_micros(*us)));
        bounds.chain([None]).zip(self.counts)
    }
}

/// Counts syncs as they happen.
#[derive(Default)]
pub(super) struct SyncTimer {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    total_ns: AtomicU64,
}

impl SyncTimer {
    pub(super) fn add(&self, time: Duration) {
        let range = BOUNDS_US.partition_point(|us| time > Duration::from_micros(*us));
        self.counts[range].fetch_add(1, Relaxed);
        self.total_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn read(&self) -> SyncTimes {
        let total = Duration::from_nanos(self.total_ns.load(Relaxed));
        SyncTimes { counts: array::from_fn(|i| self.counts[i].load(Relaxed)), total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_counts_up_to_its_bound() {
        let timer = SyncTimer::default();
        for us in [0, 250, 251, 50_000, 50_001, 5_000_000, 5_000_001] {
            timer.add(Duration::from_micros(us));
        }
        let times = timer.read();
        let of = |us| times.ranges().find(|(bound, _)| *bound == us).unwrap().1;
        let us = |n| Some(Duration::from_micros(n));
        assert_eq!((of(us(250)), of(us(500)), of(us(50_000)), of(us(100_000))), (2, 1, 1, 1));
        assert_eq!((of(us(5_000_000)), of(None), times.count()), (1, 1, 7));
        assert_eq!(times.total, Duration::from_micros(10_100_503));
    }
}
