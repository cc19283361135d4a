//! Replaying the log over a checkpoint, shards in parallel.
//!
//! One thread reads the log and deals each batch to the worker that has its shard; workers apply what is newer than
//! their slices. The order within a shard is that of the log, which is all that matters.

use super::folders::{QUARANTINE_DIR, wal_dir};
use crate::head::Head;
use crate::head::checkpoint::Loaded;
use crate::head::shard::Shard;
use crate::head::symbols::Released;
use crate::io::Fs;
use crate::model::{LabelSet, Lsn, MetricMetadata, SeriesSlot, ShardId};
use crate::wal::{self, BatchReader, LoggedSample, Record, RecordError, ReplayReport, TornTail, WalError};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Batches that may wait for a worker.
const QUEUE: usize = 256;

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
    /// What of the checkpoint and the head-chunk log could not be read.
    pub(super) head_damage: Vec<String>,
}

/// One step for a shard.
enum Step {
    Register { slot: SeriesSlot, generation: u8, section: Vec<u8> },
    Sample(LoggedSample),
}

/// Steps of one batch for one worker.
struct Dealt {
    lsn: Lsn,
    /// How far beyond the slots that there are a registration may be: some may be lost.
    gap_max: u32,
    steps: Vec<(ShardId, Step)>,
}

#[derive(Default)]
struct Applied {
    samples: u64,
    orphans: u64,
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

/// Replays the log of the data directory `dir` from `first_segment` on.
pub(super) fn replay(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    first_segment: u64,
    loaded: &Loaded,
    mending: Mending,
) -> Result<Replayed, WalError> {
    let wal_dir = &wal_dir(dir);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get()).min(loaded.head.shards.len());
    let mut replayed = Replayed { checkpoint_lsn: loaded.newest_lsn, ..Replayed::default() };
    let report = std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (sender, receiver) = crossbeam::channel::bounded::<Dealt>(QUEUE);
            senders.push(sender);
            threads.push(scope.spawn(move || {
                let mut applied = Applied::default();
                receiver.iter().for_each(|dealt| apply(loaded, dealt, &mut applied));
                applied
            }));
        }
        let mut next = loaded.oldest_lsn().next();
        let mut gap_max = if loaded.damage.is_empty() { GAP_MAX } else { GAP_AFTER_LOSS_MAX };
        let on_batch = &mut |lsn: Lsn, batch: BatchReader<'_>| -> Result<(), WalError> {
            if lsn > next {
                gap_max = GAP_AFTER_LOSS_MAX;
            }
            next = next.max(lsn.next());
            deal(loaded, lsn, gap_max, batch, &senders);
            Ok(())
        };
        let report = match mending {
            Mending::Mend => wal::replay(&**fs, wal_dir, &dir.join(QUARANTINE_DIR), first_segment, on_batch),
            Mending::Leave => wal::inspect(&**fs, wal_dir, first_segment, on_batch),
        };
        drop(senders);
        for thread in threads {
            let applied = thread.join().expect("replaying does not panic");
            replayed.samples += applied.samples;
            replayed.orphans += applied.orphans;
        }
        report
    })?;
    loaded.head.shards.iter().for_each(|s| s.series.lock().collect_free());
    replayed.newest_lsn = report.last.unwrap_or_default().max(loaded.newest_lsn);
    replayed.batches = report.batches;
    replayed.torn_tails = report.torn.len() as u64;
    let missing = missing(&report, loaded, wal_dir);
    replayed.corruptions = (report.corruptions.len() + report.bare.len() + missing.len()) as u64
        + u64::from(lacks_its_beginning(&report, first_segment));
    tell(&report, &missing, wal_dir, first_segment);
    if replayed.orphans > 0 {
        tracing::warn!(
            samples = replayed.orphans,
            "samples of the log had no series: their registrations were lost to corruption"
        );
    }
    Ok(replayed)
}

/// Whether the segment that the checkpoint is followed by is not there. One is always kept.
fn lacks_its_beginning(report: &ReplayReport, first_segment: u64) -> bool {
    first_segment > 0 && report.first_segment != Some(first_segment)
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

/// Says what could not be read, and where.
fn tell(report: &ReplayReport, missing: &[Missing], dir: &Path, first_segment: u64) {
    report
        .bare
        .iter()
        .for_each(|damage| tracing::error!(%damage, "the log is damaged; the rest of it is served"));
    missing
        .iter()
        .for_each(|damage| tracing::error!(%damage, "the log is damaged; the rest of it is served"));
    if lacks_its_beginning(report, first_segment) {
        let dir = dir.display();
        tracing::error!(%dir, segment = first_segment, "the segment of the log that follows the checkpoint is missing: what was in it is lost");
    }
    for damage in &report.corruptions {
        tracing::error!(%damage, kept = ?damage.kept, "the log is damaged; the rest of it is served");
    }
    for TornTail { file, offset, bytes, kept } in &report.torn {
        let file = file.display();
        tracing::warn!(%file, offset, bytes, ?kept, "cut the end of the log: writes that a crash interrupted, unless the file was damaged");
    }
}

/// Sends a batch's steps to the workers of their shards.
fn deal(
    loaded: &Loaded,
    lsn: Lsn,
    gap_max: u32,
    batch: BatchReader<'_>,
    workers: &[crossbeam::channel::Sender<Dealt>],
) {
    let mut steps: Vec<Vec<(ShardId, Step)>> = workers.iter().map(|_| Vec::new()).collect();
    let shards = loaded.head.shards.len();
    let mut deal = |shard: ShardId, step: Step| {
        if shard.index() < shards {
            steps[shard.index() % workers.len()].push((shard, step));
        }
    };
    for record in batch {
        match record {
            Ok(Record::Registration { shard, slot, generation, section }) => {
                deal(shard, Step::Register { slot, generation, section: section.to_vec() });
            }
            Ok(Record::Samples(samples)) => samples.iter().for_each(|s| deal(s.shard, Step::Sample(s))),
            Ok(Record::Metadata { family, kind, unit, help }) => {
                let (family, unit, help) = (family.into(), unit.into(), help.into());
                loaded.head.metadata.lock().add(&MetricMetadata { family, kind, unit, help });
            }
            Ok(Record::Unknown { kind }) => {
                tracing::warn!(%lsn, kind, "skipped a log record of an unknown type")
            }
            Err(error @ RecordError { .. }) => {
                tracing::warn!(%lsn, %error, "skipped the rest of a log batch")
            }
        }
    }
    for (steps, worker) in steps.into_iter().zip(workers) {
        if !steps.is_empty() {
            worker.send(Dealt { lsn, gap_max, steps }).expect("workers read until the senders are gone");
        }
    }
}

fn apply(loaded: &Loaded, dealt: Dealt, applied: &mut Applied) {
    for (shard_id, step) in dealt.steps {
        let shard = loaded.head.shard(shard_id);
        let lsns = &loaded.slice_lsns[shard_id.index()];
        match step {
            Step::Register { slot, generation, section } => {
                let slots = shard.series.lock().slots().max(lsns.slots);
                if u64::from(slot.0) > u64::from(slots) + u64::from(dealt.gap_max) {
                    tracing::warn!(shard = %shard_id, slot = slot.0, slots, "skipped a registration of the log for an impossible slot");
                } else if lsns.is_newer(slot, dealt.lsn) {
                    register(&loaded.head, shard, slot, generation, &section);
                }
            }
            Step::Sample(sample) => {
                if !lsns.is_newer(sample.slot, dealt.lsn) {
                    continue;
                }
                let mut series = shard.series.lock();
                match series.record(sample.slot).map(|r| r.generation) {
                    Some(generation) if generation == sample.generation => {
                        series.append_logged(sample.slot, sample.t, sample.v, &loaded.head.log);
                        applied.samples += 1;
                    }
                    _ => applied.orphans += 1,
                }
            }
        }
    }
}

/// Puts a series where the log says. What stood there has left before it was registered.
fn register(head: &Head, shard: &Shard, slot: SeriesSlot, generation: u8, section: &[u8]) {
    let labels = match LabelSet::from_section(section) {
        Ok(labels) => labels,
        Err(error) => {
            tracing::warn!(shard = %shard.id, %error, "skipped a registration of the log");
            return;
        }
    };
    let fingerprint = labels.fingerprint(head.seed);
    let family = labels.key(&head.account_label, head.seed).family;
    let mut index = shard.index.write();
    let mut series = shard.series.lock();
    let standing = series.record(slot).map(|r| (r.fingerprint, r.generation));
    if standing == Some((fingerprint, generation)) {
        return;
    }
    let mut released = Released::default();
    for old in [standing.map(|_| slot), series.find(fingerprint)].into_iter().flatten() {
        series.remove(old);
        index.remove(old, &mut released);
    }
    index.release(&released);
    let Some(row) = index.row_of(&labels) else { return };
    series.place(slot, generation, fingerprint, family);
    index.insert(slot, &row);
}
