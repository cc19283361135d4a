//! Every decoder that reads disk or network, by name, with inputs to begin with.
//!
//! Three ways drive them: `tests/fuzz_seeds.rs` replays the kept inputs with the ordinary tests, `examples/fuzz.rs` mutates them
//! with any toolchain, and `fuzz/` hands them to libFuzzer. A target returns or the input is a finding.

use cardinal_ingest::walk::{Routing, Walk, WalkLimits};
use cardinal_query::parse::{Features, parse, parse_selector};
use cardinal_storage::fuzz;
use cardinal_storage::model::{HashSeed, LabelSet, ShardCount};

/// One decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of kept inputs.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
    /// Inputs made by the writer beside the decoder.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "manifest", run: fuzz::manifest, seeds: manifest_seeds },
    Target { name: "log_segment", run: fuzz::log_segment, seeds: record_seeds },
    Target { name: "head_log", run: fuzz::head_log, seeds: no_seeds },
    Target { name: "checkpoint", run: fuzz::checkpoint, seeds: checkpoint_seeds },
    Target { name: "chunk", run: fuzz::chunk, seeds: fuzz::sound_chunks },
    Target { name: "block_index", run: fuzz::block_index, seeds: || vec![fuzz::sound_block().0.clone()] },
    Target { name: "block_chunks", run: fuzz::block_chunks, seeds: || vec![fuzz::sound_block().1.clone()] },
    Target { name: "label_section", run: label_section, seeds: section_seeds },
    Target { name: "remote_write", run: remote_write, seeds: remote_write_seeds },
    Target { name: "promql", run: promql, seeds: promql_seeds },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

fn label_section(bytes: &[u8]) {
    if let Ok(labels) = LabelSet::from_section(bytes) {
        labels.key("account", HashSeed(1));
        assert_eq!(labels.section(), bytes, "a canonical section is what it was read from");
    }
}

fn remote_write(bytes: &[u8]) {
    let shards = ShardCount::new(16).expect("16 is a shard count");
    let routing = Routing::new(HashSeed(1), shards, "account");
    if let Ok(walked) =
        Walk::default().read(bytes, &routing, WalkLimits { samples_max: 10_000, metadata_max: 100 })
    {
        walked.series().for_each(drop);
        walked.metadata().for_each(drop);
    }
}

fn promql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse(text, &Features::default());
    let _ = parse_selector(text);
}

fn no_seeds() -> Vec<Vec<u8>> {
    let mut segment = b"CRDLHCLG\x01\0\0\0\x01\0\0\0".to_vec();
    segment.resize(200, 1);
    vec![segment]
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let init = r#"{"init":{"seed":1,"shards":16,"account_label":"account","spread":1,"window_ms":7200000}}"#;
    let checkpoint = r#"{"checkpoint":{"number":3,"bytes":100,"wal_segment":1,"head_log_end":16777300},"remove_blocks":[1]}"#;
    vec![init.into(), checkpoint.into()]
}

fn record_seeds() -> Vec<Vec<u8>> {
    let mut records = b"\x01\0\x02\0\x0c\0\0\0\x07\0\0\0\x00\x0a\x05\x0a\x01a\x12".to_vec();
    records.extend(b"\x02\0\x02\0\x15\0\0\0\x10\x27\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\xf0\x3f");
    vec![records]
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let symbols = b"\x02\x08__name__\x01\x02up\x03job\x01\x01x\x01\x02\x00\x01".to_vec();
    let mut slice = b"\x0b\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\x01\0\0\0\x01\0\0\0\x02\0".to_vec();
    slice.extend([3; 48]);
    slice.extend(b"\x03row\x00\x02\x06\0\0\0\0\0\0\xf0\x3f\x02\0\0\0\0\0\0\xf0\xbf");
    vec![b"CRDLCKPT\x01\0\0\0\0\0\0\0".to_vec(), symbols, slice]
}

fn section_seeds() -> Vec<Vec<u8>> {
    let labels = LabelSet::from_pairs([("__name__", "up"), ("account", "7"), ("job", "x")]);
    labels.map(|l| l.section().to_vec()).into_iter().collect()
}

fn remote_write_seeds() -> Vec<Vec<u8>> {
    let series = section_seeds().concat();
    let mut body = vec![0x0a, series.len() as u8 + 13];
    body.extend(&series);
    body.extend(b"\x12\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x05");
    vec![body]
}

fn promql_seeds() -> Vec<Vec<u8>> {
    let queries = [
        "sum by (zone) (rate(x_total{a=~\"b|c\",d!=\"e\"}[5m] offset 1h)) > bool 0.5",
        "histogram_quantile(0.9, sum without (instance) (rate(h_bucket[5m:30s] @ start())))",
        "a * on (b) group_left (c) d or -e ^ 2 unless topk(3, f)",
        "label_replace(up, \"x\", \"$1\", \"y\", \"(.*)\") and absent({__name__=\"z\"})",
    ];
    queries.map(|q| q.as_bytes().to_vec()).into()
}

/// Changes an input in a few places that `seed` chooses: bits, bytes, numbers that are limits, pieces moved, cut or doubled.
pub fn mutate(input: &mut Vec<u8>, seed: u64) {
    const BYTES_MAX: usize = 1 << 20;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    for _ in 0..1 + draw(4) {
        let at = draw(input.len());
        if input.is_empty() {
            input.push(draw(256) as u8);
            continue;
        }
        match draw(7) {
            0 => input[at] ^= 1 << draw(8),
            1 => input[at] = draw(256) as u8,
            2 => {
                let limit = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX][draw(9)];
                let room = input.len() - at;
                let bytes = limit.to_le_bytes();
                let n = [1, 2, 4, 8][draw(4)].min(room);
                input[at..at + n].copy_from_slice(&bytes[..n]);
            }
            3 => input.truncate(at),
            4 => drop(input.drain(at..(at + 1 + draw(16)).min(input.len()))),
            5 if input.len() < BYTES_MAX => input.insert(at, draw(256) as u8),
            _ if input.len() < BYTES_MAX => {
                let to = (at + 1 + draw(32)).min(input.len());
                let piece = input[at..to].to_vec();
                let place = draw(input.len());
                input.splice(place..place, piece);
            }
            _ => {}
        }
    }
}
