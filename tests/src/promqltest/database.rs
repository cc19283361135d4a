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
    append(&database, series, |i, n| i < n / 2 && i % 3 != 1);
    database.flush().expect("the simulated disk does not fail");
    append(&database, series, |i, n| i >= n / 2);
    append(&database, series, |i, n| i < n / 2 && i % 3 == 1);
    Box::new(database.view())
}

/// Appends the samples, and the histograms, that `wanted` picks by their place among those of their series and how many these
/// are.
fn append(database: &Database, series: &[MemorySeries], wanted: impl Fn(usize, usize) -> bool) {
    let (mut rows, mut samples) = (Vec::new(), Vec::new());
    let (mut histogram_rows, mut histograms) = (Vec::new(), Vec::new());
    for s in series {
        let wanted = &wanted;
        let picked = |n: usize| (0..n).filter(move |&i| wanted(i, n));
        let first = samples.len() as u32;
        samples.extend(picked(s.t.len()).map(|i| Sample { t: TimestampMs(s.t[i]), v: s.v[i] }));
        rows.push(database.row(&s.labels, first..samples.len() as u32));
        let first = histograms.len() as u32;
        histograms.extend(picked(s.histograms.len()).map(|i| s.histograms[i].clone()));
        histogram_rows.push(database.row(&s.labels, first..histograms.len() as u32));
    }
    let floats = database.append(&rows, &samples, &Canonical).expect("the log takes it");
    assert_eq!(floats.written, samples.len() as u64, "{:?}", floats.refused);
    let appended =
        database.append_histograms(&histogram_rows, &histograms, &Canonical).expect("the log takes it");
    assert_eq!(appended.written, histograms.len() as u64, "{:?}", appended.refused);
    floats.ticket.wait().expect("the simulated disk does not fail");
    appended.ticket.wait().expect("the simulated disk does not fail");
}
