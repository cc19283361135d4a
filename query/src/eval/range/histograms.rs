//! Range functions of windows that hold native histograms, alone or beside floats.
//!
//! What the floats of a series give is computed before, as for any series. Here every window with a histogram in it is
//! looked at again: some functions give a histogram, some count both, some know floats alone and remark on the rest, and
//! some refuse a window with both.

use super::extrapolate::{self, Kind};
use super::{RangeCall, RangeFunction, RangeScratch, Samples, Span, WindowSpec, histogram_edges};
use crate::eval::budget::Ticker;
use crate::eval::histogram_column::Histograms;
use crate::eval::remarks::{Operation, Remark, Remarks};
use crate::eval::rows::RowBuf;
use crate::native::{Average, FloatHistogram, Met, Total};
use crate::parse::ast::Edges;
use cardinal_storage::model::ResetHint;
use std::sync::Arc;

impl RangeCall<'_> {
    /// Completes the row of a series with histograms, of which [`RangeCall::row`] has computed what its floats give.
    /// Returns what the histograms in the windows count as, each once per window.
    pub(crate) fn histogram_row(
        &self,
        floats: Samples<'_>,
        histograms: Histograms<'_>,
        scratch: &mut RangeScratch,
        out: &mut RowBuf,
        remarks: &mut Remarks,
    ) -> u64 {
        let mut spans = std::mem::take(&mut scratch.histogram_spans);
        self.spec.reached().find(histograms.t, &mut spans);
        let mut resets = std::mem::take(&mut scratch.resets);
        resets.clear();
        if self.function.looks_at_resets() {
            let reset = |w: &[Arc<FloatHistogram>]| w[1].is_reset_after(&w[0]);
            resets.extend(histograms.h.first().map(|_| false));
            resets.extend(histograms.h.windows(2).map(reset));
        }
        let mut sum = 0;
        scratch.sizes.clear();
        scratch.sizes.push(0);
        for h in histograms.h {
            sum += h.samples() as u64;
            scratch.sizes.push(sum);
        }
        let row = HistogramRow { call: self, floats, histograms, resets: &resets };
        let mut ticker = Ticker::new(self.watch);
        let mut held = 0;
        for (step, &w) in spans.iter().enumerate().filter(|(_, w)| !w.is_empty()) {
            let size = scratch.sizes[w.hi] - scratch.sizes[w.lo];
            held += size;
            if ticker.tick(usize::try_from(size).unwrap_or(usize::MAX)).is_err() {
                break;
            }
            row.window(step, scratch.spans[step], w, out, remarks);
        }
        scratch.histogram_spans = spans;
        scratch.resets = resets;
        held
    }
}

impl RangeFunction {
    /// Whether it asks where counters began anew.
    fn looks_at_resets(self) -> bool {
        matches!(self, Self::Rate | Self::Increase | Self::Irate | Self::Resets)
    }
}

/// A series with histograms.
struct HistogramRow<'a> {
    call: &'a RangeCall<'a>,
    floats: Samples<'a>,
    histograms: Histograms<'a>,
    /// Whether a reset lies before each histogram; empty where nobody asks.
    resets: &'a [bool],
}

impl HistogramRow<'_> {
    /// Sets the result of one window: `f` its floats, `w` its histograms, of which there are some.
    fn window(&self, step: usize, f: Span, w: Span, out: &mut RowBuf, remarks: &mut Remarks) {
        use RangeFunction as F;
        let Histograms { t, h } = self.histograms;
        let secs = |ms: i64| ms as f64 / 1000.0;
        match self.call.function {
            F::Rate | F::Increase | F::Delta | F::Sum | F::Avg if !f.is_empty() => {
                remarks.add(Remark::MixedWithFloats);
                out.unset(step);
            }
            F::Rate => self.set(step, self.change(step, w, Kind::Rate, remarks), out),
            F::Increase => self.set(step, self.change(step, w, Kind::Increase, remarks), out),
            F::Delta => self.set(step, self.change(step, w, Kind::Delta, remarks), out),
            F::Sum => self.set(step, total(&h[w.lo..w.hi], remarks), out),
            F::Avg => self.set(step, average(&h[w.lo..w.hi], remarks), out),
            F::Irate | F::Idelta => self.instant(step, f, w, out, remarks),
            F::Changes => self.set_count(step, f, w, |a, b| self.changed(a, b), out),
            F::Resets => self.set_count(step, f, w, |a, b| self.fell(a, b), out),
            F::Count => out.set(step, (f.len() + w.len()) as f64),
            F::Present => out.set(step, 1.0),
            F::First if f.is_empty() || self.floats.t[f.lo] >= t[w.lo] => {
                out.set_histogram(step, Arc::clone(&h[w.lo]));
            }
            F::Last if f.is_empty() || self.floats.t[f.hi - 1] <= t[w.hi - 1] => {
                out.set_histogram(step, Arc::clone(&h[w.hi - 1]));
            }
            F::First | F::Last => {}
            F::TsOfFirst => {
                let float = if f.is_empty() { i64::MAX } else { self.floats.t[f.lo] };
                out.set(step, secs(float.min(t[w.lo])));
            }
            F::TsOfLast => {
                let float = if f.is_empty() { i64::MIN } else { self.floats.t[f.hi - 1] };
                out.set(step, secs(float.max(t[w.hi - 1])));
            }
            // Floats alone count.
            F::Deriv
            | F::PredictLinear
            | F::Smoothing
            | F::Min
            | F::Max
            | F::TsOfMin
            | F::TsOfMax
            | F::Stddev
            | F::Stdvar
            | F::Quantile
            | F::Mad => {
                if !f.is_empty() {
                    remarks.add(Remark::Ignored);
                }
            }
        }
    }

    fn set(&self, step: usize, h: Option<FloatHistogram>, out: &mut RowBuf) {
        if let Some(h) = h {
            out.set_histogram(step, Arc::new(h));
        }
    }

    /// The change over a window of histograms alone.
    fn change(&self, step: usize, w: Span, kind: Kind, remarks: &mut Remarks) -> Option<FloatHistogram> {
        let spec = &self.call.spec;
        let Histograms { t, h } = self.histograms;
        if let Some(reach) = spec.reach {
            let window = Histograms { t: &t[w.lo..w.hi], h: &h[w.lo..w.hi] };
            return histogram_edges::change(window, spec, (step, reach.edges), kind, remarks);
        }
        if w.len() < 2 {
            return None;
        }
        let mut change = self.raw_change(w, kind != Kind::Delta, remarks)?;
        let factor = extrapolate::factor(&t[w.lo..w.hi], (h[w.lo].count, change.count), spec, step, kind);
        change.multiply(factor);
        Some(change)
    }

    /// The change from the first to the last histogram of a window, with what a counter lost in between.
    fn raw_change(&self, w: Span, counter: bool, remarks: &mut Remarks) -> Option<FloatHistogram> {
        let h = &self.histograms.h[w.lo..w.hi];
        let (first, last, inner) = (&h[0], &h[h.len() - 1], &h[1..h.len() - 1]);
        // Of what was reset at once nothing remains, whatever it looked like.
        let restarted = counter && self.resets[w.lo + 1];
        let base = if restarted { Arc::new(FloatHistogram::empty_like(&h[1])) } else { Arc::clone(first) };
        let fits = |h: &Arc<FloatHistogram>| h.is_custom() == base.is_custom();
        let gauge = |h: &&Arc<FloatHistogram>| counter && h.reset_hint == ResetHint::Gauge;
        let gauge_at_end = [first, last].iter().any(gauge);
        if !fits(last) || counter && !inner.iter().all(fits) {
            // Of what cannot be computed with, no more is said.
            if gauge_at_end && !fits(last) {
                remarks.add(Remark::NotCounter);
            }
            remarks.add(Remark::MixedSchemas);
            return None;
        }
        if gauge_at_end || inner.iter().any(|h| gauge(&h)) {
            remarks.add(Remark::NotCounter);
        }
        let mut change = FloatHistogram::clone(last);
        let schemas = inner.iter().filter(|_| counter).map(|h| h.schema);
        change.coarsen(schemas.fold(base.schema, i8::min));
        let mut met = Met::default();
        combine(change.subtract(&base), Operation::Subtraction, remarks)?;
        if counter {
            for i in (1 + usize::from(restarted)..h.len()).filter(|i| self.resets[w.lo + i]) {
                met.reconciled |= change.add(&*h[i - 1]).ok()?.reconciled;
            }
        } else if first.reset_hint != ResetHint::Gauge || last.reset_hint != ResetHint::Gauge {
            remarks.add(Remark::NotGauge);
        }
        if met.reconciled {
            remarks.add(Remark::Reconciled(Operation::Addition));
        }
        change.reset_hint = ResetHint::Gauge;
        change.compact();
        Some(change)
    }

    /// `irate`, `idelta`: the change between the last two samples, of which at least one may be a histogram.
    fn instant(&self, step: usize, f: Span, w: Span, out: &mut RowBuf, remarks: &mut Remarks) {
        let Histograms { t, h } = self.histograms;
        if f.len() + w.len() < 2 {
            return;
        }
        let newest_float = (!f.is_empty()).then(|| self.floats.t[f.hi - 1]);
        let older_float = (f.len() > 1).then(|| self.floats.t[f.hi - 2]);
        let older = (w.len() > 1).then(|| t[w.hi - 2]);
        if older_float.is_some_and(|float| float > t[w.hi - 1]) {
            return;
        }
        if newest_float.is_some_and(|float| older.is_none_or(|older| float > older)) {
            remarks.add(Remark::MixedWithFloats);
            return out.unset(step);
        }
        let (before, after) = (w.hi - 2, w.hi - 1);
        let rate = self.call.function == RangeFunction::Irate;
        let gauges = [&h[before], &h[after]].map(|h| h.reset_hint == ResetHint::Gauge);
        if rate && gauges.contains(&true) {
            remarks.add(Remark::NotCounter);
        }
        if !rate && gauges.contains(&false) {
            remarks.add(Remark::NotGauge);
        }
        let mut change = FloatHistogram::clone(&h[after]);
        if !(rate && self.resets[after])
            && combine(change.subtract(&*h[before]), Operation::Subtraction, remarks).is_none()
        {
            return out.unset(step);
        }
        change.reset_hint = ResetHint::Gauge;
        change.compact();
        if rate {
            change.divide(t[after].saturating_sub(t[before]) as f64 / 1000.0);
        }
        out.set_histogram(step, Arc::new(change));
    }

    /// Counts the neighbours, floats and histograms in the order of their times, of which `test` holds.
    fn set_count(
        &self,
        step: usize,
        f: Span,
        w: Span,
        test: impl Fn(Sample, Sample) -> bool,
        out: &mut RowBuf,
    ) {
        out.unset(step);
        let Some((mut f, mut w)) = self.anchored(step, f, w) else { return };
        let mut before = None;
        let mut count = 0;
        while !(f.is_empty() && w.is_empty()) {
            let float = !f.is_empty() && (w.is_empty() || self.floats.t[f.lo] < self.histograms.t[w.lo]);
            let sample = if float { Sample::Float(f.lo) } else { Sample::Histogram(w.lo) };
            if float {
                f.lo += 1
            } else {
                w.lo += 1
            }
            count += u32::from(before.is_some_and(|before| test(before, sample)));
            before = Some(sample);
        }
        out.set(step, f64::from(count));
    }

    /// The samples from the one on that is the newest at or before the window's begin, where the window is anchored: floats
    /// and histograms. Nothing where none lies in the window.
    fn anchored(&self, step: usize, f: Span, w: Span) -> Option<(Span, Span)> {
        let spec: &WindowSpec = &self.call.spec;
        if spec.reach.is_none_or(|r| r.edges != Edges::Anchored) {
            return Some((f, w));
        }
        let after = spec.after(step).0;
        let (ft, wt) = (&self.floats.t[f.lo..f.hi], &self.histograms.t[w.lo..w.hi]);
        let floats_before = ft.partition_point(|&t| t <= after);
        let histograms_before = wt.partition_point(|&t| t <= after);
        if floats_before == ft.len() && histograms_before == wt.len() {
            return None;
        }
        let from = |s: Span, n: usize| Span { lo: s.lo + n, ..s };
        let float = floats_before.checked_sub(1);
        let histogram = histograms_before.checked_sub(1);
        Some(match (float, histogram) {
            (None, None) => (f, w),
            (Some(i), j) if j.is_none_or(|j| ft[i] >= wt[j]) => (from(f, i), from(w, histograms_before)),
            (_, Some(j)) => (from(f, floats_before), from(w, j)),
            (Some(i), None) => (from(f, i), w),
        })
    }

    fn changed(&self, a: Sample, b: Sample) -> bool {
        match (a, b) {
            (Sample::Float(a), Sample::Float(b)) => {
                super::over_time::changed(self.floats.v[a], self.floats.v[b])
            }
            (Sample::Histogram(a), Sample::Histogram(b)) => !self.histograms.h[a].same(&self.histograms.h[b]),
            _ => true,
        }
    }

    fn fell(&self, a: Sample, b: Sample) -> bool {
        match (a, b) {
            (Sample::Float(a), Sample::Float(b)) => {
                super::over_time::fell(self.floats.v[a], self.floats.v[b])
            }
            // With a float between them they are no neighbours, and none are compared.
            (Sample::Histogram(_), Sample::Histogram(b)) => self.resets[b],
            _ => true,
        }
    }
}

/// A sample by its number among the floats, or among the histograms.
#[derive(Clone, Copy)]
enum Sample {
    Float(usize),
    Histogram(usize),
}

/// Notes what a combination of histograms came to; nothing where there was none.
pub(super) fn combine(
    outcome: Result<crate::native::Outcome, crate::native::Incompatible>,
    operation: Operation,
    remarks: &mut Remarks,
) -> Option<()> {
    match outcome {
        Ok(outcome) => {
            if outcome.reconciled {
                remarks.add(Remark::Reconciled(operation));
            }
            Some(())
        }
        Err(_) => {
            remarks.add(Remark::MixedSchemas);
            None
        }
    }
}

/// The sum of histograms, of which there is one at least.
fn total(h: &[Arc<FloatHistogram>], remarks: &mut Remarks) -> Option<FloatHistogram> {
    let (first, rest) = h.split_first()?;
    let mut total = Total::of(first);
    if rest.iter().any(|h| total.add(h).is_err()) {
        remarks.add(Remark::MixedSchemas);
        return None;
    }
    remark_on(total.met, remarks);
    Some(total.value())
}

/// The average of histograms, of which there is one at least.
fn average(h: &[Arc<FloatHistogram>], remarks: &mut Remarks) -> Option<FloatHistogram> {
    let (first, rest) = h.split_first()?;
    let mut average = Average::of(first);
    if rest.iter().any(|h| average.add(h).is_err()) {
        remarks.add(Remark::MixedSchemas);
        return None;
    }
    remark_on(average.met(), remarks);
    Some(average.value())
}

fn remark_on(met: Met, remarks: &mut Remarks) {
    if met.collision() {
        remarks.add(Remark::Collision(Operation::Aggregation));
    }
    if met.reconciled {
        remarks.add(Remark::Reconciled(Operation::Aggregation));
    }
}
