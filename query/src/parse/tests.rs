//! The parser as a whole: the reference's cases, the platform's queries, hostile input, and a second opinion.

mod hostile;
mod platform;
mod reference;
mod second_opinion;

use super::{Expr, Features, ParseError, parse};

fn parsed(query: &str) -> Result<Expr, ParseError> {
    parse(query, &Features::default())
}

/// The tree as text, without the places of its nodes.
fn shape(expr: &Expr) -> String {
    let debug = format!("{expr:?}");
    let mut out = String::with_capacity(debug.len());
    let mut rest = debug.as_str();
    // Places are written as `@1..2`; strings cannot look like one, since a place follows `span: ` or `Some(`.
    while let Some(at) = rest.find("@") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let is_place = ["span: ", "span: Some("].iter().any(|name| before.ends_with(name));
        let digits =
            after[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(after.len(), |n| n + 1);
        out.push('@');
        rest = &after[if is_place { digits } else { 1 }..];
    }
    out.push_str(rest);
    // An empty `by ()` means what no grouping means, and is not displayed.
    let out = out.replace("grouping: [], grouping_span: Some(@)", "grouping: [], grouping_span: None");
    // Bytes that were no text are displayed as what replaced them.
    out.replace("lossy: true", "lossy: false")
}

/// The display of an expression parses to the same tree.
fn check_round_trip(query: &str) {
    let Ok(expr) = parsed(query) else { return };
    let text = expr.to_string();
    match parsed(&text) {
        Ok(again) => assert_eq!(shape(&again), shape(&expr), "{query:?} is displayed as {text:?}"),
        Err(error) => panic!("{query:?} is displayed as {text:?}, which is an error: {error}"),
    }
}

#[test]
fn display_parses_to_the_same_tree() {
    for query in [
        "1",
        "-0",
        "--1",
        "1e300",
        "1e-9",
        "Inf",
        "-Inf",
        "NaN",
        "5m",
        "-1h30m",
        "1_000",
        "0x1f",
        "0.1",
        "\"a\\\"b\\n\\u0007\"",
        "up{job=\"a\", \"b c\"=~\"x.*\"} @ 1.234 offset -5m",
        "{\"metric with spaces\", __name__!~\"x\"}",
        "x[5m] anchored @ start() offset 1h",
        "x[90] smoothed @ end()",
        "x smoothed",
        "x offset 0s",
        "x[step() + 1m * (2 - 1)]",
        "x[(-2) ^ 2 + 5]",
        "x[-2 ^ 2 + 5]",
        "x offset (1h) + 5m",
        "x offset -(2 * step())",
        "x offset -min_of(5s, -step() + 8s)",
        "max_over_time(x[1h:5m] offset 5m)",
        "x[range():step()]",
        "x[1h:]",
        "sum(x)",
        "sum by (a, \"b c\", \"inf\") (x)",
        "topk without (by) (3, x)",
        "count_values(\"v\", x)",
        "-x ^ 2 ^ -y",
        "--x",
        "+x",
        "-(x)",
        "a - b - c",
        "a - (b - c)",
        "a and b or c unless d",
        "a > bool on (x) b",
        "a * ignoring () group_left () b",
        "a * on (x) group_right (y, z) b",
        "a + fill(5) b",
        "a + on (x) fill_left(-1) fill_right(Inf) b",
        "a </ 5",
        "a >/ 5",
        "a atan2 b",
        "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
        "info(x, {a=~\".*\"})",
        "time()",
        "start()",
    ] {
        assert!(parsed(query).is_ok(), "{query:?}: {:?}", parsed(query).map_err(|e| e.to_string()));
        check_round_trip(query);
    }
}

#[test]
fn features_switch_parts_of_the_language_off() {
    let off = Features {
        experimental_functions: false,
        duration_expressions: false,
        extended_ranges: false,
        fill: false,
    };
    let check = |query: &str, at: u32, part: &str| {
        assert!(parsed(query).is_ok(), "{query:?}");
        let error = parse(query, &off).expect_err(query);
        assert!(error.message.contains(part), "{query:?}: {error}");
        assert_eq!(error.span.start, at, "{query:?}: {error}");
    };
    check("1 + mad_over_time(x[5m])", 4, "not enabled");
    check("limitk(1, x)", 0, "not enabled");
    check("x[5m + 1m]", 2, "not enabled");
    check("x[step()]", 2, "not enabled");
    check("x offset (5m)", 10, "not enabled");
    check("x[5m] anchored", 0, "not enabled");
    check("x smoothed", 0, "not enabled");
    check("x + fill(0) y", 2, "not enabled");
    for stock in ["x[5m]", "x offset -5m", "first_over_time(x[5m])", "fill + fill_left", "anchored", "x[5]"] {
        assert!(parse(stock, &off).is_ok(), "{stock:?}");
    }
}

#[test]
fn positions_count_lines_and_bytes() {
    let check = |query: &str, position: &str| {
        let error = parsed(query).expect_err(query);
        assert_eq!(error.position(query).to_string(), position, "{query:?}: {error}");
    };
    check("up{job=\"ä\"} 5", "1:14");
    check("# comment\nup +\n  * 2", "3:3");
    check("sum(\n  rate(x)\n)", "2:8");
    check("1 +", "1:4");
}
