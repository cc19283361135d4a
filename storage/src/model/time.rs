//! Instants, durations and left-open ranges, all in whole milliseconds.

use std::fmt;
use std::ops::{Add, Sub};

/// An instant: milliseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

/// A length of time in milliseconds; may be negative (an `offset` into the future).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationMs(pub i64);

impl TimestampMs {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// The time from `earlier` to `self`, saturating at the limits of `i64`.
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl DurationMs {
    /// `n` whole seconds.
    pub const fn secs(n: i64) -> Self {
        Self(n * 1000)
    }

    /// `n` whole minutes.
    pub const fn mins(n: i64) -> Self {
        Self::secs(n * 60)
    }

    /// `n` whole hours.
    pub const fn hours(n: i64) -> Self {
        Self::mins(n * 60)
    }
}

impl Add<DurationMs> for TimestampMs {
    type Output = Self;

    /// Saturates at the limits of `i64`.
    fn add(self, d: DurationMs) -> Self {
        Self(self.0.saturating_add(d.0))
    }
}

impl Sub<DurationMs> for TimestampMs {
    type Output = Self;

    /// Saturates at the limits of `i64`.
    fn sub(self, d: DurationMs) -> Self {
        Self(self.0.saturating_sub(d.0))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// As people and the configuration write it: `1h30m`, `250ms`, `0s`.
impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] =
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (unit, ms) in UNITS {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

/// A left-open range of time `(after, until]`; empty when `after >= until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Exclusive lower end.
    pub after: TimestampMs,
    /// Inclusive upper end.
    pub until: TimestampMs,
}

impl TimeRange {
    /// All of time but its very first millisecond.
    pub const ALL: Self = Self { after: TimestampMs::MIN, until: TimestampMs::MAX };

    /// The range of both ends inclusive `[from, until]`.
    pub fn closed(from: TimestampMs, until: TimestampMs) -> Self {
        Self { after: TimestampMs(from.0.saturating_sub(1)), until }
    }

    /// Whether `t` lies in the range.
    pub fn contains(self, t: TimestampMs) -> bool {
        self.after < t && t <= self.until
    }

    /// Whether the two ranges share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.after.max(other.after) < self.until.min(other.until)
    }

    /// Whether no instant lies in the range.
    pub fn is_empty(self) -> bool {
        self.after >= self.until
    }
}

/// One left-open window `(k·len, (k+1)·len]` of a grid that starts at the epoch. No chunk and no block crosses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Exclusive start, a multiple of `len`.
    pub start: TimestampMs,
    /// Length in milliseconds, positive.
    pub len: DurationMs,
}

impl Window {
    /// The window that `t` lies in. The last instant of a window is its end: `of(7200000, 2h)` starts at 0.
    ///
    /// # Panics
    /// When `len` is not positive.
    pub fn of(t: TimestampMs, len: DurationMs) -> Self {
        assert!(len.0 > 0, "a window has a positive length");
        let k = t.0.saturating_sub(1).div_euclid(len.0);
        Self { start: TimestampMs(k.saturating_mul(len.0)), len }
    }

    /// Inclusive end.
    pub fn end(self) -> TimestampMs {
        self.start + self.len
    }

    /// The window as a range.
    pub fn range(self) -> TimeRange {
        TimeRange { after: self.start, until: self.end() }
    }

    /// Whether `t` lies in the window.
    pub fn contains(self, t: TimestampMs) -> bool {
        self.range().contains(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let check = |ms, text: &str| assert_eq!(DurationMs(ms).to_string(), text);
        check(0, "0s");
        check(7_200_000, "2h");
        check(365 * 86_400_000, "365d");
        check(600_001, "10m1ms");
        check(-1500, "-1s500ms");
        check(i64::MIN, "-106751991167d7h12m55s808ms");
    }

    #[test]
    fn windows_are_left_open() {
        let check = |t, start| {
            let w = Window::of(TimestampMs(t), DurationMs::hours(2));
            assert_eq!(w.start, TimestampMs(start), "t = {t}");
            assert!(w.contains(TimestampMs(t)));
        };
        check(1, 0);
        check(7_200_000, 0);
        check(7_200_001, 7_200_000);
        check(0, -7_200_000);
        check(-1, -7_200_000);
        check(-7_200_000, -14_400_000);
    }

    #[test]
    fn ranges_that_only_touch_do_not_overlap() {
        let r = |a, b| TimeRange { after: TimestampMs(a), until: TimestampMs(b) };
        assert!(!r(0, 10).overlaps(r(10, 20)));
        assert!(r(0, 11).overlaps(r(10, 20)));
        assert!(!r(5, 5).overlaps(r(0, 20)));
        assert_eq!(TimeRange::closed(TimestampMs(5), TimestampMs(5)), r(4, 5));
    }
}
