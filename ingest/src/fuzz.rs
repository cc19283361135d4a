//! The body of a write request as a function of bytes: for fuzzing, and for the tests that replay its seeds. Only with the feature
//! `fuzz`.

use crate::Admission;
use crate::histogram_groups::for_each_group;
use crate::intake::{Scratch, WriteOptions};
use crate::resolve::Resolver;
use crate::walk::Routing;
use cardinal_storage::database::Resolve;
use cardinal_storage::model::{HashSeed, ShardCount, TimestampMs};

/// Limits that small inputs can reach.
const OPTIONS: WriteOptions = WriteOptions {
    request_bytes_max: 1 << 20,
    request_samples_max: 1000,
    request_metadata_max: 10,
    in_flight_bytes_max: 2 << 20,
    future_max: cardinal_storage::model::DurationMs::mins(10),
    late_max: cardinal_storage::model::DurationMs::hours(365 * 24),
    labels: crate::LabelLimits { names_max: 16, name_bytes_max: 64, value_bytes_max: 256 },
};

/// The present of [`body`].
pub const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// A compressed body: decompressed, walked, times judged, labels resolved, metadata and refusals read.
pub fn body(bytes: &[u8]) {
    let Ok(mut permit) = Admission::new(OPTIONS.in_flight_bytes_max).admit(bytes.len() as u64) else {
        return;
    };
    let shards = ShardCount::new(16).expect("16 is a shard count");
    let routing = Routing::new(HashSeed(1), shards, "account");
    let mut scratch = Scratch::default();
    let Ok(intake) = scratch.take_in(bytes, &mut permit, &routing, &OPTIONS, NOW) else { return };
    let samples = intake.walked.samples();
    let resolver = Resolver { limits: OPTIONS.labels };
    for row in intake.walked.series() {
        assert!(samples.get(row.samples.start as usize..row.samples.end as usize).is_some(), "{row:?}");
        let _ = resolver.resolve(row.section).map(|labels| labels.section().len());
    }
    intake.walked.metadata().for_each(drop);
    let mut intake = intake;
    let _ = for_each_group(&intake.walked, &intake.bounds, &mut intake.refusals, |rows, histograms, _| {
        for row in rows {
            let of_row = histograms.get(row.samples.start as usize..row.samples.end as usize);
            assert!(of_row.is_some_and(|some| some.iter().all(|s| s.h.check().is_ok())), "{row:?}");
        }
        Ok::<(), ()>(())
    });
    let _ = intake.refusals.into_refusal(0).map(|refusal| refusal.to_string());
}
