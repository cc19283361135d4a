//! Turns: how many queries run at once, and how many may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::error::{ApiError, ErrorKind, Limit};

/// Lets a bounded number of queries run and a bounded number wait.
#[derive(Debug)]
pub struct Gate {
    turns: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A turn; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    /// How long it was waited for.
    pub queued: Duration,
}

impl Gate {
    /// Seconds after which a refused client may try again.
    const RETRY_AFTER: u32 = 1;

    /// `running` at once, `waiting` more in line.
    pub fn new(running: usize, waiting: usize) -> Self {
        let running_max = running.min(Semaphore::MAX_PERMITS);
        let turns = Arc::new(Semaphore::new(running_max));
        Self { turns, running_max, waiting: AtomicUsize::new(0), waiting_max: waiting }
    }

    /// Waits for a turn, at most `patience`. Dropping the future leaves the line.
    pub async fn enter(&self, patience: Duration) -> Result<Turn, ApiError> {
        if let Ok(permit) = self.turns.clone().try_acquire_owned() {
            return Ok(Turn { _permit: permit, queued: Duration::ZERO });
        }
        let began = Instant::now();
        let _place = Place::take(self)?;
        match timeout(patience, self.turns.clone().acquire_owned()).await {
            Ok(permit) => {
                let permit = permit.expect("the semaphore is never closed");
                Ok(Turn { _permit: permit, queued: began.elapsed() })
            }
            Err(_) => {
                Err(ApiError::new(ErrorKind::Timeout, "query timed out in query queue")
                    .limit(Limit::QueueTime))
            }
        }
    }

    /// Queries that have their turn.
    pub fn running(&self) -> usize {
        self.running_max - self.turns.available_permits()
    }

    /// Queries in line.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place in line; left when dropped.
struct Place<'a>(&'a Gate);

impl<'a> Place<'a> {
    fn take(gate: &'a Gate) -> Result<Self, ApiError> {
        let place = Self(gate);
        if gate.waiting.fetch_add(1, Ordering::Relaxed) < gate.waiting_max {
            return Ok(place);
        }
        let message = format!(
            "too many queries: {} run and {} wait (query.concurrency, query.queue); try again",
            gate.running_max, gate.waiting_max
        );
        Err(ApiError::new(ErrorKind::Timeout, message).retry_after(Gate::RETRY_AFTER).limit(Limit::Queue))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Polls once.
    async fn waits<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn one_runs_one_waits_the_third_is_refused() {
        let gate = Gate::new(1, 1);
        let first = gate.enter(LONG).await.expect("a free turn");
        let mut second = Box::pin(gate.enter(LONG));
        assert!(waits(&mut second).await);
        assert_eq!((gate.running(), gate.waiting()), (1, 1));
        let refused = gate.enter(LONG).await.expect_err("the line is full");
        assert_eq!((refused.kind, refused.retry_after), (ErrorKind::Timeout, Some(1)));
        assert_eq!(refused.limit, Some(Limit::Queue));
        drop(first);
        let second = second.await.expect("its turn");
        assert_eq!((gate.running(), gate.waiting()), (1, 0));
        drop(second);
        assert_eq!(gate.running(), 0);
    }

    #[tokio::test]
    async fn leaving_the_line_frees_the_place() {
        let gate = Gate::new(1, 1);
        let _first = gate.enter(LONG).await.expect("a free turn");
        let mut second = Box::pin(gate.enter(LONG));
        assert!(waits(&mut second).await);
        drop(second);
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let gate = Gate::new(1, 1);
        let _first = gate.enter(LONG).await.expect("a free turn");
        let error = gate.enter(Duration::from_secs(5)).await.expect_err("nobody leaves");
        assert_eq!(error.message, "query timed out in query queue");
        assert_eq!(gate.waiting(), 0);
    }
}
