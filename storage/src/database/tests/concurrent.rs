//! Appending, cutting, merging, letting go and querying at once. Who is faster is left to chance; what must hold is not.

use super::*;
use crate::read::Wanted;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

const WRITERS: i64 = 3;
const STEPS: i64 = 72;
const STEP: i64 = 5 * 60_000;

/// The series that a writer sends at a step: two that all writers send, two of its own, and two that others follow after six
/// steps, so that they fall idle, leave, and their slots are used again.
fn series_of(writer: i64, step: i64) -> Vec<LabelSet> {
    let churn = (1000 + step / 6 * 10) as usize;
    let own = format!("{writer}");
    [("shared", "s", 0), ("shared", "s", 1), ("own", &own, 0), ("own", &own, 1)]
        .into_iter()
        .chain([("churn", &*own, churn), ("churn", "s", churn + writer as usize)])
        .map(|(name, account, n)| labels(name, account, n))
        .collect()
}

/// No two writers have a time in common.
fn time_of(writer: i64, step: i64) -> i64 {
    HOUR + step * STEP + writer
}

fn value_at(t: i64) -> f64 {
    t as f64 / 7.0
}

fn send(db: &Database, writer: i64, step: i64) {
    let t = time_of(writer, step);
    let points = [(t, value_at(t))];
    let series = series_of(writer, step);
    let rows: Vec<(&LabelSet, &[(i64, f64)])> = series.iter().map(|l| (l, &points[..])).collect();
    let appended = append(db, &rows).unwrap();
    assert_eq!((appended.written, appended.refused.len()), (rows.len() as u64, 0));
    appended.ticket.wait().unwrap();
}

/// Every sample of each writer's first steps is there, and none that was never sent or is there twice.
fn check(view: &View, steps: &[i64]) {
    let mut found = BTreeMap::new();
    for mut cursor in view.select(&[], TimeRange::ALL, Wanted::Samples).unwrap() {
        while cursor.advance().unwrap() {
            let labels = cursor.labels().unwrap();
            let (t, v) = cursor.samples().unwrap();
            assert!(t.is_sorted_by(|a, b| a < b), "{labels}: {t:?}");
            assert!(
                t.iter().zip(v).all(|(t, v)| *v == value_at(*t)),
                "{labels}: values belong to their times"
            );
            assert!(found.insert(labels, t.to_vec()).is_none(), "a series occurs once");
        }
    }
    for (writer, steps) in (0..).zip(steps) {
        for step in 0..*steps {
            let t = time_of(writer, step);
            for labels in series_of(writer, step) {
                let there = found.get(&labels).is_some_and(|times| times.binary_search(&t).is_ok());
                assert!(there, "{labels} at {t}, of step {step}: {:?}", found.get(&labels));
            }
        }
    }
    for (labels, times) in found {
        for t in times {
            let (writer, step) = ((t - HOUR) % STEP, (t - HOUR) / STEP);
            assert!(series_of(writer, step).contains(&labels), "{labels} at {t} was never sent");
        }
    }
}

/// Counts a writer down when it ends, also when it fails.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[test]
fn what_is_acknowledged_is_visible_once_whatever_goes_on() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let acknowledged: Vec<AtomicI64> = (0..WRITERS).map(|_| AtomicI64::new(0)).collect();
    let writing = AtomicUsize::new(WRITERS as usize);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (db, acknowledged, done) = (&db, &acknowledged[writer as usize], Done(&writing));
            scope.spawn(move || {
                let _done = done;
                for step in 0..STEPS {
                    send(db, writer, step);
                    acknowledged.store(step + 1, Ordering::Release);
                }
            });
        }
        scope.spawn(|| {
            while writing.load(Ordering::Acquire) > 0 {
                db.maintain();
                db.flush().unwrap();
            }
        });
        scope.spawn(|| {
            while writing.load(Ordering::Acquire) > 0 {
                db.compact().unwrap();
            }
        });
        let mut held = db.view();
        while writing.load(Ordering::Acquire) > 0 {
            let steps: Vec<i64> = acknowledged.iter().map(|a| a.load(Ordering::Acquire)).collect();
            let view = db.view();
            check(&view, &steps);
            // A view that was held over cuts shows what is new, too: it is in the head for as long as the view is held.
            check(&held, &steps);
            held = view;
        }
    });
    let all = [STEPS; WRITERS as usize];
    check(&db.view(), &all);
    for _ in 0..3 {
        db.flush().unwrap();
        db.compact().unwrap();
        db.maintain();
    }
    check(&db.view(), &all);
    // Whether a merge came between the writes is up to the scheduler: that there are merges, the tests of compaction say.
    assert!(db.stats().series_left > 0, "idle series have left");
    drop(db);
    check(&open(&fs).view(), &all);
}

#[test]
fn a_thread_that_panics_says_so_and_goes_on() {
    let db = open(&SimFs::new(1));
    let (ran, runs) = crossbeam::channel::unbounded();
    let mut run = 0;
    let work = move |_: &Database| {
        run += 1;
        ran.send(run).unwrap();
        assert!(run != 2, "a panic that this test plans");
    };
    db.start_thread("faulty", std::time::Duration::from_millis(1), work).unwrap();
    assert_eq!(runs.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(db.stats().panics, 1);
    db.close().unwrap();
}
