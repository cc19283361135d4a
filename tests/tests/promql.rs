//! The reference's own test scripts, read from the shared folder: `CARDINAL_SHARED`, else `../shared` beside the
//! project. Where it is missing the test says so and passes, except on CI.

use cardinal_query::source::{MemorySeries, MemorySource, Source};
use cardinal_query::{Engine, EngineOptions};
use cardinal_tests::promqltest::database::stored;
use cardinal_tests::promqltest::{Report, run};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The folder of the scripts, if it is there.
fn scripts() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("CARDINAL_SHARED").map_or(PathBuf::from(beside), PathBuf::from);
    if shared.join("promqltest").is_dir() {
        return Some(shared.join("promqltest"));
    }
    let missing =
        format!("{} is missing: set CARDINAL_SHARED to run the reference's scripts", shared.display());
    assert!(std::env::var("CI").is_err(), "{missing}");
    // Past what the test harness captures: else nobody sees that nothing ran.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {missing}");
    None
}

/// How many queries of the scripts are judged: none may silently be left out again.
const JUDGED: usize = 1780;

/// Makes what the queries read.
type MakeSource = fn(&[MemorySeries]) -> Box<dyn Source>;

fn in_memory(series: &[MemorySeries]) -> Box<dyn Source> {
    Box::new(MemorySource::new(series.to_vec(), 3))
}

/// An engine with the switches that the scripts are written for.
fn engine() -> Engine {
    Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() })
}

fn report(path: &Path, engine: &Engine, mut make_source: MakeSource) -> Report {
    let script = std::fs::read_to_string(path).expect("a script");
    match run(&script, engine, &mut make_source) {
        Ok(report) => report,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

#[test]
fn scripts_over_series_in_memory() {
    run_all(in_memory);
}

#[test]
fn scripts_over_a_database() {
    run_all(stored);
}

fn run_all(make_source: MakeSource) {
    let Some(folder) = scripts() else { return };
    let engine = engine();
    let entries = std::fs::read_dir(folder).expect("the folder");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "test"));
    paths.sort();
    let mut all = Report::default();
    let mut failures = String::new();
    for path in paths {
        let report = report(&path, &engine, make_source);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        eprintln!("{name:26} {report}");
        if report.failed() > 0 {
            failures.push_str(&format!("{name}\n{}", report.failures()));
        }
        all.outcomes.extend(report.outcomes);
    }
    eprintln!("{:26} {all}", "all");
    assert!(failures.is_empty(), "{failures}");
    assert_eq!(all.passed(), JUDGED, "queries judged");
}
