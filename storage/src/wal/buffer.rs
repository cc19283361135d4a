//! The log's buffer in memory: where batches get their LSNs and wait for the writer, and what it may grow to.

use super::WalError;
use super::batch::BatchBuilder;
use crate::model::Lsn;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Beyond this an idle buffer's memory is given back.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Appending takes this lock and no other; it is held for a copy.
pub(super) struct LogBuffer {
    inner: Mutex<Inner>,
    bytes_max: usize,
    /// The writer waits for this.
    work: Condvar,
    /// Those who reserve wait for this.
    freed: Condvar,
}

struct Inner {
    bytes: Vec<u8>,
    /// An empty buffer with its memory, for the next exchange.
    idle: Vec<u8>,
    next: Lsn,
    /// The newest LSN whose batch was kept.
    last: Lsn,
    /// Promised to those who will append.
    reserved: usize,
    /// Appended and not durable yet, also where the writer has it.
    held: usize,
    state: State,
    /// Everything up to here is to be synced without delay.
    sync_wanted: Lsn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    /// Here, and while closing, appending gives LSNs that are never reached: the log's end is not acknowledged any more.
    Ended,
}

/// Batches that the writer has taken over.
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    pub(super) last: Lsn,
}

/// What the writer is to do next.
pub(super) enum Work {
    Write(Taken),
    Sync,
    Close,
}

impl LogBuffer {
    pub(super) fn new(bytes_max: usize, next: Lsn) -> Self {
        let inner = Inner {
            bytes: Vec::new(),
            idle: Vec::new(),
            next,
            last: next.previous(),
            reserved: 0,
            held: 0,
            state: State::Open,
            sync_wanted: Lsn(0),
        };
        Self { inner: Mutex::new(inner), bytes_max, work: Condvar::new(), freed: Condvar::new() }
    }

    /// Takes `bytes` of the budget; what exceeds all of it is admitted alone. `None` when there was no room for so long.
    fn reserve(&self, bytes: usize, patience: Duration) -> Option<usize> {
        let bytes = bytes.min(self.bytes_max);
        let mut inner = self.inner.lock();
        let mut deadline = None;
        while inner.state == State::Open && inner.reserved + inner.held + bytes > self.bytes_max {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
            if self.freed.wait_until(&mut inner, deadline).timed_out() {
                return None;
            }
        }
        inner.reserved += bytes;
        Some(bytes)
    }

    fn release(&self, bytes: usize) {
        self.inner.lock().reserved -= bytes;
        self.freed.notify_all();
    }

    /// Gives the batch its LSN and copies it.
    pub(super) fn append(&self, batch: &mut BatchBuilder) -> Lsn {
        let mut inner = self.inner.lock();
        let lsn = inner.next;
        inner.next = lsn.next();
        if inner.state == State::Open {
            inner.last = lsn;
            inner.bytes.extend_from_slice(batch.finish(lsn));
            inner.held += batch.len();
        }
        drop(inner);
        self.work.notify_one();
        lsn
    }

    pub(super) fn end(&self) -> Lsn {
        self.inner.lock().next.previous()
    }

    pub(super) fn held(&self) -> usize {
        self.inner.lock().held
    }

    /// Asks for everything appended so far to be synced; returns its end.
    pub(super) fn want_sync(&self) -> Lsn {
        let mut inner = self.inner.lock();
        inner.sync_wanted = inner.last;
        let end = inner.next.previous();
        drop(inner);
        self.work.notify_one();
        end
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        if inner.state == State::Open {
            inner.state = State::Closing;
        }
        drop(inner);
        self.work.notify_one();
    }

    /// Nothing is kept from now on, and nobody waits for room any more.
    pub(super) fn end_for_good(&self) {
        let mut inner = self.inner.lock();
        inner.state = State::Ended;
        inner.bytes = Vec::new();
        inner.idle = Vec::new();
        inner.held = 0;
        drop(inner);
        self.freed.notify_all();
    }

    // ---- the writer's side ----

    /// Waits for something to do. `sync_in`: when what was written is to be synced, if it is not yet.
    pub(super) fn next_work(&self, synced: Lsn, sync_in: Option<Duration>) -> Work {
        let deadline = sync_in.map(|d| Instant::now() + d);
        let mut inner = self.inner.lock();
        loop {
            if !inner.bytes.is_empty() {
                return Work::Write(inner.take());
            }
            if inner.sync_wanted > synced {
                return Work::Sync;
            }
            if inner.state != State::Open {
                return Work::Close;
            }
            match deadline {
                None => self.work.wait(&mut inner),
                Some(deadline) if self.work.wait_until(&mut inner, deadline).timed_out() => {
                    return Work::Sync;
                }
                Some(_) => {}
            }
        }
    }

    /// The budget has these back, and the buffer their memory.
    pub(super) fn give_back(&self, mut taken: Taken) {
        let mut inner = self.inner.lock();
        inner.held = inner.held.saturating_sub(taken.bytes.len());
        if inner.state != State::Ended && taken.bytes.capacity() <= KEPT_BYTES_MAX {
            taken.bytes.clear();
            inner.idle = taken.bytes;
        }
        drop(inner);
        self.freed.notify_all();
    }
}

impl Inner {
    fn take(&mut self) -> Taken {
        let idle = std::mem::take(&mut self.idle);
        Taken { bytes: std::mem::replace(&mut self.bytes, idle), last: self.last }
    }
}

/// A part of the log's buffer, promised before any shard lock is taken. Drop it once the batch is appended.
#[must_use = "the budget is given back on drop"]
pub struct Reservation {
    buffer: Arc<LogBuffer>,
    bytes: usize,
}

impl Reservation {
    pub(super) fn new(buffer: &Arc<LogBuffer>, bytes: usize, patience: Duration) -> Result<Self, WalError> {
        match buffer.reserve(bytes, patience) {
            Some(bytes) => Ok(Self { buffer: Arc::clone(buffer), bytes }),
            None => Err(WalError::Busy { waited: patience }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.buffer.release(self.bytes);
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricKind;

    fn reserve(buffer: &Arc<LogBuffer>, bytes: usize) -> Result<Reservation, WalError> {
        Reservation::new(buffer, bytes, Duration::ZERO)
    }

    fn batch() -> BatchBuilder {
        let mut b = BatchBuilder::default();
        b.metadata("up", MetricKind::Unknown, "", "");
        b
    }

    #[test]
    fn the_budget_counts_what_is_promised_and_what_is_held() {
        let buffer = Arc::new(LogBuffer::new(100, Lsn(1)));
        let a = reserve(&buffer, 60).unwrap();
        assert!(matches!(reserve(&buffer, 41), Err(WalError::Busy { .. })));
        let b = reserve(&buffer, 40).unwrap();
        drop((a, b));
        let appended = batch().len();
        assert_eq!(buffer.append(&mut batch()), Lsn(1));
        assert!(reserve(&buffer, 101 - appended).is_err());
        let Work::Write(taken) = buffer.next_work(Lsn(0), None) else { panic!() };
        assert!(reserve(&buffer, 101 - appended).is_err(), "what the writer has is held still");
        assert_eq!(taken.last, Lsn(1));
        buffer.give_back(taken);
        drop(reserve(&buffer, 100).unwrap());
        drop(reserve(&buffer, usize::MAX).unwrap());
    }

    #[test]
    fn work_comes_in_order_of_urgency() {
        let buffer = LogBuffer::new(100, Lsn(1));
        assert!(matches!(buffer.next_work(Lsn(0), Some(Duration::ZERO)), Work::Sync));
        buffer.append(&mut batch());
        buffer.want_sync();
        buffer.close();
        let Work::Write(taken) = buffer.next_work(Lsn(0), None) else { panic!() };
        assert!(matches!(buffer.next_work(Lsn(0), None), Work::Sync));
        assert!(matches!(buffer.next_work(Lsn(1), None), Work::Close));
        buffer.give_back(taken);
        assert_eq!((buffer.append(&mut batch()), buffer.end()), (Lsn(2), Lsn(2)));
        assert_eq!(buffer.want_sync(), Lsn(2));
        assert!(matches!(buffer.next_work(Lsn(1), None), Work::Close), "after the end nothing is taken");
    }
}
