//! What a query may hold, and when it must stop.

use crate::options::ProgressCounts;
use crate::{CancelToken, Progress, QueryError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Counts the samples that a query holds; shared by its workers.
#[derive(Debug)]
pub(crate) struct Budget {
    progress: Progress,
    limit: u64,
}

impl Budget {
    /// At most `limit` samples at once.
    #[cfg(test)]
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Self::seen(limit, Progress::default())
    }

    /// At most `limit` samples at once, told to `progress`.
    pub(crate) fn seen(limit: u64, progress: Progress) -> Arc<Self> {
        Arc::new(Self { progress, limit })
    }

    /// The most samples that may be held.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The most samples that were held at once.
    pub(crate) fn peak(&self) -> u64 {
        self.progress.samples_held_max()
    }

    fn take(&self, n: u64) -> Result<(), QueryError> {
        let ProgressCounts { held, held_max, .. } = self.progress.counts();
        let now = held.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        held_max.fetch_max(now, Ordering::Relaxed);
        if now <= self.limit {
            return Ok(());
        }
        held.fetch_sub(n, Ordering::Relaxed);
        Err(QueryError::TooManySamples { limit: self.limit })
    }
}

/// Samples held; given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    count: u64,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), count: 0 }
    }

    /// What it counts against.
    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// Holds `n` more, or says that the query holds too many.
    pub(crate) fn grow(&mut self, n: usize) -> Result<(), QueryError> {
        self.budget.take(n as u64)?;
        self.count += n as u64;
        Ok(())
    }

    /// Takes over what `other` holds.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.count += std::mem::take(&mut other.count);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.progress.counts().held.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// Ends a query whose time is over or whose client has left.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    deadline: Option<Instant>,
    cancel: CancelToken,
}

impl Watch {
    /// Without a deadline only the token ends the query.
    pub(crate) fn new(deadline: Option<Instant>, cancel: CancelToken) -> Self {
        Self { deadline, cancel }
    }

    /// Fails once the query must stop.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled);
        }
        match self.deadline {
            Some(d) if Instant::now() >= d => Err(QueryError::Timeout),
            _ => Ok(()),
        }
    }
}

/// Looks at a [`Watch`] now and then, so that inner loops need not read the clock.
#[derive(Debug)]
pub(crate) struct Ticker<'a> {
    watch: &'a Watch,
    work: usize,
}

impl<'a> Ticker<'a> {
    /// How much work (samples and steps) may pass between two looks: well below a millisecond's.
    const WORK_MAX: usize = 1 << 14;

    /// Nothing done yet.
    pub(crate) fn new(watch: &'a Watch) -> Self {
        Self { watch, work: 0 }
    }

    /// Notes `work` done; fails once the query must stop.
    pub(crate) fn tick(&mut self, work: usize) -> Result<(), QueryError> {
        self.work = self.work.saturating_add(work).saturating_add(1);
        if self.work < Self::WORK_MAX {
            return Ok(());
        }
        self.work = 0;
        self.watch.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_may_be_held_again() {
        let budget = Budget::new(10);
        let mut a = Held::none(&budget);
        a.grow(6).unwrap();
        let mut b = Held::none(&budget);
        assert!(matches!(b.grow(5), Err(QueryError::TooManySamples { limit: 10 })));
        b.grow(4).unwrap();
        a.absorb(b);
        drop(a);
        Held::none(&budget).grow(10).unwrap();
        assert!(budget.peak() >= 10);
    }

    #[test]
    fn a_ticker_notices_within_its_bound() {
        let cancel = CancelToken::default();
        let watch = Watch::new(None, cancel.clone());
        let mut ticker = Ticker::new(&watch);
        ticker.tick(10).unwrap();
        cancel.cancel();
        let stopped = (0..Ticker::WORK_MAX).any(|_| ticker.tick(0).is_err());
        assert!(stopped);
        assert!(matches!(
            Watch::new(Some(Instant::now()), CancelToken::default()).check(),
            Err(QueryError::Timeout)
        ));
    }
}
