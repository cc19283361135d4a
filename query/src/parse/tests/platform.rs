//! Queries as the platform's people write them: valid ones, and malformed ones with what the error says to do.

use super::parsed;
use crate::parse::{ParseError, parse_selector};

/// The error at `position`, and the expression that it suggests, which parses.
fn check(query: &str, position: &str, message: &str, suggestion: Option<&str>) {
    let error = parsed(query).expect_err(query);
    check_error(query, &error, position, message, suggestion);
}

fn check_error(query: &str, error: &ParseError, position: &str, message: &str, suggestion: Option<&str>) {
    assert_eq!(error.position(query).to_string(), position, "{query:?}: {error}");
    assert!(error.message.contains(message), "{query:?}: {error}");
    assert!(!error.advice.is_empty());
    assert_eq!(error.suggestion.as_deref(), suggestion, "{query:?}: {error}");
    if let Some(expression) = &error.suggestion {
        assert!(parsed(expression).is_ok(), "{query:?} suggests {expression:?}");
    }
}

#[test]
fn grouping_behind_what_takes_none() {
    check(
        "warp_asr_ratio{window='5m'} by (provider)",
        "1:29",
        "unexpected <by>",
        Some("avg by (provider) (warp_asr_ratio{window='5m'})"),
    );
    check(
        "sort_desc(\n  avg_over_time(warp_asr_ratio{window=\"1h\"}[24h]) by (provider)\n)",
        "2:51",
        "unexpected <by>",
        Some("avg by (provider) (avg_over_time(warp_asr_ratio{window=\"1h\"}[24h]))"),
    );
    check(
        "histogram_quantile(0.95, rate(warp_pdd_milliseconds_bucket[5m])) by (provider)",
        "1:66",
        "unexpected <by>",
        Some("histogram_quantile(0.95, sum by (le, provider) (rate(warp_pdd_milliseconds_bucket[5m])))"),
    );
    check(
        "sum(warp_asr_ratio) by (provider) by (zone)",
        "1:35",
        "unexpected <by>",
        Some("sum(warp_asr_ratio) by (provider, zone)"),
    );
    check(
        "rate(x[5m]) without (pod)",
        "1:13",
        "unexpected <without>",
        Some("sum without (pod) (rate(x[5m]))"),
    );
    let error = parsed("avg_over_time(x[5m]) by (a)").expect_err("by");
    assert!(error.advice.contains("`avg_over_time` gives one result per series"), "{error}");
}

#[test]
fn quotes_and_values() {
    check(
        "sky_genesis_active_connections{service=\\\"api\\\"}",
        "1:40",
        "unexpected character inside braces: '\\\\'",
        Some("sky_genesis_active_connections{service=\"api\"}"),
    );
    check("'{job=~\"prometheus\"}", "1:1", "unterminated quoted string", Some("{job=~\"prometheus\"}"));
    check("{job=~\"prometheus", "1:7", "unterminated quoted string", Some("{job=~\"prometheus\"}"));
    check(
        "warp_asr_ratio{window=5m}",
        "1:23",
        "unexpected character inside braces: '5'",
        Some("warp_asr_ratio{window=\"5m\"}"),
    );
    check("up{job=siprec}", "1:8", "expected string", Some("up{job=\"siprec\"}"));
    check("up{job=“siprec”}", "1:8", "unexpected character", Some("up{job=\"siprec\"}"));
    let as_selector = |text: &str, suggestion| {
        let error = parse_selector(text).expect_err(text);
        check_error(text, &error, "1:1", "unterminated quoted string", suggestion);
    };
    as_selector("'{job=~\"prometheus\"}", Some("{job=~\"prometheus\"}"));
    as_selector("'{__name__=~\"job:.*\"}", Some("{__name__=~\"job:.*\"}"));
}

#[test]
fn windows() {
    check(
        "rate(warp_spend_cents_total)",
        "1:6",
        "expected type range vector in call to function \"rate\", got instant vector",
        Some("rate(warp_spend_cents_total[5m])"),
    );
    check("rate(sum(x))", "1:6", "expected type range vector", Some("rate((sum(x))[5m:])"));
    check(
        "warp_asr_ratio{window='5m'}[5m] > 1",
        "1:1",
        "binary expression must contain only scalar and instant vector types",
        Some("avg_over_time(warp_asr_ratio{window='5m'}[5m]) > 1"),
    );
    check(
        "sum(x[5m])",
        "1:5",
        "expected type instant vector in aggregation expression",
        Some("sum(avg_over_time(x[5m]))"),
    );
    check("rate(x[5m])[1h]", "1:12", "ranges only allowed for vector selectors", None);
}

#[test]
fn what_belongs_elsewhere() {
    check(
        "rate(warp_spend_cents_total[5m]) > 10000  // $100/5min",
        "1:44",
        "unexpected <op:/>",
        Some("rate(warp_spend_cents_total[5m]) > 10000  # $100/5min"),
    );
    check("{}", "1:1", "vector selector must contain at least one non-empty matcher", None);
    check(
        "up{job=\"siprec\"} == 0 for: 1m",
        "1:23",
        "unexpected metric identifier \"for:\"",
        Some("up{job=\"siprec\"} == 0"),
    );
    check("up = 1", "1:4", "unexpected \"=\"", Some("up == 1"));
    check("1 == 1", "1:3", "must use BOOL", Some("1 == bool 1"));
    check("(up", "1:4", "unclosed left parenthesis", Some("(up)"));
    check("(up))", "1:6", "unexpected right parenthesis", Some("(up)"));
    check("sum(x,)", "1:6", "trailing commas", Some("sum(x)"));
    check("Rate(x[5m])", "1:1", "unknown function with name \"Rate\"", Some("rate(x[5m])"));
    check("mean(x)", "1:1", "unknown function", Some("avg(x)"));
    check(
        "holt_winters(x[5m], 0.5, 0.5)",
        "1:1",
        "unknown function",
        Some("double_exponential_smoothing(x[5m], 0.5, 0.5)"),
    );
    check("sum($account)", "1:5", "unexpected character: '$'", None);
}

#[test]
fn selectors_of_federation() {
    let check = |text: &str, expected: usize| {
        assert_eq!(
            parse_selector(text).map(|m| m.len()).map_err(|e| e.to_string()),
            Ok(expected),
            "{text:?}"
        );
    };
    check("{job=~\"prometheus\"}", 1);
    check("{__name__=~\"job:.*\"}", 1);
    check("up", 1);
    check("sum{a=\"b\"}", 2);
    check(" up {a=\"b\",} # comment", 2);
    for bad in ["", "up[5m]", "up offset 5m", "sum(up)", "1", "up up", "{a=~\"(\"}", "bool"] {
        assert!(parse_selector(bad).is_err(), "{bad:?}");
    }
}

/// Valid queries of dashboards and alerts; metric names and expressions are the platform's.
const VALID: &str = include_str!("platform_queries.txt");

#[test]
fn valid_queries_parse_with_variables_filled_in() {
    let mut queries = 0;
    for line in VALID.lines().filter(|l| !l.is_empty() && !l.starts_with("//")) {
        let query = line
            .replace("$__rate_interval", "5m")
            .replace("$__range", "1h")
            .replace("$account", ".+")
            .replace("$zone", ".+")
            .replace("\\n", "\n");
        assert!(parsed(&query).is_ok(), "{query}: {:?}", parsed(&query).map_err(|e| e.to_string()));
        super::check_round_trip(&query);
        queries += 1;
    }
    assert!(queries > 150, "{queries} queries were read");
}
