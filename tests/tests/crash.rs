//! Power cuts and failing disks, at every single operation of a database's life.
//!
//! A scripted life (samples over three windows, late ones, repeated requests, cuts, checkpoints, merges of blocks, a restart) runs on a disk
//! that loses what was not synced. For every write, sync, rename, allocation and removal in it, one run ends there by a power
//! cut, and one has it fail and goes on. Afterwards everything acknowledged is there, and nothing that was never sent.

use cardinal_storage::database::{AppendRow, Database, DatabaseOptions, RefusalClass, Refused, Resolve};
use cardinal_storage::io::{FaultKind, ManualClock, SimFs};
use cardinal_storage::model::{
    Fingerprint, LabelSet, Sample, ShardCount, TimeRange, TimestampMs, shard_of_account,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MINUTE: i64 = 60_000;
const SERIES: usize = 12;

/// By series: the bits of each time's value.
type Samples = BTreeMap<LabelSet, BTreeMap<i64, u64>>;

struct Canonical;

impl Resolve for Canonical {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        LabelSet::from_section(section)
            .map_err(|e| Refused { class: RefusalClass::InvalidLabels, message: e.to_string() })
    }
}

fn open(fs: &SimFs) -> Option<Arc<Database>> {
    open_at(fs, &Arc::new(ManualClock::new(TimestampMs(0))))
}

fn open_at(fs: &SimFs, clock: &Arc<ManualClock>) -> Option<Arc<Database>> {
    let options = DatabaseOptions {
        fs: Arc::new(fs.clone()),
        clock: clock.clone(),
        background: false,
        shards: ShardCount::new(2)?,
        wal_segment_bytes: 16 << 10,
        checkpoint_bytes: 4 << 10,
        ..DatabaseOptions::new("/data")
    };
    Database::open(options).ok()
}

/// What was sent, and what of it was acknowledged.
#[derive(Default)]
struct Ledger {
    sent: Samples,
    acknowledged: Samples,
}

impl Ledger {
    /// Sends one sample of each series; sends the identical request again when it is not acknowledged.
    fn send(&mut self, db: &Database, generation: usize, t: i64, value: f64) {
        for _attempt in 0..2 {
            if self.try_send(db, generation, t, value).is_some() {
                return;
            }
        }
    }

    fn try_send(&mut self, db: &Database, generation: usize, t: i64, value: f64) -> Option<()> {
        let series: Vec<LabelSet> = (0..SERIES).map(|i| series(i, generation)).collect();
        let sample = |i: usize| Sample { t: TimestampMs(t), v: value + i as f64 };
        let samples: Vec<Sample> = (0..SERIES).map(sample).collect();
        let rows: Vec<AppendRow<'_>> =
            series.iter().enumerate().map(|(i, labels)| row(db, labels, i)).collect();
        for (labels, s) in series.iter().zip(&samples) {
            self.sent.entry(labels.clone()).or_default().insert(t, s.v.to_bits());
        }
        let appended = db.append(&rows, &samples, &Canonical).ok()?;
        assert_eq!(appended.written, SERIES as u64, "{:?}", appended.refused);
        appended.ticket.wait().ok()?;
        for (labels, s) in series.iter().zip(&samples) {
            self.acknowledged.entry(labels.clone()).or_default().insert(t, s.v.to_bits());
        }
        Some(())
    }

    /// Everything acknowledged is in the database, and nothing that was not sent.
    fn check(&self, db: &Database, case: &str) {
        let found = contents(db);
        for (labels, points) in &self.acknowledged {
            for (t, bits) in points {
                let there = found.get(labels).and_then(|p| p.get(t));
                assert_eq!(there, Some(bits), "{case}: {labels} at {t} was acknowledged");
            }
        }
        for (labels, points) in &found {
            for (t, bits) in points {
                let sent = self.sent.get(labels).and_then(|p| p.get(t));
                assert_eq!(sent, Some(bits), "{case}: {labels} at {t} was never sent");
            }
        }
    }
}

fn series(i: usize, generation: usize) -> LabelSet {
    let (i, account, generation) = (i.to_string(), (i % 3).to_string(), generation.to_string());
    LabelSet::from_pairs([("__name__", "m"), ("account", &account), ("i", &i), ("generation", &generation)])
        .expect("names are unique")
}

fn row<'a>(db: &Database, labels: &'a LabelSet, i: usize) -> AppendRow<'a> {
    AppendRow {
        wire: Fingerprint::of_section(labels.section(), db.seed()),
        section: labels.section(),
        shard: shard_of_account(labels.get("account").unwrap_or("").as_bytes(), db.shards()),
        samples: i as u32..i as u32 + 1,
    }
}

fn contents(db: &Database) -> Samples {
    let view = db.view();
    let mut all = Samples::new();
    for mut cursor in view.select(&[], TimeRange::ALL).expect("the head and the blocks are sound") {
        while cursor.advance().expect("sound") {
            let labels = cursor.labels().expect("sound");
            let (t, v) = cursor.samples().expect("sound");
            let points = t.iter().zip(v).map(|(t, v)| (*t, v.to_bits())).collect();
            assert!(all.insert(labels, points).is_none(), "a series occurs once");
        }
    }
    all
}

/// The scripted life. Ends early where the database cannot go on.
fn live(fs: &SimFs) -> Ledger {
    let mut ledger = Ledger::default();
    for life in 0..2 {
        let clock = Arc::new(ManualClock::new(TimestampMs(0)));
        let Some(db) = open_at(fs, &clock) else { return ledger };
        let start = life as i64 * 150 * MINUTE;
        for step in 0..30 {
            let t = start + step * 5 * MINUTE + 1;
            // Whole numbers, then doubles, then staleness.
            let value = if step % 7 == 3 { 0.1 + step as f64 / 3.0 } else { step as f64 };
            ledger.send(&db, (step / 20) as usize, t, value);
            if step % 10 == 5 {
                // Late, into a window that may be cut already.
                ledger.send(&db, 0, t - 45 * MINUTE - 7, 1000.0 + step as f64);
            }
            // What failed is tried again after a while.
            clock.advance(Duration::from_secs(300));
            if step % 6 == 5 {
                db.maintain();
                db.compact_due();
            }
            if step == 17 {
                // The error, if any, is the disk's, and shows in what follows.
                let _ = db.flush();
                let _ = db.compact();
            }
        }
        db.maintain();
        let _ = db.compact();
    }
    ledger
}

/// The number of operations of a life without faults.
fn operations() -> u64 {
    let fs = SimFs::new(1);
    let ledger = live(&fs);
    let db = open(&fs).expect("a sound disk");
    ledger.check(&db, "no fault");
    assert!(db.stats().blocks >= 2, "the life includes cuts: {:?}", db.stats());
    let merged = fs.op_names().iter().filter(|op| op.starts_with("remove directory /data/blocks/")).count();
    assert!(merged >= 3, "the life includes merges: {merged}");
    assert_eq!(ledger.sent, ledger.acknowledged);
    fs.ops()
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let n = operations();
    assert!(n > 150, "{n} operations");
    for at in 0..n {
        // Every operation is met; what survives of it is tried in more ways for some.
        let seeds: &[u64] = if at.is_multiple_of(8) { &[2 + at, 0, 1, 3 + 7 * at] } else { &[2 + at] };
        for &seed in seeds {
            let fs = SimFs::new(seed);
            fs.freeze_at(at);
            let ledger = live(&fs);
            let case = format!("cut at operation {at} of {n}, seed {seed}");
            let after = fs.crash(seed);
            let db = open(&after).unwrap_or_else(|| panic!("{case}: does not open"));
            ledger.check(&db, &case);
        }
    }
}

#[test]
fn a_power_cut_while_recovering_loses_nothing_either() {
    let n = operations();
    for at in (0..n).step_by(17) {
        let fs = SimFs::new(at);
        fs.freeze_at(at);
        let ledger = live(&fs);
        for again in 0..12 {
            let fs = fs.crash(at);
            fs.freeze_at(fs.ops() + again);
            drop(open(&fs));
            let fs = fs.crash(at + again);
            let case = format!("cut at operation {at}, then at {again} of the recovery");
            let db = open(&fs).unwrap_or_else(|| panic!("{case}: does not open"));
            ledger.check(&db, &case);
        }
    }
}

#[test]
fn a_failing_operation_loses_nothing_acknowledged() {
    let n = operations();
    for at in 0..n {
        let kinds = [FaultKind::Eio, FaultKind::Enospc, FaultKind::TornWrite];
        let kind = kinds[at as usize % kinds.len()];
        let fs = SimFs::new(at);
        fs.fail_at(at, kind);
        let ledger = live(&fs);
        let case = format!("operation {at} of {n} fails with {kind:?}");
        fs.heal();
        let after = fs.crash(at);
        let db = open(&after).unwrap_or_else(|| panic!("{case}: does not open"));
        ledger.check(&db, &case);
    }
}
