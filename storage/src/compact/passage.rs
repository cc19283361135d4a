//! How much of the time that clock and senders tell this process can account for: it was there when it passed.
//!
//! ```text
//!            ┌ the start, or a leap that proved itself
//! known time ●━━━━━━━━━━━━━━━━━━━━━━━━▶ + allowance      believed, however soon
//!              time that passed here          ⋯⋯⋯⋯⋯⋯⋯⋯ ✕  a leap: believed after a day of it
//! ```
//!
//! Leaps of less than a day show in no gap between blocks ([`super::reference`]), and are enough to end the grace of a deletion.

use crate::model::{DurationMs, TimestampMs};
use std::time::Duration;

/// A leap is believed when it has lasted so long: time to notice it.
const PROOF: Duration = Duration::from_secs(24 * 3600);
/// The most that may be believed without proof: senders that come back, a machine that was suspended, a short restart.
const ALLOWANCE_MAX: DurationMs = DurationMs::hours(1);
/// Clocks and senders differ by as much while all is well.
const ALLOWANCE_MIN: DurationMs = DurationMs::mins(1);

/// What this process knows of the time, by a clock that does not jump.
#[derive(Debug)]
pub(crate) struct Passage {
    allowance: DurationMs,
    /// The time that was known at a moment of the clock that does not jump; none before there are data.
    known: Option<(Duration, TimestampMs)>,
    leap: Option<(Duration, TimestampMs)>,
}

/// What may be believed at once: an hour, or half of `shortest`, the least of grace and retentions, so that no leap within it ends
/// one that has just begun.
pub(crate) fn allowance(shortest: DurationMs) -> DurationMs {
    DurationMs(shortest.0 / 2).clamp(ALLOWANCE_MIN, ALLOWANCE_MAX)
}

impl Passage {
    /// The time was `known` when `passed` stood at this; [`TimestampMs::MIN`] where there are no data yet.
    pub(crate) fn since(passed: Duration, known: TimestampMs, allowance: DurationMs) -> Self {
        let known = (known > TimestampMs::MIN).then_some((passed, known));
        Self { allowance, known, leap: None }
    }

    /// How much of `told`, the lesser of `clock` and the newest sample, is believed. Wants to be asked every now and then: a leap
    /// lasts from when it was first seen here.
    pub(crate) fn believed(
        &mut self,
        passed: Duration,
        clock: TimestampMs,
        told: TimestampMs,
    ) -> TimestampMs {
        let Some(known) = self.known else {
            *self = Self::since(passed, told, self.allowance);
            return told;
        };
        // Where the clock is behind what was known, one of the two is wrong: coming forward again is a leap.
        let now = later(known, passed).min(clock);
        self.known = Some((passed, now));
        let most = now + self.allowance;
        if told <= most {
            self.leap = None;
            return told;
        }
        let leap = *self.leap.get_or_insert((passed, told));
        if told > later(leap, passed) + self.allowance {
            // It leaped once more.
            self.leap = Some((passed, told));
        } else if passed.saturating_sub(leap.0) >= PROOF {
            *self = Self::since(passed, told, self.allowance);
            return told;
        }
        most
    }
}

/// What time it is at `passed` when nothing but time has passed since.
fn later((then, t): (Duration, TimestampMs), passed: Duration) -> TimestampMs {
    let since = passed.saturating_sub(then).as_millis();
    t + DurationMs(i64::try_from(since).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const START: i64 = 20_000 * 24 * HOUR;

    /// Minutes that have passed, what the clock and the newest sample say (both from the start), and what is believed.
    fn check(what: &str, known: Option<i64>, steps: &[(i64, i64, i64, i64)]) {
        let at = |minutes: i64| TimestampMs(START + minutes * MINUTE);
        let known = known.map_or(TimestampMs::MIN, at);
        let begun = Duration::from_secs(77);
        let mut passage = Passage::since(begun, known, allowance(DurationMs::hours(24)));
        for (passed, clock, newest, want) in steps {
            let passed = begun + Duration::from_secs(*passed as u64 * 60);
            let told = at(*clock.min(newest));
            let found = passage.believed(passed, at(*clock), told);
            assert_eq!((found.0 - START) / MINUTE, *want, "{what}: after {passed:?}");
        }
    }

    #[test]
    fn what_is_believed() {
        let day = 24 * 60;
        check("all is well", Some(0), &[(0, 0, 0, 0), (5, 5, 5, 5), (day, day, day, day)]);
        check("no data yet", None, &[(0, 500, 500, 500), (5, 505, 505, 505), (6, 2000, 2000, 566)]);
        check("a short restart", Some(-20), &[(0, 0, -20, -20), (1, 1, 1, 1), (day, day, day, day)]);
        check("senders were silent for hours", Some(0), &[(300, 300, 0, 0), (301, 301, 301, 301)]);
        check("a sender is ahead", Some(0), &[(5, 5, 900, 5), (6, 6, 900, 6)]);
        // Clock and scraper leap together, and are put right.
        let ahead = 1439;
        check(
            "nearly a day",
            Some(0),
            &[(0, 0, 0, 0), (1, 1 + ahead, 1 + ahead, 61), (9, 9 + ahead, 9 + ahead, 69), (10, 10, 10, 10)],
        );
        check("within the allowance", Some(0), &[(5, 64, 64, 64), (10, 69, 69, 69)]);
        check("creeping", Some(0), &[(1, 60, 60, 60), (2, 120, 120, 62), (3, 180, 180, 63)]);
        // After a pause the leap is real, and proves itself.
        let pause = 20 * 60;
        check(
            "off for twenty hours",
            Some(-pause),
            &[
                (0, 0, -pause, -pause),
                (1, 1, 1, 61 - pause),
                (day, day, day, day + 60 - pause),
                (day + 1, day + 1, day + 1, day + 1),
                (day + 2, day + 2, day + 2, day + 2),
            ],
        );
        check(
            "a second leap begins anew",
            Some(0),
            &[
                (1, 601, 601, 61),
                (day, 2000 + day, 2000 + day, day + 60),
                (day + 1, 2001 + day, 2001 + day, day + 61),
                (2 * day, 2000 + 2 * day, 2000 + 2 * day, 2000 + 2 * day),
            ],
        );
        check(
            "a leap of years that was believed, and the way back",
            Some(0),
            &[
                (1, 500_000, 500_000, 61),
                (day + 1, 500_000 + day, 500_000 + day, 500_000 + day),
                (day + 2, day + 2, 500_000 + day, day + 2),
                (day + 3, 500_000 + day, 500_000 + day, day + 63),
            ],
        );
        check("a clock that begins in the past", Some(0), &[(0, -9000, 0, -9000), (1, 1, 1, -8939)]);
    }

    #[test]
    fn the_allowance_is_less_than_what_is_counted() {
        let check = |shortest: i64, want: i64| {
            assert_eq!(allowance(DurationMs(shortest * MINUTE)), DurationMs(want * MINUTE));
        };
        check(24 * 60, 60);
        check(60, 30);
        check(0, 1);
    }

    #[test]
    fn no_time_is_too_far() {
        let all = [i64::MIN, 0, i64::MAX].map(TimestampMs);
        for (known, clock) in all.iter().flat_map(|k| all.map(|c| (*k, c))) {
            let mut passage = Passage::since(Duration::ZERO, known, ALLOWANCE_MAX);
            for told in all.map(|t| t.min(clock)) {
                assert!(passage.believed(Duration::MAX, clock, told) <= told);
            }
        }
    }
}
