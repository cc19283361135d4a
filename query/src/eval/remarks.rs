//! What there is to remark on native histograms, gathered where no metric name is at hand.

/// One remark; the text and the place come with the [`Notes`](super::Notes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// Floats and histograms in one window.
    MixedWithFloats,
    /// Exponential and custom buckets.
    MixedSchemas,
    /// A gauge where a counter is wanted.
    NotCounter,
    /// A counter where a gauge is wanted.
    NotGauge,
    /// Histograms beside floats, in a window of which only the floats count.
    Ignored,
    /// Custom bounds that differ were made equal.
    Reconciled(Operation),
    /// Hints on resets that contradict each other.
    Collision(Operation),
}

/// What histograms were combined by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `+`, and what comes down to it.
    Addition,
    /// `-`, and what comes down to it.
    Subtraction,
    /// Sums and averages.
    Aggregation,
}

impl Operation {
    /// What remarks call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Different remarks, in the order in which they were met; few.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remarks(Vec<Remark>);

impl Remarks {
    /// Adds one, unless it is there.
    pub(crate) fn add(&mut self, remark: Remark) {
        if !self.0.contains(&remark) {
            self.0.push(remark);
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all of them out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Remark> + '_ {
        self.0.drain(..)
    }
}
