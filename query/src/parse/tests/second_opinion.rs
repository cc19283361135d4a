//! Generated expressions read by another parser too: what it understood, written down and read by ours, is the tree
//! that ours made at once. It knows neither duration expressions nor `anchored`, and sorts conditions: none of the
//! former and one of the latter at most are generated.

use super::{parsed, shape};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("job"), Just("le"), Just("by"), Just("sum"), Just("_x1")].prop_map(str::to_owned)
}

fn labels() -> impl Strategy<Value = String> {
    proptest::collection::vec(label(), 0..3).prop_map(|l| format!("({})", l.join(", ")))
}

fn selector() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("up"), Just("a:b"), Just("sum"), Just("offset"), Just("start")];
    let matcher = (label(), prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")], "[a-z]{1,3}")
        .prop_map(|(l, op, v)| format!("{l}{op}\"{v}\""));
    (name, proptest::collection::vec(matcher, 0..2)).prop_map(|(name, matchers)| match matchers.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", matchers.join(",")),
    })
}

fn modifiers() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => Just(""),
        1 => Just(" offset 5m"),
        1 => Just(" offset -1h30m"),
        1 => Just(" @ 1609746000"),
        1 => Just(" @ end()"),
        1 => Just(" @ start() offset 10s"),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![Just("1"), Just("0.5"), Just("1e3"), Just("0x1f"), Just("NaN"), Just("Inf")]
        .prop_map(str::to_owned)
}

fn operator() -> impl Strategy<Value = String> {
    let ignoring =
        (prop_oneof![Just("on"), Just("ignoring")], labels()).prop_map(|(w, l)| format!("{w} {l} ")).boxed();
    let group =
        (prop_oneof![Just("on"), Just("ignoring")], prop_oneof![Just("group_left"), Just("group_right")])
            .prop_map(|(w, g)| format!("{w} (job) {g} (zone) "));
    let matching = prop_oneof![4 => Just(String::new()), 1 => ignoring.clone(), 1 => group];
    let arithmetic =
        prop_oneof![Just("+"), Just("-"), Just("*"), Just("/"), Just("%"), Just("^"), Just("atan2")];
    let comparison = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let set = prop_oneof![Just("and"), Just("or"), Just("unless")];
    prop_oneof![
        3 => (arithmetic, matching.clone()).prop_map(|(op, m)| format!("{op} {m}")),
        2 => (comparison, prop_oneof![Just(""), Just("bool ")], matching).prop_map(|(op, b, m)| format!("{op} {b}{m}")),
        1 => (set, prop_oneof![Just(String::new()), ignoring]).prop_map(|(op, m)| format!("{op} {m}")),
    ]
}

/// An instant vector.
fn vector() -> impl Strategy<Value = String> {
    let leaf = (selector(), modifiers()).prop_map(|(s, m)| s + m);
    leaf.prop_recursive(5, 24, 3, |inner| {
        let window = prop_oneof![
            (selector(), modifiers()).prop_map(|(s, m)| format!("{s}[5m]{m}")),
            (inner.clone(), modifiers()).prop_map(|(e, m)| format!("({e})[1h:5m]{m}")),
        ];
        let function = prop_oneof![Just("rate"), Just("avg_over_time"), Just("changes")];
        let aggregate = prop_oneof![Just("sum"), Just("max"), Just("stddev"), Just("group")];
        let by = (prop_oneof![Just("by"), Just("without")], labels()).prop_map(|(w, l)| format!("{w} {l}")).boxed();
        prop_oneof![
            4 => (inner.clone(), operator(), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op}{b}")),
            1 => (inner.clone(), number()).prop_map(|(a, n)| format!("{a} * {n}")),
            1 => (number(), inner.clone()).prop_map(|(n, a)| format!("{n} ^ {a}")),
            1 => inner.clone().prop_map(|e| format!("-{e}")),
            2 => inner.clone().prop_map(|e| format!("({e})")),
            2 => (function, window).prop_map(|(f, w)| format!("{f}({w})")),
            1 => inner.clone().prop_map(|e| format!("histogram_quantile(0.9, {e})")),
            1 => (aggregate.clone(), by.clone(), inner.clone()).prop_map(|(a, by, e)| format!("{a} {by} ({e})")),
            1 => (aggregate, by, inner.clone()).prop_map(|(a, by, e)| format!("{a}({e}) {by}")),
            1 => (number(), inner).prop_map(|(n, e)| format!("topk by (job) ({n}, {e})")),
        ]
    })
}

/// Compares both parsers on one query.
fn compare(query: &str) -> Result<(), TestCaseError> {
    match (promql_parser::parser::parse(query), parsed(query)) {
        (Ok(theirs), Ok(ours)) => {
            let text = theirs.to_string();
            let again =
                parsed(&text).map_err(|e| TestCaseError::fail(format!("{query:?} became {text:?}: {e}")))?;
            prop_assert_eq!(shape(&again), shape(&ours), "{:?} was understood as {:?}", query, text);
        }
        (Err(_), Err(_)) => {}
        (theirs, ours) => {
            let ours = ours.map(|e| e.to_string()).map_err(|e| e.to_string());
            prop_assert!(false, "{query:?}: theirs {theirs:?}, ours {ours:?}");
        }
    }
    Ok(())
}

#[test]
fn another_parser_sees_the_same_structure() {
    // The generator recurses deeper than a test's stack allows.
    let thread = std::thread::Builder::new().stack_size(32 << 20);
    let run = || {
        let mut runner =
            TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) });
        runner.run(&vector(), |query| compare(&query)).map_err(|e| e.to_string())
    };
    let outcome = thread.spawn(run).expect("a thread").join().expect("no panic");
    assert_eq!(outcome, Ok(()));
}
