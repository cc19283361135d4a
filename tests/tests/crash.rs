//! Power cuts, kills and failing disks, against a plain model of what a database must hold.
//!
//! Lives of random operations end again and again, wherever a seed says; then every single operation of the disk in one cut, one
//! merge, one deletion and the like is met by an end of its own. A seed that fails prints itself; to live it again:
//!
//! ```text
//! CRASH_SEED=17 cargo test -p cardinal-tests --test crash lives
//! CRASH_LIVES=10000 cargo test --release -p cardinal-tests --test crash lives
//! ```
//!
//! A seed gives the same operations each time, and nearly the same ones of the disk: the log's writer may find the batches of one
//! request together or one after the other. `CRASH_TIMES=20` lives each life so often; `CRASH_OPERATIONS=1` tells what the disk did.

use cardinal_storage::index::Matcher;
use cardinal_storage::io::FaultKind;
use cardinal_storage::model::{TimeRange, TimestampMs};
use cardinal_tests::disk::{Row, Setup};
use cardinal_tests::life::{End, Events, Life, live, series};
use cardinal_tests::parallel;
use cardinal_tests::value::Value;
use std::sync::{Arc, Mutex};

/// Lives of an ordinary run, and operations of each.
const LIVES: u64 = 40;
const STEPS: u64 = 110;
/// Fewer ends, or fewer of what makes them worth it, would test little.
const CRASHES_MIN: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[test]
fn lives_of_random_operations_lose_nothing_and_bring_nothing_back() {
    let seeds: Vec<u64> = match number("CRASH_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CRASH_LIVES").unwrap_or(LIVES)).collect(),
    };
    let times = number("CRASH_TIMES").unwrap_or(1) as usize;
    let seeds: Vec<u64> = seeds.iter().flat_map(|seed| std::iter::repeat_n(*seed, times)).collect();
    let mut all = Events::default();
    let mut failures = Vec::new();
    for result in parallel::map(&seeds, |seed| live(*seed, STEPS)) {
        match result {
            Ok(events) => all += events,
            Err(failure) => failures.push(failure),
        }
    }
    println!("{} lives: {all:?}", seeds.len());
    assert!(
        failures.is_empty(),
        "{} of {} lives failed:\n\n{}",
        failures.len(),
        seeds.len(),
        failures.join("\n\n")
    );
    if seeds.len() as u64 >= LIVES {
        assert!(all.crashes >= CRASHES_MIN && all.faults >= CRASHES_MIN / 10, "{all:?}");
        assert!(all.expired.min(all.reclaimed).min(all.cuts).min(all.merges) >= LIVES, "{all:?}");
    }
}

/// A state of a database, and one thing that it is about to do.
struct Step {
    name: &'static str,
    /// Operations of the disk that it takes, at least: the step is what it says.
    operations_min: u64,
    prepare: fn(&mut Life) -> Result<(), String>,
    act: fn(&mut Life) -> Result<(), String>,
    /// Whether it was done, in a life to which nothing happened.
    is_done: fn(&Life) -> bool,
}

const HOUR: i64 = 3_600_000;
const START: i64 = 30 * 24 * HOUR;

const STEPS_OF_ALL: &[Step] = &[
    Step {
        name: "append over the end of a segment of the log",
        operations_min: 12,
        prepare: |life| fill(life, 0, 20),
        act: |life| fill(life, 20, 45),
        is_done: |life| life.db().stats().wal.segments >= 3,
    },
    Step {
        name: "checkpoint",
        operations_min: 8,
        prepare: |life| {
            fill(life, 0, 2)?;
            life.maintain()?;
            fill(life, 2, 22)
        },
        // The first look finds that the window which is over has been cut.
        act: |life| life.maintain().and_then(|()| life.maintain()),
        is_done: |life| life.db().stats().checkpoints == 1 && life.db().stats().cuts == 0,
    },
    Step {
        name: "cut of a window that is over",
        operations_min: 20,
        prepare: |life| fill(life, 0, 26),
        act: maintain,
        is_done: |life| life.db().stats().cuts == 1,
    },
    Step {
        name: "flush of several windows, late samples among them",
        operations_min: 40,
        prepare: |life| {
            fill(life, 0, 40)?;
            late(life)
        },
        act: |life| life.run("flush", |db| db.flush()),
        is_done: |life| life.db().stats().blocks >= 3,
    },
    Step {
        name: "merge of blocks of one window",
        operations_min: 10,
        prepare: |life| {
            windows(life, 1)?;
            late(life)?;
            life.run("flush", |db| db.flush())
        },
        act: |life| life.run("compact", |db| db.compact()),
        is_done: |life| life.db().stats().compaction.by_result[0] >= 1,
    },
    Step {
        name: "merge of a day",
        operations_min: 10,
        prepare: |life| windows(life, 27),
        act: |life| life.run("compact", |db| db.compact()),
        is_done: |life| life.db().stats().compaction.by_result[0] >= 1,
    },
    Step {
        name: "deletion of what is in head and blocks",
        operations_min: 20,
        prepare: |life| {
            windows(life, 3)?;
            fill(life, 200, 205)
        },
        act: |life| life.delete_series(&[Matcher::equal("account", "1")], TimeRange::ALL),
        is_done: |life| life.db().deletions().len() == 1,
    },
    Step {
        name: "undoing of a deletion",
        operations_min: 2,
        prepare: |life| {
            windows(life, 3)?;
            life.delete_series(&[Matcher::equal("account", "1")], TimeRange::ALL)
        },
        act: Life::undelete,
        is_done: |life| life.db().deletions().is_empty(),
    },
    Step {
        name: "reclaim of what is deleted",
        operations_min: 20,
        prepare: |life| {
            windows(life, 5)?;
            life.delete_series(&[Matcher::equal("account", "1")], TimeRange::ALL)?;
            life.delete_series(&[Matcher::equal("n", "2")], TimeRange::ALL)
        },
        act: Life::clean,
        is_done: |life| life.db().deletions().is_empty(),
    },
    Step {
        name: "blocks past retention, dropped and written anew",
        operations_min: 10,
        prepare: |life| {
            windows(life, 26)?;
            life.run("compact", |db| db.compact())?;
            // All but one account are past it, in the time of the data; no leap of that is believed.
            (34..=82).step_by(8).try_for_each(|hour| {
                let t = TimestampMs(START + hour * HOUR);
                life.send(&[(series(1, t), vec![(t, 1.0.into())])])?;
                maintain(life)
            })
        },
        act: |life| life.run("compact", |db| db.compact()),
        is_done: |life| life.db().stats().compaction.by_result[0] >= 1,
    },
    Step {
        name: "start",
        operations_min: 12,
        prepare: |life| {
            windows(life, 3)?;
            fill(life, 200, 230)?;
            life.delete_series(&[Matcher::equal("account", "1")], TimeRange::ALL)
        },
        act: Life::restart,
        is_done: |_| true,
    },
];

/// The value of a series: of every fourth one a histogram.
fn value_of(series: u64, v: f64) -> Value {
    if series % 4 == 2 { Value::histogram(v as u64 * 16 + series) } else { v.into() }
}

/// Samples of all series, five minutes apart.
fn fill(life: &mut Life, from: i64, to: i64) -> Result<(), String> {
    for n in from..to {
        let t = TimestampMs(START + n * HOUR / 12 + 1);
        // Whole numbers, then doubles.
        let value = if n % 7 == 3 { 0.1 + n as f64 / 3.0 } else { n as f64 };
        let rows: Vec<Row> =
            (0..8).map(|i| (series(i, t), vec![(t, value_of(i, value + i as f64))])).collect();
        life.send(&rows)?;
    }
    Ok(())
}

fn late(life: &mut Life) -> Result<(), String> {
    let points = |i: i64| {
        (0..5)
            .map(|n| (TimestampMs(START + HOUR / 2 + n * HOUR / 6 + i + 10), value_of(i as u64, n as f64)))
            .collect()
    };
    let rows: Vec<Row> = (0..8).map(|i| (series(i, TimestampMs(START)), points(i as i64))).collect();
    life.send(&rows)
}

/// So many hours of samples, cut as their windows end.
fn windows(life: &mut Life, hours: i64) -> Result<(), String> {
    for hour in 0..=hours + 2 {
        let t = TimestampMs(START + hour * HOUR + 1);
        let rows: Vec<Row> = (0..8).map(|i| (series(i, t), vec![(t, value_of(i, hour as f64))])).collect();
        life.send(&rows)?;
        maintain(life)?;
    }
    Ok(())
}

/// Cuts and checkpoints, no merges.
fn maintain(life: &mut Life) -> Result<(), String> {
    life.run("maintain", |db| -> Result<(), String> {
        db.maintain();
        Ok(())
    })
}

/// What happens at an operation of the disk.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    End(End),
    Fault(FaultKind),
    /// From there on, until the database is started again.
    Lasting(FaultKind),
}

#[test]
fn every_operation_of_every_step_may_be_the_last_or_fail() {
    let mut cases = Vec::new();
    for step in STEPS_OF_ALL {
        let mut life =
            Life::begin(Setup::default(), 0).and_then(|mut l| (step.prepare)(&mut l).map(|()| l)).unwrap();
        life.restart().unwrap();
        let life = Arc::new(Mutex::new(life));
        let mut trial = life.lock().unwrap().fork(0).unwrap();
        let from = trial.fs().ops();
        (step.act)(&mut trial).unwrap();
        trial.check().unwrap_or_else(|e| panic!("{}: {e}", step.name));
        assert!((step.is_done)(&trial), "{}: {:?}", step.name, trial.db().stats());
        // A start begins on another copy of the disk, whose operations are counted anew.
        let operations = trial.fs().ops().checked_sub(from).filter(|n| *n > 0).unwrap_or(trial.fs().ops());
        assert!(operations >= step.operations_min, "{}: {operations} operations", step.name);
        println!("{}: {operations} operations", step.name);
        for at in 0..operations {
            let kinds = [FaultKind::Eio, FaultKind::Enospc, FaultKind::TornWrite];
            let kind = |n: u64| kinds[(at + n) as usize % 3];
            // A power cut that keeps nothing or everything, one that keeps a part, a kill; one failure or many.
            let ends = [End::PowerCut(at % 2), End::PowerCut(2 + at), End::Kill].map(Mishap::End);
            let fault = if at.is_multiple_of(3) { Mishap::Lasting(kind(1)) } else { Mishap::Fault(kind(0)) };
            cases.extend(ends.into_iter().chain([fault]).map(|mishap| (step, life.clone(), at, mishap)));
        }
    }
    println!("{} cases", cases.len());
    let failures: Vec<String> = parallel::map(&cases, |(step, life, at, mishap)| {
        let life = life.lock().unwrap().fork(*at).map_err(|e| format!("{}: {e}", step.name));
        let lived = life.and_then(|life| meet(step, life, *at, *mishap));
        lived.err().map(|e| format!("{}, operation {at}, {mishap:?}: {e}", step.name))
    })
    .into_iter()
    .flatten()
    .collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Takes the step with a mishap in it; then all is as it may be, and (of every third) the step can be taken.
fn meet(step: &Step, mut life: Life, at: u64, mishap: Mishap) -> Result<(), String> {
    life.plan_mishap(|fs| {
        let at = fs.ops() + at;
        match mishap {
            Mishap::End(_) => fs.freeze_at(at),
            Mishap::Fault(kind) => fs.fail_at(at, kind),
            Mishap::Lasting(kind) => fs.fail_from(at, kind),
        }
    });
    (step.act)(&mut life)?;
    match mishap {
        Mishap::End(end) => life.end(end)?,
        // Whatever the disk took, queries are answered; then it goes away, or the process does.
        Mishap::Fault(_) | Mishap::Lasting(_) => {
            life.check()?;
            life.heal();
            life.end(if at.is_multiple_of(2) { End::PowerCut(at) } else { End::Kill })?;
        }
    }
    life.check()?;
    if at.is_multiple_of(3) {
        (step.act)(&mut life)?;
        life.check()?;
        life.end(End::PowerCut(0))?;
        life.check()?;
    }
    Ok(())
}
