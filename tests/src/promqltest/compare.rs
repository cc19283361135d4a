//! Compares an answer with what a script expects.

use super::Point;
use super::histogram::{self, Written};
use super::script::{Eval, Expectation, Expected, Remark, Text, Times, When};
use super::series::Series;
use cardinal_query::{MatrixSeries, Output, SampleValue, Value, VectorSample};
use cardinal_storage::model::{LabelSet, TimestampMs, is_stale};
use regex_automata::meta::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far a value may be off, relative to the sum of both.
const TOLERANCE: f64 = 1e-6;

/// Whether two values are the same for a test: both staleness markers, both NaN, or nearly equal.
pub fn nearly_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// Whether the answer is as expected: value, order and remarks.
pub fn check(eval: &Eval, output: &Output) -> Result<(), String> {
    remarks(eval, output)?;
    let times = match (eval.range_vector, eval.when) {
        (Some(times), _) | (None, When::Range(times)) => Some(times),
        (None, When::Instant(_)) => None,
    };
    match (&output.value, &eval.expected) {
        (Value::Scalar { v, .. }, Expected::Scalar(expected)) => scalar(*v, *expected),
        (Value::String { s, .. }, Expected::String(expected)) if s == expected => Ok(()),
        (Value::Vector(found), Expected::Series(expected)) => vector(found, expected, eval.ordered()),
        (Value::Matrix(found), Expected::Series(expected)) => {
            let times = times.ok_or("a matrix was not expected")?;
            matrix(found, expected, times)
        }
        (found, expected) => Err(format!("expected {expected:?}, got {found:?}")),
    }
}

/// Whether a range query around the time of an instant one says the same at that time.
pub fn check_middle(eval: &Eval, found: &[MatrixSeries], at: TimestampMs) -> Result<(), String> {
    sorted(found)?;
    let sample = |s: &MatrixSeries| {
        let float = s.points.iter().find(|(t, _)| *t == at).map(|(_, v)| SampleValue::Float(*v));
        let histogram = s.histograms.iter().find(|(t, _)| *t == at);
        let v = float.or_else(|| histogram.map(|(_, h)| SampleValue::Histogram(Arc::clone(h))))?;
        Some(VectorSample { labels: s.labels.clone(), t: at, v })
    };
    let found: Vec<VectorSample> = found.iter().filter_map(sample).collect();
    match &eval.expected {
        Expected::Scalar(expected) => match &found[..] {
            [VectorSample { v: SampleValue::Float(v), .. }] => scalar(*v, *expected),
            other => Err(format!("expected one number, got {other:?}")),
        },
        Expected::Series(expected) => vector(&found, expected, false),
        Expected::String(_) => Err("a string has no range".into()),
    }
}

fn scalar(found: f64, expected: f64) -> Result<(), String> {
    match nearly_equal(found, expected) {
        true => Ok(()),
        false => Err(format!("expected {expected}, got {found}")),
    }
}

/// The expected series by their labels, with their places.
fn by_labels(expected: &[Series]) -> BTreeMap<&LabelSet, (usize, &Series)> {
    expected.iter().enumerate().map(|(i, s)| (&s.labels, (i, s))).collect()
}

fn vector(found: &[VectorSample], expected: &[Series], ordered: bool) -> Result<(), String> {
    let mut wanted = by_labels(expected);
    for (place, sample) in found.iter().enumerate() {
        let Some((position, series)) = wanted.remove(&sample.labels) else {
            return Err(format!("unexpected or repeated series {:?} with {:?}", sample.labels, sample.v));
        };
        if ordered && position != place {
            return Err(format!("{:?} is at place {place}, expected at {position}", sample.labels));
        }
        let same = match (&series.points[..], &sample.v) {
            ([Point::Float(v)], SampleValue::Float(found)) => nearly_equal(*v, *found),
            ([Point::Histogram(h)], SampleValue::Histogram(found)) => histogram::same(h, found),
            _ => false,
        };
        if !same {
            let (labels, found) = (&sample.labels, &sample.v);
            return Err(format!("expected {:?} for {labels:?}, got {found:?}", series.points));
        }
    }
    nothing_left(&wanted)
}

fn nothing_left(wanted: &BTreeMap<&LabelSet, (usize, &Series)>) -> Result<(), String> {
    match wanted.iter().next() {
        // A series without any value stands for nothing.
        Some((labels, _)) => Err(format!("expected series {labels:?} is missing")),
        None => Ok(()),
    }
}

fn matrix(found: &[MatrixSeries], expected: &[Series], times: Times) -> Result<(), String> {
    sorted(found)?;
    let mut wanted = by_labels(expected);
    for series in found {
        let Some((_, expected)) = wanted.remove(&series.labels) else {
            return Err(format!("unexpected or repeated series {series:?}"));
        };
        points(series, &expected.points, times).map_err(|e| format!("{e}; got {series:?}"))?;
    }
    nothing_left(&wanted)
}

fn points(found: &MatrixSeries, expected: &[Point], times: Times) -> Result<(), String> {
    let at = |i: usize| TimestampMs(times.start.0 + i as i64 * times.step.0);
    if !expected.is_empty() && at(expected.len() - 1) > times.end {
        return Err(format!("{} points are more than the query's times", expected.len()));
    }
    let float = |(i, point): (usize, &Point)| match point {
        Point::Float(v) => Some((at(i), *v)),
        _ => None,
    };
    let histogram = |(i, point): (usize, &Point)| match point {
        Point::Histogram(h) => Some((at(i), h.clone())),
        _ => None,
    };
    let floats: Vec<(TimestampMs, f64)> = expected.iter().enumerate().filter_map(float).collect();
    let histograms: Vec<(TimestampMs, Written)> = expected.iter().enumerate().filter_map(histogram).collect();
    if floats.len() != found.points.len() || histograms.len() != found.histograms.len() {
        return Err(format!("expected {} points and {} histograms", floats.len(), histograms.len()));
    }
    if let Some(((t, v), _)) =
        floats.iter().zip(&found.points).find(|((t, v), (u, w))| t != u || !nearly_equal(*v, *w))
    {
        return Err(format!("expected {v} at {t}"));
    }
    let pairs = histograms.iter().zip(&found.histograms);
    match pairs.into_iter().find(|((t, v), (u, w))| t != u || !histogram::same(v, w)) {
        Some(((t, v), _)) => Err(format!("expected {v:?} at {t}")),
        None => Ok(()),
    }
}

fn sorted(found: &[MatrixSeries]) -> Result<(), String> {
    match found.windows(2).find(|w| w[0].labels >= w[1].labels) {
        Some(w) => Err(format!("{:?} comes before {:?}", w[0].labels, w[1].labels)),
        None => Ok(()),
    }
}

/// Whether `found` is the text, or contains the pattern.
pub fn text_matches(text: &Option<Text>, found: &str) -> bool {
    match text {
        None => true,
        Some(Text::Exactly(expected)) => found == expected,
        Some(Text::Beginning(expected)) => found.starts_with(expected),
        Some(Text::Pattern(pattern)) => Regex::new(pattern).is_ok_and(|regex| regex.is_match(found)),
    }
}

/// Every expected remark is there, and where any of a kind is expected, no other of that kind.
fn remarks(eval: &Eval, output: &Output) -> Result<(), String> {
    for (kind, found) in [(Remark::Warning, &output.warnings), (Remark::Info, &output.infos)] {
        let texts: Vec<&Option<Text>> =
            eval.expectations.iter().filter_map(|e| expected_remark(e, kind)).collect();
        if let Some(missing) = texts.iter().find(|text| !found.iter().any(|f| text_matches(text, f))) {
            return Err(format!("expected {kind:?} {missing:?}, got {found:?}"));
        }
        let unexpected = |f: &&String| !texts.iter().any(|text| text_matches(text, f));
        let none = eval.expectations.iter().any(|e| matches!(e, Expectation::None(k) if *k == kind));
        if (none || !texts.is_empty())
            && let Some(other) = found.iter().find(unexpected)
        {
            return Err(format!("unexpected {kind:?} {other:?}"));
        }
    }
    Ok(())
}

fn expected_remark(expectation: &Expectation, kind: Remark) -> Option<&Option<Text>> {
    match expectation {
        Expectation::Some(k, text) if *k == kind => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_storage::model::stale_nan;

    #[test]
    fn tolerance() {
        let check = |a: f64, b: f64, same: bool| assert_eq!(nearly_equal(a, b), same, "{a} and {b}");
        check(1.0, 1.0 + 1e-7, true);
        check(1.0, 1.00001, false);
        check(0.0, 1e-300, false);
        check(f64::INFINITY, f64::INFINITY, true);
        check(f64::INFINITY, f64::NEG_INFINITY, false);
        check(f64::NAN, f64::NAN, true);
        check(f64::NAN, stale_nan(), false);
        check(stale_nan(), stale_nan(), true);
        check(f64::MAX, f64::MAX * (1.0 - 1e-9), true);
    }
}
