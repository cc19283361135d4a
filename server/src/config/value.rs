//! How setting values are written: durations, sizes, counts and choices, with errors that say what is accepted.

use std::fmt;
use std::net::SocketAddr;

use cardinal_storage::model::DurationMs;

/// A value that a setting does not accept; displays what it does accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError(pub String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// Units of durations, longest first, in milliseconds.
const DURATION_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Units of sizes, in bytes. Decimal and binary ones both mean what they say.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

/// A Prometheus duration such as `15s` or `1h30m`: units y w d h m s ms, longest first, each at most once; `0` stands alone.
pub fn duration(text: &str) -> Result<DurationMs, ValueError> {
    if text == "0" {
        return Ok(DurationMs(0));
    }
    let wrong = || ValueError(format!("{text:?} is not a duration: write it like 15s, 2h, 1h30m or 7d"));
    if text.is_empty() {
        return Err(wrong());
    }
    let (mut rest, mut total, mut units) = (text, 0i64, &DURATION_UNITS[..]);
    while !rest.is_empty() {
        let (number, tail) = split_digits(rest).ok_or_else(wrong)?;
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let too_long = || ValueError(format!("{text:?} is too long a duration"));
        let ms = number.parse::<i64>().ok().and_then(|n| n.checked_mul(units[at].1)).ok_or_else(too_long)?;
        total = total.checked_add(ms).ok_or_else(too_long)?;
        units = &units[at + 1..];
        rest = tail;
    }
    Ok(DurationMs(total))
}

/// A duration that is longer than nothing.
pub fn positive_duration(text: &str) -> Result<DurationMs, ValueError> {
    match duration(text)? {
        DurationMs(0) => Err(ValueError("must be longer than 0".to_owned())),
        some => Ok(some),
    }
}

/// A size such as `256MiB`, `1.5GiB` or a plain number of bytes.
pub fn size(text: &str) -> Result<u64, ValueError> {
    let wrong = || ValueError(format!("{text:?} is not a size: write it like 64MiB, 1.5GiB or 1000000"));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        _ => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
    };
    let too_large = || ValueError(format!("{text:?} is too large a size"));
    if number.contains('.') {
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
        // 2^63: beyond it no machine's memory goes, and the cast stays exact enough.
        return if bytes < 9.2e18 { Ok(bytes as u64) } else { Err(too_large()) };
    }
    let number = number.parse::<u64>().map_err(|_| if number.is_empty() { wrong() } else { too_large() })?;
    number.checked_mul(factor).ok_or_else(too_large)
}

/// A size of at least one byte.
pub fn positive_size(text: &str) -> Result<u64, ValueError> {
    match size(text)? {
        0 => Err(ValueError("must be more than 0".to_owned())),
        some => Ok(some),
    }
}

/// A whole number of at least `least`; underscores may group digits.
pub fn count(text: &str, least: u64) -> Result<u64, ValueError> {
    let number = text.replace('_', "").parse::<u64>();
    let number = number.map_err(|_| ValueError(format!("{text:?} is not a whole number")))?;
    if number < least {
        return Err(ValueError(format!("{number} is too few: at least {least}")));
    }
    Ok(number)
}

/// One of a few words.
pub fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, ValueError> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let nearest = nearest(text, known.iter().copied());
    let hint = nearest.map(|word| format!(" (did you mean {word}?)")).unwrap_or_default();
    Err(ValueError(format!("{text:?} is not one of {}{hint}", known.join(", "))))
}

/// `IP:port`, `localhost:port`, or `:port` for all addresses.
pub fn address(text: &str) -> Result<SocketAddr, ValueError> {
    let spelled = match text.rsplit_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(("", port)) => format!("0.0.0.0:{port}"),
        _ => text.to_owned(),
    };
    spelled.parse().map_err(|_| {
        ValueError(format!("{text:?} is not an address: write it like 127.0.0.1:9460 or 0.0.0.0:9460"))
    })
}

/// `auto`, or a value of its own.
pub fn or_auto<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, ValueError> {
    or_word("auto", text, parse)
}

/// `off`, or a value of its own.
pub fn or_off<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, ValueError> {
    or_word("off", text, parse)
}

fn or_word<T>(
    word: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, ValueError> {
    if text == word {
        return Ok(None);
    }
    parse(text).map(Some).map_err(|e| ValueError(format!("{e}; or {word}")))
}

/// The known word that `text` most likely stands for, if it is near enough to be a slip.
pub fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::osa_distance(&text.to_ascii_lowercase(), word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 6)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Displays a size in the largest binary unit that keeps it readable: `6.0 GiB`, `512 B`.
pub fn size_text(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut name = "B";
    for unit in units {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        name = unit;
    }
    if name == "B" { format!("{bytes} B") } else { format!("{amount:.1} {name}") }
}

fn split_digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(duration(text).ok().map(|d| d.0), expected, "{text:?}");
        };
        check("0", Some(0));
        check("15s", Some(15_000));
        check("1h30m", Some(5_400_000));
        check("7d", Some(604_800_000));
        check("1y2w3d4h5m6s7ms", Some(31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_706_007));
        check("100ms", Some(100));
        check("", None);
        check("15", None);
        check("s", None);
        check("1m1h", None);
        check("1s1s", None);
        check("-1s", None);
        check("1.5h", None);
        check("1 h", None);
        check("9223372036854775807y", None);
        check("292277024y", Some(292_277_024 * 31_536_000_000));
        check("292471209y", None);
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size(text).ok(), expected, "{text:?}");
        check("0", Some(0));
        check("256MiB", Some(256 << 20));
        check("256 mib", Some(256 << 20));
        check("1.5GiB", Some(3 << 29));
        check("1KB", Some(1000));
        check("12", Some(12));
        check("12B", Some(12));
        check("", None);
        check("MiB", None);
        check("1.2.3MiB", None);
        check("12 parsecs", None);
        check("99999999TiB", None);
        check("99999999999999999999", None);
        check("-1", None);
    }

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(address(text).ok().map(|a| a.to_string()).as_deref(), expected, "{text:?}");
        };
        check("127.0.0.1:9460", Some("127.0.0.1:9460"));
        check("localhost:1", Some("127.0.0.1:1"));
        check(":9460", Some("0.0.0.0:9460"));
        check("[::1]:9460", Some("[::1]:9460"));
        check("9460", None);
        check("example.net:9460", None);
        check("127.0.0.1:65536", None);
    }

    #[test]
    fn nearest_word() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(nearest(text, ["commit", "interval"].into_iter()), expected, "{text:?}");
        };
        check("comit", Some("commit"));
        check("Commit", Some("commit"));
        check("inteval", Some("interval"));
        check("never", None);
    }

    #[test]
    fn size_texts() {
        let check = |bytes: u64, expected: &str| assert_eq!(size_text(bytes), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(6 << 30, "6.0 GiB");
        check(u64::MAX, "16777216.0 TiB");
    }
}
