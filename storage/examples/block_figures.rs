//! What a block costs: bytes of index per series, time to open, to select, to read labels and keys.
//!
//! Data: call sessions, each with 11 metrics under the same 12 labels (session and caller of high cardinality, nine of low
//! to middle), 500 accounts, 16 shards, one small chunk per series; seeded, so that sizes repeat exactly. Size: the first argument,
//! default 100,000 series. Not measured: a cold page cache, chunk decoding.
//!
//! `cargo run --release -p cardinal-storage --example block_figures -- 100000`

use cardinal_storage::block::{Block, BlockMeta, BlockSpec, BlockWriter, ChunkEntry, Tier};
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::io::{Fs, RealFs};
use cardinal_storage::model::{
    BlockId, DurationMs, HashSeed, LabelSet, SeriesKey, ShardCount, TimestampMs, Window, shard_of_account,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const SEED: HashSeed = HashSeed(1);
const METRICS: [&str; 11] = [
    "call_duration_seconds",
    "call_rtp_packets_total",
    "call_rtp_bytes_total",
    "call_rtp_lost_total",
    "call_jitter_seconds",
    "call_round_trip_seconds",
    "call_mos_score",
    "call_dtmf_total",
    "call_reinvites_total",
    "call_errors_total",
    "call_up",
];

fn main() {
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(100_000);
    let shards = sessions(n);
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dir = scratch.path().join("block");
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let started = Instant::now();
    let meta = write(&fs, &dir, &shards);
    println!("written      {:>12.1?}  ({} series)", started.elapsed(), meta.series);
    println!("index        {:>12.2} bytes per series", meta.index_bytes as f64 / meta.series as f64);
    let block = open(&*fs, &dir, &meta);
    sizes(&block, meta.series);
    queries(&block);
}

fn open(fs: &dyn Fs, dir: &Path, meta: &BlockMeta) -> Block {
    let open = || Block::open(fs, dir, meta.index_bytes, meta.chunks_bytes).expect("the block opens");
    open();
    let started = Instant::now();
    let block = open();
    println!("opened       {:>12.1?}", started.elapsed());
    block
}

/// Series by shard, in order.
fn sessions(n: usize) -> Vec<Vec<(SeriesKey, LabelSet)>> {
    let count = ShardCount::new(16).expect("16 shards are allowed");
    let mut shards = vec![Vec::new(); 16];
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..n.div_ceil(METRICS.len()) {
        let account = (450_000 + next(500)).to_string();
        let node = next(40);
        let labels = [
            ("account", account.clone()),
            ("caller", format!("+4930{:07}", next(1 << 16))),
            ("carrier", format!("carrier-{}", next(12))),
            ("codec", ["opus", "PCMA", "PCMU", "G722"][next(4) as usize].into()),
            ("direction", ["in", "out"][next(2) as usize].into()),
            ("instance", format!("media-{node}.voice.example:9100")),
            ("job", "media".into()),
            ("session", format!("{:08x}{:08x}", next(1 << 31), next(1 << 31))),
            ("transport", ["udp", "tcp", "tls"][next(3) as usize].into()),
            ("trunk", format!("trunk-{account}-{}", next(3))),
            ("zone", format!("zone-{}", node % 3)),
        ];
        let shard = shard_of_account(account.as_bytes(), count).index();
        for metric in METRICS {
            let pairs = labels.iter().map(|(n, v)| (*n, v.as_str())).chain([("__name__", metric)]);
            let labels = LabelSet::from_pairs(pairs).expect("names are distinct");
            shards[shard].push((labels.key("account", SEED), labels));
        }
    }
    shards.iter_mut().for_each(|s| s.sort());
    shards
}

fn write(fs: &Arc<dyn Fs>, dir: &Path, shards: &[Vec<(SeriesKey, LabelSet)>]) -> BlockMeta {
    let count = ShardCount::new(16).expect("16 shards are allowed");
    let spec = BlockSpec {
        id: BlockId(1),
        window: Window { start: TimestampMs(0), len: DurationMs::hours(2) },
        tier: Tier::Raw,
        level: 0,
        sources: vec![],
        seed: SEED,
        account_label: "account".into(),
        shards: count,
        lsns: None,
    };
    let mut w = BlockWriter::create(fs.clone(), dir, spec).expect("the directory is writable");
    for (id, shard) in count.iter().zip(shards) {
        w.begin_shard(id).expect("shards are in order");
        for (key, labels) in shard {
            let chunk = ChunkEntry {
                first: TimestampMs(1 + (key.family % 3_600_000) as i64),
                last: TimestampMs(7_200_000),
                samples: 120,
                bytes: &[7; 200][..60 + (key.family % 100) as usize],
            };
            w.push_series(labels, *key, &[chunk]).expect("series are in order");
        }
    }
    w.finish().expect("the directory is writable")
}

fn sizes(block: &Block, series: u64) {
    let mut by_section = BTreeMap::<&str, u64>::new();
    for s in block.sections().iter().filter(|s| s.file == "index") {
        *by_section.entry(s.section).or_default() += s.bytes;
    }
    for (section, bytes) in by_section {
        println!("  {section:<12} {:>10.2}", bytes as f64 / series as f64);
    }
}

fn queries(block: &Block) {
    let m = |name, op, value| Matcher::new(name, op, value).expect("the expression is valid");
    let name = || Matcher::equal("__name__", METRICS[0]);
    let run = |what: &str, matchers: &[Matcher]| {
        let mut found = 0;
        // Twice: the first run checks the pages.
        for _ in 0..2 {
            let started = Instant::now();
            found = block.shards().map(|s| s.select(matchers).expect("no damage").cardinality()).sum::<u64>();
            print!("{what:<44} {:>10.1?} ", started.elapsed());
        }
        println!(" {found} series in all shards");
    };
    run("name", &[name()]);
    run("name, account", &[name(), Matcher::equal("account", "450007")]);
    run("name, zone!=", &[name(), m("zone", MatchOp::NotEqual, "zone-1")]);
    run("name, codec list", &[name(), m("codec", MatchOp::Regex, "opus|G722")]);
    run("name, session=~'00.*'", &[name(), m("session", MatchOp::Regex, "00.*")]);
    run("name, session=~'.*00.*'", &[name(), m("session", MatchOp::Regex, ".*00.*")]);
    run("name, session=~'[0-7].*f+'", &[name(), m("session", MatchOp::Regex, "[0-7].*f+")]);
    run(
        "account, session=~'[0-7].*f+'",
        &[Matcher::equal("account", "450007"), m("session", MatchOp::Regex, "[0-7].*f+")],
    );
    walk("keys of all series", block, |reader, i| reader.key(i).is_ok());
    walk("labels of all series", block, |reader, i| reader.labels(i).is_ok());
    walk("chunk references of all series", block, |reader, i| reader.chunk_refs(i).is_ok());
}

fn walk(
    what: &str,
    block: &Block,
    read: impl Fn(&mut cardinal_storage::block::SeriesReader<'_>, u32) -> bool,
) {
    let started = Instant::now();
    let mut n = 0u32;
    for shard in block.shards() {
        let mut reader = shard.reader();
        for ordinal in 0..shard.series_count() {
            assert!(read(&mut reader, ordinal));
            n += 1;
        }
    }
    println!("{what:<44} {:>10.1?}  ({:.1?} each)", started.elapsed(), started.elapsed() / n.max(1));
}
