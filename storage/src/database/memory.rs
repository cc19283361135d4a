//! The head's memory budget: when the head is flushed early, and what becomes of new series meanwhile.
//!
//! ```text
//!            0.8 ──────── 0.9 ─────────────── 1 × budget ──►
//!             │  flush ◄───┘                  └─ new series wait: 503, sent again within seconds
//!             └─ still above after a flush: it did not help; new series are refused: 429, no flush for five minutes
//! ```
//!
//! A flush takes seconds and frees memory only at its end: it begins before the budget is used up, and what comes faster than
//! it can free is told to come again. Samples of known series are always taken.

use super::Database;
use crate::head::series::{IDLE, IDLE_UNDER_PRESSURE};
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

/// What becomes of new series; `refusing` since a flush has not helped.
fn admission(bytes: u64, budget: u64, refusing: bool) -> Admission {
    match (refusing, bytes > budget) {
        (true, _) => Admission::Refused,
        (false, true) => Admission::Flushing,
        (false, false) => Admission::Open,
    }
}

impl Database {
    /// Bytes of memory that count against the head's budget. Cheap: for every request with new series.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.head.memory_bytes()
            + self.wal.buffer_bytes()
            + self.aliases.lock().memory_bytes()
            + self.limits.memory_bytes()
    }

    /// What becomes of new series now.
    pub(super) fn admission(&self) -> Admission {
        admission(self.memory_bytes(), self.options.memory_budget, self.refuse_new_series.load(Relaxed))
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
        assert_eq!(admission(100, 100, false), Admission::Open);
        assert_eq!(admission(101, 100, false), Admission::Flushing);
        assert_eq!(admission(81, 100, true), Admission::Refused);
        assert_eq!(admission(101, 100, true), Admission::Refused);
    }

    #[test]
    fn a_flush_begins_before_the_budget_is_used_up_and_must_free_a_part() {
        assert!(!wants_flush(90, 100) && wants_flush(91, 100));
        assert!(!is_still_full(80, 100) && is_still_full(81, 100));
        assert!(wants_flush(u64::MAX, u64::MAX) && is_still_full(u64::MAX, u64::MAX), "no overflow");
    }
}
