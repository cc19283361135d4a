//! What workers read, told to the query now and then, within its limits.

use super::Evaluator;
use super::trace::{SelectorCost, Trace};
use crate::options::ProgressCounts;
use crate::parse::Span;
use crate::source::{Part, ReadCost, Wanted};
use crate::{Limits, Progress, QueryError};
use cardinal_storage::index::Matcher;
use cardinal_storage::model::TimeRange;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Series that a worker reads before it tells the query: a thousandth of a second's work.
const TOLD_EVERY: u64 = 256;

/// How much all selectors of a query may read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadLimits {
    series: Option<u64>,
    bytes: Option<u64>,
}

impl ReadLimits {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self { series: limits.series_max, bytes: limits.bytes_max }
    }

    /// Fails if so many series are too many.
    pub(crate) fn check_series(&self, series: u64) -> Result<(), QueryError> {
        match self.series {
            Some(limit) if series > limit => Err(QueryError::TooManySeries { limit }),
            _ => Ok(()),
        }
    }

    fn check_bytes(&self, bytes: u64) -> Result<(), QueryError> {
        match self.bytes {
            Some(limit) if bytes > limit => Err(QueryError::TooManyBytes { limit }),
            _ => Ok(()),
        }
    }
}

impl<'q> Evaluator<'q> {
    /// Starts reading the series that `matchers` accept, unless they are too many.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
    ) -> Result<Vec<Box<dyn Part + 'q>>, QueryError> {
        let parts = self.source.select(matchers, range, wanted)?;
        let least = parts.iter().fold(self.progress.series(), |n, p| n.saturating_add(p.series_min()));
        self.read_limits.check_series(least)?;
        Ok(parts)
    }
}

/// Counts what one worker reads of one part.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    progress: &'a Progress,
    limits: ReadLimits,
    trace: &'a Trace,
    series: u64,
    samples: u64,
    /// What was told of the part's cost.
    told: ReadCost,
    /// All that was read, for the trace.
    all: SelectorCost,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(eval: &'a Evaluator<'_>) -> Self {
        Self {
            progress: &eval.progress,
            limits: eval.read_limits,
            trace: &eval.trace,
            series: 0,
            samples: 0,
            told: ReadCost::default(),
            all: SelectorCost::default(),
        }
    }

    /// Notes that a series was found; fails where the query has read too much.
    pub(crate) fn series(&mut self, part: &dyn Part) -> Result<(), QueryError> {
        self.series += 1;
        let is_due = self.series >= TOLD_EVERY || self.samples >= TOLD_EVERY * 64;
        if is_due { self.tell(part) } else { Ok(()) }
    }

    /// Now, where it is recorded how long reading takes.
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.trace.begin()
    }

    /// Notes samples of the series at hand.
    pub(crate) fn samples(&mut self, n: usize) {
        self.samples += n as u64;
    }

    /// Notes since when the series at hand was read.
    pub(crate) fn read(&mut self, began: Option<Instant>) {
        self.all.time += began.map_or(Duration::ZERO, |began| began.elapsed());
    }

    /// All of the part was read.
    pub(crate) fn end(&mut self, part: &dyn Part, selector: Span) -> Result<(), QueryError> {
        self.tell(part)?;
        self.trace.selector(selector, SelectorCost { cost: self.told, ..self.all });
        Ok(())
    }

    /// Tells the query what is left; fails where it has read too much.
    fn tell(&mut self, part: &dyn Part) -> Result<(), QueryError> {
        let ProgressCounts { series, samples, chunks, bytes, .. } = self.progress.counts();
        let add =
            |to: &std::sync::atomic::AtomicU64, n: u64| to.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        let cost = part.cost();
        self.all.series += self.series;
        self.all.samples += self.samples;
        add(samples, std::mem::take(&mut self.samples));
        add(chunks, cost.chunks - self.told.chunks);
        let bytes = add(bytes, cost.bytes - self.told.bytes);
        let series = add(series, std::mem::take(&mut self.series));
        self.told = cost;
        self.limits.check_series(series)?;
        self.limits.check_bytes(bytes)
    }
}
