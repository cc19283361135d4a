//! The memory budget holds, whatever comes.

use super::limits::Bed;
use super::*;
use crate::database::aliases::Alias;
use crate::database::memory::Admission;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const MINUTE: i64 = 60_000;

/// A database of a budget, with its head-chunk log written out as the background does.
fn bed(memory_budget: u64) -> Bed {
    Bed::open(DatabaseOptions {
        memory_budget,
        wal_segment_bytes: 4 * MIB,
        checkpoint_bytes: 256 * MIB,
        ..options(&SimFs::new(1))
    })
}

/// Sends samples of all these series, one for each of the times.
fn send(db: &Database, series: &[LabelSet], times: impl Iterator<Item = i64>) -> Appended {
    let times: Vec<i64> = times.collect();
    let len = times.len() as u32;
    let samples: Vec<Sample> = series
        .iter()
        .flat_map(|_| &times)
        .map(|t| Sample { t: TimestampMs(*t), v: (*t as f64).sin() })
        .collect();
    let rows: Vec<AppendRow<'_>> =
        (0..).zip(series).map(|(i, set)| db.row(set, i * len..(i + 1) * len)).collect();
    db.append(&rows, &samples, &Canonical).unwrap()
}

fn series(n: usize) -> Vec<LabelSet> {
    (0..n).map(|n| labels("m", &(n % 7).to_string(), n)).collect()
}

#[test]
fn late_samples_leave_memory_sooner_where_it_is_short() {
    const BUDGET: u64 = 8 * MIB;
    let bed = bed(BUDGET);
    let all = series(1_500);
    let now = 100 * HOUR;
    send(&bed.db, &all, [now].into_iter());
    let (mut late, mut waited) = (0, 0);
    for round in 0..16i64 {
        let first = now - (round + 1) * 31 * 1_000;
        for some in all.chunks(500) {
            let times = || (0..31).map(|i| first + i * 1_000);
            let mut a = send(&bed.db, some, times());
            while a.written < 500 * 31 {
                waited += 1;
                let flushing = a.refused_by_class[RefusalClass::Flushing as usize];
                assert_eq!(a.written + flushing, 500 * 31);
                assert!(a.refused[0].message.contains("late samples wait"), "{:?}", a.refused);
                bed.db.head.log.write_out().unwrap();
                a = send(&bed.db, some, times());
            }
            late += a.written;
            let bytes = bed.db.memory_bytes();
            assert!(bytes <= BUDGET / 4 * 5 + MIB, "{bytes} after {late} late samples");
        }
        let a = send(&bed.db, &all, [now + round + 1].into_iter());
        assert_eq!((a.written, a.late), (1_500, 0), "live samples go on");
    }
    assert!(waited > 0, "nobody writes the log here but those who were sent away");
    let one = Matcher::new("n", MatchOp::Equal, "17").unwrap();
    let found = read(&bed.db.view(), &[one], TimeRange::ALL);
    assert_eq!(found.values().map(BTreeMap::len).sum::<usize>(), 1 + 16 * 32);
    bed.db.flush().unwrap();
    bed.db.maintain();
    let a = send(&bed.db, &all, [80 * HOUR].into_iter());
    assert_eq!((a.late, a.refused.len()), (1_500, 0), "they waited for the log, not for ever");
}

#[test]
fn flushes_go_on_helping_under_churn() {
    const BUDGET: u64 = 8 * MIB;
    let bed = bed(BUDGET);
    let mut flushed = Vec::new();
    for minute in 0..80i64 {
        let new: Vec<LabelSet> =
            (0..1250).map(|n| labels("m", &(n % 175).to_string(), (minute * 1250 + n) as usize)).collect();
        let a = send(&bed.db, &new, [100 * HOUR + minute * MINUTE].into_iter());
        assert_eq!(a.written, 1250, "{:?} at minute {minute} after {flushed:?}", a.refused.first());
        bed.clock.advance(Duration::from_secs(1));
        let cuts = bed.db.stats().cuts;
        bed.db.maintain();
        bed.db.maintain();
        if bed.db.stats().cuts > cuts {
            flushed.push(bed.db.memory_bytes());
        }
    }
    assert!(flushed.len() > 3 && flushed[1..].iter().all(|b| *b < BUDGET / 10 * 7), "{flushed:?}");
}

#[test]
fn while_the_next_flush_is_far_new_series_are_refused_for_the_time_being() {
    const BUDGET: u64 = 4 * MIB;
    let bed = bed(BUDGET);
    let mut n = 0..;
    let mut fill = |t: i64| loop {
        let from = n.start * 100;
        n.start += 1;
        let (written, ..) = bed.send_at("a", from..from + 100, t);
        if written < 100 {
            return;
        }
    };
    fill(100 * HOUR);
    assert_eq!(bed.db.admission(), Admission::Flushing, "a flush is about to begin");
    bed.db.maintain();
    bed.db.maintain();
    assert_eq!(bed.db.admission(), Admission::Refused, "it has not helped");
    // Then the window ends, and all of them leave.
    bed.clock.advance(Duration::from_secs(10));
    bed.send_at("b", 0..1, 110 * HOUR);
    bed.db.maintain();
    bed.clock.advance(Duration::from_secs(10));
    bed.db.maintain();
    assert_eq!(bed.db.admission(), Admission::Open);
    let cuts = bed.db.stats().cuts;
    fill(110 * HOUR);
    assert_eq!(bed.db.admission(), Admission::Refused, "no flush comes within seconds");
    bed.clock.advance(Duration::from_secs(10));
    bed.db.maintain();
    assert_eq!((bed.db.admission(), bed.db.stats().cuts), (Admission::Refused, cuts));
    assert!(bed.db.stats().head.refuses_new_series);
    bed.clock.advance(Duration::from_secs(300));
    bed.db.maintain();
    assert_eq!(bed.db.stats().cuts, cuts + 1, "the pause is over");
}

#[test]
fn other_forms_of_series_that_have_left_are_forgotten() {
    let bed = bed(16 * MIB);
    let all = series(1_000);
    send(&bed.db, &all, [HOUR].into_iter());
    let form = |n: u32, of: &LabelSet| {
        let row = bed.db.row(of, 0..1);
        (Fingerprint(u128::from(n) + 1), Alias { fingerprint: row.wire, shard: row.shard })
    };
    bed.db.aliases.lock().extend((0..).zip(&all).map(|(n, of)| form(n, of)));
    let before = bed.db.aliases.lock().memory_bytes();
    send(&bed.db, &all[..10], [HOUR + 2 * IDLE.0].into_iter());
    bed.db.flush().unwrap();
    bed.db.maintain();
    let aliases = bed.db.aliases.lock();
    assert_eq!((aliases.len(), aliases.forgotten()), (10, 0));
    assert!(aliases.memory_bytes() < before / 10);
}

#[test]
fn metadata_count_and_are_bounded() {
    let bed = bed(16 * MIB);
    let before = bed.db.memory_bytes();
    let item = |n: u64| MetricMetadata {
        family: format!("family_{n}"),
        help: "x".repeat(8_000),
        ..MetricMetadata::default()
    };
    for some in 0..40 {
        let items: Vec<MetricMetadata> = (some * 20..some * 20 + 20).map(item).collect();
        bed.db.append_metadata(&items).unwrap().wait().unwrap();
    }
    let head = bed.db.stats().head;
    assert!((100..130).contains(&head.metadata), "{head:?}");
    assert_eq!(head.metadata + head.metadata_dropped, 800);
    let bytes = bed.db.memory_bytes() - before;
    assert!((MIB / 10 * 9..=MIB).contains(&bytes), "{bytes}");
    bed.clock.advance(Duration::from_secs(3600));
    bed.db.append_metadata(&[item(9_999)]).unwrap().wait().unwrap();
    assert!(bed.db.metadata().contains(&item(9_999)), "one that nobody repeats makes room");
}
