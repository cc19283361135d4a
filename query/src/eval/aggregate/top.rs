//! `topk` and `bottomk`: series stream through one bounded heap per group and step. Labels are built for series that
//! enter a heap, and to settle ties, and given up with their last entry.

use super::{Job, extent, group_of};
use crate::QueryError;
use crate::eval::Evaluator;
use crate::eval::budget::Held;
use crate::eval::float_text::general;
use crate::eval::rows::{RowBuf, RowLabels, Rows};
use crate::eval::sort::by_value;
use crate::eval::stream::{Series, Sink};
use crate::parse::Span;
use crate::source::Grouping;
use cardinal_storage::model::LabelSet;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

impl<'q> Evaluator<'q> {
    /// The `k` greatest or smallest series of each group at each step; ties go to the labels that sort first. At a
    /// single step they are in their order, the best first.
    pub(super) fn top(
        &self,
        job: &Job<'_, 'q>,
        (span, whole): (Span, Span),
        greatest: bool,
    ) -> Result<Rows, QueryError> {
        let Some(sizes) = self.sizes(job.param, span)? else { return self.none_of(job) };
        let make = || Heaps {
            grouping: job.grouping,
            sizes: &sizes,
            greatest,
            labels: Vec::new(),
            heaps: Vec::new(),
            ignored: false,
            held: Held::none(&self.budget),
        };
        let parts = self.drain(job.input, make)?;
        if parts.iter().any(|p| p.ignored) {
            let aggregation = if greatest { "topk" } else { "bottomk" };
            self.note(|n| n.ignored_in_aggregation(aggregation, whole));
        }
        let heaps = merge(parts, sizes.len())?;
        if job.grid.count == 1 { self.in_order(heaps) } else { self.by_series(heaps, job) }
    }

    /// The parameter as sizes; `None` if none is at least one.
    pub(super) fn sizes(&self, param: &[f64], span: Span) -> Result<Option<Vec<usize>>, QueryError> {
        if param.iter().any(|k| k.is_nan()) {
            return Err(self.error(span, "Parameter value is NaN"));
        }
        let (low, high) = extent(param);
        if high < 1.0 {
            return Ok(None);
        }
        if low <= i64::MIN as f64 {
            return Err(self.error(span, format!("Scalar value {} underflows int64", general(low))));
        }
        if high >= i64::MAX as f64 {
            return Err(self.error(span, format!("Scalar value {} overflows int64", general(high))));
        }
        Ok(Some(param.iter().map(|&k| k.max(0.0) as usize).collect()))
    }

    /// No rows, once the input was looked at: it may fail, or be remarked on.
    pub(super) fn none_of(&self, job: &Job<'_, 'q>) -> Result<Rows, QueryError> {
        self.drain(job.input, || Nothing)?;
        Ok(self.rows(job.grid))
    }

    fn in_order(&self, heaps: Vec<BinaryHeap<Entry>>) -> Result<Rows, QueryError> {
        let mut rows = Rows::new(1, &self.budget);
        let mut row = RowBuf::new(1);
        for entry in heaps.into_iter().flat_map(BinaryHeap::into_sorted_vec) {
            row.set(0, entry.v);
            rows.push((*entry.labels).clone(), &row)?;
        }
        Ok(rows)
    }

    fn by_series(&self, heaps: Vec<BinaryHeap<Entry>>, job: &Job<'_, 'q>) -> Result<Rows, QueryError> {
        let steps = job.grid.count;
        let mut points: HashMap<*const RowLabels, Points> = HashMap::new();
        let mut order = Vec::new();
        for (i, heap) in heaps.into_iter().enumerate() {
            for Entry { v, labels, .. } in heap {
                let key = Arc::as_ptr(&labels);
                let slot = points.entry(key).or_insert_with(|| {
                    order.push(key);
                    (labels, Vec::new())
                });
                slot.1.push((i % steps, v));
            }
        }
        let mut rows = self.rows(job.grid);
        let mut row = RowBuf::new(steps);
        for (labels, points) in order.iter().filter_map(|key| points.get(key)) {
            row.clear();
            points.iter().for_each(|&(step, v)| row.set(step, v));
            rows.push((**labels).clone(), &row)?;
        }
        Ok(rows)
    }
}

/// Keeps no series.
struct Nothing;

impl Sink for Nothing {
    fn take(&mut self, _: &mut dyn Series, _: &RowBuf) -> Result<(), QueryError> {
        Ok(())
    }
}

/// A series with its steps and values.
type Points = (Arc<RowLabels>, Vec<(usize, f64)>);

/// A series' value at one step. Ordered so that the greatest entry is the first to leave.
struct Entry {
    v: f64,
    greatest: bool,
    labels: Arc<RowLabels>,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        by_value(self.v, other.v, self.greatest).then_with(|| self.labels.labels.cmp(&other.labels.labels))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// A heap per group and step, with the worst entry on top.
struct Heaps<'a> {
    grouping: &'a Grouping,
    sizes: &'a [usize],
    greatest: bool,
    labels: Vec<RowLabels>,
    heaps: Vec<BinaryHeap<Entry>>,
    /// Whether histograms were left out.
    ignored: bool,
    held: Held,
}

impl Sink for Heaps<'_> {
    fn take(&mut self, series: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError> {
        let steps = self.sizes.len();
        let begin = group_of(series, self.grouping, &mut self.labels)? * steps;
        if begin == self.heaps.len() {
            self.held.grow(steps)?;
            self.heaps.resize_with(begin + steps, BinaryHeap::new);
        }

        self.ignored |= row.histograms().iter().any(|(step, _)| self.sizes[*step] > 0);
        let mut own: Option<Arc<RowLabels>> = None;
        // From step to step a tie is mostly with the same series: it is settled once.
        let mut lost_to: *const RowLabels = std::ptr::null();
        for (step, v) in row.iter() {
            let heap = &mut self.heaps[begin + step];
            if heap.len() >= self.sizes[step] {
                let Some(worst) = heap.peek() else { continue };
                let order = by_value(v, worst.v, self.greatest);
                if order.is_gt() || order.is_eq() && Arc::as_ptr(&worst.labels) == lost_to {
                    continue;
                }
                if order.is_eq() {
                    let labels = match &own {
                        Some(labels) => labels,
                        None => own.insert(Arc::new(series.labels()?)),
                    };
                    if labels.labels > worst.labels.labels {
                        lost_to = Arc::as_ptr(&worst.labels);
                        continue;
                    }
                }
            } else {
                self.held.grow(1)?;
            }
            let labels = match &own {
                Some(labels) => Arc::clone(labels),
                None => Arc::clone(own.insert(Arc::new(series.labels()?))),
            };
            heap.push(Entry { v, greatest: self.greatest, labels });
            if heap.len() > self.sizes[step] {
                heap.pop();
            }
        }
        Ok(())
    }
}

/// The heaps of all groups, step by step, those of equal groups merged.
fn merge(parts: Vec<Heaps<'_>>, steps: usize) -> Result<Vec<BinaryHeap<Entry>>, QueryError> {
    let mut number_of: HashMap<LabelSet, usize> = HashMap::new();
    let mut merged: Vec<BinaryHeap<Entry>> = Vec::new();
    for part in parts {
        let mut heaps = part.heaps.into_iter();
        for labels in part.labels {
            let number = *number_of.entry(labels.labels).or_insert(merged.len() / steps);
            for (step, heap) in heaps.by_ref().take(steps).enumerate() {
                match merged.get_mut(number * steps + step) {
                    None => merged.push(heap),
                    Some(into) => {
                        into.extend(heap);
                        while into.len() > part.sizes[step] {
                            into.pop();
                        }
                    }
                }
            }
        }
    }
    Ok(merged)
}
