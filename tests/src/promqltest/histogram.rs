//! Native histograms as scripts write them, `{{schema:1 count:3 sum:4.5 buckets:[1 2]}}`; compared, and made ready to be
//! stored.

use super::compare::nearly_equal;
use super::series::number;
use cardinal_query::native::{Bucket, FloatHistogram};
use cardinal_storage::model::{BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, Histogram, ResetHint};
use std::sync::Arc;

/// A histogram of a script.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it says.
    pub h: Arc<FloatHistogram>,
    /// Whether it says anything of counter resets: an expected one that does not leaves that open.
    pub hint_given: bool,
}

/// Reads one histogram, braces included.
pub fn parse(text: &str) -> Result<Written, String> {
    let malformed = || format!("{text:?} is no histogram");
    let inside = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).ok_or_else(malformed)?;
    let mut written = Fields::default();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(malformed)?;
        let end = match after.starts_with('[') {
            true => after.find(']').ok_or_else(malformed)? + 1,
            false => after.find(char::is_whitespace).unwrap_or(after.len()),
        };
        let (value, after) = after.split_at(end);
        written.set(key.trim(), value).ok_or_else(|| format!("{text:?}: {key}:{value} says nothing"))?;
        rest = after.trim_start();
    }
    Ok(written.histogram())
}

/// `{{…}}+{{…}}` or `{{…}}-{{…}}` in two.
pub fn split_step(text: &str) -> (&str, Option<(&str, bool)>) {
    for (sign, adds) in [("}}+{{", true), ("}}-{{", false)] {
        if let Some(at) = text.find(sign) {
            return (&text[..at + 2], Some((&text[at + 3..], adds)));
        }
    }
    (text, None)
}

/// `first`, and `times` more, each with `step` added to the one before, or taken away from it.
pub fn sequence(first: Written, step: Option<(Written, bool)>, times: usize) -> Result<Vec<Written>, String> {
    let Some((step, adds)) = step else { return Ok(vec![first; times + 1]) };
    let hint_given = step.hint_given;
    let mut h = FloatHistogram::clone(&first.h);
    let mut all = vec![Written { h: first.h, hint_given }];
    for _ in 0..times {
        if h.schema > step.h.schema {
            return Err(format!("schema {} cannot be merged into {}", step.h.schema, h.schema));
        }
        let outcome = if adds { h.add(&*step.h) } else { h.subtract(&*step.h) };
        outcome.map_err(|_| "exponential and custom buckets do not add up")?;
        all.push(Written { h: Arc::new(h.clone()), hint_given });
    }
    Ok(all)
}

/// Whether a histogram is the expected one, give or take what floats may be off.
pub fn same(expected: &Written, found: &FloatHistogram) -> bool {
    let (mut a, mut b) = (FloatHistogram::clone(&expected.h), found.clone());
    a.compact();
    b.compact();
    let buckets = |a: &[Bucket], b: &[Bucket]| {
        let same = |(a, b): (&Bucket, &Bucket)| a.index == b.index && nearly_equal(a.count, b.count);
        a.len() == b.len() && a.iter().zip(b).all(same)
    };
    a.schema == b.schema
        && nearly_equal(a.count, b.count)
        && nearly_equal(a.sum, b.sum)
        && nearly_equal(a.zero, b.zero)
        && a.zero_threshold == b.zero_threshold
        && a.custom_bounds == b.custom_bounds
        && buckets(&a.positive, &b.positive)
        && buckets(&a.negative, &b.negative)
        && (!expected.hint_given || a.reset_hint == b.reset_hint)
}

/// The histogram as senders give it: with whole numbers where it has no others.
pub fn stored(h: &FloatHistogram, reset_hint: ResetHint) -> Histogram {
    let counts = |buckets: &[Bucket]| buckets.iter().map(|b| b.count).collect();
    let floats = BucketCounts {
        count: h.count,
        zero: h.zero,
        positive: counts(&h.positive),
        negative: counts(&h.negative),
    };
    let integers = integers(&floats).map(Counts::Integer);
    let of = |counts| Histogram {
        schema: h.schema,
        reset_hint,
        zero_threshold: h.zero_threshold,
        sum: h.sum,
        positive_spans: spans(&h.positive),
        negative_spans: spans(&h.negative),
        custom_bounds: h.custom_bounds.to_vec(),
        counts,
    };
    // Scripts have histograms whose buckets do not add up, which floats may.
    integers.map(of).filter(|h| h.check().is_ok()).unwrap_or_else(|| of(Counts::Float(floats)))
}

fn integers(floats: &BucketCounts<f64>) -> Option<BucketCounts<u64>> {
    let whole = |v: f64| (v.fract() == 0.0 && (0.0..1e15).contains(&v)).then_some(v as u64);
    let all = |v: &[f64]| v.iter().map(|v| whole(*v)).collect::<Option<Vec<u64>>>();
    Some(BucketCounts {
        count: whole(floats.count)?,
        zero: whole(floats.zero)?,
        positive: all(&floats.positive)?,
        negative: all(&floats.negative)?,
    })
}

fn spans(buckets: &[Bucket]) -> Vec<BucketSpan> {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut next = 0;
    for b in buckets {
        match spans.last_mut().filter(|_| b.index == next) {
            Some(last) => last.length += 1,
            None => spans.push(BucketSpan { offset: b.index - next, length: 1 }),
        }
        next = b.index + 1;
    }
    spans
}

/// What a script says of a histogram.
#[derive(Default)]
struct Fields {
    schema: i8,
    numbers: [f64; 4],
    hint: Option<ResetHint>,
    positive: (i32, Vec<f64>),
    negative: (i32, Vec<f64>),
    custom: Vec<f64>,
}

impl Fields {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let list = |text: &str| {
            let inside = text.strip_prefix('[')?.strip_suffix(']')?;
            inside.split_whitespace().map(number).collect::<Option<Vec<f64>>>()
        };
        match key {
            "schema" => self.schema = value.parse().ok()?,
            "count" => self.numbers[0] = number(value)?,
            "sum" => self.numbers[1] = number(value)?,
            "z_bucket" => self.numbers[2] = number(value)?,
            "z_bucket_w" => self.numbers[3] = number(value)?,
            "offset" => self.positive.0 = value.parse().ok()?,
            "n_offset" => self.negative.0 = value.parse().ok()?,
            "buckets" => self.positive.1 = list(value)?,
            "n_buckets" => self.negative.1 = list(value)?,
            "custom_values" => self.custom = list(value)?,
            "counter_reset_hint" => {
                self.hint = Some(match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return None,
                });
            }
            _ => return None,
        }
        Some(())
    }

    fn histogram(self) -> Written {
        let buckets = |(offset, counts): (i32, Vec<f64>)| {
            (offset..).zip(counts).map(|(index, count)| Bucket { index, count }).collect()
        };
        let [count, sum, zero, zero_threshold] = self.numbers;
        let h = FloatHistogram {
            reset_hint: self.hint.unwrap_or_default(),
            schema: self.schema,
            zero_threshold,
            zero,
            count,
            sum,
            positive: buckets(self.positive),
            negative: buckets(self.negative),
            custom_bounds: self.custom.into(),
        };
        Written { h: Arc::new(h), hint_given: self.hint.is_some() }
    }
}

/// The native histogram of a classic one: cumulative counts by upper bound, ascending; with what `_count` and `_sum` say.
pub fn from_classic(
    mut buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
) -> Result<FloatHistogram, String> {
    let count = count.unwrap_or_else(|| buckets.last().map_or(0.0, |(_, count)| *count));
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        buckets.push((f64::INFINITY, count));
    }
    let mut before = 0.0;
    let mut positive = Vec::new();
    for (index, (_, cumulative)) in (0..).zip(&buckets) {
        if *cumulative < before {
            return Err(format!("counts fall from {before} to {cumulative}"));
        }
        if *cumulative > before {
            positive.push(Bucket { index, count: cumulative - before });
        }
        before = *cumulative;
    }
    if before != count {
        return Err(format!("buckets hold {before} observations, the count is {count}"));
    }
    buckets.pop();
    Ok(FloatHistogram {
        reset_hint: ResetHint::Unknown,
        schema: CUSTOM_SCHEMA,
        zero_threshold: 0.0,
        zero: 0.0,
        count,
        sum,
        positive,
        negative: Vec::new(),
        custom_bounds: buckets.into_iter().map(|(bound, _)| bound).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_read_and_stored() {
        let text = "{{schema:-1 sum:-2.5 count:6  z_bucket:1 z_bucket_w:0.5 offset:-2 buckets:[1 0 2 ] n_buckets:[2] counter_reset_hint:gauge}}";
        let written = parse(text).expect("a histogram");
        assert!(written.hint_given);
        let stored = stored(&written.h, written.h.reset_hint);
        assert!(matches!(&stored.counts, Counts::Integer(c) if c.positive == [1, 0, 2] && c.count == 6));
        assert_eq!(stored.positive_spans, [BucketSpan { offset: -2, length: 3 }]);
        assert!(same(&written, &FloatHistogram::from(&stored)));
        for bad in ["{{", "{{count}}", "{{count:x}}", "{{counts:1}}", "{{buckets:[1}}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sequences_add_up() {
        let (first, step) = split_step("{{count:1}}-{{count:2 buckets:[1]}}");
        let (step, adds) = step.expect("a step");
        let all = sequence(parse(first).unwrap(), Some((parse(step).unwrap(), adds)), 2).unwrap();
        assert_eq!(all.iter().map(|w| w.h.count).collect::<Vec<_>>(), [1.0, -1.0, -3.0]);
        assert_eq!(all[2].h.positive, [Bucket { index: 0, count: -2.0 }]);
    }

    #[test]
    fn differences_are_seen() {
        let expected = |text| parse(text).expect(text);
        let found = expected("{{count:2 sum:3 buckets:[2 0] counter_reset_hint:reset}}").h;
        let check = |text, want| assert_eq!(same(&expected(text), &found), want, "{text}");
        check("{{count:2 sum:3 buckets:[2]}}", true);
        check("{{count:2 sum:3.0000001 buckets:[2]}}", true);
        check("{{count:2 sum:3.1 buckets:[2]}}", false);
        check("{{count:2 sum:3 offset:1 buckets:[2]}}", false);
        check("{{count:2 sum:3 buckets:[2] counter_reset_hint:unknown}}", false);
        check("{{count:2 sum:3 buckets:[2] z_bucket_w:1}}", false);
    }

    #[test]
    fn classic_buckets_are_cumulative() {
        let h = from_classic(vec![(1.0, 2.0), (2.0, 2.0), (f64::INFINITY, 5.0)], None, 7.0).expect("sound");
        assert_eq!((h.count, &*h.custom_bounds), (5.0, &[1.0, 2.0][..]));
        assert_eq!(h.positive, [Bucket { index: 0, count: 2.0 }, Bucket { index: 2, count: 3.0 }]);
        assert!(from_classic(vec![(1.0, 2.0)], Some(1.0), 0.0).is_err());
    }
}
