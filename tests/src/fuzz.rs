//! Every decoder that reads disk or network, by name, with inputs to begin with.
//!
//! Three ways drive them: `tests/fuzz_seeds.rs` replays the kept inputs with the ordinary tests, `examples/fuzz.rs` mutates them
//! with any toolchain, and `fuzz/` hands them to libFuzzer. A target returns or the input is a finding.

use cardinal_ingest::walk::{Routing, Walk, WalkLimits};
use cardinal_proto::remote_write::{
    BucketSpan, Exemplar, Histogram, HistogramCount, HistogramZeroCount, Label, MetricMetadata, Sample,
    TimeSeries, WriteRequest,
};
use cardinal_query::parse::{Features, parse, parse_selector};
use cardinal_server::config::{FileKey, Sources, read_text, resolve, sample_file, setting};
use cardinal_server::http::params::{Params, parse_duration, parse_time};
use cardinal_server::http::selector;
use cardinal_storage::fuzz;
use cardinal_storage::model::{HashSeed, LabelSet, ShardCount};
use prost::Message;
use std::path::Path;

/// One decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of kept inputs.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
    /// Inputs made by the writer beside the decoder.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Its part of all runs. What opens a whole directory takes a hundred times as long as what decodes a chunk.
    pub share: u64,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target_of("manifest", fuzz::manifest, manifest_seeds, 10),
    target_of("manifest_file", fuzz::manifest_file, || vec![fuzz::sound_manifest()], 1),
    target_of("log_segment", fuzz::log_segment, || vec![records(), fuzz::sound_log()], 10),
    target_of("log_file", fuzz::log_file, || vec![fuzz::sound_log()], 1),
    target_of("head_log", fuzz::head_log, || vec![fuzz::sound_head_log()], 10),
    target_of("head_log_file", fuzz::head_log_file, || vec![fuzz::sound_head_log()], 1),
    target_of("checkpoint", fuzz::checkpoint, checkpoint_seeds, 10),
    target_of("checkpoint_file", fuzz::checkpoint_file, || vec![fuzz::sound_checkpoint()], 1),
    target_of("postings", fuzz::postings, || vec![fuzz::sound_postings()], 10),
    target_of("chunk", fuzz::chunk, fuzz::sound_chunks, 20),
    target_of("histogram", fuzz::histogram, fuzz::sound_histograms, 20),
    target_of("block_index", fuzz::block_index, || vec![fuzz::sound_block().0.clone()], 4),
    target_of("block_chunks", fuzz::block_chunks, || vec![fuzz::sound_block().1.clone()], 4),
    target_of("day_index", fuzz::day_index, || vec![fuzz::sound_day_block().0.clone()], 4),
    target_of("day_chunks", fuzz::day_chunks, || vec![fuzz::sound_day_block().1.clone()], 4),
    target_of("label_section", label_section, section_seeds, 10),
    target_of("remote_write", remote_write, remote_write_seeds, 20),
    target_of("write_body", cardinal_ingest::fuzz::body, body_seeds, 20),
    target_of("parameters", parameters, parameter_seeds, 10),
    target_of("promql", promql, promql_seeds, 10),
    target_of("configuration", configuration, configuration_seeds, 10),
];

const fn target_of(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>, share: u64) -> Target {
    Target { name, run, seeds, share }
}

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
        walked.histogram_series().for_each(drop);
        walked.histograms().for_each(drop);
        walked.metadata().for_each(drop);
    }
}

fn promql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse(text, &Features::default());
    let _ = parse_selector(text);
}

fn parameters(bytes: &[u8]) {
    let params = Params::parse(None, bytes);
    let _ = (
        params.instant(cardinal_ingest::fuzz::NOW),
        params.steps(),
        params.range(),
        params.timeout(),
        params.lookback(),
    );
    let _ = (params.limit(), params.number("limit"), params.number_or_all("limit"));
    for name in ["time", "step", "timeout"] {
        params.all(name).for_each(|text| {
            let _ = (parse_time(text), parse_duration(text));
        });
    }
    params.all("match[]").for_each(|text| {
        let _ = selector(text);
    });
    promql(params.get("query").as_bytes());
}

fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(keys) = read_text(text) else { return };
    let known = |key: FileKey| Some((setting(&key.name)?.name, key.text?));
    let flags = keys.into_iter().filter_map(known).collect();
    if let Err(error) = resolve(&Sources { flags, ..Sources::default() }) {
        assert!(!error.to_string().is_empty(), "what is wrong is told");
    }
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let init = r#"{"init":{"seed":1,"shards":16,"account_label":"account","spread":1,"window_ms":7200000}}"#;
    let checkpoint = r#"{"checkpoint":{"number":3,"bytes":100,"wal_segment":1,"head_log_end":16777300},"remove_blocks":[1]}"#;
    vec![init.into(), checkpoint.into()]
}

fn records() -> Vec<u8> {
    let mut records = b"\x01\0\x02\0\x0c\0\0\0\x07\0\0\0\x00\x0a\x05\x0a\x01a\x12".to_vec();
    records.extend(b"\x02\0\x02\0\x15\0\0\0\x10\x27\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\xf0\x3f");
    records
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

/// A native histogram of a schema that is brought to another one, or of the finest.
fn histogram(schema: i32) -> Histogram {
    Histogram {
        count: Some(HistogramCount::Int(9)),
        zero_count: Some(HistogramZeroCount::Int(1)),
        sum: 4.5,
        schema,
        zero_threshold: 0.001,
        positive_spans: vec![BucketSpan { offset: -1, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        positive_deltas: vec![3, -1, 0],
        negative_spans: vec![BucketSpan { offset: 2, length: 1 }],
        negative_deltas: vec![1],
        reset_hint: 3,
        timestamp: cardinal_ingest::fuzz::NOW.0 + i64::from(schema),
        ..Histogram::default()
    }
}

/// A request with samples, an exemplar, a native histogram and metadata.
fn request() -> WriteRequest {
    let label = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    let labels = [("__name__", "h_bucket"), ("account", "7"), ("job", "x"), ("le", "+Inf")].map(label);
    let sample = |i: i64| Sample { value: i as f64 / 3.0, timestamp: cardinal_ingest::fuzz::NOW.0 + i };
    let exemplar = Exemplar { labels: labels[1..2].to_vec(), value: 1.0, timestamp: 5 };
    let series = TimeSeries {
        labels: labels.to_vec(),
        samples: (-3..3).map(sample).collect(),
        exemplars: vec![exemplar],
        histograms: vec![histogram(0), histogram(10), Histogram { timestamp: 5, ..Histogram::default() }],
    };
    let plain =
        TimeSeries { labels: labels[..3].to_vec(), samples: vec![sample(9)], ..TimeSeries::default() };
    let family = MetricMetadata {
        metric_family_name: "h".into(),
        help: "what it is".into(),
        unit: "seconds".into(),
        ..MetricMetadata::default()
    };
    WriteRequest { timeseries: vec![series, plain], metadata: vec![family] }
}

fn remote_write_seeds() -> Vec<Vec<u8>> {
    let samples_alone = WriteRequest { metadata: Vec::new(), ..request() };
    vec![request().encode_to_vec(), samples_alone.encode_to_vec()]
}

fn body_seeds() -> Vec<Vec<u8>> {
    let compress = |bytes: Vec<u8>| snap::raw::Encoder::new().compress_vec(&bytes).ok();
    remote_write_seeds().into_iter().filter_map(compress).collect()
}

fn parameter_seeds() -> Vec<Vec<u8>> {
    let forms = [
        "query=sum(rate(x%5B5m%5D))+by+(a)&start=1700000000.123&end=2023-11-14T22:13:20.5%2B01:00&step=15s&timeout=1m30s&stats=all",
        "time=-292273086-05-16T16:47:06Z&lookback_delta=1h&limit=10&query=up%7Ba=~%22b.*%22%7D",
        "match[]=up&match[]=%7Baccount=%221%22,n!~%22%5Ea%7Cb$%22%7D&start=1e3&end=292277025-08-18T07:12:54.999999999Z&limit=-1",
    ];
    forms.map(|f| f.as_bytes().to_vec()).into()
}

fn configuration_seeds() -> Vec<Vec<u8>> {
    let few = "wal:\n  sync: interval\n  sync_interval: 2s\nshards: 4\nadmin: {enabled: true}\nlisten: \"[::]:1\"\n";
    vec![sample_file().into_bytes(), few.into()]
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

/// What a target's inputs are made of: what its writer makes, and the kept inputs in the order of their names.
pub fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name);
    let mut kept: Vec<_> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    kept.sort();
    let kept = kept.iter().filter_map(|path| std::fs::read(path).ok());
    (target.seeds)().into_iter().chain(kept).collect()
}

/// Changes an input in a few places that `seed` chooses: bits, bytes, numbers that are limits, pieces moved, cut, doubled, or taken
/// from the input `other`.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], seed: u64) {
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
        match draw(8) {
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
            kind if input.len() < BYTES_MAX => {
                let from = if kind == 6 { &*input } else { other };
                let at = draw(from.len());
                let piece: Vec<u8> = from.iter().skip(at).take(1 + draw(32)).copied().collect();
                let place = draw(input.len());
                input.splice(place..place, piece);
            }
            _ => {}
        }
    }
}
