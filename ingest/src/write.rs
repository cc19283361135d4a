//! Remote write 1.0 from a compressed body to an answer.
//!
//! ```text
//! admit ─► decompress ─► walk ─► refuse by time ─► metadata ─► append ─► ticket ─► answer
//! ```
//!
//! Everything up to the ticket is computation and short waits for the log's buffer, for a thread that may block. The ticket
//! is what the answer must wait for: only then the samples are on disk.

use crate::admission::{Admission, Permit};
use crate::counters::{Counters, WriteStats};
use crate::histogram_groups::for_each_group;
use crate::intake::{Intake, Scratch, WriteOptions};
use crate::refusal::{Refusal, Refusals};
use crate::resolve::Resolver;
use crate::walk::{Routing, Walked};
use cardinal_proto::remote_write as proto;
use cardinal_storage::database::{AppendError, AppendRow, Appended, Database};
use cardinal_storage::io::Clock;
use cardinal_storage::model::{MetricKind, MetricMetadata};
use cardinal_storage::wal::{Ticket, WalError};
use parking_lot::Mutex;
use prost::Message;
use std::sync::Arc;

/// Buffers kept between requests: as many as a machine works on at once.
const SCRATCHES_MAX: usize = 8;
/// The largest that are kept; some ten ordinary requests.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// Takes write requests for one database.
#[derive(Debug)]
pub struct Writer {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    options: WriteOptions,
    routing: Routing,
    resolver: Resolver,
    gate: Arc<Admission>,
    scratches: Mutex<Vec<Scratch>>,
    counters: Counters,
}

/// What became of a request, up to its durability.
#[derive(Debug, Default)]
pub struct Response {
    /// Samples stored, those that were there already included.
    pub written: u64,
    /// Of these: native histograms.
    pub histograms_written: u64,
    /// What must resolve before any answer is sent; `None` where nothing was stored.
    pub ticket: Option<Ticket>,
    /// What the sender is told instead of success, once the rest is durable.
    pub refusal: Option<Refusal>,
}

impl Writer {
    /// A writer into `database`, with `clock` as the present.
    pub fn new(database: Arc<Database>, clock: Arc<dyn Clock>, options: WriteOptions) -> Self {
        let routing = Routing::new(database.seed(), database.shards(), database.account_label());
        Self {
            gate: Admission::new(options.in_flight_bytes_max),
            resolver: Resolver { limits: options.labels },
            scratches: Mutex::default(),
            counters: Counters::default(),
            database,
            clock,
            options,
            routing,
        }
    }

    /// The longest body that can hold a request within the limit. Longer ones need not be read.
    pub fn body_bytes_max(&self) -> usize {
        snap::raw::max_compress_len(self.options.request_bytes_max)
    }

    /// Lets a body in before it is read: asked with its length, or with [`Self::body_bytes_max`] where that is not known.
    pub fn admit(&self, body_bytes: usize) -> Result<Permit, Refusal> {
        self.gate.admit(body_bytes as u64).map_err(|overloaded| {
            self.counters.requests.add(1);
            self.counters.requests_deferred.add(1);
            overloaded.into()
        })
    }

    /// Stores what of a request can be stored. May block for as long as the log's buffer is full, a few seconds at most.
    pub fn write(&self, body: &[u8], permit: Permit) -> Response {
        self.counters.requests.add(1);
        self.counters.compressed_bytes.add(body.len() as u64);
        let mut scratch = self.scratches.lock().pop().unwrap_or_default();
        let response = self.write_with(&mut scratch, body, permit);
        self.keep(scratch);
        let response =
            response.unwrap_or_else(|refusal| Response { refusal: Some(refusal), ..Response::default() });
        match response.refusal.as_ref().map(Refusal::status) {
            None => {}
            Some(400..500) => self.counters.requests_refused.add(1),
            Some(_) => self.counters.requests_deferred.add(1),
        }
        response
    }

    /// Counts since the start.
    pub fn stats(&self) -> WriteStats {
        self.counters.snapshot(self.gate.bytes())
    }

    fn write_with(
        &self,
        scratch: &mut Scratch,
        body: &[u8],
        mut permit: Permit,
    ) -> Result<Response, Refusal> {
        let now = self.clock.now();
        let intake = scratch.take_in(body, &mut permit, &self.routing, &self.options, now)?;
        self.count_intake(&intake);
        let Intake { walked, bounds, mut refusals, .. } = intake;
        self.append_metadata(&walked);
        let mut response = Response::default();
        let appended = self.append_floats(&walked, &mut response, &mut refusals).and_then(|()| {
            for_each_group(&walked, &bounds, &mut refusals, |rows, histograms, refusals| {
                let appended = self.database.append_histograms(rows, histograms, &self.resolver)?;
                response.histograms_written += appended.written;
                self.counters.histograms_written.add(appended.written);
                self.note(appended, &mut response, refusals);
                Ok(())
            })
        });
        self.counters.add_refused(refusals.counts());
        appended?;
        response.refusal = refusals.into_refusal(response.written);
        Ok(response)
    }

    fn append_floats(
        &self,
        walked: &Walked<'_>,
        response: &mut Response,
        refusals: &mut Refusals,
    ) -> Result<(), AppendError> {
        let rows: Vec<AppendRow<'_>> = walked.series().collect();
        let appended = self.database.append(&rows, walked.samples(), &self.resolver)?;
        self.note(appended, response, refusals);
        Ok(())
    }

    /// Counts what was appended. The ticket of what was appended last holds for all.
    fn note(&self, appended: Appended, response: &mut Response, refusals: &mut Refusals) {
        refusals.add(&appended.refused_by_class, &appended.refused);
        self.counters.samples_written.add(appended.written);
        self.counters.samples_duplicate.add(appended.duplicates);
        self.counters.samples_late.add(appended.late);
        self.counters.series_registered.add(appended.registered);
        self.counters.series_aliased.add(appended.aliased);
        response.written += appended.written;
        response.ticket = Some(appended.ticket);
    }

    fn count_intake(&self, intake: &Intake<'_>) {
        let counts = intake.walked.counts();
        self.counters.bytes.add(intake.bytes as u64);
        self.counters.samples_received.add(intake.received);
        self.counters.histograms_received.add(intake.walked.histograms().len() as u64);
        self.counters.exemplars_ignored.add(counts.exemplars);
        self.counters.metadata_received.add(counts.metadata);
    }

    /// Stores metadata as far as it can be: trouble with it never fails a request. It goes before the samples, so that
    /// their ticket covers it.
    fn append_metadata(&self, walked: &Walked<'_>) {
        let received = walked.counts().metadata;
        if received == 0 {
            return;
        }
        let items: Vec<_> = walked.metadata().filter_map(|m| self.metadata(m)).collect();
        let stored = match self.database.append_metadata(&items) {
            Ok(_) => items.len() as u64,
            Err(error) => {
                tracing::debug!(%error, "metadata not stored");
                0
            }
        };
        self.counters.metadata_dropped.add(received - stored);
    }

    fn metadata(&self, message: &[u8]) -> Option<MetricMetadata> {
        let m = proto::MetricMetadata::decode(message).ok()?;
        let max = self.options.labels.value_bytes_max;
        let fits = [&m.metric_family_name, &m.help, &m.unit].iter().all(|text| text.len() <= max);
        (fits && !m.metric_family_name.is_empty()).then_some(MetricMetadata {
            family: m.metric_family_name,
            kind: MetricKind::from_number(u8::try_from(m.r#type).unwrap_or_default()),
            unit: m.unit,
            help: m.help,
        })
    }

    fn keep(&self, scratch: Scratch) {
        if scratch.memory_bytes() > SCRATCH_BYTES_MAX {
            return;
        }
        let mut scratches = self.scratches.lock();
        if scratches.len() < SCRATCHES_MAX {
            scratches.push(scratch);
        }
    }
}

impl Response {
    /// The samples written, once they are durable, or what the sender is told instead.
    pub async fn durable(mut self) -> Result<u64, Refusal> {
        let synced = match self.ticket.take() {
            Some(ticket) => ticket.await,
            None => Ok(()),
        };
        self.settle(synced)
    }

    /// [`Self::durable`] for a thread that may block.
    pub fn wait(mut self) -> Result<u64, Refusal> {
        let synced = self.ticket.take().map_or(Ok(()), Ticket::wait);
        self.settle(synced)
    }

    /// A sync that failed outweighs all else: what was stored must be sent again.
    fn settle(self, synced: Result<(), WalError>) -> Result<u64, Refusal> {
        synced.map_err(|error| Refusal::Storage(error.to_string()))?;
        self.refusal.map_or(Ok(self.written), Err)
    }
}

#[cfg(test)]
mod tests;
