//! Chunks of floats by the shape of their values: appended to in the head, sealed, decoded.
//!
//! Input: for each shape of the telecom generator 200 series of 480 samples (two hours at 15 s, exactly on the grid). A time
//! is for all of a shape's samples, the throughput in samples. The table printed first gives the bytes per sample that
//! each shape takes, open and sealed, with the times in the chunk. Not measured: time columns shared between chunks, files,
//! checksums of pages.

use cardinal_benches::{size, telecom};
use cardinal_storage::codec::{
    Append, EncoderHint, NothingShared, OpenChunk, Samples, TOKEN_BYTES_MAX, Times, decode, seal,
};
use cardinal_storage::model::TimestampMs;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use telecom::{Fleet, Shape};

const SAMPLES: u32 = 480;
const SHAPES: [Shape; 5] = [Shape::Counter, Shape::Level, Shape::Ratio, Shape::Decimal, Shape::Float];

/// The samples of the first `size` series of a shape.
fn series_of(shape: Shape) -> Vec<Samples> {
    let columns = |s: &telecom::Series| Samples {
        t: (0..SAMPLES).map(|tick| telecom::time(tick).0).collect(),
        v: (0..SAMPLES).map(|tick| s.value(tick)).collect(),
    };
    let fleet = Fleet::new(1, 110 * size(200, 2));
    fleet.series().iter().filter(|s| s.shape() == shape).take(size(200, 2)).map(columns).collect()
}

/// Appends all samples to an open chunk in `buffer`; what is full ends it, as in the head. Returns bytes and samples.
fn append(samples: &Samples, buffer: &mut [u8]) -> (usize, usize) {
    let mut done = (0, 0);
    let mut at = 0;
    while let (Some(t), Some(v)) = (samples.t.get(at), samples.v.get(at)) {
        let (mut chunk, _) = OpenChunk::start(TimestampMs(*t), *v, buffer);
        let rest = samples.t.iter().zip(&samples.v).skip(at + 1);
        rest.take_while(|(t, v)| chunk.append(buffer, TimestampMs(**t), **v) == Append::Done).for_each(drop);
        at += chunk.count() as usize;
        done = (done.0 + chunk.used(), at);
    }
    done
}

fn sealed(all: &[Samples], out: &mut Vec<u8>) -> Vec<usize> {
    let end = |s: &Samples| {
        seal((&s.t, &s.v), Times::Inline, &mut EncoderHint::default(), out);
        out.len()
    };
    all.iter().map(end).collect()
}

fn bench_shape(group: &mut BenchmarkGroup<'_, WallTime>, shape: Shape) {
    let all = series_of(shape);
    let count: usize = all.iter().map(Samples::len).sum();
    let mut buffer = vec![0; SAMPLES as usize * TOKEN_BYTES_MAX];
    let mut chunks = Vec::new();
    let ends = sealed(&all, &mut chunks);
    let open: usize = all.iter().map(|s| append(s, &mut buffer).0).sum();
    let per_sample = |bytes: usize| bytes as f64 / count as f64;
    println!("{shape:?}: {:.2} B/sample open, {:.2} sealed", per_sample(open), per_sample(chunks.len()));

    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(format!("append/{shape:?}"), |b| {
        b.iter(|| all.iter().map(|s| append(black_box(s), &mut buffer).1).sum::<usize>())
    });
    let mut out = Vec::with_capacity(chunks.len());
    group.bench_function(format!("seal/{shape:?}"), |b| {
        b.iter(|| {
            out.clear();
            sealed(black_box(&all), &mut out).len()
        })
    });
    let mut samples = Samples::default();
    group.bench_function(format!("decode/{shape:?}"), |b| {
        b.iter(|| {
            let mut from = 0;
            for end in &ends {
                samples.clear();
                decode(black_box(&chunks[from..*end]), &NothingShared, &mut samples).expect("sealed above");
                from = *end;
            }
            samples.len()
        })
    });
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    SHAPES.into_iter().for_each(|shape| bench_shape(&mut group, shape));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
