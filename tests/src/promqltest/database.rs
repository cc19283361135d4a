//! A source over a database on a simulated disk: what was loaded lies partly in blocks, partly in the head, and some
//! of it came late.

use cardinal_query::source::{MemorySeries, Source};
use cardinal_storage::database::{Database, DatabaseOptions, RefusalClass, Refused, Resolve};
use cardinal_storage::io::{ManualClock, SimFs};
use cardinal_storage::model::{LabelSet, Sample, ShardCount, TimestampMs};
use std::sync::Arc;

/// Takes sections as they are: scripts' labels are canonical already.
struct Canonical;

impl Resolve for Canonical {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        LabelSet::from_section(section)
            .map_err(|e| Refused { class: RefusalClass::InvalidLabels, message: e.to_string() })
    }
}

/// A database with `series`: of the older half of each series' samples some are in blocks and some came late into the
/// head, the newer half is in the head.
///
/// # Panics
///
/// Where the database refuses what a script loads, which it must not.
pub fn stored(series: &[MemorySeries]) -> Box<dyn Source> {
    let database = Database::open(DatabaseOptions {
        fs: Arc::new(SimFs::new(1)),
        clock: Arc::new(ManualClock::new(TimestampMs(0))),
        background: false,
        shards: ShardCount::new(4).expect("4 is a shard count"),
        wal_segment_bytes: 64 << 10,
        ..DatabaseOptions::new("/data")
    })
    .expect("an empty disk opens");
    let older = |s: &MemorySeries, i: usize| i < s.t.len() / 2;
    let late = |s: &MemorySeries, i: usize| older(s, i) && i % 3 == 1;
    append(&database, series, |s, i| older(s, i) && !late(s, i));
    database.flush().expect("the simulated disk does not fail");
    append(&database, series, |s, i| !older(s, i));
    append(&database, series, late);
    Box::new(database.view())
}

/// Appends the samples that `wanted` picks by series and index.
fn append(database: &Database, series: &[MemorySeries], wanted: impl Fn(&MemorySeries, usize) -> bool) {
    let (mut rows, mut samples) = (Vec::new(), Vec::new());
    for s in series {
        let first = samples.len() as u32;
        let sample = |i: usize| Sample { t: TimestampMs(s.t[i]), v: s.v[i] };
        samples.extend((0..s.t.len()).filter(|&i| wanted(s, i)).map(sample));
        rows.push(database.row(&s.labels, first..samples.len() as u32));
    }
    let appended = database.append(&rows, &samples, &Canonical).expect("the log takes it");
    assert_eq!(appended.written, samples.len() as u64, "{:?}", appended.refused);
    appended.ticket.wait().expect("the simulated disk does not fail");
}
