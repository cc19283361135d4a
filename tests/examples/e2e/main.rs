//! End to end: Prometheus writes, Cardinal keeps, both are asked the same.
//!
//! Started by `tests/e2e/run` and `tests/e2e/crash`, which install what it needs:
//!
//! ```text
//! e2e steady|crash PATH_OF_CARDINAL
//! ```

mod answers;
mod client;
mod exporter;
mod processes;
mod queries;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use client::Client;
use processes::Fleet;
use serde_json::Value;

/// How long Prometheus writes before anything is asked.
const WRITING: Duration = Duration::from_secs(75);
/// When Cardinal is killed, counted from the start.
const KILLS: [Duration; 2] = [Duration::from_secs(25), Duration::from_secs(45)];
/// How long Cardinal stays away: long enough for Prometheus to try again more than once.
const AWAY: Duration = Duration::from_secs(4);
/// How far behind the present the questions end. What is older than that is settled.
const SETTLED_S: f64 = 6.0;
/// How far back raw samples are compared.
const SPAN_S: f64 = 45.0;
/// How far back the range queries begin: whole seconds, so that every step has the fraction of the end.
const RANGE_S: f64 = 23.0;
/// Fewer non-empty answers than this would test little.
const ANSWERS_MIN: usize = 32;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["steady", cardinal] => run(Path::new(cardinal), &[]).await,
        ["crash", cardinal] => run(Path::new(cardinal), &KILLS).await,
        _ => Err("usage: e2e steady|crash PATH_OF_CARDINAL".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cardinal: &Path, kills: &[Duration]) -> Result<(), Failure> {
    let mut fleet = Fleet::start(cardinal).await?;
    println!("Prometheus at {}, Cardinal at {}", fleet.prometheus_url(), fleet.cardinal_url());
    let mut passed = Duration::ZERO;
    for at in kills {
        tokio::time::sleep(at.saturating_sub(passed)).await;
        fleet.kill_cardinal()?;
        println!("killed Cardinal after {} s", at.as_secs());
        tokio::time::sleep(AWAY).await;
        fleet.start_cardinal().await?;
        passed = *at + AWAY;
    }
    tokio::time::sleep(WRITING.saturating_sub(passed)).await;
    let (prometheus, cardinal) = (Client::new(fleet.prometheus_url()), Client::new(fleet.cardinal_url()));
    let end = settled_time(&prometheus).await?;
    wait_until_written(&cardinal, end).await?;
    same_samples(&prometheus, &cardinal, end).await?;
    same_answers(&prometheus, &cardinal, end).await?;
    same_labels(&prometheus, &cardinal).await?;
    same_histograms(&prometheus, &cardinal, end).await?;
    fleet.stop_cardinal()
}

/// A time some seconds ago on which neither a sample nor the step of a subquery (a whole second) falls, so that it does not
/// matter which end of a window is open: that is where Debian's Prometheus (2.42) differs from today's.
async fn settled_time(prometheus: &Client) -> Result<f64, Failure> {
    let now = prometheus.number("time()", None).await?;
    let scrapes = prometheus.numbers("timestamp(up)").await?;
    let offsets: Vec<f64> = scrapes.iter().map(|t| t.fract()).chain([0.0]).collect();
    let distance = |a: f64, b: f64| (a - b).abs().min(1.0 - (a - b).abs());
    let nearest = |f: &f64| offsets.iter().map(|o| distance(*f, *o)).fold(1.0, f64::min);
    let fractions = (0..20).map(|i| f64::from(i) / 20.0);
    let fraction = fractions.max_by(|a, b| nearest(a).total_cmp(&nearest(b))).unwrap_or(0.5);
    Ok(now.floor() - SETTLED_S + fraction)
}

/// Prometheus sends in batches: waits until samples from after `end` have come.
async fn wait_until_written(cardinal: &Client, end: f64) -> Result<(), Failure> {
    for _ in 0..300 {
        let newest = cardinal.number("min(max by (job) (timestamp(up)))", None).await;
        if newest.is_ok_and(|t| t > end + 1.0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err("Cardinal has not got the settled samples after a minute".into())
}

/// Every raw sample of every series, in both directions.
async fn same_samples(prometheus: &Client, cardinal: &Client, end: f64) -> Result<(), Failure> {
    let query = format!("{{job=~\".+\",__name__!=\"{}\"}}[{}s]", exporter::NAME, SPAN_S);
    let expected = prometheus.instant(&query, end).await?;
    let found = cardinal.instant(&query, end).await?;
    let samples = expected.points();
    answers::compare(&expected, &found, 0.0).map_err(|e| format!("raw samples: {e}"))?;
    if samples < 10_000 {
        return Err(format!("only {samples} samples to compare: too few to mean anything").into());
    }
    println!("{samples} raw samples of {} series are the same", expected.series());
    Ok(())
}

/// Every native histogram, bucket by bucket.
async fn same_histograms(prometheus: &Client, cardinal: &Client, end: f64) -> Result<(), Failure> {
    let path = format!("query?query={}%5B{SPAN_S}s%5D&time={end:.3}", exporter::NAME);
    let (expected, found) = (prometheus.data(&path).await?, cardinal.data(&path).await?);
    let series = answers::sorted(&expected["result"]);
    if series != answers::sorted(&found["result"]) {
        return Err(format!("native histograms: expected {expected}, found {found}").into());
    }
    let histograms = |series: &Value| series["histograms"].as_array().map_or(0, Vec::len);
    let count: usize = expected["result"].as_array().into_iter().flatten().map(histograms).sum();
    if (count as f64) < exporter::SERIES as f64 * SPAN_S / 2.0 {
        return Err(format!("only {count} native histograms to compare: too few to mean anything").into());
    }
    println!("{count} native histograms of {} series are the same", series.len());
    Ok(())
}

async fn same_answers(prometheus: &Client, cardinal: &Client, end: f64) -> Result<(), Failure> {
    let (mut with_answer, mut failures) = (0, Vec::new());
    for query in queries::DASHBOARD {
        let instant = (prometheus.instant(query, end).await?, cardinal.instant(query, end).await?);
        let range = (
            prometheus.range(query, end - RANGE_S, end, 3.0).await?,
            cardinal.range(query, end - RANGE_S, end, 3.0).await?,
        );
        with_answer += usize::from(instant.0.series() > 0 && range.0.series() > 0);
        for (kind, (expected, found)) in [("instant", instant), ("range", range)] {
            if let Err(difference) = answers::compare(&expected, &found, answers::TOLERANCE) {
                failures.push(format!("{kind} {query}: {difference}"));
            }
        }
    }
    if !failures.is_empty() {
        return Err(format!("different answers:\n  {}", failures.join("\n  ")).into());
    }
    if with_answer < ANSWERS_MIN {
        return Err(format!("only {with_answer} queries have an answer: too few to mean anything").into());
    }
    let all = queries::DASHBOARD.len();
    println!("{all} queries, instant and range, have the same answers ({with_answer} of them not empty)");
    Ok(())
}

async fn same_labels(prometheus: &Client, cardinal: &Client) -> Result<(), Failure> {
    for path in queries::LABELS {
        let (expected, found) = (prometheus.data(path).await?, cardinal.data(path).await?);
        if answers::sorted(&expected) != answers::sorted(&found) {
            return Err(format!("{path}: expected {expected}, found {found}").into());
        }
    }
    println!("{} calls for labels and series have the same answers", queries::LABELS.len());
    Ok(())
}
