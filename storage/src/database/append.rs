//! Appending: from rows that a request carries to samples in the head and in the log.
//!
//! ```text
//! rows ─► by shard ─► one hold of the shard's lock: look up, append, log ─► unknown rows ─► resolve (no lock held)
//!                                                                                         └─► register, append, log
//! ```
//!
//! The order of locks and waits: the log's byte budget first, then a shard's index (only to register), then its series;
//! nothing is waited for under a shard's lock.

use super::Database;
use super::aliases::Alias;
use crate::head::series::{SampleOutcome, SeriesTable};
use crate::head::shard::Shard;
use crate::model::{
    Fingerprint, LabelSet, METRIC_NAME, MetricMetadata, Sample, SectionIter, SeriesSlot, ShardId,
    shard_of_account, shard_of_fingerprint,
};
use crate::wal::{BatchBuilder, Ticket, WalError};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Fingerprints looked up at once, so that their cache misses overlap.
const LOOKUP_BATCH: usize = 64;
/// Series registered in one hold of the locks.
const REGISTER_BATCH: usize = 256;
/// A batch of the log is closed when it is so long, also in the middle of a request.
const LOG_BATCH_BYTES: usize = 1 << 20;
/// Bytes of log that a sample takes at most, its run's header included.
const LOG_BYTES_PER_SAMPLE: usize = 40;
/// Refusals reported one by one.
const REFUSED_MAX: usize = 20;

/// One series' samples in a request.
#[derive(Clone, Debug)]
pub struct AppendRow<'a> {
    /// The hash of `section` as it came.
    pub wire: Fingerprint,
    /// The series' label section as it came: canonical or not.
    pub section: &'a [u8],
    /// By the account in `section`; by `wire` without one.
    pub shard: ShardId,
    /// Which of the request's samples are the series'.
    pub samples: Range<u32>,
}

/// Turns label sections that were never seen before into label sets.
pub trait Resolve: Sync {
    /// Validates `section` and brings it into canonical form. No lock is held during the call.
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused>;
}

/// Why something was refused, as a class that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalClass {
    /// The label set is not valid.
    InvalidLabels = 0,
    /// A limit on label sets is exceeded.
    LabelLimit = 1,
    /// The sample lies too far in the future.
    TooFarAhead = 2,
    /// The sample is older than anything that is kept.
    TooOld = 3,
    /// There is another value at the same time.
    Conflict = 4,
    /// The head has no memory for new series.
    NoMemoryForSeries = 5,
    /// A kind of value that is not stored.
    Unsupported = 6,
}

impl RefusalClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::InvalidLabels,
        Self::LabelLimit,
        Self::TooFarAhead,
        Self::TooOld,
        Self::Conflict,
        Self::NoMemoryForSeries,
        Self::Unsupported,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidLabels => "invalid_labels",
            Self::LabelLimit => "label_limit",
            Self::TooFarAhead => "too_far_ahead",
            Self::TooOld => "too_old",
            Self::Conflict => "conflict",
            Self::NoMemoryForSeries => "no_memory_for_series",
            Self::Unsupported => "unsupported",
        }
    }

    /// Whether sending the same again later may succeed.
    pub fn is_temporary(self) -> bool {
        self == Self::NoMemoryForSeries
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its class.
    pub class: RefusalClass,
    /// The series and the reason.
    pub message: String,
}

/// What became of a request.
#[derive(Debug)]
pub struct Appended {
    /// Samples that are stored now, those that were there already included.
    pub written: u64,
    /// Of these: were there already, to the bit.
    pub duplicates: u64,
    /// Of these: older than the newest of their series.
    pub late: u64,
    /// Series that are new.
    pub registered: u64,
    /// Rows that were found through another form of their label section.
    pub aliased: u64,
    /// Resolves once all of it, duplicates included, is durable.
    pub ticket: Ticket,
    /// The first 20 refusals.
    pub refused: Vec<Refused>,
    /// Refused samples by [`RefusalClass`].
    pub refused_by_class: [u64; RefusalClass::ALL.len()],
}

/// Why nothing of a request was stored, or no more of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The log cannot take it now, or not at all.
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// What a request has come to so far.
#[derive(Debug, Default)]
struct Tally {
    written: u64,
    duplicates: u64,
    late: u64,
    registered: u64,
    aliased: u64,
    refused: Vec<Refused>,
    refused_by_class: [u64; RefusalClass::ALL.len()],
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

impl Database {
    /// Appends a request's rows. Known series cost a look-up; others are resolved and registered. Visible to queries at
    /// once; durable when the ticket resolves.
    pub fn append(
        &self,
        rows: &[AppendRow<'_>],
        samples: &[Sample],
        resolve: &dyn Resolve,
    ) -> Result<Appended, AppendError> {
        let sections: usize = rows.iter().map(|r| r.section.len()).sum();
        let _reservation = self
            .wal
            .reserve(samples.len() * LOG_BYTES_PER_SAMPLE + rows.len() * LOG_BYTES_PER_SAMPLE + sections)?;
        let request = Request { database: self, rows, samples };
        let mut tally = Tally::default();
        let mut conflicts = Vec::new();
        let mut batch = self.batches.pop().unwrap_or_default();
        let unknown = request.append_known(&mut batch, &mut tally, &mut conflicts);
        if !unknown.is_empty() {
            request.append_unknown(unknown, resolve, &mut batch, &mut tally, &mut conflicts);
        }
        request.report(&conflicts, &mut tally);
        let ticket = self.wal.ticket(self.wal.end());
        self.batches.push(batch).ok();
        Ok(Appended {
            written: tally.written,
            duplicates: tally.duplicates,
            late: tally.late,
            registered: tally.registered,
            aliased: tally.aliased,
            ticket,
            refused: tally.refused,
            refused_by_class: tally.refused_by_class,
        })
    }

    /// Stores what a sender says about metric families. Statements beyond the store's limit are dropped and counted.
    pub fn append_metadata(&self, items: &[MetricMetadata]) -> Result<Ticket, AppendError> {
        let bytes: usize = items.iter().map(|i| i.family.len() + i.unit.len() + i.help.len() + 64).sum();
        let _reservation = self.wal.reserve(bytes)?;
        let mut batch = self.batches.pop().unwrap_or_default();
        {
            let mut metadata = self.head.metadata.lock();
            for item in items {
                if metadata.add(item) {
                    batch.metadata(&item.family, item.kind as u8, &item.unit, &item.help);
                }
                if batch.len() >= LOG_BATCH_BYTES {
                    self.wal.append(&mut batch);
                }
            }
            if !batch.is_empty() {
                self.wal.append(&mut batch);
            }
        }
        self.batches.push(batch).ok();
        Ok(self.wal.ticket(self.wal.end()))
    }
}

/// A request on its way in.
struct Request<'a> {
    database: &'a Database,
    rows: &'a [AppendRow<'a>],
    samples: &'a [Sample],
}

impl Request<'_> {
    /// Appends the rows of series whose section is known as it came; returns the others.
    fn append_known(
        &self,
        batch: &mut BatchBuilder,
        tally: &mut Tally,
        conflicts: &mut Vec<Conflict>,
    ) -> Vec<u32> {
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
                        Some(slot) => {
                            self.append_samples(*row, *slot, shard, &mut series, batch, tally, conflicts)
                        }
                        None => unknown.push(*row),
                    }
                }
            }
            if !batch.is_empty() {
                self.database.wal.append(batch);
            }
        }
        unknown
    }

    /// Appends one row's samples to its series, under the shard's lock.
    #[expect(clippy::too_many_arguments, reason = "the innermost step touches everything there is")]
    fn append_samples(
        &self,
        row: u32,
        slot: SeriesSlot,
        shard: &Shard,
        series: &mut SeriesTable,
        batch: &mut BatchBuilder,
        tally: &mut Tally,
        conflicts: &mut Vec<Conflict>,
    ) {
        let Range { start, end } = self.rows[row as usize].samples;
        let generation = series.record(slot).map_or(0, |r| r.generation);
        for sample in &self.samples[start as usize..end as usize] {
            let outcome = series.append(slot, sample.t, sample.v, &self.database.head.log);
            match outcome {
                SampleOutcome::Appended | SampleOutcome::Late => {
                    batch.sample(shard.id, slot, generation, sample.t, sample.v)
                }
                SampleOutcome::Duplicate => {}
                SampleOutcome::Conflict => {
                    conflicts.push(Conflict { row, sample: *sample });
                    continue;
                }
            }
            tally.count(outcome);
        }
        if batch.len() >= LOG_BATCH_BYTES {
            self.database.wal.append(batch);
        }
    }

    /// Resolves rows that no series was found for, then registers what is new.
    fn append_unknown(
        &self,
        rows: Vec<u32>,
        resolve: &dyn Resolve,
        batch: &mut BatchBuilder,
        tally: &mut Tally,
        conflicts: &mut Vec<Conflict>,
    ) {
        let rest = self.append_aliased(rows, batch, tally, conflicts);
        let resolved = self.resolve(&rest, resolve, tally);
        let indices = 0..resolved.len() as u32;
        for (shard, of_shard) in self.by_shard(indices, |i| resolved[i as usize].shard) {
            for some in of_shard.chunks(REGISTER_BATCH) {
                self.register(self.database.head.shard(shard), some, &resolved, batch, tally, conflicts);
            }
        }
        let forms = resolved.iter().filter_map(|r| {
            let wire = self.rows[r.row as usize].wire;
            (wire != r.fingerprint).then_some((wire, Alias { fingerprint: r.fingerprint, shard: r.shard }))
        });
        self.database.aliases.lock().extend(forms);
    }

    /// Appends rows whose section is another form of a known series'; returns the others.
    fn append_aliased(
        &self,
        rows: Vec<u32>,
        batch: &mut BatchBuilder,
        tally: &mut Tally,
        conflicts: &mut Vec<Conflict>,
    ) -> Vec<u32> {
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
                        tally.aliased += 1;
                        self.append_samples(
                            rows[i as usize],
                            slot,
                            shard,
                            &mut series,
                            batch,
                            tally,
                            conflicts,
                        );
                    }
                    None => rest.push(rows[i as usize]),
                }
            }
            if !batch.is_empty() {
                self.database.wal.append(batch);
            }
        }
        rest.sort_unstable();
        rest
    }

    fn resolve(&self, rows: &[u32], resolve: &dyn Resolve, tally: &mut Tally) -> Vec<Resolved> {
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
                Err(refused) => tally.refuse(u64::from(r.samples.end - r.samples.start), refused),
            }
        }
        resolved
    }

    /// Registers series of one shard, unless another request was faster, and appends their samples.
    fn register(
        &self,
        shard: &Shard,
        which: &[u32],
        resolved: &[Resolved],
        batch: &mut BatchBuilder,
        tally: &mut Tally,
        conflicts: &mut Vec<Conflict>,
    ) {
        let refuse_new = self.database.refuse_new_series.load(Ordering::Relaxed);
        let families: Vec<u64> = which
            .iter()
            .map(|i| {
                resolved[*i as usize]
                    .labels
                    .key(&self.database.head.account_label, self.database.seed())
                    .family
            })
            .collect();
        let mut index = shard.index.write();
        let rows: Vec<Option<Vec<u8>>> = match refuse_new {
            true => Vec::new(),
            false => which.iter().map(|i| index.row_of(&resolved[*i as usize].labels)).collect(),
        };
        let mut new = Vec::new();
        {
            let mut series = shard.series.lock();
            for (at, i) in which.iter().enumerate() {
                let Resolved { row, fingerprint, labels, .. } = &resolved[*i as usize];
                let slot = match (series.find(*fingerprint), rows.get(at)) {
                    (Some(slot), _) => slot,
                    (None, Some(Some(label_row))) => {
                        let (slot, generation) = series.register(*fingerprint, families[at]);
                        batch.registration(shard.id, slot, generation, labels.section());
                        new.push((slot, label_row));
                        slot
                    }
                    (None, refusal) => {
                        tally.refuse(self.sample_count(*row), refused_new(labels, refusal.is_some()));
                        continue;
                    }
                };
                self.append_samples(*row, slot, shard, &mut series, batch, tally, conflicts);
            }
            if !batch.is_empty() {
                self.database.wal.append(batch);
            }
        }
        tally.registered += new.len() as u64;
        new.iter().for_each(|(slot, row)| index.insert(*slot, row));
    }

    fn sample_count(&self, row: u32) -> u64 {
        let samples = &self.rows[row as usize].samples;
        u64::from(samples.end - samples.start)
    }

    /// Writes the messages of conflicts, now that no lock is held.
    fn report(&self, conflicts: &[Conflict], tally: &mut Tally) {
        for (n, conflict) in conflicts.iter().enumerate() {
            let message = match n < REFUSED_MAX {
                false => String::new(),
                true => {
                    let series = series_text(self.rows[conflict.row as usize].section);
                    let Sample { t, v } = conflict.sample;
                    format!("{series}: another value than {v} is stored at {t}")
                }
            };
            tally.refuse(1, Refused { class: RefusalClass::Conflict, message });
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

/// How much of a series' text goes into a message, which senders keep a thousand bytes of.
const SERIES_TEXT_MAX: usize = 200;

/// The series of a section in any order, for people.
fn series_text(section: &[u8]) -> String {
    let labels = || SectionIter::new(section).map_while(Result::ok);
    let name = labels().find(|l| l.name == METRIC_NAME).map_or("", |l| l.value);
    let others = labels().filter(|l| l.name != METRIC_NAME);
    let others: Vec<String> = others.map(|l| format!("{}={:?}", l.name, l.value)).collect();
    shortened(format!("{name}{{{}}}", others.join(", ")))
}

fn shortened(mut text: String) -> String {
    if text.len() > SERIES_TEXT_MAX {
        text.truncate(text.floor_char_boundary(SERIES_TEXT_MAX));
        text.push('…');
    }
    text
}

fn refused_new(labels: &LabelSet, too_long: bool) -> Refused {
    let labels = shortened(labels.to_string());
    match too_long {
        true => Refused { class: RefusalClass::LabelLimit, message: format!("{labels}: too many labels") },
        false => Refused {
            class: RefusalClass::NoMemoryForSeries,
            message: format!(
                "{labels}: the head's memory budget is used up, so new series are refused; send again later, or raise head.memory_budget"
            ),
        },
    }
}
