//! Reading remote write: what a core spends on a sample before it meets any series.
//!
//! Input: 10,000 telecom series with 8 to 12 labels and some 200 bytes of them, one sample each, in one request. `walk` is
//! the in-place walk with the hash of each label section, `decompress and walk` adds snappy, `prost` decodes the same
//! bytes into structs, as a yardstick. Not measured: HTTP, looking series up, storing.

use cardinal_benches::{size, telecom};
use cardinal_ingest::walk::{Routing, Walk, WalkLimits};
use cardinal_proto::remote_write::WriteRequest;
use cardinal_storage::model::{HashSeed, ShardCount};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use std::hint::black_box;

const LIMITS: WalkLimits = WalkLimits { samples_max: 100_000, metadata_max: 0 };

fn decode(c: &mut Criterion) {
    let series = size(10_000, 100);
    let request = telecom::Fleet::new(1, series).request(0..series, 0..1).encode_to_vec();
    let compressed = telecom::compress(&request);
    let shards = ShardCount::new(16).expect("16 is a shard count");
    let routing = Routing::new(HashSeed(42), shards, "account");
    let mut walk = Walk::default();
    let mut buffer = vec![0; request.len()];
    let mut group = c.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(series as u64));
    group.bench_function("walk", |b| {
        b.iter(|| walk.read(black_box(&request), &routing, LIMITS).expect("valid").samples().len())
    });
    group.bench_function("decompress and walk", |b| {
        b.iter(|| {
            let mut decoder = snap::raw::Decoder::new();
            let len = decoder.decompress(black_box(&compressed), &mut buffer).expect("valid");
            walk.read(&buffer[..len], &routing, LIMITS).expect("valid").samples().len()
        });
    });
    group.bench_function("prost", |b| {
        b.iter(|| WriteRequest::decode(black_box(&request[..])).expect("valid").timeseries.len())
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
