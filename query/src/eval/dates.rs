//! Parts of dates, in UTC, for any number of seconds since the epoch.

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatePart {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 0 (Sunday) to 6.
    DayOfWeek,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 366.
    DayOfYear,
    /// 28 to 31.
    DaysInMonth,
    /// 1 to 12.
    Month,
    /// The year; astronomical, so there is a year 0.
    Year,
}

const DAY: i64 = 86_400;

/// 2^63: no count of seconds reaches it.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

impl DatePart {
    /// The part of the date that lies `seconds` after the epoch, cut to whole seconds.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        let whole = if seconds.abs() < BEYOND { seconds as i64 } else { i64::MIN };
        let (mut days, mut second) = (whole.div_euclid(DAY), whole.rem_euclid(DAY));
        // NaN, infinities and what is no time are 2^63 seconds after the epoch to the reference.
        if whole == i64::MIN {
            (days, second) = (i64::MAX / DAY, i64::MAX % DAY + 1);
        }
        let date = Date::of(days);
        let part = match self {
            Self::Minute => second / 60 % 60,
            Self::Hour => second / 3600,
            Self::DayOfWeek => (days + 4).rem_euclid(7),
            Self::DayOfMonth => date.day,
            Self::DayOfYear => days - days_before(date.year, 1) + 1,
            Self::DaysInMonth => {
                let (year, month) =
                    if date.month == 12 { (date.year + 1, 1) } else { (date.year, date.month + 1) };
                days_before(year, month) - days_before(date.year, date.month)
            }
            Self::Month => date.month,
            Self::Year => date.year,
        };
        part as f64
    }
}

/// A day of the proleptic Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date `days` days after 1970-01-01. Years are counted from March, so that the leap day ends them, in eras
    /// of 400 years (146,097 days). From Howard Hinnant, "chrono-compatible low-level date algorithms".
    fn of(days: i64) -> Self {
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let march = (5 * day + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        Self { year: year + era * 400 + i64::from(month <= 2), month, day: day - (153 * march + 2) / 5 + 1 }
    }
}

/// The days from 1970-01-01 to the first of a month; the inverse of [`Date::of`].
fn days_before(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march = (month + 9) % 12;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * march + 2) / 5 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dates_are_those_of_a_calendar_library(seconds in -62_000_000_000i64..250_000_000_000) {
            let zoned = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let of = |part: DatePart| part.of(seconds as f64) as i64;
            prop_assert_eq!(of(DatePart::Year), i64::from(zoned.year()));
            prop_assert_eq!(of(DatePart::Month), i64::from(zoned.month()));
            prop_assert_eq!(of(DatePart::DayOfMonth), i64::from(zoned.day()));
            prop_assert_eq!(of(DatePart::DayOfYear), i64::from(zoned.day_of_year()));
            prop_assert_eq!(of(DatePart::DaysInMonth), i64::from(zoned.days_in_month()));
            prop_assert_eq!(of(DatePart::DayOfWeek), i64::from(zoned.weekday().to_sunday_zero_offset()));
            prop_assert_eq!(of(DatePart::Hour), i64::from(zoned.hour()));
            prop_assert_eq!(of(DatePart::Minute), i64::from(zoned.minute()));
        }
    }

    #[test]
    fn no_number_panics() {
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e18] {
            assert!(DatePart::Year.of(v).is_finite() && DatePart::DaysInMonth.of(v) >= 28.0);
        }
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e19] {
            let parts =
                [DatePart::Year, DatePart::Month, DatePart::DayOfMonth, DatePart::Hour, DatePart::Minute];
            assert_eq!(parts.map(|p| p.of(v)), [292_277_026_596.0, 12.0, 4.0, 15.0, 30.0], "{v}");
        }
    }
}
