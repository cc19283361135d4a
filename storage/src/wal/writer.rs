//! The one thread that writes the log.
//!
//! Invariants:
//! - `synced ≤ written`; `unsynced` holds every batch above `synced` that was taken over, in order;
//! - batches in `(synced, written]` are in the current segment and in no other one that still counts;
//! - a segment on which a write or sync failed is never synced again.

use super::buffer::{Taken, Work};
use super::segment::{self, Header, Segment};
use super::{Shared, SyncMode, WalError, batch};
use crate::io::Clock as _;
use crate::model::Lsn;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How much log is written before a spare that could not be made is tried again.
const SPARE_RETRY_BYTES: u64 = 4 << 20;

pub(super) struct Writer {
    shared: Arc<Shared>,
    segment: Option<Segment>,
    next_number: u64,
    has_spare: bool,
    /// Bytes to write before the next attempt at a spare.
    spare_in: u64,
    unsynced: VecDeque<Taken>,
    written: Lsn,
    synced: Lsn,
    last_sync: Duration,
}

/// Ends the log with its writer, however that ends: without it, a panic would leave all who write waiting for ever.
pub(super) struct EndOfLog<'a>(pub(super) &'a Shared);

impl Drop for EndOfLog<'_> {
    fn drop(&mut self) {
        // The writer's own reason, where it gave one, is the first and stays.
        self.0.progress.fail(WalError::ReadOnly { reason: "the thread that writes it has panicked".into() });
        self.0.buffer.end_for_good();
    }
}

impl Writer {
    /// A writer that goes on after `end`, in a new segment.
    pub(super) fn begin(shared: Arc<Shared>, end: Lsn, next_number: u64) -> io::Result<Self> {
        let last_sync = shared.clock.monotonic();
        let mut writer = Self {
            shared,
            segment: None,
            next_number,
            has_spare: false,
            spare_in: 0,
            unsynced: VecDeque::new(),
            written: end,
            synced: end,
            last_sync,
        };
        writer.begin_segment(end.next(), 0)?;
        writer.keep_spare();
        Ok(writer)
    }

    /// Works until the log is closed or fails.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = EndOfLog(&shared);
        let error = loop {
            let done = match shared.buffer.next_work(self.synced, self.sync_in()) {
                Work::Write(taken) => {
                    self.unsynced.push_back(taken);
                    self.advance(self.is_sync_due())
                }
                Work::Sync => self.advance(true),
                Work::Close => break self.finish(),
            };
            match done {
                Ok(()) => self.keep_spare(),
                Err(e) => break e,
            }
        };
        shared.progress.fail(error);
    }

    /// Syncs what is left, and gives back what the last segment did not use. Why the log has ended.
    fn finish(&mut self) -> WalError {
        if !self.unsynced.is_empty()
            && let Err(e) = self.advance(true)
        {
            return e;
        }
        if let Some(segment) = &mut self.segment {
            // All batches are durable: a failure here loses nothing but space.
            let _ = segment.trim();
        }
        WalError::Closed
    }

    /// Writes what there is, syncs it if told so, and tells; starts over in a new segment when that fails, once.
    fn advance(&mut self, sync: bool) -> Result<(), WalError> {
        if let Err(error) = self.persist(sync) {
            self.start_over(&error)?;
        }
        self.publish();
        Ok(())
    }

    fn start_over(&mut self, first: &io::Error) -> Result<(), WalError> {
        self.shared.counters.failures.fetch_add(1, Relaxed);
        tracing::warn!(error = %first, "the log goes on in a new segment: writing to the old one failed");
        let failed = self.segment.take();
        self.written = self.synced;
        let second = self.persist(true);
        // In interval mode what is in memory only is acknowledged: after a second failure it may yet survive there.
        if (second.is_ok() || self.shared.options.sync == SyncMode::Commit)
            && let Some(Err(error)) = failed.map(Segment::cut_to_synced)
        {
            tracing::warn!(%error, "the unsynced end of the failed segment could not be cut off");
        }
        second.map_err(|second| self.give_up(first, &second))
    }

    fn give_up(&mut self, first: &io::Error, second: &io::Error) -> WalError {
        self.shared.counters.failures.fetch_add(1, Relaxed);
        if self.shared.options.sync == SyncMode::Commit
            && let Some(segment) = self.segment.take()
        {
            // The last word is the error below; a restart reads more than it should at worst, and syncs that first.
            let _ = segment.cut_to_synced();
        }
        let error = WalError::ReadOnly { reason: format!("{second} (and before that: {first})").into() };
        tracing::error!("{error}; until then writes get 503, and queries go on");
        error
    }

    fn persist(&mut self, sync: bool) -> io::Result<()> {
        let mut unsynced = std::mem::take(&mut self.unsynced);
        let written = unsynced.iter_mut().try_for_each(|taken| self.write(&mut taken.bytes));
        self.unsynced = unsynced;
        written?;
        if sync && self.synced < self.written {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes the batches above `written`, in as few calls as segments allow.
    fn write(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let (mut from, mut to) = (0, 0);
        let mut last = self.written;
        while let Some((len, lsn)) = batch::next_built(&bytes[to..]) {
            if lsn <= self.written {
                from = to + len;
            } else {
                if !self.segment.as_ref().is_some_and(|s| s.has_room(to - from + len)) {
                    self.write_span(&bytes[from..to], last)?;
                    self.roll(lsn, len)?;
                    from = to;
                }
                batch::seal(&mut bytes[to..to + len], self.synced);
                last = lsn;
            }
            to += len;
        }
        self.write_span(&bytes[from..to], last)
    }

    fn write_span(&mut self, batches: &[u8], last: Lsn) -> io::Result<()> {
        if batches.is_empty() {
            return Ok(());
        }
        self.segment.as_mut().expect("room was found in it").write(batches)?;
        self.written = last;
        let bytes = batches.len() as u64;
        self.spare_in = self.spare_in.saturating_sub(bytes);
        self.shared.counters.bytes.fetch_add(bytes, Relaxed);
        self.shared.table.lock().written(last, bytes);
        Ok(())
    }

    /// Leaves the segment, all of it synced, for a new one that begins with `first`.
    fn roll(&mut self, first: Lsn, len: usize) -> io::Result<()> {
        if self.segment.is_some() && self.synced < self.written {
            self.sync()?;
        }
        self.segment = None;
        self.begin_segment(first, len)
    }

    fn begin_segment(&mut self, first: Lsn, batch_len: usize) -> io::Result<()> {
        let header = Header { number: self.next_number, first };
        self.next_number += 1;
        let needed = (segment::HEADER_LEN + batch_len) as u64;
        let capacity = self.shared.options.segment_bytes.max(needed);
        let from_spare = self.has_spare && needed <= self.shared.options.segment_bytes;
        self.has_spare &= !from_spare;
        let shared = &*self.shared;
        self.segment = Some(Segment::begin(&*shared.fs, &shared.dir, header, capacity, from_spare)?);
        shared.table.lock().begun(header.number, first);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let clock = &self.shared.clock;
        let before = clock.monotonic();
        self.segment.as_mut().expect("written batches are in a segment").sync()?;
        self.last_sync = clock.monotonic();
        self.synced = self.written;
        self.shared.counters.syncs.add(self.last_sync.saturating_sub(before));
        Ok(())
    }

    /// Gives back the memory of what is durable, and tells those who wait.
    fn publish(&mut self) {
        let acknowledged = match self.shared.options.sync {
            SyncMode::Commit => self.synced,
            SyncMode::Interval(_) => self.written,
        };
        while self.unsynced.front().is_some_and(|taken| taken.last <= self.synced) {
            if let Some(taken) = self.unsynced.pop_front() {
                self.shared.buffer.give_back(taken);
            }
        }
        self.shared.progress.advance(acknowledged, self.synced);
    }

    /// Makes a spare where there is none. Where that fails the log goes on without, and tries again later.
    fn keep_spare(&mut self) {
        if self.has_spare || self.spare_in > 0 {
            return;
        }
        let shared = &*self.shared;
        match segment::make_spare(&*shared.fs, &shared.dir, shared.options.segment_bytes) {
            Ok(()) => self.has_spare = true,
            Err(error) => {
                self.spare_in = SPARE_RETRY_BYTES;
                shared.counters.failures.fetch_add(1, Relaxed);
                tracing::warn!(%error, "no spare segment for the log: free some space, or it becomes read-only");
            }
        }
        shared.counters.has_spare.store(self.has_spare, Relaxed);
    }

    /// When what is written has to be synced; `None` where nothing waits for that.
    fn sync_in(&self) -> Option<Duration> {
        match self.shared.options.sync {
            SyncMode::Interval(every) if !self.unsynced.is_empty() => {
                Some(every.saturating_sub(self.shared.clock.monotonic().saturating_sub(self.last_sync)))
            }
            _ => None,
        }
    }

    fn is_sync_due(&self) -> bool {
        match self.shared.options.sync {
            SyncMode::Commit => true,
            SyncMode::Interval(_) => {
                let held: usize = self.unsynced.iter().map(|taken| taken.bytes.len()).sum();
                held > self.shared.options.buffer_bytes_max / 2 || self.sync_in() == Some(Duration::ZERO)
            }
        }
    }
}
