//! Queries over small series in memory, and the properties that hold whatever the plan.

mod histograms;

use crate::parse::ast::AggregateOp;
use crate::parse::functions::FUNCTIONS;
use crate::parse::{FunctionId, ValueType};
use crate::source::{MemorySeries, MemorySource};
use crate::{CancelToken, Engine, EngineOptions, Limits, Output, QueryError, QueryOptions, Value};
use cardinal_storage::model::{DurationMs, LabelSet, METRIC_NAME, TimestampMs, stale_nan};
use proptest::prelude::*;

/// A series from its text: `name{a="1"}` and the values every 10 s from 0; `_` is none, `S` a staleness marker.
fn series(labels: &str, values: &str) -> MemorySeries {
    let (name, rest) = labels.split_once('{').unwrap_or((labels, "}"));
    let pairs = rest.trim_end_matches('}').split(',').filter_map(|p| p.trim().split_once('='));
    let pairs = pairs.map(|(n, v)| (n, v.trim_matches('"'))).chain([(METRIC_NAME, name)]);
    let labels = LabelSet::from_pairs(pairs).unwrap();
    let (mut t, mut v) = (Vec::new(), Vec::new());
    for (i, text) in values.split_whitespace().enumerate().filter(|(_, text)| *text != "_") {
        t.push(i as i64 * 10_000);
        v.push(if text == "S" { stale_nan() } else { text.parse().unwrap() });
    }
    MemorySeries { labels, t, v, histograms: Vec::new() }
}

fn source(parts: usize) -> MemorySource {
    let all = [
        series("req_total{job=a,pod=1}", "0 10 20 30 40 50 60 70 80 90 100"),
        series("req_total{job=a,pod=2}", "0 20 40 60 80 100 120 140 160 180 200"),
        series("req_total{job=b,pod=3}", "0 30 60 10 40 70 100 130 160 190 220"),
        series("up{job=a}", "1 1 1 1 S 1 1 1 1 1 1"),
        series("up{job=b}", "1 1 0 _ _ _ _ 1 1 1 1"),
        series("limit{job=a,zone=z1}", "5 5 5 5 5 5 5 5 5 5 5"),
        series("limit{job=c,zone=z2}", "7 7 7 7 7 7 7 7 7 7 7"),
        series("lat_bucket{le=1}", "0 1 2 3 4 5 6 7 8 9 10"),
        series("lat_bucket{le=2}", "0 2 4 6 8 10 12 14 16 18 20"),
        series("lat_bucket{le=+Inf}", "0 2 4 6 8 10 12 14 16 18 20"),
    ];
    MemorySource::new(all.into(), parts)
}

fn engine(threads: usize, delayed: bool) -> Engine {
    Engine::new(EngineOptions { threads, delayed_name_removal: delayed, ..EngineOptions::default() })
}

fn at(query: &str, seconds: i64) -> Result<Output, QueryError> {
    engine(1, false).instant(&source(3), query, TimestampMs(seconds * 1000), &QueryOptions::default())
}

fn over(engine: &Engine, source: &MemorySource, query: &str) -> Result<Output, QueryError> {
    let (start, end) = (TimestampMs(0), TimestampMs(100_000));
    engine.range(source, query, start, end, DurationMs(15_000), &QueryOptions::default())
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Scalar { v, .. } => vec![v.to_string()],
        Value::String { s, .. } => vec![s.clone()],
        Value::Vector(v) => v.iter().map(|s| format!("{} {}", s.labels, s.v)).collect(),
        Value::Matrix(m) => {
            let points = |p: &[(TimestampMs, f64)]| {
                p.iter().map(|(t, v)| format!("{v}@{}", t.0 / 1000)).collect::<Vec<_>>().join(" ")
            };
            m.iter().map(|s| format!("{} {}", s.labels, points(&s.points))).collect()
        }
    }
}

/// Checks the result at 100 s, in any order.
fn check(query: &str, want: &[&str]) {
    check_at(query, 100, want);
}

fn check_at(query: &str, seconds: i64, want: &[&str]) {
    let output = at(query, seconds).unwrap_or_else(|e| panic!("{query}: {e}"));
    let mut got = lines(&output.value);
    let mut want: Vec<_> = want.iter().map(ToString::to_string).collect();
    got.sort();
    want.sort();
    assert_eq!(got, want, "{query} at {seconds}");
}

fn check_fails(query: &str, text: &str) {
    match at(query, 100) {
        Ok(o) => panic!("{query}: {:?}", lines(&o.value)),
        Err(e) => assert!(e.to_string().contains(text), "{query}: {e}"),
    }
}

#[test]
fn selectors_offsets_and_fixed_times() {
    check(r#"limit{job!="a"}"#, &[r#"limit{job="c", zone="z2"} 7"#]);
    check(
        r#"req_total{pod=~"1|2"} offset 50s"#,
        &[r#"req_total{job="a", pod="1"} 50"#, r#"req_total{job="a", pod="2"} 100"#],
    );
    check(r#"req_total{pod="1"} @ 30"#, &[r#"req_total{job="a", pod="1"} 30"#]);
    check(r#"req_total{pod="1"} @ end() offset 10s"#, &[r#"req_total{job="a", pod="1"} 90"#]);
    check_at("up", 40, &[r#"up{job="b"} 0"#]);
    check_at("up", 45, &[r#"up{job="b"} 0"#]);
    check_at("timestamp(up)", 45, &[r#"{job="b"} 20"#]);
    check_at("up[25s]", 45, &[r#"up{job="a"} 1@30"#]);
    check("count_over_time(up[1m]) ", &[r#"{job="a"} 6"#, r#"{job="b"} 4"#]);
}

#[test]
fn values_at_the_edges_of_windows() {
    let one = |query: &str, seconds: i64, want: &str| {
        let (selector, modifier) = query.split_once(' ').unwrap_or((query, ""));
        let query = format!("req_total{{pod=\"1\"}}{selector} {modifier}");
        check_at(&query, seconds, &[&format!(r#"req_total{{job="a", pod="1"}} {want}"#)]);
    };
    one("[10s] smoothed", 10, "0@0 10@10");
    one("[10s] smoothed", 15, "5@5 10@10 15@15");
    one("[10s] smoothed", 5, "0@-5 0@0 5@5");
    one("[10s] smoothed", 105, "95@95 100@100 100@105");
    one("[10s] smoothed", -20, "0@-30 0@-20");
    one("[10s] anchored", 10, "0@0 10@10");
    one("[10s] anchored", 15, "0@5 10@10 10@15");
    one("[10s] anchored offset 10s", 15, "0@-5 0@0 0@5");
    one(" smoothed", 15, "15");
    one(" smoothed", 20, "20");
    one(" smoothed", 105, "100");
    one(" anchored", 15, "10");
    check_at(r#"timestamp(req_total{pod="1"} smoothed)"#, 15, &[r#"{job="a", pod="1"} 10"#]);
    // A staleness marker is no sample to draw a line to.
    check_at(r#"up{job="a"} smoothed"#, 40, &[r#"up{job="a"} 1"#]);
    check_at(r#"max_over_time((req_total{pod="3"} smoothed)[20s:1s])"#, 30, &[r#"{job="b", pod="3"} 60"#]);
    check_at(r#"rate(req_total{pod="3"}[10s] smoothed)"#, 35, &[r#"{job="b", pod="3"} 2"#]);
    check_fails(
        "deriv(up[1m] smoothed)",
        "smoothed modifier can only be used with: delta, increase, rate - not with deriv (1:1)",
    );
    check_fails(
        "absent_over_time(up[1m] anchored)",
        "anchored modifier can only be used with: changes, delta, increase, rate, resets",
    );
}

#[test]
fn range_functions_and_subqueries() {
    check(r#"rate(req_total{pod="1"}[50s])"#, &[r#"{job="a", pod="1"} 1"#]);
    check(r#"last_over_time(req_total{pod="1"}[50s])"#, &[r#"req_total{job="a", pod="1"} 100"#]);
    check(r#"max_over_time(rate(req_total{pod="2"}[30s])[1m:10s])"#, &[r#"{job="a", pod="2"} 2"#]);
    check(r#"sum_over_time(vector(2)[1m:10s])"#, &["{} 12"]);
    check(r#"sum_over_time((up + 0)[30s:10s] @ 30)"#, &[r#"{job="a"} 3"#, r#"{job="b"} 1"#]);
    check(r#"count_over_time(req_total{pod="1"}[30s:10s] offset 5s)"#, &[r#"{job="a", pod="1"} 3"#]);
    check(r#"absent_over_time(nope{a="1",b=~"x"}[1m])"#, &[r#"{a="1"} 1"#]);
    check("absent_over_time(up[1m])", &[]);
    check("absent(nope)", &["{} 1"]);
}

#[test]
fn aggregations() {
    check("sum by (job) (req_total)", &[r#"{job="a"} 300"#, r#"{job="b"} 220"#]);
    check("sum without (pod) (req_total)", &[r#"{job="a"} 300"#, r#"{job="b"} 220"#]);
    check("sum(rate(req_total[50s]))", &["{} 6"]);
    check("avg(req_total)", &["{} 173.33333333333334"]);
    check("count by (nope) (req_total)", &["{} 3"]);
    check("count by (__name__) (req_total)", &["req_total 3"]);
    check("count by (__name__) (rate(req_total[1m]))", &["{} 3"]);
    check("group(up)", &["{} 1"]);
    check("stddev(limit)", &["{} 1"]);
    check("quantile(0.5, req_total)", &["{} 200"]);
    check(r#"count_values("v", up)"#, &[r#"{v="1"} 2"#]);
    check(r#"count_values by (job) ("job", up)"#, &[r#"{job="1"} 2"#]);
    check("count(limitk(2, req_total))", &["{} 2"]);
    check("count(limit_ratio(0.4, req_total) or limit_ratio(-0.6, req_total))", &["{} 3"]);
    let top = at("topk(2, req_total)", 100).unwrap();
    assert_eq!(
        lines(&top.value),
        [r#"req_total{job="b", pod="3"} 220"#, r#"req_total{job="a", pod="2"} 200"#]
    );
    let bottom = at("bottomk by (job) (1, req_total)", 100).unwrap();
    assert_eq!(lines(&bottom.value).len(), 2);
    check("topk(1, up)", &[r#"up{job="a"} 1"#]);
    check("topk(0, up)", &[]);
    check_fails("topk(NaN, up)", "Parameter value is NaN");
}

#[test]
fn operators() {
    check("limit * on (job) group_right up", &[r#"{job="a"} 5"#]);
    check("up * on (job) group_left (zone) limit", &[r#"{job="a", zone="z1"} 5"#]);
    check("up + on (job) limit", &[r#"{job="a"} 6"#]);
    check("req_total > 150", &[r#"req_total{job="a", pod="2"} 200"#, r#"req_total{job="b", pod="3"} 220"#]);
    check("150 < bool up", &[r#"{job="a"} 0"#, r#"{job="b"} 0"#]);
    check("1 - up", &[r#"{job="a"} 0"#, r#"{job="b"} 0"#]);
    check("-up", &[r#"{job="a"} -1"#, r#"{job="b"} -1"#]);
    check("up and on (job) limit", &[r#"up{job="a"} 1"#]);
    check("up unless on (job) limit", &[r#"up{job="b"} 1"#]);
    check(r#"up{job="a"} or on (job) limit"#, &[r#"up{job="a"} 1"#, r#"limit{job="c", zone="z2"} 7"#]);
    check("2 ^ 3 ^ 2 + 1", &["513"]);
    check("up == on (job) up", &[r#"{job="a"} 1"#, r#"{job="b"} 1"#]);
    check("up + on (job) fill_right (10) limit", &[r#"{job="a"} 6"#, r#"{job="b"} 11"#]);
    check_fails("up * on () up", "found duplicate series for the match group {} on the right hand-side");
    check_fails("req_total * on (job) up", "many-to-one matching must be explicit");
}

#[test]
fn labels_math_and_sorting() {
    check(
        r#"label_replace(up, "x", "$1-", "job", "(.)")"#,
        &[r#"up{job="a", x="a-"} 1"#, r#"up{job="b", x="b-"} 1"#],
    );
    check(
        r#"label_join(limit{job="a"}, "j", "/", "job", "zone")"#,
        &[r#"limit{j="a/z1", job="a", zone="z1"} 5"#],
    );
    check("clamp_max(req_total, 150) - 150 >= 0", &[r#"{job="a", pod="2"} 0"#, r#"{job="b", pod="3"} 0"#]);
    check("scalar(limit)", &["NaN"]);
    check(r#"scalar(limit{job="a"}) + 1"#, &["6"]);
    check("vector(time())", &["{} 100"]);
    check("day_of_week()", &["{} 4"]);
    check("histogram_quantile(0.5, lat_bucket)", &["{} 1"]);
    check("histogram_quantile(0.5, sum by (le) (rate(lat_bucket[1m])))", &["{} 1"]);
    check("histogram_fraction(0, 1, lat_bucket)", &["{} 0.5"]);
    check("histogram_count(up)", &[]);
    check("start_timestamp(up)", &[]);
    let sorted = at("sort_desc(req_total)", 100).unwrap();
    assert!(lines(&sorted.value)[0].ends_with(" 220"));
    check(r#""text""#, &["text"]);
    check_fails(r#"label_replace(up, "job", "x", "", "")"#, "same labelset");
}

/// Series of two targets with what is known about them, beside a thousand other targets.
fn targets() -> MemorySource {
    let mut all = vec![
        series("req_total{instance=a,job=x}", "0 10 20 30 40 50 60 70 80 90 100"),
        series("req_total{instance=b.c,job=x}", "0 20 40 60 80 100 120 140 160 180 200"),
        series("target_info{instance=a,job=x,version=1}", "1 1 1 1 1 1 1 1 1 1 1"),
        series("target_info{instance=b.c,job=x,version=1}", "1 1 1 1 S"),
        series("target_info{instance=b.c,job=x,version=2}", "_ _ _ _ 1 1 1 1 1 1 1"),
        series("target_info{instance=bxc,job=x,version=3}", "1 1 1 1 1 1 1 1 1 1 1"),
        series("build_info{instance=a,job=x,version=9}", "1 1 1 1 1 1 1 1 1 1 1"),
        series("twin_info{instance=a,job=x,n=1}", "1"),
        series("twin_info{instance=a,job=x,n=2}", "1"),
    ];
    let other =
        |i: usize| series(&format!("target_info{{instance=other{i},job=x}}"), "1 1 1 1 1 1 1 1 1 1 1");
    all.extend((0..1000).map(other));
    MemorySource::new(all, 3)
}

#[test]
fn info_adds_the_labels_of_a_target() {
    let check = |query: &str, delayed: bool, want: &[&str]| {
        let at = TimestampMs(100_000);
        let output = engine(1, delayed).instant(&targets(), query, at, &QueryOptions::default()).unwrap();
        let mut got = lines(&output.value);
        got.sort();
        assert_eq!(got, want, "{query}, delayed {delayed}");
        output.stats.series
    };
    let named = [
        r#"req_total{instance="a", job="x", version="1"} 100"#,
        r#"req_total{instance="b.c", job="x", version="2"} 200"#,
    ];
    // Two series, and three of info: not those of other targets, nor that of `bxc`.
    assert_eq!(check("info(req_total)", false, &named), 5);
    check("info(req_total, {version=~\".+\"})", true, &named);
    let rates = [r#"{instance="a", job="x", version="1"} 1"#, r#"{instance="b.c", job="x", version="2"} 2"#];
    check("info(rate(req_total[50s]))", false, &rates);
    check("info(rate(req_total[50s]))", true, &rates);
    let old = [r#"{instance="b.c", job="x", version="1"} 60"#];
    check(r#"sum by (version, instance, job) (info(req_total{instance="b.c"} @ 30))"#, false, &old);
    check(r#"info(req_total, {version="9"})"#, false, &[]);
    check(
        r#"info(req_total, {__name__="build_info"})"#,
        false,
        &[
            r#"req_total{instance="a", job="x", version="9"} 100"#,
            r#"req_total{instance="b.c", job="x"} 200"#,
        ],
    );
    check(r#"count(info(vector(1)))"#, false, &["{} 1"]);
    let fails = |query: &str, text: &str| {
        let at = TimestampMs(100_000);
        let error = engine(1, false).instant(&targets(), query, at, &QueryOptions::default()).unwrap_err();
        assert!(error.to_string().contains(text), "{query}: {error}");
    };
    fails(r#"info(req_total, {__name__=~"(target|build)_info"})"#, "conflicting label: version (1:1)");
    fails(
        r#"1 + info(req_total, {__name__="twin_info"})"#,
        "found duplicate series for info metric: existing",
    );
}

#[test]
fn every_function_and_aggregation_is_evaluated() {
    let written = |t: ValueType| match t {
        ValueType::Vector => "up",
        ValueType::Matrix => "up[1m]",
        ValueType::Scalar => "0.5",
        ValueType::String => "\"x\"",
    };
    for f in FUNCTIONS {
        for count in [f.args_min, f.args_max.unwrap_or(f.args_min + 2)] {
            let mut args: Vec<_> = (0..count).filter_map(|i| f.arg(i)).map(written).collect();
            if f.id == FunctionId::Info && count == 2 {
                args[1] = "{x=~\".*\"}";
            }
            let query = format!("{}({})", f.name, args.join(", "));
            at(&query, 100).unwrap_or_else(|e| panic!("{query}: {e}"));
            over(&engine(1, true), &source(2), &query).unwrap_or_else(|e| panic!("{query} over time: {e}"));
        }
    }
    for (op, name) in AggregateOp::ALL {
        let param = op.param().map_or(String::new(), |t| format!("{}, ", written(t)));
        let query = format!("{name} by (job) ({param}up)");
        at(&query, 100).unwrap_or_else(|e| panic!("{query}: {e}"));
    }
}

#[test]
fn equal_labels_are_an_error_where_they_meet() {
    let clash = [series("a{x=1}", "1 2 3"), series("b{x=1}", "1 2 3")];
    let source = MemorySource::new(clash.into(), 1);
    for (query, delayed, fails) in [
        (r#"rate({x="1"}[1m])"#, false, true),
        (r#"-{x="1"}"#, false, true),
        (r#"rate({x="1"}[1m])"#, true, true),
        (r#"sum by (__name__) (rate({x="1"}[1m]))"#, true, true),
        (r#"count(rate({x="1"}[1m]))"#, true, false),
        (r#"count(rate({x="1"}[1m]))"#, false, true),
    ] {
        let got = engine(1, delayed).instant(&source, query, TimestampMs(20_000), &QueryOptions::default());
        assert_eq!(got.is_err(), fails, "{query}, delayed {delayed}: {got:?}");
        if let Err(e) = got {
            assert!(e.to_string().starts_with("vector cannot contain metrics with the same labelset"), "{e}");
        }
    }
}

#[test]
fn remarks_name_their_place() {
    let output = at("sum(rate(up[1m])) + rate(req_total[1m])", 100);
    assert!(output.is_ok_and(|o| o.infos
        == ["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:10)"]));
    assert!(at("1 + rate((up)[1m:10s])", 100).unwrap().infos[0].ends_with("\"up\" (1:1)"));
    assert_eq!(at("rate(up[1m]) > 9", 100).unwrap().infos.len(), 1, "also where nothing is left of it");
    let warnings = |query: &str| at(query, 100).unwrap().warnings;
    assert_eq!(
        warnings("quantile(2, up)"),
        ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]
    );
    assert!(warnings("histogram_quantile(0.5, up)")[0].contains("bucket label \"le\" is missing"));
    let sorted = over(&engine(1, false), &source(1), "sort(up)").unwrap();
    assert!(sorted.warnings[0].starts_with("PromQL warning: sort is ineffective"));
}

#[test]
fn parameters_are_judged_where_there_are_samples() {
    let warnings = |query: &str| at(query, 100).unwrap().warnings;
    let odd = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)";
    assert_eq!(warnings("quantile_over_time(2, up[1m])"), [odd]);
    assert_eq!(warnings("quantile_over_time(2, (up + 1)[1m:10s])"), [odd]);
    assert_eq!(warnings("limitk(0, quantile_over_time((2), up[1m]))"), [odd.replace("20", "31")]);
    assert!(warnings("quantile_over_time(2, nope[1m])").is_empty());
    check_fails(
        "double_exponential_smoothing(up[1m], 0.5, 1)",
        "invalid trend factor. Expected: 0 < tf < 1, got: 1.000000 (1:30)",
    );
    check("double_exponential_smoothing(nope[1m], 0, 1)", &[]);
    let query = "histogram_quantiles(-lat_bucket, \"q\", 0.5, 0.9)";
    assert!(at(query, 100).unwrap().infos[0].contains("over 1 samples"));
    check_fails("up * on () req_total", "found duplicate series for the match group");
    let twice = over(&engine(1, false), &source(1), "sort(up @ 10)").unwrap();
    assert!(twice.warnings.is_empty(), "it is sorted once: {:?}", twice.warnings);
}

#[test]
fn a_query_ends_at_its_bounds() {
    let limits = Limits { samples_max: 20, ..Limits::default() };
    let small = Engine::new(EngineOptions { limits, threads: 1, ..EngineOptions::default() });
    let run = |query: &str, options: &QueryOptions| {
        let (start, end) = (TimestampMs(0), TimestampMs(90_000));
        small.range(&source(1), query, start, end, DurationMs(10_000), options)
    };
    let options = QueryOptions::default();
    assert!(matches!(run("req_total", &options), Err(QueryError::TooManySamples { limit: 20 })));
    run("max(req_total)", &options).expect("a row at hand and a row of the group are twenty");
    assert!(run("sum(req_total)", &options).is_err(), "a sum's cell is as large as two samples");
    assert!(run("sum by (pod) (req_total)", &options).is_err());
    assert!(run("count_over_time(up[10y:1ms])", &options).is_err());
    let canceled = QueryOptions { cancel: CancelToken::default(), ..QueryOptions::default() };
    canceled.cancel.cancel();
    assert!(matches!(run("up", &canceled), Err(QueryError::Canceled)));
    let late = QueryOptions { timeout: Some(std::time::Duration::ZERO), ..QueryOptions::default() };
    assert!(matches!(run("up", &late), Err(QueryError::Timeout)));
}

#[test]
fn a_long_chain_is_no_deeper_than_a_short_one() {
    let chain = vec!["up"; 3000].join(" + ");
    let output = at(&format!("sum({chain})"), 100).unwrap();
    assert_eq!(lines(&output.value), ["{} 6000"]);
    let scalars = vec!["time()"; 20_000].join(" + ");
    assert_eq!(lines(&at(&scalars, 1).unwrap().value), ["20000"]);
}

/// Queries whose results must not depend on how they are computed.
const QUERIES: [&str; 16] = [
    "sum by (job) (rate(req_total[30s]))",
    "avg by (job) (req_total)",
    "stddev(req_total)",
    "max without (pod) (increase(req_total[20s]))",
    "topk by (job) (1, req_total)",
    "bottomk(2, rate(req_total[40s]))",
    "quantile by (job) (0.3, req_total)",
    "count(up == 1)",
    "limitk by (job) (1, req_total)",
    "count_values(\"v\", req_total)",
    "absent(up == 0)",
    "sum(max_over_time(rate(req_total[20s])[40s:10s]))",
    "sum by (job) (req_total) / on (job) group_left sum by (job) (up)",
    "sum(up or limit)",
    "count by (job) (req_total > 50 and req_total < 150)",
    "histogram_quantile(0.9, sum by (le) (rate(lat_bucket[1m])))",
];

#[test]
fn results_depend_on_neither_parts_nor_threads() {
    for query in QUERIES {
        let whole = over(&engine(1, false), &source(1), query).unwrap();
        for parts in [2, 3, 7] {
            for threads in [1, 4] {
                let got = over(&engine(threads, false), &source(parts), query).unwrap();
                if !query.starts_with("limitk") && !query.starts_with("stddev") {
                    assert_eq!(lines(&got.value), lines(&whole.value), "{query} in {parts} parts");
                }
                let again = over(&engine(1, false), &source(parts), query).unwrap();
                assert_eq!(lines(&got.value), lines(&again.value), "{query} on {threads} threads");
            }
        }
    }
}

#[test]
fn many_series_on_many_threads_are_those_on_one() {
    let all = (0..5000)
        .map(|i| series(&format!("m_total{{pod=\"{i}\",zone=\"{}\"}}", i % 7), &format!("0 {i} {}", 2 * i)));
    let source = MemorySource::new(all.collect(), 16);
    for query in
        ["sum by (zone) (rate(m_total[20s]))", "topk(5, m_total)", "m_total / 3", "limitk(9, m_total)"]
    {
        let one = over(&engine(1, false), &source, query).unwrap();
        let many = over(&engine(8, false), &source, query).unwrap();
        assert_eq!(lines(&one.value), lines(&many.value), "{query}");
    }
}

/// Expressions that aggregate straight from the source, with the same in a form that holds all rows first.
const PUSHED: [&str; 6] = [
    "rate(m_total[30s])",
    "m_total * 2 > 10",
    "-m_total",
    "clamp_max(m_total, 50)",
    "m_total",
    "last_over_time(m_total[15s])",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn pushed_down_equals_held(
        values in proptest::collection::vec(proptest::collection::vec(proptest::option::of(-20i32..80), 11), 1..12),
        parts in 1usize..5,
    ) {
        let text = |v: &Vec<Option<i32>>| v.iter().map(|v| v.map_or("_".into(), |v| v.to_string())).collect::<Vec<_>>().join(" ");
        let all = values.iter().enumerate().map(|(i, v)| series(&format!("m_total{{pod=\"{i}\",zone=\"{}\"}}", i % 3), &text(v)));
        let source = MemorySource::new(all.collect(), parts);
        let engine = engine(2, false);
        for inner in PUSHED {
            for outer in ["sum by (zone)", "count", "min without (pod)", "max", "avg by (zone)", "stdvar", "group"] {
                let pushed = over(&engine, &source, &format!("{outer} ({inner})")).unwrap();
                // `or` with nothing changes no value, but is no pipeline.
                let held = over(&engine, &source, &format!("{outer} (({inner}) or nothing_of_that_name)")).unwrap();
                let (a, b) = (numbers(&pushed.value), numbers(&held.value));
                prop_assert_eq!(a.len(), b.len());
                for ((la, va), (lb, vb)) in a.iter().zip(&b) {
                    prop_assert_eq!(la, lb);
                    prop_assert!((va - vb).abs() <= 1e-12 * va.abs().max(1.0), "{} ({}): {} {}", outer, inner, va, vb);
                }
            }
        }
    }
}

fn numbers(value: &Value) -> Vec<(String, f64)> {
    let Value::Matrix(m) = value else { panic!("a range query gives a matrix") };
    let each = |s: &crate::MatrixSeries| {
        let labels = s.labels.to_string();
        s.points.iter().map(move |(t, v)| (format!("{labels}@{t}"), *v)).collect::<Vec<_>>()
    };
    m.iter().flat_map(each).collect()
}
