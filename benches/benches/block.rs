//! Cutting the head into a block, and finding series by matchers in both.
//!
//! `cut`: 2,000 telecom series of 480 samples (two hours at 15 s) in the head become one block: frozen chunks are decoded,
//! sealed, written and synced, with index, manifest edit and checkpoint; the throughput is in samples. The disk is the real
//! one, in a temporary directory.
//!
//! `select`: 20,000 series with a few samples each, first in the head alone, then in a block besides; a time is for one
//! selector from matchers to the series of each shard, without reading any sample. Not measured: pages that are not in
//! memory yet, more than one block, parsing of the selector.

use cardinal_benches::bed::Bed;
use cardinal_benches::size;
use cardinal_benches::telecom::Fleet;
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::model::TimeRange;
use cardinal_storage::read::Wanted;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn cut(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(2000, 20));
    let ticks = size(480, 10) as u32;
    let loaded = || {
        let bed = Bed::new(false);
        // Tick 0 is the last of the window before.
        bed.load(&fleet, 1..ticks + 1);
        bed
    };
    let flush = |bed: Bed| {
        bed.database.flush().expect("the disk takes it");
        bed
    };
    let mut group = c.benchmark_group("block");
    group.sample_size(10).throughput(Throughput::Elements(fleet.series().len() as u64 * u64::from(ticks)));
    group.bench_function("cut", |b| b.iter_batched(loaded, flush, BatchSize::PerIteration));
    group.finish();
}

fn select(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(20_000, 500));
    let bed = Bed::new(false);
    bed.load(&fleet, 1..5);
    let matcher = |name, op, value| Matcher::new(name, op, value).expect("valid");
    let name = |value| matcher("__name__", MatchOp::Equal, value);
    let account = matcher("account", MatchOp::Equal, fleet.an_account());
    let selectors = [
        ("account", vec![account.clone()]),
        ("name and account", vec![name("warp_call_attempts_total"), account]),
        ("name", vec![name("warp_call_attempts_total")]),
        ("name and regex", vec![name("warp_asr_ratio"), matcher("trunk", MatchOp::Regex, "trunk-000[1-3]")]),
        ("regex over many values", vec![matcher("account", MatchOp::Regex, "1000[0-4].*")]),
        ("name and not", vec![name("warp_rtp_jitter_ms"), matcher("codec", MatchOp::NotEqual, "G729")]),
        ("name without label", vec![name("warp_mos_score"), matcher("trunk", MatchOp::Equal, "")]),
    ];
    for place in ["head", "head and block"] {
        let mut group = c.benchmark_group(format!("select in {place}"));
        let view = bed.database.view();
        for (what, matchers) in &selectors {
            let found = || {
                let cursors = view
                    .select(black_box(matchers), TimeRange::ALL, Wanted::Samples)
                    .expect("the disk can be read");
                cursors.iter().map(|c| c.series_max()).sum::<u64>()
            };
            group.bench_function(*what, |b| b.iter(found));
        }
        group.finish();
        bed.database.flush().expect("the disk takes it");
    }
}

criterion_group!(benches, cut, select);
criterion_main!(benches);
