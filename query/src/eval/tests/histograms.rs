//! Native histograms through the evaluator: beside floats, over parts and threads, within the bounds.

use super::*;
use crate::SampleValue;
use cardinal_storage::model::{BucketCounts, BucketSpan, Counts, Histogram, HistogramSample, ResetHint};

/// A histogram of schema 0 whose buckets begin at 1.
fn histogram(counts: &[u64]) -> Histogram {
    let count = counts.iter().sum();
    Histogram {
        schema: 0,
        reset_hint: ResetHint::Unknown,
        zero_threshold: 0.0,
        sum: count as f64,
        positive_spans: vec![BucketSpan { offset: 1, length: counts.len() as u32 }],
        negative_spans: Vec::new(),
        custom_bounds: Vec::new(),
        counts: Counts::Integer(BucketCounts { count, zero: 0, positive: counts.to_vec(), negative: vec![] }),
    }
}

/// A series of histograms, one every 10 s from 0; an empty one is a staleness marker.
fn histograms(labels: &str, counts: &[&[u64]]) -> MemorySeries {
    let sample = |(i, counts): (usize, &&[u64])| {
        let mut h = histogram(counts);
        h.sum = if counts.is_empty() { stale_nan() } else { h.sum };
        HistogramSample { t: TimestampMs(i as i64 * 10_000), h }
    };
    MemorySeries { histograms: counts.iter().enumerate().map(sample).collect(), ..series(labels, "") }
}

fn mixed(parts: usize) -> MemorySource {
    let mut both = histograms("both{job=a}", &[&[1], &[2], &[3]]);
    (both.t, both.v) = (vec![25_000, 30_000], vec![7.0, 8.0]);
    let all = [
        histograms("h{job=a}", &[&[1, 1], &[2, 2], &[3, 0], &[4, 1], &[5, 2]]),
        histograms("h{job=b}", &[&[2], &[4], &[6], &[8], &[10]]),
        histograms("gone{job=a}", &[&[1], &[2], &[]]),
        series("f{job=a}", "1 2 3 4 5"),
        series("f{job=b}", "5 4 3 2 1"),
        both,
    ];
    MemorySource::new(all.into(), parts)
}

fn answer(query: &str, seconds: i64) -> (Vec<String>, Vec<String>) {
    let at = TimestampMs(seconds * 1000);
    let output = engine(1, false).instant(&mixed(3), query, at, &QueryOptions::default());
    let output = output.unwrap_or_else(|e| panic!("{query}: {e}"));
    let mut got = lines(&output.value);
    got.sort();
    (got, [output.warnings, output.infos].concat())
}

fn check(query: &str, seconds: i64, want: &[&str]) {
    assert_eq!(answer(query, seconds).0, want, "{query} at {seconds}");
}

#[test]
fn floats_and_histograms_stand_side_by_side() {
    check(
        "h",
        40,
        &["h{job=\"a\"} {count:7, sum:7, (1,2]:5, (2,4]:2}", "h{job=\"b\"} {count:10, sum:10, (1,2]:10}"],
    );
    check("both", 20, &["both{job=\"a\"} {count:3, sum:3, (1,2]:3}"]);
    check("both", 29, &["both{job=\"a\"} 7"]);
    check("timestamp(both)", 21, &["{job=\"a\"} 20"]);
    check("gone", 15, &["gone{job=\"a\"} {count:2, sum:2, (1,2]:2}"]);
    check("gone", 25, &[]);
    check("count_over_time(gone[1m])", 40, &["{job=\"a\"} 2"]);
    check("count_over_time(both[1m])", 40, &["{job=\"a\"} 5"]);
    check("changes(both[1m])", 40, &["{job=\"a\"} 4"]);
    check("last_over_time(both[25s])", 20, &["both{job=\"a\"} {count:3, sum:3, (1,2]:3}"]);
    check("count({__name__=~\"h|f\"})", 40, &["{} 4"]);
    check("absent(h)", 40, &[]);
    check("sort({__name__=~\"h|f\",job=\"a\"})", 40, &["f{job=\"a\"} 5"]);
    check("h and on (job) f > 1", 40, &["h{job=\"a\"} {count:7, sum:7, (1,2]:5, (2,4]:2}"]);
    check("count_values(\"v\", h{job=\"b\"})", 40, &["{v=\"{count:10, sum:10, (1,2]:10}\"} 1"]);
    check("abs(h)", 40, &[]);
    check("scalar(h{job=\"a\"})", 40, &["NaN"]);
}

#[test]
fn what_does_not_go_together_is_remarked_on() {
    let check = |query: &str, remark: &str| {
        let (got, remarks) = answer(query, 40);
        assert!(got.is_empty(), "{query}: {got:?}");
        assert!(remarks.iter().any(|r| r.contains(remark)), "{query}: {remarks:?}");
    };
    check("sum by (job) ({__name__=~\"h|f\"})", "mix of histograms and floats for aggregation (1:15)");
    check("rate(both[1m])", "mix of histograms and floats for metric name \"both\" (1:6)");
    check("max(h)", "ignored histogram in max aggregation (1:5)");
    check("topk(1, h)", "ignored histogram in topk aggregation (1:1)");
    check("h + 1", "operator \"+\": histogram + float (1:1)");
    check("1 / h", "operator \"/\": float / histogram (1:1)");
    check("h + on (job) f", "operator \"+\": histogram + float (1:1)");
    check("f </ 2", "operator \"</\": float </ float (1:1)");
}

#[test]
fn a_reset_in_a_bucket_is_seen_with_and_without_buckets() {
    // (2,4] falls from 2 to 0 at 20 s.
    check("resets(h{job=\"a\"}[1m])", 40, &["{job=\"a\"} 1"]);
    let (whole, _) = answer("increase(h{job=\"a\"}[50s])", 40);
    assert!(whole[0].starts_with("{job=\"a\"} {count:10.999999999999998, sum"), "{whole:?}");
    check("histogram_count(increase(h{job=\"a\"}[50s]))", 40, &["{job=\"a\"} 10.999999999999998"]);
    // Between the steps of a subquery resets are found by comparing what it gives.
    check("resets(h{job=\"a\"}[50s:20s])", 40, &["{job=\"a\"} 1"]);
}

#[test]
fn parts_and_threads_change_nothing() {
    for query in [
        "sum(h)",
        "avg(rate(h[30s]))",
        "sum by (job) (h) - ignoring (x) h",
        "histogram_quantile(0.5, sum(h))",
    ] {
        let answers: Vec<_> = [(1, 1), (2, 1), (4, 2)]
            .map(|(parts, threads)| {
                let output = over(&engine(threads, false), &mixed(parts), query).unwrap();
                let Value::Matrix(series) = output.value else { panic!("no matrix") };
                series
                    .iter()
                    .map(|s| format!("{} {:?} {:?}", s.labels, s.points, s.histograms))
                    .collect::<Vec<_>>()
            })
            .into();
        assert!(!answers[0].is_empty(), "{query}");
        assert!(answers.iter().all(|a| *a == answers[0]), "{query}: {answers:?}");
    }
}

#[test]
fn histograms_count_as_their_size() {
    let limits = |samples_max| Limits { samples_max, ..Limits::default() };
    let ask = |samples_max, query: &str| {
        let engine = Engine::new(EngineOptions { limits: limits(samples_max), ..EngineOptions::default() });
        engine.instant(&mixed(1), query, TimestampMs(40_000), &QueryOptions::default())
    };
    // Two histograms of 168 bytes, a time, a span and one or two buckets, by 16.
    let output = ask(1000, "h").unwrap();
    assert_eq!(output.stats.samples_peak, 1 + 12 + 12);
    assert!(matches!(ask(20, "h"), Err(QueryError::TooManySamples { limit: 20 })));
    let Value::Vector(samples) = output.value else { panic!("no vector") };
    assert!(samples.iter().all(|s| matches!(s.v, SampleValue::Histogram(_))));
}

#[test]
fn a_float_and_a_histogram_are_not_one_series() {
    let query = "label_replace({__name__=~\"h|f\",job=\"a\"}, \"__name__\", \"x\", \"\", \"\")";
    let at = TimestampMs(40_000);
    let failed = engine(1, false).instant(&mixed(2), query, at, &QueryOptions::default());
    assert!(matches!(failed, Err(QueryError::Execution { .. })), "{failed:?}");
}
