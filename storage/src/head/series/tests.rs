use super::*;
use crate::codec::{NothingShared, merge};
use crate::head::log::HeadLog;
use crate::io::SimFs;
use crate::model::{merge_values, stale_nan};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const WINDOW: DurationMs = DurationMs::hours(2);

fn log() -> HeadLog {
    HeadLog::open(Arc::new(SimFs::new(1)), Path::new("/head"), &[], HeadPos::NONE, WINDOW).unwrap().0
}

/// All samples of a series, wherever they are.
fn samples(table: &SeriesTable, log: &HeadLog, slot: SeriesSlot) -> Vec<(i64, u64)> {
    let mut copies = SeriesCopies::default();
    table.copy(&[slot.0], &mut copies);
    let copy = &copies.series[0];
    let mut parts = vec![];
    let snapshot = log.snapshot();
    let mut at = copy.tail;
    while let Some(record) = snapshot.get(at).unwrap() {
        let mut part = Samples::default();
        codec::decode(record.chunk, &NothingShared, &mut part).unwrap();
        let header = record.header;
        assert_eq!((header.first_t.0, header.last_t.0), (part.t[0], *part.t.last().unwrap()));
        assert_eq!(
            Window::of(header.first_t, WINDOW),
            Window::of(header.last_t, WINDOW),
            "no chunk crosses a window"
        );
        parts.push(part);
        at = header.prev;
    }
    if let Some((chunk, bytes)) = &copy.open {
        let mut part = Samples::default();
        chunk.decode(&copies.bytes[bytes.clone()], &mut part).unwrap();
        parts.push(part);
    }
    let mut late = Samples::default();
    copies.late[copy.late.clone()].iter().for_each(|(t, v)| late.push(t.0, *v));
    parts.push(late);
    let mut out = Samples::default();
    merge(&mut parts, &mut out);
    out.t.iter().zip(&out.v).map(|(t, v)| (*t, v.to_bits())).collect()
}

#[test]
fn samples_are_judged_by_the_newest() {
    let (mut table, log) = (SeriesTable::new(ShardId(0), WINDOW), log());
    let (slot, _) = table.register(Fingerprint(1), 0);
    let mut check = |t, v, want| assert_eq!(table.append(slot, TimestampMs(t), v, &log), want, "{t} {v}");
    check(1000, 1.0, SampleOutcome::Appended);
    check(2000, 2.0, SampleOutcome::Appended);
    check(2000, 2.0, SampleOutcome::Duplicate);
    check(2000, 3.0, SampleOutcome::Conflict);
    check(1000, 1.0, SampleOutcome::Duplicate);
    check(1000, 7.0, SampleOutcome::Conflict);
    check(1500, 1.5, SampleOutcome::Late);
    check(1500, 1.5, SampleOutcome::Duplicate);
    check(1500, 1.6, SampleOutcome::Conflict);
    check(500, 0.5, SampleOutcome::Late);
    let want = [(500, 0.5), (1000, 1.0), (1500, 1.5), (2000, 2.0)].map(|(t, v): (i64, f64)| (t, v.to_bits()));
    assert_eq!(samples(&table, &log, slot), want);
}

#[test]
fn a_staleness_marker_closes_the_chunk_and_samples_go_on_after_it() {
    let (mut table, log) = (SeriesTable::new(ShardId(0), WINDOW), log());
    let (slot, _) = table.register(Fingerprint(1), 0);
    table.append(slot, TimestampMs(1), 1.0, &log);
    table.append(slot, TimestampMs(2), stale_nan(), &log);
    assert_eq!(table.open(), 0);
    table.append(slot, TimestampMs(3), 3.0, &log);
    assert_eq!(samples(&table, &log, slot).len(), 3);
    assert_eq!(
        table.append(slot, TimestampMs(2), 5.0, &log),
        SampleOutcome::Late,
        "the log settles it by the merge rule"
    );
}

#[test]
fn idle_series_give_their_chunk_back_and_may_leave_once_copied() {
    let (mut table, log) = (SeriesTable::new(ShardId(0), WINDOW), log());
    let (idle, _) = table.register(Fingerprint(1), 0);
    let (busy, _) = table.register(Fingerprint(2), 0);
    table.append(idle, TimestampMs(1), 1.0, &log);
    table.append(busy, TimestampMs(1 + IDLE.0 + 1), 1.0, &log);
    let idle_before = table.newest() - IDLE;
    table.freeze_idle(0..2, idle_before, &log);
    assert_eq!(table.open(), 1);
    let cut = Departure { until: TimestampMs(WINDOW.0), position: log.end(), idle_before };
    assert!(!table.may_leave(idle, &cut), "no checkpoint has it");
    assert!(table.could_leave(idle, &cut) && !table.could_leave(busy, &cut));
    table.copy_states(0..2, &log, &mut vec![]);
    assert!(table.may_leave(idle, &cut));
    assert!(!table.may_leave(idle, &Departure { until: TimestampMs(0), ..cut }), "its window is not cut");
    assert!(!table.may_leave(busy, &cut));
    table.remove(idle);
    assert_eq!((table.find(Fingerprint(1)), table.live()), (None, 1));
    table.reuse(&[idle]);
    assert_eq!(table.register(Fingerprint(3), 0), (idle, 1));
}

#[test]
fn memory_of_series_that_have_left_is_given_back() {
    let mut table = SeriesTable::new(ShardId(0), WINDOW);
    let few = table.memory_bytes();
    let slots: Vec<SeriesSlot> = (0..20_000u128).map(|n| table.register(Fingerprint(n << 64), 0).0).collect();
    let many = table.memory_bytes();
    slots[1..].iter().for_each(|s| table.remove(*s));
    table.reuse(&slots[1..]);
    let left = table.memory_bytes() - few;
    assert!(left < many / 6, "{left} of {many}");
    assert_eq!(
        table.register(Fingerprint(7), 0),
        (SeriesSlot(1), 1),
        "the lowest slot, of the next generation"
    );
    assert_eq!(table.find(Fingerprint(0)), Some(SeriesSlot(0)));
    table.place(SeriesSlot(19_000), 3, Fingerprint(8), 0);
    assert_eq!(table.record(SeriesSlot(19_000)).map(|r| r.generation), Some(3));
}

proptest! {
    #[test]
    fn every_accepted_sample_is_found_again(
        steps in proptest::collection::vec((-40i64..60, 0u8..6, 0u8..20), 1..600), restore: bool,
    ) {
        let (mut table, log) = (SeriesTable::new(ShardId(3), WINDOW), log());
        let (slot, _) = table.register(Fingerprint(0xabcd), 7);
        let mut model: BTreeMap<i64, f64> = BTreeMap::new();
        let mut now = WINDOW.0 - 200_000;
        for (step, value, other) in steps {
            let t = if step < 0 { now + step * 60_000 } else { now += 1 + step * 1000; now };
            let v = [1.0, 2.5, f64::from(step as i32), 1e300 * f64::from(value), stale_nan(), 0.1 + f64::from(other)][usize::from(value)];
            match table.append(slot, TimestampMs(t), v, &log) {
                SampleOutcome::Conflict => prop_assert!(model.contains_key(&t)),
                // Of what two places hold at one time, one may be the duplicate of what the merge rule leaves out.
                SampleOutcome::Duplicate => prop_assert_eq!(merge_values(model[&t], v).to_bits(), model[&t].to_bits()),
                _ => { model.entry(t).and_modify(|m| *m = merge_values(*m, v)).or_insert(v); }
            }
            match other {
                0 => table.freeze_until(0..1, TimestampMs(WINDOW.0), &log),
                1 => table.freeze_until(0..1, TimestampMs(i64::MAX), &log),
                2 => table.freeze_idle(0..1, table.newest() - IDLE, &log),
                _ => {}
            }
        }
        if restore {
            let mut states = vec![];
            table.copy_states(0..1, &log, &mut states);
            table = SeriesTable::new(ShardId(3), WINDOW);
            table.restore(&states[0]).unwrap();
            table.find_restored(&[states[0].slot]);
            prop_assert_eq!(table.find(Fingerprint(0xabcd)), Some(slot));
        }
        let want: Vec<(i64, u64)> = model.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        prop_assert_eq!(samples(&table, &log, slot), want);
    }
}
