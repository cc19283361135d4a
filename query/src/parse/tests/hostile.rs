//! Input that is long, deep, cut off or no text at all.

use super::{check_round_trip, parsed};
use crate::error::QueryLimit;
use crate::parse::ast::{Expr, Sign};
use crate::parse::{Features, ParseLimits, parse, parse_selector, parse_within, query_text};
use proptest::prelude::*;

#[test]
fn long_chains_parse_display_and_drop() {
    let terms = 20_000;
    let sum = vec!["foo"; terms].join(" + ");
    let expr = parsed(&sum).expect("a sum");
    let Expr::Binary(b) = &expr else { panic!("no sum") };
    assert_eq!(b.chain().1.len(), terms - 1);
    assert_eq!(expr.to_string(), sum);
    let copy = expr.clone();
    drop(expr);
    assert_eq!(copy.to_string(), sum);
}

#[test]
fn rows_of_signs_do_not_nest() {
    for (signs, kept) in [(10_000, 2), (9_999, 1)] {
        let mut expr = parsed(&format!("{}x", "-".repeat(signs))).expect("signs");
        let mut minuses = 0;
        while let Expr::Unary(u) = expr {
            assert_eq!(u.sign, Sign::Minus);
            minuses += 1;
            expr = *u.expr;
        }
        assert_eq!(minuses, kept);
    }
    let number = parsed(&format!("{}1", "+-".repeat(9_999))).expect("a number");
    assert!(matches!(number, Expr::Number(n) if n.value == -1.0));
    assert!(parsed(&format!("x[{}5m]", "-".repeat(10_000))).is_ok());
}

#[test]
fn depth_is_limited_and_the_limit_fits_a_small_stack() {
    let deepest = ParseLimits::default().depth_max;
    let check = |open: &str, inner: &str, close: &str| {
        let nested = |n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
        let run = move |query: String| {
            let thread = std::thread::Builder::new().stack_size(3 << 19);
            let handle = thread.spawn(move || parsed(&query).map(|e| e.to_string()).map_err(|e| e.message));
            handle.expect("a thread").join().expect("no overflow")
        };
        assert!(run(nested(deepest)).is_ok(), "{open}: {:?}", run(nested(deepest)));
        for n in [deepest + 1, 100_000] {
            let error = run(nested(n)).expect_err(open);
            assert!(error.contains("nested more than"), "{open}: {error}");
        }
    };
    check("(", "1", ")");
    check("sum(", "x", ")");
    check("abs(", "x", ")");
    let powers = |n: usize| format!("{}1", "1 ^ ".repeat(n));
    assert!(parsed(&powers(deepest)).is_ok());
    assert!(parsed(&powers(deepest + 1)).is_err());
    assert!(parsed(&format!("x{}", "[5m:]".repeat(100_000))).is_err());
    assert!(parsed(&format!("x[{}1{}]", "(".repeat(100_000), ")".repeat(100_000))).is_err());
    assert!(parsed(&format!("x[{}1]", "1^".repeat(100_000))).is_err());
    assert!(parsed(&format!("x[{}1]", "1+".repeat(100_000))).is_err());
}

#[test]
fn length_is_limited() {
    let limits = ParseLimits { query_bytes_max: 10, ..ParseLimits::default() };
    assert!(parse_within("1234567890", &Features::default(), &limits).is_ok());
    let error = parse_within("12345678901", &Features::default(), &limits).expect_err("too long");
    assert!(error.message.contains("the limit is 10"), "{error}");
    assert_eq!(error.limit, Some(QueryLimit::QueryBytes));
    let limit = |text: &str| parse(text, &Features::default()).expect_err(text).limit;
    assert_eq!(limit(&"(".repeat(1000)), Some(QueryLimit::QueryDepth));
    assert_eq!(limit("("), None);
}

#[test]
fn bytes_that_are_no_text() {
    assert_eq!(query_text(b"up").map_err(|e| e.message), Ok("up"));
    let error = query_text(b"some_metric{a=\"\xff\"}").expect_err("no UTF-8");
    assert_eq!((error.span.start, error.span.end), (15, 16));
    assert!(parsed("\"\\xff\"").is_ok());
    assert!(parsed("label_replace(x, \"\\xff\", \"\", \"\", \"\")").is_err());
    assert!(parsed("x{a=\"\\xff\"}").is_err());
    assert!(parsed("sum by (\"\\xff\") (x)").is_err());
}

#[test]
fn every_prefix_of_a_query_is_an_answer_or_an_error() {
    let query = "sum by (a, \"b\") (rate(x{job=~\"a|b\", 'c'!=`d`}[5m + step()] offset -(1h))) # end\n \
                 >= bool on (a) group_left (b) fill_left(-1) {\"ä\"} @ 1e3 or quantile(0x1f, y[1h:5m] @ end())";
    for end in (0..=query.len()).filter(|&i| query.is_char_boundary(i)) {
        let prefix = &query[..end];
        if let Err(error) = parsed(prefix) {
            assert!(
                error.span.start <= error.span.end && error.span.end as usize <= prefix.len(),
                "{prefix:?}"
            );
        }
        check_round_trip(prefix);
    }
}

/// Pieces of the language, to be put together at random.
const PIECES: &[&str] = &[
    "x",
    "sum",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "offset",
    "@",
    "bool",
    "anchored",
    "smoothed",
    "start",
    "end",
    "step",
    "range",
    "min_of",
    "max_of",
    "and",
    "or",
    "unless",
    "atan2",
    "rate",
    "time",
    "info",
    "topk",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "<",
    "</",
    ">/",
    "=~",
    "!~",
    "=",
    "5m",
    "1",
    "0",
    "1e3",
    "0x1f",
    "inf",
    "\"s\"",
    "'s'",
    "`r`",
    "#",
    "\n",
    "[5m]",
    "[5m:1m]",
    "{a=\"b\"}",
    "\\",
    "$",
    "ä",
    "\u{0}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,80}") {
        check_round_trip(&text);
        let _ = parse_selector(&text);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        match query_text(&bytes) {
            Ok(text) => check_round_trip(text),
            Err(error) => prop_assert!(error.span.start < bytes.len() as u32),
        }
    }

    #[test]
    fn arbitrary_pieces_round_trip(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12)) {
        for separator in ["", " "] {
            let query = pieces.join(separator);
            check_round_trip(&query);
            let _ = parse_selector(&query);
            if let Err(error) = parsed(&query) {
                prop_assert!(!error.advice.is_empty(), "{query:?}");
                if let Some(suggestion) = &error.suggestion {
                    prop_assert!(parsed(suggestion).is_ok(), "{query:?} suggests {suggestion:?}");
                }
            }
        }
    }
}
