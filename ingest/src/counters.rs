//! What has come in so far, for the server's own metrics.

use crate::refusal::ByClass;
use cardinal_storage::database::RefusalClass;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start. Samples received are those written, those refused, and those of requests that failed whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteStats {
    /// Requests, whatever became of them.
    pub requests: u64,
    /// Requests of which something or all was refused for good (4xx).
    pub requests_refused: u64,
    /// Requests that were sent away to come again (5xx).
    pub requests_deferred: u64,
    /// Bytes as they came, compressed.
    pub compressed_bytes: u64,
    /// Bytes after decompression.
    pub bytes: u64,
    /// Samples in requests that could be read, native histograms among them.
    pub samples_received: u64,
    /// Samples stored, those that were there already included.
    pub samples_written: u64,
    /// Of these: were there already, to the bit.
    pub samples_duplicate: u64,
    /// Of these: older than the newest of their series.
    pub samples_late: u64,
    /// Native histograms among the samples received.
    pub histograms_received: u64,
    /// Native histograms among the samples written.
    pub histograms_written: u64,
    /// Samples and histograms refused, by [`RefusalClass`].
    pub refused_by_class: ByClass,
    /// Series that were new.
    pub series_registered: u64,
    /// Series found through another form of their label section.
    pub series_aliased: u64,
    /// Exemplars, which are not stored.
    pub exemplars_ignored: u64,
    /// Metadata items.
    pub metadata_received: u64,
    /// Metadata items left out: undecodable, too large, or too many at once.
    pub metadata_dropped: u64,
    /// Bytes of requests that are being worked on now.
    pub in_flight_bytes: u64,
}

/// The same, being counted. Every field is on its own: a reader may see one request's counts in part.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: Counter,
    pub(crate) requests_refused: Counter,
    pub(crate) requests_deferred: Counter,
    pub(crate) compressed_bytes: Counter,
    pub(crate) bytes: Counter,
    pub(crate) samples_received: Counter,
    pub(crate) samples_written: Counter,
    pub(crate) samples_duplicate: Counter,
    pub(crate) samples_late: Counter,
    pub(crate) histograms_received: Counter,
    pub(crate) histograms_written: Counter,
    pub(crate) refused_by_class: [Counter; RefusalClass::ALL.len()],
    pub(crate) series_registered: Counter,
    pub(crate) series_aliased: Counter,
    pub(crate) exemplars_ignored: Counter,
    pub(crate) metadata_received: Counter,
    pub(crate) metadata_dropped: Counter,
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn add_refused(&self, counts: &ByClass) {
        for (counter, n) in self.refused_by_class.iter().zip(counts) {
            counter.add(*n);
        }
    }

    pub(crate) fn snapshot(&self, in_flight_bytes: u64) -> WriteStats {
        WriteStats {
            requests: self.requests.get(),
            requests_refused: self.requests_refused.get(),
            requests_deferred: self.requests_deferred.get(),
            compressed_bytes: self.compressed_bytes.get(),
            bytes: self.bytes.get(),
            samples_received: self.samples_received.get(),
            samples_written: self.samples_written.get(),
            samples_duplicate: self.samples_duplicate.get(),
            samples_late: self.samples_late.get(),
            histograms_received: self.histograms_received.get(),
            histograms_written: self.histograms_written.get(),
            refused_by_class: std::array::from_fn(|i| self.refused_by_class[i].get()),
            series_registered: self.series_registered.get(),
            series_aliased: self.series_aliased.get(),
            exemplars_ignored: self.exemplars_ignored.get(),
            metadata_received: self.metadata_received.get(),
            metadata_dropped: self.metadata_dropped.get(),
            in_flight_bytes,
        }
    }
}
