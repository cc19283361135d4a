//! The label index at many series: what matchers cost that should cost nothing, counting, and opening a block.
//!
//! Input: 100,000 telecom series with one sample each, in the head and then in a block.
//!
//! - `select`: one metric of an account's trunk alone, and with matchers that keep all or almost all of it; a list of a thousand
//!   accounts; values by prefix, which a block seeks and a head scans. A time is for one selector.
//! - `cardinality`: the top 10 of everything, of the whole head or block.
//! - `open`: a block's files, mapped and its directory read.
//!
//! Not measured: pages that are not in memory yet, several blocks.

use cardinal_benches::bed::Bed;
use cardinal_benches::size;
use cardinal_benches::telecom::Fleet;
use cardinal_storage::block::Block;
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::io::RealFs;
use cardinal_storage::model::TimeRange;
use cardinal_storage::read::Counted;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

fn selectors() -> Vec<(&'static str, Vec<Matcher>)> {
    let matcher = |name, op, value: &str| Matcher::new(name, op, value).expect("valid");
    let name = || matcher("__name__", MatchOp::Equal, "warp_call_attempts_total");
    let accounts: Vec<String> = (0..1000).map(|n| (100_000 + n * 7).to_string()).collect();
    vec![
        ("name", vec![name()]),
        ("name, account=~'.+'", vec![name(), matcher("account", MatchOp::Regex, ".+")]),
        ("name, account!=''", vec![name(), matcher("account", MatchOp::NotEqual, "")]),
        ("name, account=~'.*'", vec![name(), matcher("account", MatchOp::Regex, ".*")]),
        ("name, list of 1000", vec![name(), matcher("account", MatchOp::Regex, &accounts.join("|"))]),
        ("name, prefix", vec![name(), matcher("account", MatchOp::Regex, "1000[0-4].*")]),
        ("name, !~ suffix", vec![name(), matcher("account", MatchOp::NotRegex, ".*7")]),
    ]
}

fn index(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(100_000, 500));
    let bed = Bed::new(false);
    bed.load(&fleet, 1..2);
    for (place, counted) in [("head", Counted::Head), ("block", Counted::Blocks(TimeRange::ALL))] {
        let view = bed.database.view();
        let blocks = view.blocks();
        let shards = bed.database.shards();
        let mut group = c.benchmark_group(format!("index of {place}"));
        for (what, matchers) in selectors() {
            let found = || match blocks.first() {
                Some(block) => {
                    let select = |s: cardinal_storage::block::BlockShard<'_>| s.select(&matchers);
                    block.shards().map(|s| select(s).expect("no damage").cardinality()).sum::<u64>()
                }
                None => shards.iter().map(|id| view.head_series(id, black_box(&matchers))).sum(),
            };
            group.bench_function(what, |b| b.iter(found));
        }
        group.sample_size(10);
        group.bench_function("cardinality", |b| b.iter(|| view.cardinality(counted, 10).pairs));
        if let Some(block) = blocks.first() {
            let (index, chunks) = block.file_bytes();
            group.bench_function("open", |b| {
                b.iter(|| Block::open(&RealFs, block.dir(), index, chunks).expect("no damage").series_count())
            });
        }
        group.finish();
        bed.database.flush().expect("the disk takes it");
    }
}

criterion_group!(benches, index);
criterion_main!(benches);
