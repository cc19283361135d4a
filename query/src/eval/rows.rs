//! Vectors over time: rows of values, one per series, with a bit for each value that is there.
//!
//! A [`RowBuf`] is one row over all steps: the scratch that every operation reads and writes. [`Rows`] keeps many of
//! them, each cut to the steps between its first and last value, in three flat columns: series that live for a
//! fraction of the range cost that fraction.
//!
//! Values are floats. The few rows that have native histograms too keep them beside their floats, in a list by step;
//! a step has a float, a histogram, or nothing. What speaks of values means floats alone unless it says otherwise.

use super::budget::{Budget, Held, Ticker, Watch};
use super::grid::Grid;
use crate::native::FloatHistogram;
use crate::{MatrixSeries, QueryError, SampleValue, VectorSample};
use cardinal_storage::model::{LabelSet, TimestampMs};
use std::sync::Arc;

/// Bits in a word of a mask.
const WORD: usize = u64::BITS as usize;

/// A histogram at a step. Shared: the same one is often at several steps, and in several rows.
pub(crate) type StepHistogram = (usize, Arc<FloatHistogram>);

/// One row: a value, a histogram or nothing for each step.
#[derive(Clone, Debug)]
pub(crate) struct RowBuf {
    values: Vec<f64>,
    mask: Vec<u64>,
    /// Ascending by step, at none of which there is a value.
    histograms: Vec<StepHistogram>,
}

impl RowBuf {
    /// A row of `steps` steps without values.
    pub(crate) fn new(steps: usize) -> Self {
        Self { values: vec![0.0; steps], mask: vec![0; steps.div_ceil(WORD)], histograms: Vec::new() }
    }

    /// Takes on the values and histograms of `other`, which has as many steps.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.values.copy_from_slice(&other.values);
        self.mask.copy_from_slice(&other.mask);
        self.histograms.clone_from(&other.histograms);
    }

    /// Removes all values and histograms.
    pub(crate) fn clear(&mut self) {
        self.mask.fill(0);
        self.histograms.clear();
    }

    /// Removes all values; histograms stay.
    pub(crate) fn clear_values(&mut self) {
        self.mask.fill(0);
    }

    /// The histograms by step, ascending.
    pub(crate) fn histograms(&self) -> &[StepHistogram] {
        &self.histograms
    }

    /// Whether there is any histogram.
    #[inline]
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The histogram at `step`.
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        let at = self.histograms.binary_search_by_key(&step, |(s, _)| *s).ok()?;
        Some(&self.histograms[at].1)
    }

    /// Puts a histogram at `step`, in place of what is there.
    pub(crate) fn set_histogram(&mut self, step: usize, h: Arc<FloatHistogram>) {
        self.unset(step);
        // In order, as a rule.
        if self.histograms.last().is_none_or(|(last, _)| *last < step) {
            return self.histograms.push((step, h));
        }
        match self.histograms.binary_search_by_key(&step, |(s, _)| *s) {
            Ok(at) => self.histograms[at].1 = h,
            Err(at) => self.histograms.insert(at, (step, h)),
        }
    }

    /// Takes all histograms away.
    pub(crate) fn take_histograms(&mut self) -> Vec<StepHistogram> {
        std::mem::take(&mut self.histograms)
    }

    /// Removes the histograms, and the values, at the steps that `keep` refuses.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        self.filter_map(|step, v| keep(step).then_some(v));
        self.histograms.retain(|(step, _)| keep(*step));
    }

    /// Whether there is a value or a histogram at `step`.
    #[inline]
    pub(crate) fn occupied(&self, step: usize) -> bool {
        self.has(step) || (self.has_histograms() && self.histogram(step).is_some())
    }

    /// Sets the value at `step`.
    #[inline]
    pub(crate) fn set(&mut self, step: usize, v: f64) {
        self.values[step] = v;
        self.mask[step / WORD] |= 1 << (step % WORD);
    }

    /// Removes the value at `step`.
    #[inline]
    pub(crate) fn unset(&mut self, step: usize) {
        self.mask[step / WORD] &= !(1 << (step % WORD));
    }

    /// Whether there is a value at `step`.
    #[inline]
    pub(crate) fn has(&self, step: usize) -> bool {
        self.mask[step / WORD] >> (step % WORD) & 1 == 1
    }

    /// The value at `step`.
    #[inline]
    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        self.has(step).then(|| self.values[step])
    }

    /// What the row counts as against the bound of samples.
    pub(crate) fn samples(&self) -> usize {
        self.count() + histogram_samples(&self.histograms)
    }

    /// Whether there is neither a value nor a histogram.
    pub(crate) fn is_empty(&self) -> bool {
        self.has_no_values() && self.histograms.is_empty()
    }

    /// Whether there is no value.
    pub(crate) fn has_no_values(&self) -> bool {
        self.mask.iter().all(|&w| w == 0)
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> usize {
        self.mask.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The values with their steps, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        bits(&self.mask).map(|i| (i, self.values[i]))
    }

    /// Puts `f(step, value)` in place of each value.
    #[inline]
    pub(crate) fn map(&mut self, mut f: impl FnMut(usize, f64) -> f64) {
        let values = &mut self.values;
        bits(&self.mask).for_each(|i| values[i] = f(i, values[i]));
    }

    /// Puts `f(step, value)` in place of each value; removes those for which it is nothing.
    #[inline]
    pub(crate) fn filter_map(&mut self, mut f: impl FnMut(usize, f64) -> Option<f64>) {
        for (w, word) in self.mask.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                let i = w * WORD + bit;
                match f(i, self.values[i]) {
                    Some(v) => self.values[i] = v,
                    None => *word &= !(1 << bit),
                }
            }
        }
    }

    /// Sets `v` at every step.
    pub(crate) fn fill(&mut self, v: f64) {
        self.values.fill(v);
        for step in 0..self.values.len() {
            self.mask[step / WORD] |= 1 << (step % WORD);
        }
    }

    /// The first and last step with a value.
    fn bounds(&self) -> Option<(usize, usize)> {
        let first = self.mask.iter().position(|&w| w != 0)?;
        let last = self.mask.iter().rposition(|&w| w != 0)?;
        let low = first * WORD + self.mask[first].trailing_zeros() as usize;
        Some((low, last * WORD + WORD - 1 - self.mask[last].leading_zeros() as usize))
    }
}

/// What histograms count as against the bound of samples.
fn histogram_samples(histograms: &[StepHistogram]) -> usize {
    histograms.iter().map(|(_, h)| h.samples()).sum()
}

/// The positions of the set bits, ascending.
fn bits(mask: &[u64]) -> impl Iterator<Item = usize> + '_ {
    mask.iter().enumerate().flat_map(|(w, &word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(w * WORD + bit)
        })
    })
}

/// Where a row's values stand in the flat columns, and which steps they cover.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: u32,
    len: u32,
    values_at: usize,
    mask_at: usize,
    /// Which list of histograms is the row's, or [`NO_HISTOGRAMS`].
    histograms: u32,
}

/// A row has floats alone.
const NO_HISTOGRAMS: u32 = u32::MAX;

/// The labels of one row.
#[derive(Clone, Debug)]
pub(crate) struct RowLabels {
    /// The labels.
    pub(crate) labels: LabelSet,
    /// Whether the metric name is to be removed at the very end (delayed name removal).
    pub(crate) drop_name: bool,
}

/// Many rows over the same steps, in an order that sorting functions set. Rows without values are never kept.
#[derive(Debug)]
pub(crate) struct Rows {
    steps: usize,
    labels: Vec<RowLabels>,
    extents: Vec<Extent>,
    values: Vec<f64>,
    mask: Vec<u64>,
    /// One list for each row that has any.
    histograms: Vec<Box<[StepHistogram]>>,
    held: Held,
}

impl Rows {
    /// No rows yet; their values will count against `budget`.
    pub(crate) fn new(steps: usize, budget: &Arc<Budget>) -> Self {
        Self {
            steps,
            labels: Vec::new(),
            extents: Vec::new(),
            values: Vec::new(),
            mask: Vec::new(),
            histograms: Vec::new(),
            held: Held::none(budget),
        }
    }

    /// How many steps each row spans.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Adds a row, unless it is empty.
    pub(crate) fn push(&mut self, labels: RowLabels, row: &RowBuf) -> Result<(), QueryError> {
        let bounds = row.bounds();
        if bounds.is_none() && !row.has_histograms() {
            return Ok(());
        }
        let histograms = self.keep_histograms(row)?;
        let (first, len) = bounds.map_or((0, 0), |(first, last)| (first, last - first + 1));
        self.held.grow(len)?;
        let (values_at, mask_at) = (self.values.len(), self.mask.len());
        // Steps are no more than samples, of which far fewer are allowed.
        let fit = |n: usize| u32::try_from(n).expect("a query's steps are bounded");
        self.extents.push(Extent { first: fit(first), len: fit(len), values_at, mask_at, histograms });
        self.values.extend_from_slice(&row.values[first..first + len]);
        self.labels.push(labels);
        let (word, shift) = (first / WORD, first % WORD);
        for i in 0..len.div_ceil(WORD) {
            let low = row.mask[word + i] >> shift;
            let high = row.mask.get(word + i + 1).filter(|_| shift > 0).map_or(0, |w| w << (WORD - shift));
            self.mask.push(low | high);
        }
        Ok(())
    }

    /// Keeps the histograms of a row; which list they are.
    fn keep_histograms(&mut self, row: &RowBuf) -> Result<u32, QueryError> {
        if !row.has_histograms() {
            return Ok(NO_HISTOGRAMS);
        }
        self.held.grow(histogram_samples(&row.histograms))?;
        self.histograms.push(row.histograms.clone().into());
        Ok(u32::try_from(self.histograms.len() - 1).expect("far fewer are held"))
    }

    /// The labels of row `i`.
    pub(crate) fn labels(&self, i: usize) -> &RowLabels {
        &self.labels[i]
    }

    /// The labels of all rows, to be changed in place.
    pub(crate) fn labels_mut(&mut self) -> &mut [RowLabels] {
        &mut self.labels
    }

    /// The values of row `i` with their steps.
    pub(crate) fn values(&self, i: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let e = self.extents[i];
        let (first, len) = (e.first as usize, e.len as usize);
        let mask = &self.mask[e.mask_at..e.mask_at + len.div_ceil(WORD)];
        bits(mask).map(move |b| (first + b, self.values[e.values_at + b]))
    }

    /// The histograms of row `i` by step, ascending.
    pub(crate) fn histograms(&self, i: usize) -> &[StepHistogram] {
        match self.extents[i].histograms {
            NO_HISTOGRAMS => &[],
            list => &self.histograms[list as usize],
        }
    }

    /// The steps at which row `i` has a value or a histogram; the former first.
    pub(crate) fn occupied(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        self.values(i).map(|(step, _)| step).chain(self.histograms(i).iter().map(|(step, _)| *step))
    }

    /// Copies row `i` into `row`, in place of what it held.
    pub(crate) fn load(&self, i: usize, row: &mut RowBuf) {
        row.clear();
        self.values(i).for_each(|(step, v)| row.set(step, v));
        row.histograms.extend_from_slice(self.histograms(i));
    }

    /// Appends the rows of `other`.
    pub(crate) fn append(&mut self, other: Self) {
        if self.len() == 0 {
            *self = other;
            return;
        }
        let (values, mask, lists) = (self.values.len(), self.mask.len(), self.histograms.len() as u32);
        self.labels.extend(other.labels);
        self.extents.extend(other.extents.iter().map(|e| Extent {
            values_at: e.values_at + values,
            mask_at: e.mask_at + mask,
            histograms: if e.histograms == NO_HISTOGRAMS { NO_HISTOGRAMS } else { e.histograms + lists },
            ..*e
        }));
        self.values.extend(other.values);
        self.mask.extend(other.mask);
        self.histograms.extend(other.histograms);
        self.held.absorb(other.held);
    }

    /// The rows as series of points at the times of `grid`.
    pub(crate) fn into_matrix(mut self, grid: &Grid, watch: &Watch) -> Result<Vec<MatrixSeries>, QueryError> {
        let labels = std::mem::take(&mut self.labels);
        let mut ticker = Ticker::new(watch);
        let mut matrix = Vec::with_capacity(labels.len());
        for (i, l) in labels.into_iter().enumerate() {
            ticker.tick(grid.count)?;
            let points = self.values(i).map(|(step, v)| (grid.at(step), v)).collect();
            let histogram = |(step, h): &StepHistogram| (grid.at(*step), Arc::clone(h));
            let histograms = self.histograms(i).iter().map(histogram).collect();
            matrix.push(MatrixSeries { labels: l.labels, points, histograms });
        }
        Ok(matrix)
    }

    /// What is at the only step as a vector at time `t`.
    pub(crate) fn into_vector(mut self, t: TimestampMs) -> Vec<VectorSample> {
        let labels = std::mem::take(&mut self.labels);
        let value = |i: usize| match self.values(i).next() {
            Some((_, v)) => Some(SampleValue::Float(v)),
            None => self.histograms(i).first().map(|(_, h)| SampleValue::Histogram(Arc::clone(h))),
        };
        let sample = |(i, l): (usize, RowLabels)| Some(VectorSample { labels: l.labels, t, v: value(i)? });
        labels.into_iter().enumerate().filter_map(sample).collect()
    }

    /// Puts the rows into the order of `order`, a list of row numbers.
    pub(crate) fn reorder(&mut self, order: &[usize]) {
        self.labels = order.iter().map(|&i| self.labels[i].clone()).collect();
        self.extents = order.iter().map(|&i| self.extents[i]).collect();
    }

    /// Passes every row through `f`, which may change it; those that become empty are dropped.
    pub(crate) fn transform(
        self,
        mut f: impl FnMut(&mut RowLabels, &mut RowBuf) -> Result<(), QueryError>,
    ) -> Result<Self, QueryError> {
        let budget = self.held.budget();
        let mut out = Self::new(self.steps, &budget);
        let mut row = RowBuf::new(self.steps);
        for i in 0..self.len() {
            self.load(i, &mut row);
            let mut labels = self.labels[i].clone();
            f(&mut labels, &mut row)?;
            out.push(labels, &row)?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buf(values: &[Option<f64>]) -> RowBuf {
        let mut row = RowBuf::new(values.len());
        for (i, v) in values.iter().enumerate() {
            v.iter().for_each(|&v| row.set(i, v));
        }
        row
    }

    fn labels() -> RowLabels {
        RowLabels { labels: LabelSet::empty(), drop_name: false }
    }

    #[test]
    fn a_short_lived_row_is_charged_for_its_life_alone() {
        let budget = Budget::new(3);
        let mut rows = Rows::new(1000, &budget);
        let mut row = RowBuf::new(1000);
        row.set(700, 1.0);
        row.set(702, 2.0);
        rows.push(labels(), &row).unwrap();
        assert_eq!(rows.values(0).collect::<Vec<_>>(), [(700, 1.0), (702, 2.0)]);
        assert!(rows.push(labels(), &row).is_err());
        rows.push(labels(), &RowBuf::new(1000)).unwrap();
        assert_eq!(rows.len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_loaded(rows in proptest::collection::vec(
            proptest::collection::vec(proptest::option::weighted(0.3, -9.0..9.0f64), 150), 0..5,
        )) {
            let budget = Budget::new(1 << 20);
            let (mut one, mut two) = (Rows::new(150, &budget), Rows::new(150, &budget));
            let kept: Vec<_> = rows.iter().filter(|r| r.iter().any(Option::is_some)).collect();
            for (i, r) in kept.iter().enumerate() {
                if i < 2 { one.push(labels(), &buf(r)).unwrap() } else { two.push(labels(), &buf(r)).unwrap() }
            }
            one.append(two);
            prop_assert_eq!(one.len(), kept.len());
            let mut row = RowBuf::new(150);
            for (i, want) in kept.iter().enumerate() {
                one.load(i, &mut row);
                let got: Vec<_> = (0..150).map(|s| row.get(s)).collect();
                prop_assert_eq!(&got, *want);
                prop_assert_eq!(row.count(), want.iter().flatten().count());
            }
        }
    }
}
