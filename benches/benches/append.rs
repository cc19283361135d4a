//! From a request to stored samples, on the real disk in a temporary directory.
//!
//! Input: telecom series with 8 to 12 labels. The throughput is in samples.
//!
//! - `known`: one tick of 10,000 known series, already walked, appended in one call; the log is written and synced in the
//!   background and not waited for. What it costs to seal chunks, write them and cut windows is in it, since time goes on.
//! - `refused`: the same tick where a limit lets no series in, for the second time: what `known` is to be compared with.
//! - `register`: 10,000 series that are new, appended in one call to an empty database: resolved, interned, logged.
//! - `acknowledged`: from compressed bodies of 2,000 series with one sample each to the answer, the log's sync included: for
//!   one sender, which waits for each sync, and for eight at once, which share syncs.
//!
//! Not measured: HTTP, the network, memory.

use cardinal_benches::bed::Bed;
use cardinal_benches::size;
use cardinal_benches::telecom::{self, Fleet};
use cardinal_ingest::Resolver;
use cardinal_ingest::walk::{Routing, Walk, WalkLimits};
use cardinal_storage::database::{AppendRow, Database, RefusalClass, SeriesLimits, SeriesMax};
use cardinal_storage::model::Sample;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;

const LIMITS: WalkLimits = WalkLimits { samples_max: 100_000, metadata_max: 0 };

/// Tick 0 of a fleet, as a request.
fn first_tick(fleet: &Fleet) -> Vec<u8> {
    fleet.request(0..fleet.series().len(), 0..1).encode_to_vec()
}

/// A request, walked for this database: what `f` is given can be appended.
fn with_rows<R>(body: &[u8], database: &Database, f: impl FnOnce(&[AppendRow<'_>], &[Sample]) -> R) -> R {
    let routing = Routing::new(database.seed(), database.shards(), database.account_label());
    let mut walk = Walk::default();
    let walked = walk.read(body, &routing, LIMITS).expect("valid");
    let rows: Vec<AppendRow<'_>> = walked.series().collect();
    f(&rows, walked.samples())
}

fn known(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(10_000, 100));
    let bed = Bed::new(true);
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(fleet.series().len() as u64));
    with_rows(&first_tick(&fleet), &bed.database, |rows, samples| {
        let mut tick = 0;
        let mut next_tick = || {
            tick += 1;
            let sample = |s: &telecom::Series| Sample { t: telecom::time(tick), v: s.value(tick) };
            fleet.series().iter().map(sample).collect::<Vec<Sample>>()
        };
        let append = |samples: Vec<Sample>| {
            let appended =
                bed.database.append(rows, &samples, &Resolver::default()).expect("the disk takes it");
            assert_eq!(appended.written, rows.len() as u64);
        };
        append(samples.to_vec());
        group.bench_function("known", |b| b.iter_batched(&mut next_tick, append, BatchSize::PerIteration));
    });
    group.finish();
}

fn refused(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(10_000, 100));
    let none = SeriesMax { active: Some(0), created: None };
    let bed = Bed::limited(true, SeriesLimits { account: none, ..SeriesLimits::default() });
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(fleet.series().len() as u64));
    with_rows(&first_tick(&fleet), &bed.database, |rows, samples| {
        let append = || {
            let appended =
                bed.database.append(rows, samples, &Resolver::default()).expect("the disk takes it");
            assert_eq!(appended.refused_by_class[RefusalClass::SeriesLimit as usize], rows.len() as u64);
        };
        append();
        group.bench_function("refused", |b| b.iter(append));
    });
    group.finish();
}

fn register(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(10_000, 100));
    let mut group = c.benchmark_group("append");
    group.sample_size(20).throughput(Throughput::Elements(fleet.series().len() as u64));
    let body = first_tick(&fleet);
    let append = |bed: Bed| {
        // The walk is in it, at a hundredth of the cost: rows belong to one database's seed.
        let registered = with_rows(&body, &bed.database, |rows, samples| {
            bed.database.append(rows, samples, &Resolver::default()).expect("the disk takes it").registered
        });
        assert_eq!(registered, fleet.series().len() as u64);
        bed
    };
    group.bench_function("register", |b| b.iter_batched(|| Bed::new(false), append, BatchSize::PerIteration));
    group.finish();
}

fn acknowledged(c: &mut Criterion) {
    let batch = size(2000, 20);
    let mut group = c.benchmark_group("acknowledged");
    for senders in [1, 8] {
        let fleet = Fleet::new(1, batch * senders);
        let bed = Bed::new(true);
        bed.load(&fleet, 0..1);
        let mut tick = 0;
        let mut next_tick = || {
            tick += 1;
            (tick, fleet.bodies(tick, batch))
        };
        let send = |(tick, bodies): (u32, Vec<Vec<u8>>)| {
            let one = |body: &Vec<u8>| bed.write(body, tick).wait().expect("every sample is valid");
            std::thread::scope(|scope| {
                let senders: Vec<_> = bodies.iter().map(|body| scope.spawn(|| one(body))).collect();
                senders.into_iter().map(|s| s.join().expect("no sender panics")).sum::<u64>()
            })
        };
        group.throughput(Throughput::Elements(fleet.series().len() as u64));
        let name = format!("{senders} senders");
        group.bench_function(name, |b| b.iter_batched(&mut next_tick, send, BatchSize::PerIteration));
    }
    group.finish();
}

criterion_group!(benches, known, refused, register, acknowledged);
criterion_main!(benches);
