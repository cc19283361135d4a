//! The native histograms of one series, as the stages of a pipeline read them.

use super::Grid;
use super::range::WindowSpec;
use super::rows::RowBuf;
use crate::native::FloatHistogram;
use cardinal_storage::model::{HistogramSample, ResetHint, is_stale};
use std::sync::Arc;

/// Histograms in ascending time: two columns of equal length.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistogramColumn {
    t: Vec<i64>,
    h: Vec<Arc<FloatHistogram>>,
}

/// The histograms of one series; no staleness markers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histograms<'a> {
    /// Times in milliseconds, strictly ascending.
    pub(crate) t: &'a [i64],
    /// As many histograms.
    pub(crate) h: &'a [Arc<FloatHistogram>],
}

impl HistogramColumn {
    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.t.is_empty()
    }

    /// What they count as against the bound of samples.
    pub(crate) fn samples(&self) -> usize {
        self.h.iter().map(|h| h.samples()).sum()
    }

    /// Takes in what is stored, in place of what it held. `counts_only`: where nothing but counts and sums will be looked
    /// at, buckets are left out once they have told of counter resets.
    pub(crate) fn read(&mut self, stored: &[HistogramSample], counts_only: bool) {
        if stored.is_empty() && self.t.is_empty() {
            return;
        }
        self.t.clear();
        self.h.clear();
        let mut before: Option<FloatHistogram> = None;
        for sample in stored {
            let mut h = FloatHistogram::from(&sample.h);
            self.t.push(sample.t.0);
            if counts_only {
                self.h.push(Arc::new(counts(&h, before.as_ref())));
                before = if is_stale(h.sum) { before } else { Some(h) };
                continue;
            }
            // Bounds hardly ever change: one copy serves all.
            if let Some(last) = self.h.last().filter(|last| last.custom_bounds == h.custom_bounds) {
                h.custom_bounds = Arc::clone(&last.custom_bounds);
            }
            self.h.push(Arc::new(h));
        }
    }

    /// Takes in the histograms of a row, at the times of its steps, in place of what it held. What was known of resets is
    /// forgotten: at these times samples may be left out, or come twice.
    pub(crate) fn read_row(&mut self, row: &RowBuf, grid: &Grid) {
        self.t.clear();
        self.h.clear();
        let mut before: Option<&Arc<FloatHistogram>> = None;
        for (step, h) in row.histograms() {
            let forgotten = match (before, self.h.last()) {
                (Some(before), Some(last)) if Arc::ptr_eq(before, h) => Arc::clone(last),
                _ if matches!(h.reset_hint, ResetHint::Reset | ResetHint::NotReset) => {
                    let h = FloatHistogram::clone(h);
                    Arc::new(FloatHistogram { reset_hint: ResetHint::Unknown, ..h })
                }
                _ => Arc::clone(h),
            };
            before = Some(h);
            self.t.push(grid.at(*step).0);
            self.h.push(forgotten);
        }
    }

    /// The histograms without staleness markers; copied to `kept` only if there are any.
    pub(crate) fn live<'a>(&'a self, kept: &'a mut Self) -> Histograms<'a> {
        let marker = |h: &Arc<FloatHistogram>| is_stale(h.sum);
        if !self.h.iter().any(marker) {
            return Histograms { t: &self.t, h: &self.h };
        }
        kept.t.clear();
        kept.h.clear();
        for (t, h) in self.t.iter().zip(&self.h).filter(|(_, h)| !marker(h)) {
            kept.t.push(*t);
            kept.h.push(Arc::clone(h));
        }
        Histograms { t: &kept.t, h: &kept.h }
    }
}

/// Count and sum of a histogram, and whether it comes after a reset.
fn counts(h: &FloatHistogram, before: Option<&FloatHistogram>) -> FloatHistogram {
    let mut counts = h.without_buckets();
    if let (ResetHint::Unknown, Some(before), false) = (h.reset_hint, before, is_stale(h.sum)) {
        counts.reset_hint = if h.is_reset_after(before) { ResetHint::Reset } else { ResetHint::NotReset };
    }
    counts
}

/// The newest sample of each window, float or histogram, unless it is a staleness marker; or its time in seconds. Returns
/// how many samples it found.
pub(crate) fn newest_of_both(
    spec: &WindowSpec,
    time: bool,
    (t, v): (&[i64], &[f64]),
    column: &HistogramColumn,
    row: &mut RowBuf,
) -> u64 {
    row.clear();
    let (mut next, mut next_histogram, mut found) = (0, 0, 0);
    for i in 0..spec.grid.count {
        let (after, until) = (spec.after(i).0, spec.until(i).0);
        while next < t.len() && t[next] <= until {
            next += 1;
        }
        while next_histogram < column.t.len() && column.t[next_histogram] <= until {
            next_histogram += 1;
        }
        let float = next.checked_sub(1).filter(|&i| t[i] > after);
        let histogram = next_histogram.checked_sub(1).filter(|&i| column.t[i] > after);
        let newer = |h: usize| float.is_none_or(|f| t[f] < column.t[h]);
        if let Some(at) = histogram.filter(|&h| newer(h)) {
            let h = &column.h[at];
            if is_stale(h.sum) {
                continue;
            }
            found += if time { 1 } else { h.samples() as u64 };
            match time {
                true => row.set(i, column.t[at] as f64 / 1000.0),
                false => row.set_histogram(i, Arc::clone(h)),
            }
        } else if let Some(at) = float.filter(|&f| !is_stale(v[f])) {
            row.set(i, if time { t[at] as f64 / 1000.0 } else { v[at] });
            found += 1;
        }
    }
    found
}
