//! Merging blocks.
//!
//! `day`: 660 telecom series of 5,760 samples (a day at 15 s) in twelve blocks of two hours become one block of a day: series
//! are joined, chunks decoded, sealed anew and written with a new index. `interleaved`: two blocks of one window, each with every
//! other sample of the same series, become one: all samples are merged one by one. The throughput is in samples. The disk is
//! the real one, in a temporary directory; time stands still, so that nobody waits for the pace of large files.
//!
//! Not measured: the pace, queries and appends meanwhile, series that come and go.

use cardinal_benches::bed::Bed;
use cardinal_benches::size;
use cardinal_benches::telecom::Fleet;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Ticks of a window of two hours.
const WINDOW: u32 = 480;

/// Blocks of two hours, and a sample of the next day.
fn a_day(fleet: &Fleet, ticks: u32) -> Bed {
    let bed = Bed::new(false);
    for window in 0..12 {
        // Tick 0 is the last of the window before.
        let first = window * WINDOW + 1;
        bed.load(fleet, first..first + ticks);
        bed.database.flush().expect("the disk takes it");
    }
    bed.load(fleet, 12 * WINDOW + 1..12 * WINDOW + 2);
    bed
}

/// Two blocks of one window: the odd ticks, then the even ones, which come late.
fn interleaved(fleet: &Fleet, ticks: u32) -> Bed {
    let bed = Bed::new(false);
    for first in [1, 2] {
        (first..=ticks).step_by(2).for_each(|tick| bed.load(fleet, tick..tick + 1));
        bed.database.flush().expect("the disk takes it");
    }
    bed
}

fn compact(c: &mut Criterion) {
    let fleet = Fleet::new(1, size(660, 10));
    let ticks = size(WINDOW as usize, 4) as u32;
    let run = |bed: Bed| {
        bed.database.compact().expect("the disk takes it");
        let stats = bed.database.stats();
        assert_eq!((stats.blocks, stats.compaction.by_result[0]), (1, 1));
        bed
    };
    let mut group = c.benchmark_group("compact");
    group.sample_size(10);
    let samples =
        |windows: u32| Throughput::Elements(fleet.series().len() as u64 * u64::from(ticks * windows));
    group.throughput(samples(12));
    group.bench_function("day", |b| b.iter_batched(|| a_day(&fleet, ticks), run, BatchSize::PerIteration));
    group.throughput(samples(1));
    let setup = || interleaved(&fleet, ticks);
    group.bench_function("interleaved", |b| b.iter_batched(setup, run, BatchSize::PerIteration));
    group.finish();
}

criterion_group!(benches, compact);
criterion_main!(benches);
