//! Functions over range vectors: one number per window of samples.
//!
//! Every function sees a whole series at once with the windows already found, so that it may reuse work between
//! overlapping windows where that changes no bit of the result: counts, ends, extremes, and sums of integers. Sums
//! of other floats are taken anew for each window; a difference of prefix sums would carry the error of all that
//! came before.

mod edges;
mod extrapolate;
mod extreme;
mod histogram_edges;
mod histograms;
mod over_time;
mod quantile;
mod regress;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use edges::{points, smoothed};
pub(crate) use histogram_edges::smoothed_of_both;
pub(crate) use quantile::quantile_of;
pub(crate) use window::{Reach, Span, Spans, WindowSpec};

use super::budget::{Ticker, Watch};
use super::rows::RowBuf;

/// A function over range vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RangeFunction {
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `irate`
    Irate,
    /// `idelta`
    Idelta,
    /// `changes`
    Changes,
    /// `resets`
    Resets,
    /// `deriv`
    Deriv,
    /// `predict_linear`: one parameter, the seconds ahead.
    PredictLinear,
    /// `double_exponential_smoothing`: two parameters.
    Smoothing,
    /// `sum_over_time`
    Sum,
    /// `avg_over_time`
    Avg,
    /// `count_over_time`
    Count,
    /// `min_over_time`
    Min,
    /// `max_over_time`
    Max,
    /// `stddev_over_time`
    Stddev,
    /// `stdvar_over_time`
    Stdvar,
    /// `quantile_over_time`: one parameter.
    Quantile,
    /// `mad_over_time`
    Mad,
    /// `first_over_time`
    First,
    /// `last_over_time`
    Last,
    /// `present_over_time`, and what `absent_over_time` looks at.
    Present,
    /// `ts_of_first_over_time`
    TsOfFirst,
    /// `ts_of_last_over_time`
    TsOfLast,
    /// `ts_of_min_over_time`
    TsOfMin,
    /// `ts_of_max_over_time`
    TsOfMax,
}

impl RangeFunction {
    /// Whether results keep the metric name: these give a sample of the series as it is.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }

    /// Whether it only makes sense on counters.
    pub(crate) fn wants_counter(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }
}

/// The samples of one series in all windows; no staleness markers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples<'a> {
    /// Times in milliseconds, strictly ascending.
    pub(crate) t: &'a [i64],
    /// As many values.
    pub(crate) v: &'a [f64],
}

impl<'a> Samples<'a> {
    /// The samples of one window.
    fn window(&self, span: Span) -> Self {
        Samples { t: &self.t[span.lo..span.hi], v: &self.v[span.lo..span.hi] }
    }

    fn len(&self) -> usize {
        self.v.len()
    }
}

/// One call of a range function: what, over which windows, with which parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeCall<'a> {
    /// The function.
    pub(crate) function: RangeFunction,
    /// The windows.
    pub(crate) spec: WindowSpec,
    /// Each scalar parameter at each step.
    pub(crate) params: &'a [Vec<f64>],
    /// What may end the query in the middle of a row.
    pub(crate) watch: &'a Watch,
}

/// What range functions reuse from series to series.
#[derive(Debug, Default)]
pub(crate) struct RangeScratch {
    spans: Vec<Span>,
    values: Vec<f64>,
    indices: Vec<usize>,
    integers: Vec<i64>,
    /// The windows over histograms.
    histogram_spans: Vec<Span>,
    /// What the first none, one, two… histograms count as.
    sizes: Vec<u64>,
    /// Whether a counter reset lies before each histogram.
    resets: Vec<bool>,
}

impl RangeScratch {
    /// The windows of the series looked at last.
    pub(crate) fn windows(&self) -> &[Span] {
        &self.spans
    }

    /// The windows of the histograms looked at last, and what the first none, one, two… of these count as together.
    pub(crate) fn histogram_windows(&self) -> (&[Span], &[u64]) {
        (&self.histogram_spans, &self.sizes)
    }
}

impl RangeCall<'_> {
    /// Computes the row of one series. Returns how many samples the windows held, each counted once per window. The row is
    /// not complete if the query must stop: the caller looks at the watch before it uses the row.
    pub(crate) fn row(&self, samples: Samples<'_>, scratch: &mut RangeScratch, out: &mut RowBuf) -> u64 {
        out.clear();
        let mut spans = std::mem::take(&mut scratch.spans);
        self.spec.find(samples.t, &mut spans);
        self.dispatch(samples, Spans::new(&spans, self.watch), scratch, out);
        if self.spec.reach.is_some() {
            self.spec.reached().find(samples.t, &mut spans);
        }
        let held = spans.iter().map(|s| s.len() as u64).sum();
        scratch.spans = spans;
        held
    }

    fn dispatch(&self, s: Samples<'_>, spans: Spans<'_>, scratch: &mut RangeScratch, out: &mut RowBuf) {
        use RangeFunction as F;
        let spec = &self.spec;
        let secs = |ms: i64| ms as f64 / 1000.0;
        match self.function {
            F::Rate => extrapolate::change(s, spans, spec, extrapolate::Kind::Rate, scratch, out),
            F::Increase => extrapolate::change(s, spans, spec, extrapolate::Kind::Increase, scratch, out),
            F::Delta => extrapolate::change(s, spans, spec, extrapolate::Kind::Delta, scratch, out),
            F::Irate => each(spans, out, |_, w| extrapolate::instant(s.window(w), true)),
            F::Idelta => each(spans, out, |_, w| extrapolate::instant(s.window(w), false)),
            F::Changes => over_time::pairs(s.v, spans, over_time::changed, scratch, out),
            F::Resets => over_time::pairs(s.v, spans, over_time::fell, scratch, out),
            F::Deriv => each(spans, out, |_, w| regress::deriv(s.window(w))),
            F::PredictLinear => each(spans, out, |i, w| {
                // The line is taken from the evaluation time, wherever the window lies.
                regress::predict(s.window(w), spec.grid.at(i).0, self.params[0][i])
            }),
            F::Smoothing => {
                each(spans, out, |i, w| regress::smooth(s.window(w).v, self.params[0][i], self.params[1][i]))
            }
            F::Sum => over_time::sums(s.v, spans, scratch, out),
            F::Avg => over_time::averages(s.v, spans, scratch, out),
            F::Count => filled(spans, out, |w| w.len() as f64),
            F::Present => filled(spans, out, |_| 1.0),
            F::First => filled(spans, out, |w| s.v[w.lo]),
            F::Last => filled(spans, out, |w| s.v[w.hi - 1]),
            F::TsOfFirst => filled(spans, out, |w| secs(s.t[w.lo])),
            F::TsOfLast => filled(spans, out, |w| secs(s.t[w.hi - 1])),
            F::Min => extreme::row::<extreme::Least>(s, spans, scratch, |w| s.v[w], out),
            F::Max => extreme::row::<extreme::Greatest>(s, spans, scratch, |w| s.v[w], out),
            F::TsOfMin => extreme::row::<extreme::LastLeast>(s, spans, scratch, |w| secs(s.t[w]), out),
            F::TsOfMax => extreme::row::<extreme::LastGreatest>(s, spans, scratch, |w| secs(s.t[w]), out),
            F::Stdvar => filled(spans, out, |w| over_time::variance(&s.v[w.lo..w.hi])),
            F::Stddev => filled(spans, out, |w| over_time::variance(&s.v[w.lo..w.hi]).sqrt()),
            F::Quantile => each(spans, out, |i, w| {
                (!w.is_empty())
                    .then(|| quantile::quantile(self.params[0][i], s.window(w).v, &mut scratch.values))
            }),
            F::Mad => filled(spans, out, |w| quantile::mad(s.window(w).v, &mut scratch.values)),
        }
    }
}

/// Sets `f(step, window)` wherever it gives a value, until the query must stop.
fn each(spans: Spans<'_>, out: &mut RowBuf, mut f: impl FnMut(usize, Span) -> Option<f64>) {
    let mut ticker = Ticker::new(spans.watch());
    for (i, &w) in spans.iter().enumerate() {
        if ticker.tick(w.len()).is_err() {
            return;
        }
        if let Some(v) = f(i, w) {
            out.set(i, v);
        }
    }
}

/// Sets `f(window)` for each window that holds a sample.
fn filled(spans: Spans<'_>, out: &mut RowBuf, mut f: impl FnMut(Span) -> f64) {
    each(spans, out, |_, w| (!w.is_empty()).then(|| f(w)));
}
