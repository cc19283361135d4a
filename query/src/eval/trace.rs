//! What each part of a query took, recorded where it was asked for. Parts are known by their place in the query.

use crate::parse::Span;
use crate::source::ReadCost;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What one expression took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCost {
    /// How many times it was evaluated.
    pub evaluations: u64,
    /// From begin to end, what it is computed from included.
    pub time: Duration,
    /// Series that it gave.
    pub series: u64,
}

/// What one selector read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectorCost {
    /// Series that it found.
    pub series: u64,
    /// Samples that the storage gave.
    pub samples: u64,
    /// Chunks that they came from, with their bytes.
    pub cost: ReadCost,
    /// Spent in the storage, by all threads together.
    pub time: Duration,
}

impl SelectorCost {
    /// Adds what else was read.
    pub(crate) fn add(&mut self, other: &Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.cost.chunks += other.cost.chunks;
        self.cost.bytes += other.cost.bytes;
        self.time += other.time;
    }
}

/// An operator between two vectors that found no pair of series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unmatched {
    pub(crate) span: Span,
    /// Labels that all series of one side have, and none of the other.
    pub(crate) only_left: Vec<String>,
    pub(crate) only_right: Vec<String>,
    /// Labels of all series of both sides that have values in common.
    pub(crate) common: Vec<String>,
}

/// All that is recorded of a query; nothing unless it is on.
#[derive(Debug, Default)]
pub(crate) struct Trace(Option<Mutex<Recorded>>);

/// What was recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) nodes: HashMap<Span, NodeCost>,
    pub(crate) selectors: HashMap<Span, SelectorCost>,
    pub(crate) unmatched: Vec<Unmatched>,
}

impl Trace {
    /// Records, if `is_on`.
    pub(crate) fn new(is_on: bool) -> Self {
        Self(is_on.then(Mutex::default))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Now, if it is worth the look at the clock.
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.is_on().then(Instant::now)
    }

    /// An expression was evaluated.
    pub(crate) fn node(&self, span: Span, began: Option<Instant>, series: usize) {
        let Some(began) = began else { return };
        self.record(|r| {
            let cost = r.nodes.entry(span).or_default();
            cost.evaluations += 1;
            cost.time += began.elapsed();
            cost.series += series as u64;
        });
    }

    /// Some of a selector's series were read.
    pub(crate) fn selector(&self, span: Span, of: SelectorCost) {
        self.record(|r| r.selectors.entry(span).or_default().add(&of));
    }

    pub(crate) fn unmatched(&self, unmatched: Unmatched) {
        self.record(|r| r.unmatched.push(unmatched));
    }

    /// What was recorded, once the query is over.
    pub(crate) fn take(&self) -> Recorded {
        let mut taken = Recorded::default();
        self.record(|r| taken = std::mem::take(r));
        taken
    }

    fn record(&self, f: impl FnOnce(&mut Recorded)) {
        if let Some(recorded) = &self.0 {
            f(&mut recorded.lock());
        }
    }
}
