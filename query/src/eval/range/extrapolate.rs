//! `rate`, `increase`, `delta`: the change over a window, extrapolated to its edges; `irate`, `idelta`: the change
//! between its last two samples.

use super::{RangeScratch, Samples, Spans, WindowSpec, edges};
use crate::eval::rows::RowBuf;

/// What of a window's change is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of a counter, per second.
    Rate,
    /// Of a counter.
    Increase,
    /// Of a gauge.
    Delta,
}

/// The change over each window, extrapolated to its edges or between the values there.
pub(super) fn change(
    s: Samples<'_>,
    spans: Spans<'_>,
    spec: &WindowSpec,
    kind: Kind,
    scratch: &mut RangeScratch,
    out: &mut RowBuf,
) {
    let drops = &mut scratch.indices;
    drops.clear();
    if kind != Kind::Delta {
        drops.extend((1..s.len()).filter(|&i| s.v[i] < s.v[i - 1]));
    }
    match spec.reach {
        None => row(s, spans, spec, kind, drops, out),
        Some(reach) => edges::row(s, spans, (spec, reach.edges), kind, drops, out),
    }
}

/// The drops of a counter were found once per series: most windows hold none and cost nothing but their ends.
fn row(s: Samples<'_>, spans: Spans<'_>, spec: &WindowSpec, kind: Kind, drops: &[usize], out: &mut RowBuf) {
    let mut next = 0;
    for (i, &w) in spans.iter().enumerate() {
        while next < drops.len() && drops[next] <= w.lo {
            next += 1;
        }
        if w.len() < 2 {
            continue;
        }
        // Added one by one in their order, as a walk over the window would: the sum rounds the same way.
        let mut change = s.v[w.hi - 1] - s.v[w.lo];
        drops[next..].iter().take_while(|&&d| d < w.hi).for_each(|&d| change += s.v[d - 1]);
        out.set(i, extrapolate(s.window(w), change, spec, i, kind));
    }
}

/// Stretches `change`, seen between the first and last sample.
#[inline]
fn extrapolate(w: Samples<'_>, change: f64, spec: &WindowSpec, step: usize, kind: Kind) -> f64 {
    change * factor(w.t, (w.v[0], change), spec, step, kind)
}

/// By what a change between the first and last of at least two samples, at the times `t`, is stretched to the window's edges:
/// all the way where a sample lies close to the edge, else by half the average distance of samples; never to below zero
/// for a counter, which was `start` at first and has changed by `change`.
#[inline]
pub(super) fn factor(
    t: &[i64],
    (start, change): (f64, f64),
    spec: &WindowSpec,
    step: usize,
    kind: Kind,
) -> f64 {
    let secs = |ms: i64| ms as f64 / 1000.0;
    let (first, last) = (t[0], t[t.len() - 1]);
    let until = spec.until(step);
    let after = until - spec.range;
    let sampled = secs(last.saturating_sub(first));
    let distance = sampled / (t.len() - 1) as f64;
    let threshold = distance * 1.1;

    let mut to_start = secs(first.saturating_sub(after.0));
    if to_start >= threshold {
        to_start = distance / 2.0;
    }
    if kind != Kind::Delta && change > 0.0 && start >= 0.0 {
        let to_zero = sampled * (start / change);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let mut to_end = secs(until.0.saturating_sub(last));
    if to_end >= threshold {
        to_end = distance / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind == Kind::Rate {
        factor /= secs(spec.range.0);
    }
    factor
}

/// The change between the last two samples: of a counter per second (a fall is a restart from zero), else plain.
pub(super) fn instant(w: Samples<'_>, rate: bool) -> Option<f64> {
    let n = w.len();
    if n < 2 {
        return None;
    }
    let (a, b) = (w.v[n - 2], w.v[n - 1]);
    let change = if rate && b < a { b } else { b - a };
    Some(if rate { change / (w.t[n - 1].saturating_sub(w.t[n - 2]) as f64 / 1000.0) } else { change })
}
