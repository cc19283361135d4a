//! Parameters of the API: from the URL and from a form body, merged.

use std::time::Duration;

use cardinal_storage::model::{DurationMs, TimeRange, TimestampMs};

use super::error::{ApiError, Limit};
use crate::config::value;

/// What clients send as the earliest time there is, and what is meant.
const TIME_MIN: (&str, TimestampMs) =
    ("-292273086-05-16T16:47:06Z", TimestampMs((i64::MIN / 1000 + 62_135_596_801) * 1000));
/// What clients send as the latest time there is, and what is meant.
const TIME_MAX: (&str, TimestampMs) =
    ("292277025-08-18T07:12:54.999999999Z", TimestampMs((i64::MAX / 1000 - 62_135_596_801) * 1000 + 999));
/// Points that one series of a range query may have.
const POINTS_MAX: i128 = 11_000;

/// The parameters of one request; values from the body come before values from the URL.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

/// The times of a range query, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first step.
    pub start: TimestampMs,
    /// No step is later.
    pub end: TimestampMs,
    /// Between one step and the next.
    pub step: DurationMs,
}

impl Params {
    /// Decodes both forms.
    pub fn parse(url: Option<&str>, body: &[u8]) -> Self {
        let body = form_urlencoded::parse(body);
        let url = form_urlencoded::parse(url.unwrap_or_default().as_bytes());
        Self(body.chain(url).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of `name`, empty without one.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The evaluation time of an instant query.
    pub fn instant(&self, now: TimestampMs) -> Result<TimestampMs, ApiError> {
        self.optional_time("time", now)
    }

    /// The steps of a range query.
    pub fn steps(&self) -> Result<Steps, ApiError> {
        let time = |name: &str| parse_time(self.get(name)).map_err(|e| ApiError::parameter(name, e));
        let (start, end) = (time("start")?, time("end")?);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let step = parse_duration(self.get("step")).map_err(|e| ApiError::parameter("step", e))?;
        if step.0 <= 0 {
            let message =
                "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::parameter("step", message));
        }
        if (i128::from(end.0) - i128::from(start.0)) / i128::from(step.0) > POINTS_MAX {
            return Err(ApiError::bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. \
                 Try decreasing the query resolution (?step=XX)",
            )
            .limit(Limit::Points));
        }
        Ok(Steps { start, end, step })
    }

    /// The range of a request for labels or series; all time without bounds.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.optional_time("start", TIME_MIN.1)?;
        let end = self.optional_time("end", TIME_MAX.1)?;
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok(TimeRange::closed(start, end))
    }

    /// The `timeout`, if there is one.
    pub fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        let Some(timeout) =
            self.optional_duration("timeout").map_err(|e| ApiError::parameter("timeout", e))?
        else {
            return Ok(None);
        };
        Ok(Some(Duration::from_millis(u64::try_from(timeout.0).unwrap_or(0))))
    }

    /// The `lookback_delta`, if there is one; zero and less mean the default.
    pub fn lookback(&self) -> Result<Option<DurationMs>, ApiError> {
        let lookback = self.optional_duration("lookback_delta");
        let lookback = lookback
            .map_err(|e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}")))?;
        Ok(lookback.filter(|d| d.0 > 0))
    }

    /// The `limit`; `None` for no limit, as `0` means too.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let limit = self.number("limit")?;
        Ok(limit.filter(|n| *n > 0))
    }

    /// A parameter that is a number from 0, if it is there.
    pub fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => {
                Err(ApiError::parameter(name, format!("{name} must be non-negative")))
            }
            text => {
                let wrong = |_| ApiError::parameter(name, format!("cannot parse {text:?} to a whole number"));
                text.parse().map(Some).map_err(wrong)
            }
        }
    }

    /// A parameter that is a number from 0, or any negative one for none at all; absent, none at all too.
    pub fn number_or_all(&self, name: &str) -> Result<Option<usize>, ApiError> {
        match self.get(name).parse::<i64>() {
            Ok(..0) => Ok(None),
            _ => self.number(name),
        }
    }

    fn optional_time(&self, name: &str, absent: TimestampMs) -> Result<TimestampMs, ApiError> {
        match self.get(name) {
            "" => Ok(absent),
            text => parse_time(text)
                .map_err(|e| ApiError::parameter(name, format!("invalid time value for '{name}': {e}"))),
        }
    }

    fn optional_duration(&self, name: &str) -> Result<Option<DurationMs>, String> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_duration(text).map(Some),
        }
    }
}

/// A time as float seconds or RFC 3339.
pub fn parse_time(text: &str) -> Result<TimestampMs, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|s| s.is_finite()) {
        let whole = seconds.trunc();
        let ms = ((seconds - whole) * 1000.0).round() as i64;
        return Ok(TimestampMs((whole as i64).saturating_mul(1000).saturating_add(ms)));
    }
    if let Some(time) = parse_date(text) {
        return Ok(time);
    }
    [TIME_MIN, TIME_MAX]
        .into_iter()
        .find(|(formatted, _)| *formatted == text)
        .map(|(_, time)| time)
        .ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// A date with time and offset. `jiff::Timestamp` would end a day before the year 9999 does, which clients send for "no end".
fn parse_date(text: &str) -> Option<TimestampMs> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let time = pieces.date().to_datetime(pieces.time()?);
    let since_epoch = time.duration_since(jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let offset = jiff::SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    i64::try_from((since_epoch - offset).as_millis()).ok().map(TimestampMs)
}

/// A duration as float seconds or as `1h30m`.
pub fn parse_duration(text: &str) -> Result<DurationMs, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|s| !s.is_nan()) {
        let ns = seconds * 1e9;
        if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(DurationMs((seconds * 1000.0).round() as i64));
    }
    value::duration(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(url: &str) -> Params {
        Params::parse(Some(url), b"")
    }

    #[test]
    fn url_and_body_are_merged_and_the_body_comes_first() {
        let params = Params::parse(Some("query=a&match[]=x&x=%2B+1"), b"query=b&match%5B%5D=y");
        assert_eq!(params.get("query"), "b");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["y", "x"]);
        assert_eq!((params.get("x"), params.get("none")), ("+ 1", ""));
    }

    #[test]
    fn times() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse_time(text).ok().map(|t| t.0), expected, "{text}")
        };
        check("1435781451.781", Some(1_435_781_451_781));
        check("1435781451", Some(1_435_781_451_000));
        check("1.43e9", Some(1_430_000_000_000));
        check("0.0005", Some(1));
        check("-1.5", Some(-1500));
        check("1e300", Some(i64::MAX));
        check("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781));
        check("2015-07-01T22:10:51.781999999+02:00", Some(1_435_781_451_781));
        check("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999));
        check("9999-12-31T23:59:59-08:00", Some(253_402_329_599_000));
        check("1969-12-31T23:59:59+01:00", Some(-3_601_000));
        check("2015-07-01T20:10:51", None);
        check("0000-01-01T00:00:00Z", Some(-62_167_219_200_000));
        check(TIME_MIN.0, Some(TIME_MIN.1.0));
        check(TIME_MAX.0, Some(TIME_MAX.1.0));
        check("", None);
        check("now", None);
        check("NaN", None);
        check("2015-07-01", None);
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse_duration(text).ok().map(|d| d.0), expected, "{text}")
        };
        check("15", Some(15_000));
        check("0.5", Some(500));
        check("-1", Some(-1000));
        check("1h30m", Some(5_400_000));
        check("", None);
        check("soon", None);
        check("NaN", None);
        check("1e11", None);
        assert_eq!(
            parse_duration("1e11"),
            Err("cannot parse \"1e11\" to a valid duration. It overflows int64".to_owned())
        );
    }

    #[test]
    fn steps() {
        let refuse = |url: &str, expected: &str| {
            assert_eq!(params(url).steps().expect_err(url).message, expected);
        };
        let steps = params("start=0&end=11000&step=1").steps().expect("11,001 points");
        assert_eq!((steps.start.0, steps.end.0, steps.step.0), (0, 11_000_000, 1000));
        refuse(
            "start=0&end=11001&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        );
        refuse("end=1&step=1", "invalid parameter \"start\": cannot parse \"\" to a valid timestamp");
        refuse(
            "start=2&end=1&step=1",
            "invalid parameter \"end\": end timestamp must not be before start time",
        );
        refuse(
            "start=0&end=1&step=0",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. \
             Try a positive integer",
        );
        refuse("start=0&end=1&step=x", "invalid parameter \"step\": cannot parse \"x\" to a valid duration");
    }

    #[test]
    fn limits_timeouts_and_lookbacks() {
        assert_eq!(params("").limit(), Ok(None));
        assert_eq!(params("limit=0").limit(), Ok(None));
        assert_eq!(params("limit=7").limit(), Ok(Some(7)));
        let message = |result: Result<Option<usize>, ApiError>| result.expect_err("refused").message;
        assert_eq!(
            message(params("limit=-1").limit()),
            "invalid parameter \"limit\": limit must be non-negative"
        );
        assert_eq!(
            message(params("limit=x").limit()),
            "invalid parameter \"limit\": cannot parse \"x\" to a whole number"
        );
        let all = |url: &str| params(url).number_or_all("limit");
        assert_eq!([all(""), all("limit=-1"), all("limit=-7")], [Ok(None), Ok(None), Ok(None)]);
        assert_eq!([all("limit=0"), all("limit=7")], [Ok(Some(0)), Ok(Some(7))]);
        assert_eq!(
            message(all("limit=-x")),
            "invalid parameter \"limit\": cannot parse \"-x\" to a whole number"
        );
        assert_eq!(params("timeout=1m").timeout(), Ok(Some(Duration::from_secs(60))));
        assert_eq!(params("lookback_delta=90").lookback(), Ok(Some(DurationMs::secs(90))));
        assert_eq!(params("lookback_delta=0").lookback(), Ok(None));
        assert_eq!(
            params("lookback_delta=x").lookback().expect_err("refused").message,
            "error parsing lookback delta duration: cannot parse \"x\" to a valid duration"
        );
    }

    #[test]
    fn ranges() {
        let all = params("").range().expect("all time");
        assert!(all.contains(TimestampMs(0)) && all.contains(TIME_MIN.1) && all.contains(TIME_MAX.1));
        let one = params("start=1&end=1").range().expect("one instant");
        assert!(one.contains(TimestampMs(1000)) && !one.contains(TimestampMs(999)));
        assert!(params("start=2&end=1").range().is_err());
        assert_eq!(
            params("start=x").range().expect_err("refused").message,
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"
        );
    }
}
