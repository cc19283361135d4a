//! Chunks of floats by the shape of their values: appended to in the head, sealed, decoded; and the mix of sixteen kinds in
//! the two packings of blocks.
//!
//! Input: for each shape of the telecom generator 200 series of 480 samples (two hours at 15 s, exactly on the grid). A time
//! is for all of a shape's samples, the throughput in samples. The table printed first gives the bytes per sample that
//! each shape takes, open and sealed, with the times in the chunk. The mix: 200 series, as many of each kind as its share
//! says, in chunks of 120, 480 and 5760 samples in the form of blocks, whose one time column is not counted, and decoded with
//! each chunk unless it says "known"; buckets stand
//! by themselves, so differences and equal columns have no part in it. Every chunk is compared to the bit with what it was
//! made from. Not measured: files, checksums of pages.

use cardinal_benches::kinds::{Kind, MIX};
use cardinal_benches::mix::{of_kind, seal_mix};
use cardinal_benches::{size, telecom};
use cardinal_storage::codec::{
    Append, EncoderHint, NothingShared, OpenChunk, Packing, Samples, TOKEN_BYTES_MAX, Times, decode, seal,
};
use cardinal_storage::model::TimestampMs;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Instant;
use telecom::{Fleet, Shape};

const SAMPLES: u32 = 480;
const SHAPES: [Shape; 5] = [Shape::Counter, Shape::Level, Shape::Ratio, Shape::Decimal, Shape::Float];

/// The samples of the first `size` series of a shape.
fn series_of(shape: Shape) -> Vec<Samples> {
    let columns = |s: &telecom::Series| Samples {
        t: (0..SAMPLES).map(|tick| telecom::time(tick).0).collect(),
        v: (0..SAMPLES).map(|tick| s.value(tick)).collect(),
        ..Samples::new()
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

/// Prints bytes per sample by kind, packing and length.
fn print_table(mix: &[(Kind, Vec<Vec<f64>>)], lengths: [usize; 3]) {
    println!("bytes per sample, quick / dense, in chunks of {lengths:?}");
    let mut totals = [[0; 2]; 3];
    let mut samples = 0;
    for (kind, series) in mix {
        let of_kind: usize = series.iter().map(Vec::len).sum();
        samples += of_kind;
        print!("{:14}", format!("{kind:?}"));
        for (len, totals) in lengths.into_iter().zip(&mut totals) {
            for (packing, total) in [Packing::Quick, Packing::Dense].into_iter().zip(totals) {
                let sealed = seal_mix(series, len, packing);
                sealed.check(series, len);
                *total += sealed.bytes.len();
                print!(" {:6.3}", sealed.bytes.len() as f64 / of_kind as f64);
            }
        }
        println!();
    }
    print!("{:14}", "mix");
    totals.as_flattened().iter().for_each(|&bytes| print!(" {:6.3}", bytes as f64 / samples as f64));
    println!();
}

/// Prints the fastest of some passes over each kind, added up: on a machine with neighbours an average says more about
/// them, and a pass over a kind is short enough to be left alone now and then.
fn print_fastest(mix: &[(Kind, Vec<Vec<f64>>)], lengths: [usize; 4]) {
    let fastest = |passes: usize, pass: &mut dyn FnMut()| {
        let time = |_| {
            let start = Instant::now();
            pass();
            start.elapsed()
        };
        (0..passes).map(time).min().unwrap_or_default().as_nanos() as f64
    };
    let count: usize = mix.iter().flat_map(|(_, series)| series).map(Vec::len).sum();
    for (packing, len) in lengths.into_iter().flat_map(|len| [(Packing::Quick, len), (Packing::Dense, len)]) {
        let (mut seal, mut decode, mut known) = (0.0, 0.0, 0.0);
        for (_, series) in mix {
            seal += fastest(size(5, 1), &mut || drop(black_box(seal_mix(series, len, packing))));
            let (mut sealed, mut samples) = (seal_mix(series, len, packing), Samples::new());
            decode += fastest(size(200, 1), &mut || sealed.decode(&mut samples, |_| {}));
            sealed.column.known = Some(samples.t.clone());
            known += fastest(size(200, 1), &mut || sealed.decode(&mut samples, |_| {}));
        }
        let [seal, decode, known] = [seal, decode, known].map(|ns| ns / count as f64);
        println!(
            "mix, {packing:?}, {len:4}: fastest passes {seal:5.1} ns/sample to seal, {decode:5.2} to decode, {known:5.2} of known times"
        );
    }
}

fn bench_mix(c: &mut Criterion) {
    let day = size(5760, 960);
    let mix: Vec<_> = MIX.map(|(kind, share)| (kind, of_kind(kind, share, day))).into();
    print_table(&mix, [120, 480, day]);
    print_fastest(&mix, [120, 480, day / 4, day]);
    let series: Vec<Vec<f64>> = mix.into_iter().flat_map(|(_, series)| series).collect();
    let mut group = c.benchmark_group("mix");
    group.throughput(Throughput::Elements((series.len() * day) as u64));
    for (packing, len) in
        [Packing::Quick, Packing::Dense].into_iter().flat_map(|p| [(p, 120), (p, 480), (p, day)])
    {
        group.bench_function(format!("seal/{packing:?}/{len}"), |b| {
            b.iter(|| seal_mix(black_box(&series), len, packing).bytes.len())
        });
        let sealed = seal_mix(&series, len, packing);
        let mut samples = Samples::new();
        group.bench_function(format!("decode/{packing:?}/{len}"), |b| {
            b.iter(|| sealed.decode(&mut samples, |_| {}))
        });
    }
    group.finish();
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    SHAPES.into_iter().for_each(|shape| bench_shape(&mut group, shape));
    group.finish();
}

criterion_group!(benches, codec, bench_mix);
criterion_main!(benches);
