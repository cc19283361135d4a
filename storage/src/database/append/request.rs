//! One request on its way into head and log.

use super::refusal::{REFUSED_MAX, refused_new, series_text};
use super::{AppendRow, LOG_BATCH_BYTES, RefusalClass, Refused, Resolve};
use crate::database::Database;
use crate::database::aliases::Alias;
use crate::head::series::{SampleOutcome, SeriesTable};
use crate::head::shard::Shard;
use crate::model::{
    Fingerprint, LabelSet, Sample, SeriesSlot, ShardId, shard_of_account, shard_of_fingerprint,
};
use crate::wal::BatchBuilder;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Fingerprints looked up at once, so that their cache misses overlap.
const LOOKUP_BATCH: usize = 64;
/// Series registered in one hold of the locks.
const REGISTER_BATCH: usize = 256;

/// What a request fills as it goes on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What the log does not have yet.
    pub(super) batch: BatchBuilder,
    pub(super) tally: Tally,
    conflicts: Vec<Conflict>,
}

impl Progress {
    pub(super) fn new(batch: BatchBuilder) -> Self {
        Self { batch, ..Self::default() }
    }
}

/// What a request has come to so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) written: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) registered: u64,
    pub(super) aliased: u64,
    pub(super) refused: Vec<Refused>,
    pub(super) refused_by_class: [u64; RefusalClass::ALL.len()],
}

impl Tally {
    fn count(&mut self, outcome: SampleOutcome) {
        self.written += 1;
        self.duplicates += u64::from(outcome == SampleOutcome::Duplicate);
        self.late += u64::from(outcome == SampleOutcome::Late);
    }

    fn refuse(&mut self, samples: u64, refused: Refused) {
        self.refused_by_class[refused.class as usize] += samples;
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(refused);
        }
    }
}

/// A sample that contradicts one that is there; its message is written after the locks are gone.
#[derive(Debug)]
struct Conflict {
    row: u32,
    sample: Sample,
}

/// A row with the label set that it was resolved to.
struct Resolved {
    row: u32,
    fingerprint: Fingerprint,
    shard: ShardId,
    labels: LabelSet,
}

/// A request on its way in.
pub(super) struct Request<'a> {
    pub(super) database: &'a Database,
    pub(super) rows: &'a [AppendRow<'a>],
    pub(super) samples: &'a [Sample],
}

impl Request<'_> {
    /// Appends all of it: known series first, then those that have to be resolved.
    pub(super) fn append(&self, resolve: &dyn Resolve, progress: &mut Progress) {
        let unknown = self.append_known(progress);
        if !unknown.is_empty() {
            self.append_unknown(unknown, resolve, progress);
        }
        self.report(progress);
    }

    /// Appends the rows of series whose section is known as it came; returns the others.
    fn append_known(&self, progress: &mut Progress) -> Vec<u32> {
        let mut unknown = Vec::new();
        let mut found: Vec<Option<SeriesSlot>> = Vec::with_capacity(LOOKUP_BATCH);
        for (shard, rows) in self.by_shard(0..self.rows.len() as u32, |r| self.rows[r as usize].shard) {
            let shard = self.database.head.shard(shard);
            let mut series = shard.series.lock();
            for rows in rows.chunks(LOOKUP_BATCH) {
                let wires = || rows.iter().map(|r| self.rows[*r as usize].wire);
                std::hint::black_box(series.touch(wires()));
                found.clear();
                found.extend(wires().map(|w| series.find(w)));
                for (row, slot) in rows.iter().zip(&found) {
                    match slot {
                        Some(slot) => self.append_samples(*row, *slot, shard.id, &mut series, progress),
                        None => unknown.push(*row),
                    }
                }
            }
            self.log(progress);
        }
        unknown
    }

    /// Appends one row's samples to its series, under the shard's lock.
    fn append_samples(
        &self,
        row: u32,
        slot: SeriesSlot,
        shard: ShardId,
        series: &mut SeriesTable,
        progress: &mut Progress,
    ) {
        let Range { start, end } = self.rows[row as usize].samples;
        let generation = series.record(slot).map_or(0, |r| r.generation);
        for sample in &self.samples[start as usize..end as usize] {
            let outcome = series.append(slot, sample.t, sample.v, &self.database.head.log);
            match outcome {
                SampleOutcome::Appended | SampleOutcome::Late => {
                    progress.batch.sample(shard, slot, generation, sample.t, sample.v)
                }
                SampleOutcome::Duplicate => {}
                SampleOutcome::Conflict => {
                    progress.conflicts.push(Conflict { row, sample: *sample });
                    continue;
                }
            }
            progress.tally.count(outcome);
        }
        if progress.batch.len() >= LOG_BATCH_BYTES {
            self.database.wal.append(&mut progress.batch);
        }
    }

    /// Resolves rows that no series was found for, then registers what is new.
    fn append_unknown(&self, rows: Vec<u32>, resolve: &dyn Resolve, progress: &mut Progress) {
        let rest = self.append_aliased(rows, progress);
        let resolved = self.resolve(&rest, resolve, progress);
        let indices = 0..resolved.len() as u32;
        for (shard, of_shard) in self.by_shard(indices, |i| resolved[i as usize].shard) {
            for some in of_shard.chunks(REGISTER_BATCH) {
                self.register(self.database.head.shard(shard), some, &resolved, progress);
            }
        }
        let forms = resolved.iter().filter_map(|r| {
            let wire = self.rows[r.row as usize].wire;
            (wire != r.fingerprint).then_some((wire, Alias { fingerprint: r.fingerprint, shard: r.shard }))
        });
        self.database.aliases.lock().extend(forms);
    }

    /// Appends rows whose section is another form of a known series'; returns the others.
    fn append_aliased(&self, rows: Vec<u32>, progress: &mut Progress) -> Vec<u32> {
        let aliases: Vec<Option<Alias>> = {
            let known = self.database.aliases.lock();
            if known.is_empty() {
                return rows;
            }
            rows.iter().map(|r| known.get(self.rows[*r as usize].wire)).collect()
        };
        let aliased = |i: &u32| aliases[*i as usize].is_some();
        let shard_of = |i: u32| aliases[i as usize].map_or(ShardId(0), |a| a.shard);
        let mut rest: Vec<u32> = (0..rows.len()).filter(|i| aliases[*i].is_none()).map(|i| rows[i]).collect();
        for (shard, of_shard) in self.by_shard((0..rows.len() as u32).filter(aliased), shard_of) {
            let shard = self.database.head.shard(shard);
            let mut series = shard.series.lock();
            for i in of_shard {
                let slot = aliases[i as usize].and_then(|a| series.find(a.fingerprint));
                match slot {
                    Some(slot) => {
                        progress.tally.aliased += 1;
                        self.append_samples(rows[i as usize], slot, shard.id, &mut series, progress);
                    }
                    None => rest.push(rows[i as usize]),
                }
            }
            self.log(progress);
        }
        rest.sort_unstable();
        rest
    }

    fn resolve(&self, rows: &[u32], resolve: &dyn Resolve, progress: &mut Progress) -> Vec<Resolved> {
        let mut resolved = Vec::with_capacity(rows.len());
        for row in rows {
            let r = &self.rows[*row as usize];
            match resolve.resolve(r.section) {
                Ok(labels) => {
                    let fingerprint = labels.fingerprint(self.database.seed());
                    let shard = match labels.get(&self.database.head.account_label) {
                        Some(account) => shard_of_account(account.as_bytes(), self.database.shards()),
                        None => shard_of_fingerprint(fingerprint, self.database.shards()),
                    };
                    resolved.push(Resolved { row: *row, fingerprint, shard, labels });
                }
                Err(refused) => progress.tally.refuse(r.sample_count(), refused),
            }
        }
        resolved
    }

    /// Registers series of one shard, unless another request was faster, and appends their samples.
    fn register(&self, shard: &Shard, which: &[u32], resolved: &[Resolved], progress: &mut Progress) {
        let of_shard = || which.iter().map(|i| &resolved[*i as usize]);
        let (account_label, seed) = (&self.database.head.account_label, self.database.seed());
        let families: Vec<u64> = of_shard().map(|r| r.labels.key(account_label, seed).family).collect();
        let refuse_new = self.database.refuse_new_series.load(Ordering::Relaxed);
        let mut index = shard.index.write();
        let rows: Vec<Option<Vec<u8>>> = match refuse_new {
            true => Vec::new(),
            false => of_shard().map(|r| index.row_of(&r.labels)).collect(),
        };
        let mut new = Vec::new();
        {
            let mut series = shard.series.lock();
            for (at, Resolved { row, fingerprint, labels, .. }) in of_shard().enumerate() {
                let slot = match (series.find(*fingerprint), rows.get(at)) {
                    (Some(slot), _) => slot,
                    (None, Some(Some(label_row))) => {
                        let (slot, generation) = series.register(*fingerprint, families[at]);
                        progress.batch.registration(shard.id, slot, generation, labels.section());
                        new.push((slot, label_row));
                        slot
                    }
                    (None, refusal) => {
                        let samples = self.rows[*row as usize].sample_count();
                        progress.tally.refuse(samples, refused_new(labels, refusal.is_some()));
                        continue;
                    }
                };
                self.append_samples(*row, slot, shard.id, &mut series, progress);
            }
            self.log(progress);
        }
        progress.tally.registered += new.len() as u64;
        new.iter().for_each(|(slot, row)| index.insert(*slot, row));
    }

    /// Hands what has gathered to the log. Under the shard's lock: see the order of locks.
    fn log(&self, progress: &mut Progress) {
        if !progress.batch.is_empty() {
            self.database.wal.append(&mut progress.batch);
        }
    }

    /// Writes the messages of conflicts, now that no lock is held.
    fn report(&self, progress: &mut Progress) {
        for (n, conflict) in progress.conflicts.iter().enumerate() {
            let message = match n < REFUSED_MAX {
                false => String::new(),
                true => {
                    let series = series_text(self.rows[conflict.row as usize].section);
                    let Sample { t, v } = conflict.sample;
                    format!("{series}: another value than {v} is stored at {t}")
                }
            };
            progress.tally.refuse(1, Refused { class: RefusalClass::Conflict, message });
        }
    }

    /// The numbers `of` things, grouped by shard, in order within each.
    fn by_shard(
        &self,
        of: impl Iterator<Item = u32>,
        shard: impl Fn(u32) -> ShardId,
    ) -> Vec<(ShardId, Vec<u32>)> {
        let mut groups: Vec<Vec<u32>> = vec![Vec::new(); self.database.head.shards.len()];
        of.for_each(|i| groups[shard(i).index()].push(i));
        let id = |(at, group)| (ShardId(at as u16), group);
        groups.into_iter().enumerate().map(id).filter(|(_, g)| !g.is_empty()).collect()
    }
}
