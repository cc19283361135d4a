//! Replaying the log over a checkpoint, shards in parallel.
//!
//! One thread reads the log, a segment at a time, and hands its batches to all workers; a worker applies the records of its
//! shards, as far as they are newer than the checkpoint's slices. Samples wait until the segment's end and are then applied slice
//! by slice: a slice of series fits the cache, and a shard does not. The order of a series' records stays that of the log, which
//! is all that matters.

mod worker;

use super::folders::{QUARANTINE_DIR, wal_dir};
use crate::head::Head;
use crate::head::checkpoint::Loaded;
use crate::model::{Lsn, MetricMetadata};
use crate::wal::{Log, LogBatch, Record, RecordError, ReplayReport, TornTail, WalError};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use worker::{Applied, Dealt, Worker};

/// What a replay found.
#[derive(Clone, Debug, Default)]
pub(super) struct Replayed {
    /// The newest LSN of checkpoint and log.
    pub(super) newest_lsn: Lsn,
    /// The newest LSN of the checkpoint.
    pub(super) checkpoint_lsn: Lsn,
    pub(super) batches: u64,
    pub(super) samples: u64,
    /// Samples of series that no registration was found for: only after corruption.
    pub(super) orphans: u64,
    pub(super) torn_tails: u64,
    pub(super) corruptions: u64,
    /// What of the log could not be read.
    pub(super) log_damage: Vec<String>,
    /// What of the checkpoint and the head-chunk log could not be read.
    pub(super) head_damage: Vec<String>,
}

/// Slots are given one after another: a registration far beyond them is damage with a good checksum, and would claim memory
/// for all slots before it.
const GAP_MAX: u32 = 1024;
/// The same where damage was found, so that registrations are missing: more than what one segment can hold for a shard.
const GAP_AFTER_LOSS_MAX: u32 = 1 << 20;

/// Whether the log's torn end is cut off, and damage moved to quarantine, or everything is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mending {
    Mend,
    Leave,
}

/// Replays the log of the data directory `dir` over what its checkpoint had; `first_segment` is the first that `log` was read from.
pub(super) fn replay(
    mut log: Log<'_>,
    dir: &Path,
    first_segment: u64,
    loaded: &Loaded,
    mending: Mending,
) -> Result<Replayed, WalError> {
    let wal_dir = &wal_dir(dir);
    let mut replayed = Replayed { checkpoint_lsn: loaded.newest_lsn, ..Replayed::default() };
    let applied = deliver(&mut log, loaded)?;
    (replayed.samples, replayed.orphans) = (applied.samples, applied.orphans);
    let report = match mending {
        Mending::Mend => log.mend(&dir.join(QUARANTINE_DIR))?,
        Mending::Leave => log.into_report(),
    };
    replayed.newest_lsn = report.last.unwrap_or_default().max(loaded.newest_lsn);
    replayed.batches = report.batches;
    replayed.torn_tails = report.torn.len() as u64;
    let missing = missing(&report, loaded, wal_dir);
    let beginning = lacks_its_beginning(&report, first_segment, wal_dir);
    replayed.log_damage = texts(&report, beginning.as_ref(), &missing);
    replayed.corruptions = replayed.log_damage.len() as u64;
    tell(&report, beginning.as_ref(), &missing);
    if replayed.orphans > 0 {
        tracing::warn!(
            samples = replayed.orphans,
            "samples of the log had no series: their registrations were lost to corruption"
        );
    }
    Ok(replayed)
}

/// The segment that the checkpoint is followed by, and that is not there. One is always kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: expected segment {segment:016x} of the log, which follows the checkpoint, found none: what was in it is lost",
    .dir.display())]
struct LacksItsBeginning {
    dir: PathBuf,
    segment: u64,
}

fn lacks_its_beginning(report: &ReplayReport, first_segment: u64, dir: &Path) -> Option<LacksItsBeginning> {
    let lacks = first_segment > 0 && report.first_segment != Some(first_segment);
    lacks.then(|| LacksItsBeginning { dir: dir.into(), segment: first_segment })
}

/// Batches that the log does not have, and that nothing in it says it had.
#[derive(Debug, thiserror::Error)]
#[error("{} offset {offset}: expected batches {} to {} of the log, which were durable once, found none of them",
    .file.display(), .lsns.start(), .lsns.end())]
struct Missing {
    file: PathBuf,
    offset: u64,
    lsns: RangeInclusive<Lsn>,
}

/// Holds the log against the checkpoint: it goes on where the oldest slice ends, and had reached the newest one before the
/// checkpoint came into force. A damaged checkpoint does not say where that is.
fn missing(report: &ReplayReport, loaded: &Loaded, dir: &Path) -> Vec<Missing> {
    let (wanted, newest) = (loaded.oldest_lsn().next(), loaded.newest_lsn);
    let is_told = |lsn: Lsn| report.corruptions.iter().any(|c| c.lost.contains(&lsn));
    let at = |place: &Option<(PathBuf, u64)>, lsns: RangeInclusive<Lsn>| {
        let (file, offset) = place.clone().unwrap_or((dir.into(), 0));
        (!lsns.is_empty() && !is_told(*lsns.start())).then_some(Missing { file, offset, lsns })
    };
    if !loaded.damage.is_empty() {
        return Vec::new();
    }
    let before = report.first.and_then(|first| at(&report.from, wanted..=first.previous()));
    let behind = at(&report.until, report.last.map_or(wanted, Lsn::next)..=newest);
    before.into_iter().chain(behind).collect()
}

/// What could not be read, in words.
fn texts(report: &ReplayReport, beginning: Option<&LacksItsBeginning>, missing: &[Missing]) -> Vec<String> {
    let of_report = beginning.into_iter().map(ToString::to_string);
    let of_report = of_report.chain(report.unreadable.iter().map(ToString::to_string));
    let of_report = of_report.chain(report.bare.iter().map(ToString::to_string));
    let of_report = of_report.chain(report.corruptions.iter().map(ToString::to_string));
    of_report.chain(missing.iter().map(ToString::to_string)).collect()
}

/// Says what could not be read, and where.
fn tell(report: &ReplayReport, beginning: Option<&LacksItsBeginning>, missing: &[Missing]) {
    for damage in &report.unreadable {
        tracing::error!(%damage, kept = ?damage.kept, "the log cannot be read as a whole; the rest of it is served");
    }
    report
        .bare
        .iter()
        .for_each(|damage| tracing::error!(%damage, "the log is damaged; the rest of it is served"));
    missing
        .iter()
        .for_each(|damage| tracing::error!(%damage, "the log is damaged; the rest of it is served"));
    if let Some(damage) = beginning {
        tracing::error!(%damage, "the log is damaged; the rest of it is served");
    }
    for damage in &report.corruptions {
        tracing::error!(%damage, kept = ?damage.kept, "the log is damaged; the rest of it is served");
    }
    for TornTail { file, offset, bytes, kept } in &report.torn {
        let file = file.display();
        tracing::warn!(%file, offset, bytes, ?kept, "cut the end of the log: writes that a crash interrupted, unless the file was damaged");
    }
}

/// Applies all batches of the log, shards in parallel.
fn deliver(log: &mut Log<'_>, loaded: &Loaded) -> Result<Applied, WalError> {
    let of = std::thread::available_parallelism().map_or(1, |n| n.get()).min(loaded.head.shards.len());
    std::thread::scope(|scope| {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for at in 0..of {
            // Nothing waits in the channel: what is behind the segment being read is then out of memory.
            let (sender, receiver) = crossbeam::channel::bounded::<Arc<Dealt>>(0);
            senders.push(sender);
            threads.push(scope.spawn(move || Worker::new(loaded, at, of).run(&receiver)));
        }
        let mut next = loaded.oldest_lsn().next();
        let mut gap_max = if loaded.damage.is_empty() { GAP_MAX } else { GAP_AFTER_LOSS_MAX };
        let mut gap_of = |batch: &LogBatch| {
            if batch.lsn > next {
                gap_max = GAP_AFTER_LOSS_MAX;
            }
            next = next.max(batch.lsn.next());
            gap_max
        };
        let delivered = log.deliver(&mut |batches| {
            batches.iter().for_each(|batch| take_what_has_no_shard(&loaded.head, batch));
            let dealt = Arc::new(Dealt { gaps_max: batches.iter().map(&mut gap_of).collect(), batches });
            for sender in &senders {
                sender.send(dealt.clone()).expect("workers read until the senders are gone");
            }
            Ok(())
        });
        drop(senders);
        let mut applied = Applied::default();
        for thread in threads {
            applied.add(&thread.join().expect("replaying does not panic"));
        }
        delivered.map(|()| applied)
    })
}

/// Applies metadata, and tells what cannot be read; the workers pass over both.
fn take_what_has_no_shard(head: &Head, batch: &LogBatch) {
    let lsn = batch.lsn;
    for record in batch.records() {
        match record {
            Ok(Record::Registration { .. } | Record::Samples(_) | Record::Histogram(_)) => {}
            Ok(Record::Metadata { family, kind, unit, help }) => {
                let (family, unit, help) = (family.into(), unit.into(), help.into());
                head.metadata.lock().add(&MetricMetadata { family, kind, unit, help }, Duration::ZERO);
            }
            Ok(Record::Unknown { kind }) => {
                tracing::warn!(%lsn, kind, "skipped a log record of an unknown type")
            }
            Err(error @ RecordError { .. }) => {
                tracing::warn!(%lsn, %error, "skipped the rest of a log batch")
            }
        }
    }
}
