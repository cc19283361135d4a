//! What is due: a pure choice.

use crate::database::memory::wants_flush;
use crate::model::{DurationMs, TimestampMs, Window};
use std::time::Duration;

/// A window is cut when the newest sample that was offered is so far beyond its end.
const CUT_AFTER: DurationMs = DurationMs::mins(5);
/// After a flush that did not help, the next one waits so long.
pub(super) const FLUSH_PAUSE: Duration = Duration::from_secs(300);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::database) enum Due {
    Nothing,
    /// Cut the windows that end by then.
    Cut(TimestampMs),
    /// Cut everything, since memory is used up.
    Flush,
    Checkpoint,
}

/// What the choice is made from.
#[derive(Clone, Copy, Debug)]
pub(in crate::database) struct Situation {
    /// The newest sample that was offered.
    pub(in crate::database) newest: TimestampMs,
    pub(in crate::database) cut_until: TimestampMs,
    pub(in crate::database) window: DurationMs,
    pub(in crate::database) memory_bytes: u64,
    pub(in crate::database) memory_budget: u64,
    /// Since the last flush for memory that did not help.
    pub(in crate::database) since_flush: Option<Duration>,
    /// Log since the last checkpoint.
    pub(in crate::database) log_bytes: u64,
    pub(in crate::database) checkpoint_bytes: u64,
    pub(in crate::database) checkpoint_min: u64,
    /// Whether the log has no segment to go on in, and others than the one that it writes to, which a checkpoint lets go.
    pub(in crate::database) log_wants_room: bool,
}

/// Chooses what to do next: a closed window first, then memory, then the length of the log.
pub(in crate::database) fn due(s: &Situation) -> Due {
    let closed = closed_until(s.newest, s.window);
    if closed > s.cut_until {
        return Due::Cut(closed);
    }
    if wants_flush(s.memory_bytes, s.memory_budget) && s.since_flush.is_none_or(|t| t >= FLUSH_PAUSE) {
        return Due::Flush;
    }
    if s.is_log_long() || s.log_wants_room { Due::Checkpoint } else { Due::Nothing }
}

impl Situation {
    pub(in crate::database) fn is_log_long(&self) -> bool {
        self.log_bytes > self.checkpoint_min.max(self.checkpoint_bytes)
    }
}

/// The end of the newest window that is closed when `newest` is the newest sample.
pub(in crate::database) fn closed_until(newest: TimestampMs, window: DurationMs) -> TimestampMs {
    match newest {
        TimestampMs::MIN => TimestampMs::MIN,
        newest => Window::of(newest - CUT_AFTER + DurationMs(1), window).start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Situation = Situation {
        newest: TimestampMs(0),
        cut_until: TimestampMs(0),
        window: DurationMs::hours(2),
        memory_bytes: 10,
        memory_budget: 100,
        since_flush: None,
        log_bytes: 0,
        checkpoint_bytes: 0,
        checkpoint_min: 256,
        log_wants_room: false,
    };

    #[test]
    fn what_is_due() {
        let check = |change: fn(&mut Situation), want| {
            let mut s = QUIET;
            change(&mut s);
            assert_eq!(due(&s), want, "{s:?}");
        };
        let end = DurationMs::hours(2).0;
        check(|_| {}, Due::Nothing);
        check(|s| s.newest = TimestampMs(DurationMs::hours(2).0 + CUT_AFTER.0 - 1), Due::Nothing);
        check(|s| s.newest = TimestampMs(DurationMs::hours(2).0 + CUT_AFTER.0), Due::Cut(TimestampMs(end)));
        check(|s| s.newest = TimestampMs(DurationMs::hours(9).0), Due::Cut(TimestampMs(4 * end)));
        check(|s| (s.newest, s.cut_until) = (TimestampMs::MIN, TimestampMs::MIN), Due::Nothing);
        check(|s| s.memory_bytes = 101, Due::Flush);
        check(|s| (s.memory_bytes, s.since_flush) = (101, Some(FLUSH_PAUSE / 2)), Due::Nothing);
        check(|s| (s.memory_bytes, s.since_flush) = (101, Some(FLUSH_PAUSE)), Due::Flush);
        check(|s| s.log_bytes = 257, Due::Checkpoint);
        check(|s| (s.log_bytes, s.checkpoint_bytes) = (257, 300), Due::Nothing);
        check(|s| s.log_wants_room = true, Due::Checkpoint);
    }
}
