//! The cases of the reference's own tests, read from the shared folder: `CARDINAL_SHARED`, else `../shared` beside the
//! project. Where it is missing the tests say so and pass, except on CI.

use super::{check_round_trip, parsed};
use crate::parse::query_text;
use serde::Deserialize;
use std::io::Write as _;
use std::path::PathBuf;

/// The folder of shared test data, if it is there.
fn shared() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let folder = std::env::var_os("CARDINAL_SHARED").map_or(PathBuf::from(beside), PathBuf::from);
    if folder.join("promqltest").is_dir() {
        return Some(folder.join("promqltest"));
    }
    let missing =
        format!("{} is missing: set CARDINAL_SHARED to run the reference's cases", folder.display());
    assert!(std::env::var("CI").is_err(), "{missing}");
    // Past what the test harness captures: else nobody sees that nothing ran.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {missing}");
    None
}

#[derive(Deserialize)]
struct Case {
    input: Option<String>,
    input_hex: Option<String>,
    fail: bool,
    #[serde(default)]
    errors: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    start: u32,
    msg: String,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        match (&self.input, &self.input_hex) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(hex)) => {
                let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits");
                (0..hex.len()).step_by(2).map(byte).collect()
            }
            (None, None) => panic!("a case without input"),
        }
    }

    /// What is wrong with our answer.
    fn complaint(&self) -> Option<String> {
        let bytes = self.bytes();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let answer = query_text(&bytes).and_then(parsed);
        match (answer, self.fail) {
            (Ok(_), false) => {
                check_round_trip(&shown);
                None
            }
            (Ok(_), true) => Some(format!("{shown:?} is accepted")),
            (Err(error), false) => Some(format!("{shown:?} is refused: {error}")),
            (Err(error), true) => {
                let first = self.errors.first()?;
                let met = error.span.start == first.start;
                let expected = format!("{}: {}", first.start, first.msg);
                (!met).then(|| format!("{shown:?}: {:?} {error}, expected {expected}", error.span))
            }
        }
    }
}

#[test]
fn inputs_of_the_reference_are_judged_alike() {
    let Some(folder) = shared() else { return };
    let text = std::fs::read_to_string(folder.join("parse_cases.json")).expect("the cases");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("their format");
    let complaints: Vec<String> = cases.iter().filter_map(Case::complaint).collect();
    eprintln!("{} of {} cases pass", cases.len() - complaints.len(), cases.len());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The expression of an `eval` line.
fn expression(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("eval ")?;
    if let Some(instant) = rest.strip_prefix("instant ") {
        let instant = instant.trim_start();
        return match instant.strip_prefix("at ") {
            Some(at) => at.trim_start().split_once(char::is_whitespace).map(|(_, query)| query),
            None => Some(instant),
        };
    }
    let (_, step) = rest.strip_prefix("range ")?.split_once(" step ")?;
    step.trim_start().split_once(char::is_whitespace).map(|(_, query)| query)
}

#[test]
fn expressions_of_the_test_scripts_parse() {
    let Some(folder) = shared() else { return };
    let mut read = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "test") {
            continue;
        }
        let script = std::fs::read_to_string(&path).expect("a script");
        let lines: Vec<&str> = script.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(query) = expression(line) else { continue };
            // One expression is refused at evaluation by the reference and while parsing by us.
            let refused = query.contains("\"\\xff\"");
            let place = format!("{}:{}: {query}", path.display(), number + 1);
            assert_eq!(
                parsed(query).is_err(),
                refused,
                "{place}: {:?}",
                parsed(query).map_err(|e| e.to_string())
            );
            check_round_trip(query);
            read += 1;
        }
    }
    eprintln!("{read} expressions parse");
    assert!(read > 1000, "only {read} expressions were read");
}
