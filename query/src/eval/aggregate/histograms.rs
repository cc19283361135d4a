//! What an aggregation keeps of the native histograms of one group: sums and averages, beside the cells of its floats.

use crate::QueryError;
use crate::eval::budget::Held;
use crate::eval::notes::Notes;
use crate::eval::remarks::{Operation, Remark};
use crate::eval::rows::RowBuf;
use crate::native::{Average, FloatHistogram, Incompatible, Met, Total};
use crate::parse::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The histograms of one group.
#[derive(Debug, Default)]
pub(super) struct GroupHistograms {
    steps: BTreeMap<usize, State>,
    /// The metric name of the first series with any.
    metric: Option<String>,
}

/// What became of the histograms of a group at a step.
#[derive(Debug)]
enum State {
    Summed(Box<Total>),
    Averaged(Box<Average>),
    /// Exponential and custom buckets have no sum. Whether custom bounds were made equal until then.
    Incompatible {
        reconciled: bool,
    },
}

/// What there is to remark on an aggregation.
#[derive(Debug, Default)]
pub(super) struct GroupRemarks {
    /// The aggregation, where it has left out histograms.
    pub(super) ignored: Option<&'static str>,
    mixed_with_floats: bool,
    /// The metrics that met others with buckets of another kind.
    mixed_schemas: BTreeSet<String>,
    reconciled: bool,
    collision: bool,
}

impl GroupHistograms {
    /// Whether there are none yet.
    pub(super) fn is_empty(&self) -> bool {
        self.metric.is_none()
    }

    /// Notes what the first series with any is called.
    pub(super) fn name(&mut self, metric: &str) {
        self.metric = Some(metric.to_owned());
    }

    /// Takes in the histograms of a row; whether any cannot be added to what was there.
    pub(super) fn add(&mut self, row: &RowBuf, averaged: bool, held: &mut Held) -> Result<bool, QueryError> {
        let mut incompatible = false;
        for (step, h) in row.histograms() {
            let before = self.steps.get(step).map_or(0, State::samples);
            match self.steps.get_mut(step) {
                None => {
                    self.steps.insert(*step, State::of(h, averaged));
                }
                Some(State::Incompatible { .. }) => {}
                Some(state) => {
                    if state.add(h).is_err() {
                        state.give_up();
                        incompatible = true;
                    }
                }
            }
            let after = self.steps.get(step).map_or(0, State::samples);
            held.grow(after.saturating_sub(before))?;
        }
        Ok(incompatible)
    }

    /// Takes in those of another part of the same group.
    pub(super) fn merge(&mut self, other: Self, met: &mut GroupRemarks) {
        for (step, theirs) in other.steps {
            match self.steps.get_mut(&step) {
                None => {
                    self.steps.insert(step, theirs);
                }
                Some(own) => {
                    if own.merge(&theirs).is_err() {
                        own.give_up();
                        met.mixed_schemas(other.metric.as_deref().unwrap_or_default());
                    }
                }
            }
        }
        self.metric = self.metric.take().or(other.metric);
    }

    /// Puts the results into the row of the group, which has those of its floats. Where there are both, there is none.
    pub(super) fn finish(&mut self, row: &mut RowBuf, met: &mut GroupRemarks) {
        for (step, state) in std::mem::take(&mut self.steps) {
            met.reconciled |= state.reconciled();
            if row.has(step) {
                met.mixed_with_floats = true;
                row.unset(step);
                continue;
            }
            let Some((mut h, seen)) = state.value() else { continue };
            met.collision |= seen.collision();
            h.compact();
            row.set_histogram(step, Arc::new(h));
        }
    }
}

impl State {
    fn of(h: &FloatHistogram, averaged: bool) -> Self {
        match averaged {
            true => Self::Averaged(Box::new(Average::of(h))),
            false => Self::Summed(Box::new(Total::of(h))),
        }
    }

    fn samples(&self) -> usize {
        match self {
            Self::Summed(total) => total.samples(),
            Self::Averaged(average) => average.samples(),
            Self::Incompatible { .. } => 0,
        }
    }

    fn add(&mut self, h: &FloatHistogram) -> Result<(), Incompatible> {
        match self {
            Self::Summed(total) => total.add(h),
            Self::Averaged(average) => average.add(h),
            Self::Incompatible { .. } => Ok(()),
        }
    }

    fn reconciled(&self) -> bool {
        match self {
            Self::Summed(total) => total.met.reconciled,
            Self::Averaged(average) => average.met().reconciled,
            Self::Incompatible { reconciled } => *reconciled,
        }
    }

    fn give_up(&mut self) {
        *self = Self::Incompatible { reconciled: self.reconciled() };
    }

    fn merge(&mut self, other: &Self) -> Result<(), Incompatible> {
        match (self, other) {
            (Self::Summed(a), Self::Summed(b)) => a.merge(b),
            (Self::Averaged(a), Self::Averaged(b)) => a.merge(b),
            (own, _) => {
                // Where one part has none, there is none of all; it was remarked on.
                let reconciled = own.reconciled() || other.reconciled();
                *own = Self::Incompatible { reconciled };
                Ok(())
            }
        }
    }

    fn value(self) -> Option<(FloatHistogram, Met)> {
        match self {
            Self::Summed(total) => Some((total.value(), total.met)),
            Self::Averaged(average) => Some((average.value(), average.met())),
            Self::Incompatible { .. } => None,
        }
    }
}

impl GroupRemarks {
    /// Notes that a series of `metric` had buckets of another kind.
    pub(super) fn mixed_schemas(&mut self, metric: &str) {
        self.mixed_schemas.insert(metric.to_owned());
    }

    /// Takes in those of another part.
    pub(super) fn merge(&mut self, other: Self) {
        self.ignored = self.ignored.or(other.ignored);
        self.mixed_with_floats |= other.mixed_with_floats;
        self.mixed_schemas.extend(other.mixed_schemas);
        self.reconciled |= other.reconciled;
        self.collision |= other.collision;
    }

    /// Notes all of them; what is aggregated stands at `argument`.
    pub(super) fn note(&self, notes: &mut Notes, argument: Span) {
        if let Some(aggregation) = self.ignored {
            notes.ignored_in_aggregation(aggregation, argument);
        }
        if self.mixed_with_floats {
            notes.mixed_group(argument);
        }
        for metric in &self.mixed_schemas {
            notes.remark(Remark::MixedSchemas, metric, argument);
        }
        if self.reconciled {
            notes.remark(Remark::Reconciled(Operation::Aggregation), "", argument);
        }
        if self.collision {
            notes.remark(Remark::Collision(Operation::Aggregation), "", argument);
        }
    }
}
