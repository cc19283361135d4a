//! The head's memory budget: when the head is flushed early, and what becomes of new series meanwhile.
//!
//! ```text
//!            0.8 ──────── 0.9 ─────────────── 1 × budget ──►
//!             │  flush ◄───┘                  └─ new series wait: 503, sent again within seconds
//!             └─ still above after a flush: it did not help; new series are refused: 429, no flush for five minutes
//! ```
//!
//! Within these five minutes new series are refused also where memory was freed and is used up again: no flush is under way.
//!
//! A flush takes seconds and frees memory only at its end: it begins before the budget is used up, and what comes faster than
//! it can free is told to come again. Samples of known series are taken all the while, but late ones and histograms, of which a series
//! may have kilobytes, go to the head-chunk log sooner from nine tenths of the budget on; where that is behind with writing them, late
//! samples beyond the budget are told to come again as well.

use super::Database;
use crate::head::series::{IDLE, IDLE_UNDER_PRESSURE, SeriesTable};
use crate::head::shard::Shard;
use crate::model::DurationMs;
use std::sync::atomic::Ordering::Relaxed;

/// Where a series that is new stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is memory for it.
    Open,
    /// Memory is used up, and a flush is running or about to: a matter of seconds.
    Flushing,
    /// A flush has not helped.
    Refused,
}

/// Whether so much memory is in use that the head should be flushed.
pub(super) fn wants_flush(bytes: u64, budget: u64) -> bool {
    bytes > budget / 10 * 9
}

/// Whether a flush that left so much in use has not helped.
pub(super) fn is_still_full(bytes: u64, budget: u64) -> bool {
    bytes > budget / 10 * 8
}

/// What becomes of new series; `refusing` since a flush has not helped, after which the next one may still be far.
fn admission(bytes: u64, budget: u64, refusing: bool, is_far: bool) -> Admission {
    match (refusing, bytes > budget) {
        (true, _) => Admission::Refused,
        (false, true) if is_far => Admission::Refused,
        (false, true) => Admission::Flushing,
        (false, false) => Admission::Open,
    }
}

/// What becomes of what series have beside their open chunks: late samples, and histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// It gathers until a series has enough for a chunk.
    Gather,
    /// It is moved to the head-chunk log now.
    Move,
    /// And late samples that come are to come again: the log is behind.
    Full,
}

/// The part of the budget that buffers may take where memory is short, and that they and pages of the log may take together before
/// late samples wait.
const BUFFERS_PART: u64 = 8;
const WAITING_PART: u64 = 4;
/// A shard's buffers are left where they take less than a shard's share of such a part of the budget: chunks of single samples are
/// long.
const LEAST_PART: u64 = 32;

/// What becomes of buffers that take `buffers`, while pages of the log take `log`.
fn buffers(bytes: u64, budget: u64, buffers: u64, log: u64) -> Buffers {
    if bytes > budget && buffers + log > budget / WAITING_PART {
        Buffers::Full
    } else if wants_flush(bytes, budget) && buffers > budget / BUFFERS_PART {
        Buffers::Move
    } else {
        Buffers::Gather
    }
}

impl Database {
    /// What becomes now of what series have beside their open chunks.
    pub(super) fn buffers(&self) -> Buffers {
        let (in_buffers, in_log) = (self.head.buffer_bytes(), self.head.log.memory_bytes());
        buffers(self.memory_bytes(), self.options.memory_budget, in_buffers, in_log)
    }

    /// Moves a shard's buffers to the head-chunk log where memory is short and it is worth while; tells what becomes of those that
    /// follow. Under the series' lock.
    pub(super) fn relieve(&self, shard: &Shard, series: &mut SeriesTable) -> Buffers {
        shard.tell_series_bytes(series);
        let found = self.buffers();
        let least = self.options.memory_budget / LEAST_PART / self.head.shards.len().max(1) as u64;
        if found == Buffers::Gather || series.buffer_bytes() as u64 <= least {
            return found;
        }
        series.move_buffers(&self.head.log);
        shard.tell_series_bytes(series);
        self.buffers()
    }

    /// Bytes of memory that count against the head's budget. Cheap: for every request with new series.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.head.memory_bytes()
            + self.wal.buffer_bytes()
            + self.aliases.lock().memory_bytes()
            + self.limits.memory_bytes()
    }

    /// What becomes of new series now.
    pub(super) fn admission(&self) -> Admission {
        let (refusing, is_far) = (self.refuse_new_series.load(Relaxed), self.flush_is_far.load(Relaxed));
        admission(self.memory_bytes(), self.options.memory_budget, refusing, is_far)
    }

    /// How long a series must have been silent before it may leave the head: less where memory is short. One that comes back
    /// is registered again, and loses nothing.
    pub(super) fn idle(&self) -> DurationMs {
        match wants_flush(self.memory_bytes(), self.options.memory_budget) {
            true => IDLE_UNDER_PRESSURE,
            false => IDLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_series_wait_for_a_flush_and_are_refused_after_one_that_did_not_help() {
        let check = |bytes, refusing, is_far, want| {
            assert_eq!(admission(bytes, 100, refusing, is_far), want, "{bytes} {refusing} {is_far}");
        };
        check(100, false, false, Admission::Open);
        check(101, false, false, Admission::Flushing);
        check(81, true, true, Admission::Refused);
        check(101, true, false, Admission::Refused);
        check(100, false, true, Admission::Open);
        check(101, false, true, Admission::Refused);
    }

    #[test]
    fn late_samples_wait_where_memory_is_used_up_and_the_log_is_behind() {
        let check =
            |bytes, buffered, log, want| assert_eq!(buffers(bytes, 800, buffered, log), want, "{bytes}");
        check(720, 700, 0, Buffers::Gather);
        check(721, 100, 600, Buffers::Gather);
        check(721, 101, 600, Buffers::Move);
        check(800, 101, 600, Buffers::Move);
        check(801, 100, 101, Buffers::Full);
        check(801, 100, 100, Buffers::Gather);
        check(801, 0, 201, Buffers::Full);
    }

    #[test]
    fn a_flush_begins_before_the_budget_is_used_up_and_must_free_a_part() {
        assert!(!wants_flush(90, 100) && wants_flush(91, 100));
        assert!(!is_still_full(80, 100) && is_still_full(81, 100));
        assert!(wants_flush(u64::MAX, u64::MAX) && is_still_full(u64::MAX, u64::MAX), "no overflow");
    }
}
