//! What the evaluator reads from: series with their samples, in independent parts.
//!
//! The traits say nothing of heads, blocks or tiers: the storage's view implements them, and so does [`MemorySource`] over
//! lists in memory.

mod error;
mod memory;
mod view;

pub use cardinal_storage::read::Wanted;
pub use error::SourceError;
pub use memory::{MemorySeries, MemorySource};

use cardinal_storage::index::Matcher;
use cardinal_storage::model::{HistogramSample, LabelSet, TimeRange};
use cardinal_storage::read::{Change, Estimate, Mark};
use std::borrow::Cow;

/// One consistent view of all series.
pub trait Source: Sync {
    /// Starts reading the series that all `matchers` accept, with their samples in `range`; one part per shard that
    /// may hold any, always in the same order. Parts are independent: each may go to its own thread. What is not `wanted`
    /// can be asked for as well.
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
    ) -> Result<Vec<Box<dyn Part + 'a>>, SourceError>;

    /// What [`Source::select`] would find, and what reading it would cost; `None` where that cannot be told without doing so.
    fn estimate(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
        _wanted: Wanted,
    ) -> Result<Option<Estimate>, SourceError> {
        Ok(None)
    }

    /// A state of the data that this one knows all of, as far as times had settled; `None` where nobody counts changes.
    fn mark(&self) -> Option<Mark> {
        None
    }

    /// What has changed of settled times since the change `number`.
    fn changes_since(&self, _number: u64) -> Vec<Change> {
        Vec::new()
    }

    /// What was left out of everything read so far because it is damaged: warnings for who gets the answer.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The label names of the series that any of the `selectors` accepts (all series if there is none) and that may
    /// have samples in `range`; sorted, the first `limit` of them.
    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError>;

    /// The values of the label `name` on such series; sorted, the first `limit` of them.
    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError>;

    /// The labels of such series, without duplicates; `limit` of them.
    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<LabelSet>, SourceError>;
}

/// What reading has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCost {
    /// Chunks that were looked into.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Some of the selected series, one after the other. Before the first [`Part::advance`], and after it has said
/// `false`, there is no current series and the other methods must not be called.
pub trait Part: Send {
    /// At most how many series are still to come; what decides whether a part is worth a thread of its own.
    fn series_max(&self) -> u64;

    /// At least how many series are still to come: too many are refused before the first of them is read.
    fn series_min(&self) -> u64 {
        0
    }

    /// What the samples given so far have cost; nothing where there are no chunks.
    fn cost(&self) -> ReadCost {
        ReadCost::default()
    }

    /// Moves to the next series. Series with equal labels never occur twice, not across parts either.
    fn advance(&mut self) -> Result<bool, SourceError>;

    /// The samples of the current series inside the range: times in milliseconds, strictly ascending, staleness
    /// markers included. Two columns of equal length, empty if there are none.
    fn samples(&mut self) -> Result<(&[i64], &[f64]), SourceError>;

    /// Appends the times of the current series' samples inside the range to `out`, if they can be told without reading values and
    /// none of them is a staleness marker: whether they can. Where no more than the newest is wanted that alone, and none where
    /// it is a staleness marker.
    fn times(&mut self, _out: &mut Vec<i64>) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// The histograms of the current series inside the range: times strictly ascending, none of them a time of
    /// [`Part::samples`]. Empty for all but few series.
    fn histograms(&mut self) -> Result<&[HistogramSample], SourceError> {
        Ok(&[])
    }

    /// The current series' labels, built now: costly, so only for series that reach the output.
    fn labels(&mut self) -> Result<LabelSet, SourceError>;

    /// The value of one label of the current series.
    fn label(&mut self, name: &str) -> Result<Option<Cow<'_, str>>, SourceError>;

    /// The number of the current series' group: dense from 0 in order of first appearance, per part and grouping;
    /// equal numbers exactly for equal values of the grouped labels. Builds no label set.
    fn group(&mut self, grouping: &Grouping) -> Result<u32, SourceError>;
}

/// The labels by which series are grouped. The metric name is a label like the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grouping {
    /// Whether `labels` are those to leave out rather than those to keep.
    pub without: bool,
    /// Sorted, unique.
    pub labels: Vec<String>,
}

impl Grouping {
    /// By these labels alone.
    pub fn by(labels: impl IntoIterator<Item = String>) -> Self {
        Self { without: false, labels: sorted(labels) }
    }

    /// By all but these labels.
    pub fn without(labels: impl IntoIterator<Item = String>) -> Self {
        Self { without: true, labels: sorted(labels) }
    }

    /// Whether all series are one group: no label counts.
    pub fn is_one_group(&self) -> bool {
        !self.without && self.labels.is_empty()
    }

    /// Whether the label `name` counts.
    pub fn keeps(&self, name: &str) -> bool {
        self.labels.binary_search_by(|l| l.as_str().cmp(name)).is_ok() != self.without
    }
}

fn sorted(labels: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}
