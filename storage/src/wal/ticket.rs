//! How far the log is, and those who wait for it to get further.

use super::WalError;
use crate::model::Lsn;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// How far the log is. `acknowledged` is what tickets wait for; in interval mode it runs ahead of `synced`.
pub(super) struct Progress {
    acknowledged: AtomicU64,
    synced: AtomicU64,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    wakers: BTreeMap<(Lsn, u64), Waker>,
    next_id: u64,
    failed: Option<WalError>,
}

impl Progress {
    pub(super) fn new(synced: Lsn) -> Self {
        Self {
            acknowledged: AtomicU64::new(synced.0),
            synced: AtomicU64::new(synced.0),
            waiting: Mutex::new(Waiting { wakers: BTreeMap::new(), next_id: 0, failed: None }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::Acquire))
    }

    pub(super) fn synced(&self) -> Lsn {
        Lsn(self.synced.load(Ordering::Acquire))
    }

    /// The error that ended the log, if any did.
    pub(super) fn failure(&self) -> Option<WalError> {
        self.waiting.lock().failed.clone()
    }

    /// Moves both marks (never back) and wakes whoever waited for that.
    pub(super) fn advance(&self, acknowledged: Lsn, synced: Lsn) {
        let due = {
            let mut waiting = self.waiting.lock();
            self.acknowledged.fetch_max(acknowledged.0, Ordering::AcqRel);
            self.synced.fetch_max(synced.0, Ordering::AcqRel);
            let later = waiting.wakers.split_off(&(Lsn(acknowledged.0.saturating_add(1)), 0));
            std::mem::replace(&mut waiting.wakers, later)
        };
        self.changed.notify_all();
        due.into_values().for_each(Waker::wake);
    }

    /// Ends the log: everything not acknowledged yet fails with this error. The first error stays.
    pub(super) fn fail(&self, error: WalError) {
        let due = {
            let mut waiting = self.waiting.lock();
            waiting.failed.get_or_insert(error);
            std::mem::take(&mut waiting.wakers)
        };
        self.changed.notify_all();
        due.into_values().for_each(Waker::wake);
    }

    /// Waits until `reached` says so, or the log has failed.
    pub(super) fn wait_until(&self, reached: impl Fn(&Self) -> bool) -> Result<(), WalError> {
        let mut waiting = self.waiting.lock();
        loop {
            if reached(self) {
                return Ok(());
            }
            if let Some(e) = &waiting.failed {
                return Err(e.clone());
            }
            self.changed.wait(&mut waiting);
        }
    }
}

/// A promise that the log has everything up to an LSN: as a future, which holds no thread, or by [`Ticket::wait`].
///
/// With [`SyncMode::Commit`](super::SyncMode::Commit) a resolved ticket means synced. It fails where the log became
/// read-only first; then nobody may be told that the samples were stored.
pub struct Ticket {
    progress: Arc<Progress>,
    lsn: Lsn,
    /// Under which number the waker is kept.
    id: Option<u64>,
}

impl Ticket {
    pub(super) fn new(progress: Arc<Progress>, lsn: Lsn) -> Self {
        Self { progress, lsn, id: None }
    }

    /// What it waits for.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Blocks this thread until the log has it. Not for async threads.
    pub fn wait(self) -> Result<(), WalError> {
        self.progress.wait_until(|p| p.acknowledged() >= self.lsn)
    }
}

impl Future for Ticket {
    type Output = Result<(), WalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lsn = self.lsn;
        let progress = Arc::clone(&self.progress);
        if progress.acknowledged() >= lsn {
            return Poll::Ready(Ok(()));
        }
        let mut waiting = progress.waiting.lock();
        // Once more under the lock, which the writer holds while it moves the mark: no wake-up falls between.
        if progress.acknowledged() >= lsn {
            return Poll::Ready(Ok(()));
        }
        if let Some(e) = &waiting.failed {
            return Poll::Ready(Err(e.clone()));
        }
        let id = *self.id.get_or_insert_with(|| {
            waiting.next_id += 1;
            waiting.next_id
        });
        waiting.wakers.insert((lsn, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.progress.waiting.lock().wakers.remove(&(self.lsn, id));
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.lsn.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(ticket: &mut Ticket, count: &Arc<Count>) -> Option<Result<(), String>> {
        let waker = Waker::from(Arc::clone(count));
        match Pin::new(ticket).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(r) => Some(r.map_err(|e| e.to_string())),
            Poll::Pending => None,
        }
    }

    #[test]
    fn tickets_are_woken_once_each_when_their_time_has_come() {
        let progress = Arc::new(Progress::new(Lsn(1)));
        let counts: Vec<_> = (0..4).map(|_| Arc::new(Count::default())).collect();
        let mut tickets: Vec<_> = (1..5).map(|lsn| Ticket::new(Arc::clone(&progress), Lsn(lsn))).collect();
        let polled: Vec<_> = tickets.iter_mut().zip(&counts).map(|(t, c)| poll(t, c)).collect();
        assert_eq!(polled, [Some(Ok(())), None, None, None]);
        assert_eq!(poll(&mut tickets[1], &counts[1]), None, "a second poll replaces the waker");
        drop(tickets.pop());
        assert_eq!(progress.waiting.lock().wakers.len(), 2);
        progress.advance(Lsn(2), Lsn(2));
        let woken: Vec<_> = counts.iter().map(|c| c.0.load(Ordering::SeqCst)).collect();
        assert_eq!(woken, [0, 1, 0, 0]);
        assert_eq!(poll(&mut tickets[1], &counts[1]), Some(Ok(())));
        progress.fail(WalError::Closed);
        assert_eq!(poll(&mut tickets[2], &counts[2]), Some(Err("the log is closed".into())));
        assert_eq!(counts[2].0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut tickets[1], &counts[1]), Some(Ok(())), "what was acknowledged stays so");
    }

    #[test]
    fn waiting_threads_are_released() {
        let progress = Arc::new(Progress::new(Lsn(0)));
        std::thread::scope(|s| {
            let ticket = |lsn| Ticket::new(Arc::clone(&progress), Lsn(lsn));
            let (a, b) = (ticket(1), ticket(2));
            let (a, b) = (s.spawn(|| a.wait()), s.spawn(|| b.wait()));
            progress.advance(Lsn(1), Lsn(0));
            a.join().unwrap().unwrap();
            progress.fail(WalError::Closed);
            assert!(b.join().unwrap().is_err());
        });
    }
}
