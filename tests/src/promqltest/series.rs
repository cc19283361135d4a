//! The notation of series: labels, then points at a fixed distance.

use super::histogram::{self, Written};
use cardinal_query::parse::ast::MatchOp;
use cardinal_query::parse::parse_selector;
use cardinal_storage::model::{LabelSet, stale_nan};

/// The most points of one series: scripts are small, and a typing error must not fill the memory.
const POINTS_MAX: usize = 1_000_000;

/// One point of a series.
#[derive(Clone, Debug)]
pub enum Point {
    /// `_`: no sample.
    Missing,
    /// A number; `stale` is a staleness marker.
    Float(f64),
    /// `{{…}}`: a native histogram.
    Histogram(Written),
}

/// A series as a script writes it.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: LabelSet,
    /// Its points, one per step from the first.
    pub points: Vec<Point>,
    /// Whether this line gives start timestamps (`@st`) rather than samples; it then has no points.
    pub start_timestamps: bool,
}

/// Reads `name{label="value"} 1 2+3x4 _ stale {{…}}`.
pub fn parse(line: &str) -> Result<Series, String> {
    let end = end_of_labels(line).ok_or_else(|| format!("labels of {line:?} are not closed"))?;
    let labels = labels(&line[..end])?;
    let rest = &line[end..];
    if let Some(after) = rest.strip_prefix("@st")
        && (after.is_empty() || after.starts_with([' ', '\t']))
    {
        return Ok(Series { labels, points: Vec::new(), start_timestamps: true });
    }
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(format!("{rest:?} follows the labels directly"));
    }
    Ok(Series { labels, points: points(rest)?, start_timestamps: false })
}

/// Where the labels end: behind the closing brace, or before the first space.
fn end_of_labels(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let open = line.find(['{', ' ', '\t', '@']).unwrap_or(line.len());
    if bytes.get(open) != Some(&b'{') {
        return Some(open);
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, &b) in bytes.iter().enumerate().skip(open + 1) {
        match quote {
            _ if escaped => escaped = false,
            Some(b'`') if b == b'\\' => {}
            Some(_) if b == b'\\' => escaped = true,
            Some(q) if b == q => quote = None,
            Some(_) => {}
            None if matches!(b, b'"' | b'\'' | b'`') => quote = Some(b),
            None if b == b'}' => return Some(at + 1),
            None => {}
        }
    }
    None
}

/// Labels in the form of a selector with equalities only; `{}` is the empty set.
fn labels(text: &str) -> Result<LabelSet, String> {
    let inside = text.trim();
    if inside.strip_prefix('{').and_then(|t| t.strip_suffix('}')).is_some_and(|t| t.trim().is_empty()) {
        return Ok(LabelSet::empty());
    }
    let matchers = parse_selector(inside).map_err(|e| format!("{inside:?}: {e}"))?;
    if let Some(other) = matchers.iter().find(|m| m.op != MatchOp::Equal) {
        return Err(format!("{inside:?}: label {:?} is not set with `=`", other.name));
    }
    LabelSet::from_pairs(matchers.iter().map(|m| (m.name.as_str(), m.value.as_str())))
        .map_err(|e| e.to_string())
}

/// The points of a series, repetitions written out.
fn points(text: &str) -> Result<Vec<Point>, String> {
    let mut rest = text.trim();
    let mut points = Vec::new();
    while !rest.is_empty() {
        let (item, after) = match rest.starts_with("{{") {
            true => rest.split_at(histograms_end(rest)?),
            false => rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len())),
        };
        push(item, &mut points)?;
        rest = after.trim_start();
    }
    Ok(points)
}

/// Where an item of histograms ends: `{{…}}`, `{{…}}x3` or `{{…}}+{{…}}x3`.
fn histograms_end(text: &str) -> Result<usize, String> {
    let mut at = 0;
    loop {
        let close = text[at..].find("}}").ok_or_else(|| format!("{text:?}: a histogram is not closed"))?;
        at += close + 2;
        let rest = &text[at..];
        match rest.strip_prefix(['+', '-']) {
            Some(next) if next.starts_with("{{") => at += 1,
            _ => return Ok(at + rest.find([' ', '\t']).unwrap_or(rest.len())),
        }
    }
}

/// Adds what one item stands for.
fn push(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let malformed = || format!("{item:?} is no point");
    let (value, times) = match item.rsplit_once('x').filter(|(_, times)| !times.contains('}')) {
        Some((value, times)) => (value, Some(times.parse::<usize>().map_err(|_| malformed())?)),
        None => (item, None),
    };
    if points.len().saturating_add(times.unwrap_or(0)) >= POINTS_MAX {
        return Err(format!("{item:?} makes more than {POINTS_MAX} points"));
    }
    if value == "_" {
        points.extend(std::iter::repeat_n(Point::Missing, times.unwrap_or(1)));
        return Ok(());
    }
    if value.starts_with("{{") {
        let (first, step) = histogram::split_step(value);
        let step = step.map(|(step, adds)| Ok::<_, String>((histogram::parse(step)?, adds))).transpose()?;
        let all = histogram::sequence(histogram::parse(first)?, step, times.unwrap_or(0))?;
        points.extend(all.into_iter().map(Point::Histogram));
        return Ok(());
    }
    // A repetition is of what follows the first point.
    let count = times.map_or(1, |n| n + 1);
    let (first, step) = split_step(value).ok_or_else(malformed)?;
    let mut v = number(first).ok_or_else(malformed)?;
    let step = match (step, times) {
        (None, _) => 0.0,
        (Some(step), Some(_)) => number(step).ok_or_else(malformed)?,
        (Some(_), None) => return Err(malformed()),
    };
    for _ in 0..count {
        points.push(Point::Float(v));
        // Added up one by one, as the reference does: the sums must be the same to the last bit. A marker or a
        // number that is just repeated is not touched.
        if step != 0.0 {
            v += step;
        }
    }
    Ok(())
}

/// `a+b` and `a-b` in two: the sign belongs to the second number. Signs of exponents do not split.
fn split_step(text: &str) -> Option<(&str, Option<&str>)> {
    let bytes = text.as_bytes();
    let splits = |at: usize| {
        let digits_before = |b: u8| b.is_ascii_digit() || b == b'.';
        let exponent = matches!(bytes[at - 1], b'e' | b'E') && at >= 2 && digits_before(bytes[at - 2]);
        matches!(bytes[at], b'+' | b'-') && !exponent
    };
    match (1..bytes.len()).find(|&at| splits(at)) {
        Some(at) => Some((text.get(..at)?, Some(text.get(at..)?))),
        None => Some((text, None)),
    }
}

/// A number as scripts write it: decimal, `Inf`, `NaN`, `stale`, with a sign.
pub fn number(text: &str) -> Option<f64> {
    if text == "stale" {
        return Some(stale_nan());
    }
    let plain = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = match plain.to_ascii_lowercase().as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => digits.parse().ok()?,
        _ => return None,
    };
    Some(if text.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let float = |p: &Point| match p {
            Point::Float(v) => Some(*v),
            _ => None,
        };
        points(text).expect(text).iter().map(float).collect()
    }

    #[test]
    fn points_are_written_out() {
        let check = |text: &str, expected: &[Option<f64>]| assert_eq!(floats(text), expected, "{text}");
        check("", &[]);
        check("1 2  3.5", &[Some(1.0), Some(2.0), Some(3.5)]);
        check("0+10x3", &[Some(0.0), Some(10.0), Some(20.0), Some(30.0)]);
        check("5-1x2 _ _x2 7", &[Some(5.0), Some(4.0), Some(3.0), None, None, None, Some(7.0)]);
        check("-2-1e-1x1", &[Some(-2.0), Some(-2.1)]);
        check("1e+2+1x1", &[Some(100.0), Some(101.0)]);
        check("3x1 Inf -Inf", &[Some(3.0), Some(3.0), Some(f64::INFINITY), Some(f64::NEG_INFINITY)]);
        check("_x0", &[]);
        assert!(matches!(floats("NaN+1x1")[..], [Some(a), Some(b)] if a.is_nan() && b.is_nan()));
        assert_eq!(floats("stale")[0].map(f64::to_bits), Some(stale_nan().to_bits()));
        for bad in ["1x", "x3", "1+2", "1+x3", "abc", "{{x", "1x99999999999999999999", "1x9999999"] {
            assert!(points(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn histograms_are_recognised() {
        let check = |text: &str, expected: usize| {
            let read = points(text).expect(text);
            let histograms = read.iter().filter(|p| matches!(p, Point::Histogram(_))).count();
            assert_eq!(histograms, expected, "{text}");
        };
        check("{{schema:0 sum:5 buckets:[1 2]}}", 1);
        check("{{}}x2 1 {{sum:1}}+{{sum:2}}x3", 7);
        check("{{sum:-1}}-{{}}x0", 1);
    }

    #[test]
    fn labels_are_a_set() {
        let series = parse("m{a=\"b}\", 'c d'=`e\\`} 1").expect("a series");
        let pairs: Vec<_> = series.labels.iter().map(|l| (l.name, l.value)).collect();
        assert_eq!(pairs, [("__name__", "m"), ("a", "b}"), ("c d", "e\\")]);
        assert!(matches!(series.points[..], [Point::Float(v)] if v == 1.0));
        assert!(parse("{} 1").expect("no labels").labels.is_empty());
        assert!(parse("m{a=\"b\"}@st -1m").expect("start timestamps").start_timestamps);
        for bad in ["m{a=\"b\" 1", "m{a!=\"b\"} 1", "m{a=\"b\"}1", "5m{} 1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
