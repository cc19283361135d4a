//! Appending: from rows that a request carries to samples in the head and in the log.
//!
//! ```text
//! rows ─► by shard ─► one hold of the shard's lock: look up, append, log ─► unknown rows ─► resolve (no lock held)
//!                                                                                         └─► register, append, log
//! ```
//!
//! The order of locks and waits: the log's byte budget first, then a shard's index (only to register), then its series;
//! nothing is waited for under a shard's lock.

mod refusal;
mod request;

pub use refusal::{RefusalClass, Refused};

use super::Database;
use crate::model::{
    Fingerprint, HistogramSample, LabelSet, METRIC_NAME, MetricMetadata, Sample, SectionIter, ShardId,
    shard_of_account, shard_of_fingerprint,
};
use crate::wal::{Ticket, WalError};
use request::{Progress, Request, Values};
use std::ops::Range;

/// A batch of the log is closed when it is so long, also in the middle of a request.
const LOG_BATCH_BYTES: usize = 1 << 20;
/// Bytes of log that a sample takes at most, its run's header included.
const LOG_BYTES_PER_SAMPLE: usize = 40;
/// Bytes of log that a histogram takes beside what it takes in memory, whose numbers may grow by a quarter.
const LOG_BYTES_PER_HISTOGRAM: usize = 64;

/// One series' samples in a request.
#[derive(Clone, Debug)]
pub struct AppendRow<'a> {
    /// The hash of `section` as it came.
    pub wire: Fingerprint,
    /// The series' label section as it came: canonical or not.
    pub section: &'a [u8],
    /// The account in `section`, as it came; empty without one.
    pub account: &'a [u8],
    /// By `account`; by `wire` without one.
    pub shard: ShardId,
    /// Which of the request's samples, or of its histograms, are the series'.
    pub samples: Range<u32>,
}

impl AppendRow<'_> {
    /// How many samples the row has.
    fn sample_count(&self) -> u64 {
        u64::from(self.samples.end - self.samples.start)
    }
}

/// Turns label sections that were never seen before into label sets.
pub trait Resolve: Sync {
    /// Validates `section` and brings it into canonical form. No lock is held during the call.
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused>;
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

/// The metric name in a label section, if it can be told.
fn name_in(section: &[u8]) -> Option<&str> {
    for label in SectionIter::new(section) {
        let label = label.ok()?;
        if label.name == METRIC_NAME {
            return Some(label.value);
        }
    }
    Some("")
}

impl Database {
    /// The row of a series whose label set is at hand.
    pub fn row<'a>(&self, labels: &'a LabelSet, samples: Range<u32>) -> AppendRow<'a> {
        let wire = Fingerprint::of_section(labels.section(), self.seed());
        let account = labels.get(self.account_label()).unwrap_or_default().as_bytes();
        let shard = match account {
            [] => shard_of_fingerprint(wire, self.shards()),
            account => shard_of_account(account, self.shards()),
        };
        AppendRow { wire, section: labels.section(), account, shard, samples }
    }

    /// Appends a request's rows. Known series cost a look-up; others are resolved and registered. Visible to queries at
    /// once; durable when the ticket resolves.
    pub fn append(
        &self,
        rows: &[AppendRow<'_>],
        samples: &[Sample],
        resolve: &dyn Resolve,
    ) -> Result<Appended, AppendError> {
        self.append_values(rows, Values::Floats(samples), samples.len() * LOG_BYTES_PER_SAMPLE, resolve)
    }

    /// As [`Self::append`], for rows whose samples are native histograms. Each is checked; one whose sum is the staleness marker is
    /// stored as that marker, whatever else it has.
    pub fn append_histograms(
        &self,
        rows: &[AppendRow<'_>],
        histograms: &[HistogramSample],
        resolve: &dyn Resolve,
    ) -> Result<Appended, AppendError> {
        let bytes = |h: &HistogramSample| h.h.memory_bytes() / 4 * 5 + LOG_BYTES_PER_HISTOGRAM;
        self.append_values(rows, Values::Histograms(histograms), histograms.iter().map(bytes).sum(), resolve)
    }

    fn append_values(
        &self,
        rows: &[AppendRow<'_>],
        values: Values<'_>,
        log_bytes: usize,
        resolve: &dyn Resolve,
    ) -> Result<Appended, AppendError> {
        let sections: usize = rows.iter().map(|r| r.section.len()).sum();
        let _reservation = self.wal.reserve(log_bytes + rows.len() * LOG_BYTES_PER_SAMPLE + sections)?;
        let request = Request { database: self, rows, values };
        let mut progress = Progress::new(self.batches.pop().unwrap_or_default());
        request.append(resolve, &mut progress);
        self.note_changes(&request);
        let ticket = self.wal.ticket(self.wal.end());
        let Progress { batch, tally, .. } = progress;
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

    /// Notes what arrived after its time had settled; to be called once it is visible.
    fn note_changes(&self, request: &Request<'_>) {
        let settled = self.changes.settled();
        let Some(all) = request.values.extent(0..usize::MAX) else { return };
        if all.after < settled {
            for row in request.rows {
                let samples = row.samples.start as usize..row.samples.end as usize;
                let Some(range) = request.values.extent(samples).filter(|r| r.after < settled) else {
                    continue;
                };
                match name_in(row.section) {
                    Some(name) => {
                        let account = std::str::from_utf8(row.account).unwrap_or_default();
                        self.changes.note_metric(name, (self.account_label(), account), range);
                    }
                    None => self.changes.note_all(range),
                }
            }
        }
        self.changes.advance(all.until, self.clock.now());
    }

    /// Stores what a sender says about metric families. Statements beyond the store's limits are dropped and counted, unless others
    /// that nobody has repeated for an hour make room.
    pub fn append_metadata(&self, items: &[MetricMetadata]) -> Result<Ticket, AppendError> {
        let bytes: usize = items.iter().map(|i| i.family.len() + i.unit.len() + i.help.len() + 64).sum();
        let _reservation = self.wal.reserve(bytes)?;
        let mut batch = self.batches.pop().unwrap_or_default();
        {
            let now = self.clock.monotonic();
            let mut metadata = self.head.metadata.lock();
            for item in items {
                if metadata.add(item, now) {
                    batch.metadata(&item.family, item.kind, &item.unit, &item.help);
                }
                if batch.len() >= LOG_BATCH_BYTES {
                    self.wal.append(&mut batch);
                }
            }
            if !batch.is_empty() {
                self.wal.append(&mut batch);
            }
            self.head.tell_metadata_bytes(&metadata);
        }
        self.batches.push(batch).ok();
        Ok(self.wal.ticket(self.wal.end()))
    }
}
