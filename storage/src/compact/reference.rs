//! What time it is, for deciding what is old: neither the clock nor the senders are believed alone, nor both at once when they
//! leap together.
//!
//! ```text
//! windows with data   ▇▇▇▇▇▇▇▇▇▇▇▇▇▇                        ▇
//!                                  └─ the time, for now      └─ a leap: believed when a day of data, or more, lies behind it
//! ```
//!
//! Shorter leaps are told by [`super::passage`]. Pure functions of what blocks say; a wrong clock that is set right leaves nothing that must be undone.

use crate::model::{BlockId, DurationMs, TimestampMs, Window};
use std::collections::BTreeMap;

/// Newest data that lie so far beyond all older ones are a leap: of a clock, or of a database that stood still.
const LEAP: DurationMs = DurationMs::hours(24);
/// A leap is believed when data lie so long after the window of its first ones.
const PROOF: DurationMs = DurationMs::hours(24);

/// The time that retention and the grace of deletions count back from: the lesser of the clock and the newest sample, or what
/// was before a leap of both that has not proved itself yet. `windows`: those of the blocks of raw samples, in any order.
pub(crate) fn reference(
    clock: TimestampMs,
    newest: TimestampMs,
    windows: impl Iterator<Item = Window>,
) -> TimestampMs {
    before_leaps(clock.min(newest), windows, LEAP)
}

/// The same where data that lie `gap` beyond all older ones are a leap: what a start knows of the time. `windows`: those of the
/// head as well, else what is not in blocks yet would look like one.
pub(crate) fn known_at_start(
    limit: TimestampMs,
    windows: impl Iterator<Item = Window>,
    gap: DurationMs,
) -> TimestampMs {
    before_leaps(limit, windows, gap)
}

fn before_leaps(limit: TimestampMs, windows: impl Iterator<Item = Window>, gap: DurationMs) -> TimestampMs {
    let mut spans: Vec<(TimestampMs, TimestampMs)> =
        windows.map(|w| (w.start, w.end())).filter(|(start, _)| *start < limit).collect();
    spans.push((limit, limit));
    spans.sort();
    let mut spans = spans.into_iter();
    let Some((_, mut known)) = spans.next() else { return limit };
    let mut leap: Option<Leap> = None;
    for (start, end) in spans {
        let (until, gap) = leap.as_ref().map_or((known, gap), |l| (l.until, LEAP));
        if start > until + gap {
            // What lies before another leap is as old as it says; else data that come now and then would never tell the time.
            (known, leap) = (until, Some(Leap { first: end, until: end }));
        } else if let Some(leap) = leap.as_mut().filter(|l| start < l.first + PROOF) {
            leap.until = leap.until.max(end);
        } else {
            (known, leap) = (until.max(end), None);
        }
    }
    if leap.is_some() { known.min(limit) } else { limit }
}

/// Data beyond a gap that have not proved themselves.
struct Leap {
    /// The end of the first window, which may be as long as a day: where in it the first sample lies is not known.
    first: TimestampMs,
    until: TimestampMs,
}

/// When the newest data of each block came. Blocks are given as the ids by which deletions judge them and the times noted when
/// they were made: in the order of these ids time goes on, so that where one was noted by a clock that was wrong, those beside
/// it tell.
///
/// A time beyond `now` is not believed: what came then came before the next block, or by now where there is none. One before that
/// of an earlier block came no earlier than that.
pub(crate) fn arrivals(
    blocks: impl Iterator<Item = (BlockId, BlockId, Option<TimestampMs>)>,
    now: TimestampMs,
) -> BTreeMap<BlockId, TimestampMs> {
    let noted = blocks.filter_map(|(id, covered_as, noted)| Some((covered_as, id, noted?)));
    let mut noted: Vec<(BlockId, BlockId, TimestampMs)> = noted.collect();
    noted.sort();
    let mut next = now;
    for (_, _, t) in noted.iter_mut().rev() {
        match *t <= now {
            true => next = *t,
            false => *t = next,
        }
    }
    let mut before = TimestampMs::MIN;
    let in_order = noted.into_iter().map(|(_, id, t)| {
        before = before.max(t);
        (id, before)
    });
    in_order.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    /// The start of a day.
    const START: i64 = 20_000 * DAY;

    fn at(hours: i64) -> TimestampMs {
        TimestampMs(START + hours * HOUR)
    }

    fn window(hours: i64, len: i64) -> Window {
        Window { start: at(hours), len: DurationMs::hours(len) }
    }

    /// Ten days, and ten hours of the next.
    fn ten_days() -> Vec<Window> {
        (0..10).map(|d| window(24 * d, 24)).chain((0..5).map(|w| window(240 + 2 * w, 2))).collect()
    }

    #[test]
    fn the_time_is_what_clock_and_data_agree_upon() {
        let (now, year) = (250, YEAR / HOUR);
        let check = |what: &str, clock: i64, newest: i64, more: &[Window], want: i64| {
            let mut windows = ten_days();
            windows.extend(more);
            windows.reverse();
            let found = reference(at(clock), at(newest), windows.into_iter());
            assert_eq!(found, at(want), "{what}: {} hours", (found.0 - START) / HOUR);
        };
        let far = |hours: i64| window(now + year + hours, 2);
        check("all is well", now, now, &[], now);
        check("a sender is an hour ahead", now, now + 1, &[], now);
        check("a sender is a year ahead", now, now + year, &[], now);
        check("the clock is a year ahead", now + year, now, &[], now);
        check("the clock stands at 1970", -START / HOUR, now, &[], -START / HOUR);
        check("the clock is an hour behind", now - 1, now, &[], now - 1);
        check("nothing came for two days, and the clock says so", now + 48, now, &[], now);
        // Both are a year ahead, and samples are taken.
        check("the first", now + year, now + year, &[], now);
        check("some in blocks", now + year + 4, now + year + 4, &[far(0), far(2)], now);
        check("less than a day of them", now + year + 23, now + year + 23, &[far(0), far(20)], now);
        let day_later = now + year + 26;
        check("a day of them", day_later, day_later, &[far(0), far(20)], day_later);
        check("a day of them in blocks", day_later + 9, day_later + 9, &[far(0), far(26)], day_later + 9);
        let day = [window(now + year, 24)];
        check("a day's block of them", now + year + 47, now + year + 47, &day, now);
        check("and a day more", now + year + 48, now + year + 48, &day, now + year + 48);
        // And then back: blocks of the future stay, and do not matter.
        check("back", now + 1, now + year, &[far(0), far(2)], now + 1);
        check("back, a day later", now + 24, now + year, &[far(0), far(24)], now + 24);
        check("back, and ahead once more", now + year + 5, now + year + 4, &[far(0), far(2)], now);
        // A week without data, as of a server that was off.
        check("the first after it", now + 168, now + 168, &[], now);
        check("the next day", now + 194, now + 194, &[window(now + 168, 2)], now + 194);
        // History that was imported.
        check("years before", now, now, &[window(-9000, 24)], now);
        check(
            "a day before that day, and a year after",
            now + year,
            now + year,
            &[window(-9000, 24), window(-240, 2)],
            now,
        );
        check("years before, and years after", now + year, now + year, &[window(-9000, 24)], now);
    }

    #[test]
    fn data_now_and_then_tell_the_time_too() {
        let sessions = |n: i64| (0..n).map(|i| window(72 * i, 2));
        let found = |n: i64, newest: i64| reference(at(10_000), at(newest), sessions(n));
        assert_eq!(found(1, 72), at(2), "the second is not believed yet");
        assert_eq!(found(2, 144), at(74), "the one before is");
        assert_eq!(found(3, 216), at(146));
        assert_eq!(reference(at(7), at(5), std::iter::empty()), at(5));
        let all = [i64::MIN, 0, i64::MAX].map(TimestampMs);
        for (clock, newest) in all.iter().flat_map(|c| all.map(|n| (*c, n))) {
            let ends = [window(0, 2), Window { start: TimestampMs(i64::MAX - 5), len: DurationMs(DAY) }];
            assert!(reference(clock, newest, ends.into_iter()) <= clock.min(newest));
        }
    }

    #[test]
    fn a_start_within_a_leap_of_hours_knows_what_was_before_it() {
        let check = |what: &str, limit: i64, windows: &[i64], want: i64| {
            let windows = windows.iter().map(|w| window(*w, 2)).rev();
            let found = known_at_start(at(limit), windows, DurationMs::hours(1));
            assert_eq!(found, at(want), "{what}: {} hours", (found.0 - START) / HOUR);
        };
        check("all is well", 7, &[0, 2, 4, 6], 7);
        check("a leap of 20 hours", 27, &[0, 2, 4, 6, 26], 8);
        check("and hours later", 39, &[0, 2, 4, 6, 26, 28, 30, 38], 8);
        check("and a day later", 54, &[0, 2, 4, 6, 26, 28, 30, 52], 54);
        check("the clock is right again", 9, &[0, 2, 4, 6, 8, 26, 28], 9);
        check("data every six hours", 49, &[0, 6, 12, 18, 24, 30, 36, 42, 48], 38);
    }

    #[test]
    fn neighbours_tell_when_the_clock_was_wrong() {
        let check = |noted: &[Option<i64>], reference: i64, want: &[i64]| {
            let blocks = noted.iter().zip(1..).map(|(t, id)| (BlockId(id), BlockId(id), t.map(at)));
            let found: Vec<i64> =
                arrivals(blocks, at(reference)).values().map(|t| (t.0 - START) / HOUR).collect();
            assert_eq!(found, want, "{noted:?} at {reference}");
        };
        let far = YEAR / HOUR;
        check(&[], 9, &[]);
        check(&[Some(1), Some(2), None, Some(4)], 9, &[1, 2, 4]);
        check(&[Some(1), Some(far), Some(3)], 9, &[1, 3, 3]);
        check(&[Some(1), Some(far), Some(far)], 9, &[1, 9, 9]);
        check(&[Some(5), Some(-far), Some(7)], 9, &[5, 5, 7]);
        check(&[Some(far), Some(-far)], 9, &[-far, -far]);
        check(&[Some(4), Some(far), Some(-far), Some(6)], 9, &[4, 4, 4, 6]);
        // A merged block came with the newest of what it was made of.
        let merged = [(BlockId(9), BlockId(2), Some(at(2))), (BlockId(3), BlockId(3), Some(at(far)))];
        assert_eq!(arrivals(merged.into_iter(), at(8)), [(BlockId(9), at(2)), (BlockId(3), at(8))].into());
    }
}
