//! `sum by (…) (rate(…))` over many series, from text to result.
//!
//! Input: 20,000 telecom series of 60 samples (15 minutes at 15 s), two thirds of them counters; the query selects the some
//! 15 % that are `warp_call_attempts_total`, or all of an account's counters of that name. First out of the head, then out of
//! a block with the head's open chunks empty. The engine uses as many threads as it does by default. A time is for one query;
//! the throughput is in series selected. Not measured: HTTP, rendering, pages that are not in memory yet, merging of
//! several blocks.

use cardinal_benches::bed::Bed;
use cardinal_benches::size;
use cardinal_benches::telecom::{self, Fleet};
use cardinal_query::{Engine, EngineOptions, QueryOptions, Value};
use cardinal_storage::model::DurationMs;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TICKS: u32 = 60;

fn sum_by_rate(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(20_000, 500));
    let bed = Bed::new(false);
    bed.load(&fleet, 1..TICKS + 1);
    let engine = Engine::new(EngineOptions::default());
    let options = QueryOptions::default();
    let (start, end, step) = (telecom::time(21), telecom::time(TICKS), DurationMs::secs(60));
    let account = format!(r#"account="{}""#, fleet.an_account());
    let queries = [
        ("of an account", format!("sum by (trunk) (rate(warp_call_attempts_total{{{account}}}[5m]))")),
        ("by few", "sum by (direction) (rate(warp_call_attempts_total[5m]))".to_owned()),
        ("by many", "sum by (account) (rate(warp_call_attempts_total[5m]))".to_owned()),
    ];
    let attempts = |s: &&telecom::Series| s.label("__name__") == Some("warp_call_attempts_total");
    let all = fleet.series().iter().filter(attempts).count();
    let of_account = |s: &&telecom::Series| s.label("account") == Some(fleet.an_account());
    let one = fleet.series().iter().filter(attempts).filter(of_account).count();
    for place in ["head", "block"] {
        let view = bed.database.view();
        let mut group = c.benchmark_group(format!("sum by rate in {place}"));
        for (what, query) in &queries {
            let series = if *what == "of an account" { one } else { all };
            group.throughput(Throughput::Elements(series as u64));
            group.bench_function(BenchmarkId::new("instant", what), |b| {
                b.iter(|| rows(engine.instant(&view, query, end, &options).expect("a valid query").value))
            });
            group.bench_function(BenchmarkId::new("range", what), |b| {
                b.iter(|| {
                    rows(engine.range(&view, query, start, end, step, &options).expect("a valid query").value)
                })
            });
        }
        group.finish();
        bed.database.flush().expect("the disk takes it");
    }
}

/// The rows of a result, of which there must be some.
fn rows(value: Value) -> usize {
    let rows = match value {
        Value::Vector(samples) => samples.len(),
        Value::Matrix(series) => series.len(),
        _ => 0,
    };
    assert!(rows > 0, "the query finds something");
    rows
}

criterion_group!(benches, sum_by_rate);
criterion_main!(benches);
