//! Native histograms at the edges of windows, as [`edges`](super::edges) has it for floats: `anchored` takes the last one at
//! or before the edge, `smoothed` one on the straight line between those around it.

use super::extrapolate::Kind;
use super::histograms::combine;
use super::{Samples, Span, WindowSpec};
use crate::eval::histogram_column::Histograms;
use crate::eval::remarks::{Operation, Remark, Remarks};
use crate::eval::rows::RowBuf;
use crate::native::FloatHistogram;
use crate::parse::ast::Edges;
use cardinal_storage::model::{ResetHint, TimestampMs};
use std::sync::Arc;

/// The change between the edges of the window of step `step`; `s` is what lies in it and within its reach.
pub(super) fn change(
    s: Histograms<'_>,
    spec: &WindowSpec,
    (step, edges): (usize, Edges),
    kind: Kind,
    remarks: &mut Remarks,
) -> Option<FloatHistogram> {
    let (after, until) = (spec.after(step), spec.until(step));
    let smoothed = edges == Edges::Smoothed;
    let counter = kind != Kind::Delta;
    // The last one stands for all that follow it: it is not among those searched.
    let mut last = s.t.len().checked_sub(1)?;
    let first = s.t[..last].partition_point(|&t| t <= after.0).saturating_sub(1);
    if smoothed {
        last = s.t[..last].partition_point(|&t| t < until.0);
    }
    if s.t[last] <= after.0 || smoothed && s.t[first] > until.0 {
        return None;
    }
    if !sound(&s.h[first..=last], counter, remarks) {
        return None;
    }
    let left = match smoothed && s.t[first] < after.0 {
        true => between(s, first, after, counter, remarks)?,
        false => FloatHistogram::clone(&s.h[first]),
    };
    let right = match smoothed && last > 0 && s.t[last] > until.0 {
        true => between(s, last - 1, until, counter, remarks)?,
        false => FloatHistogram::clone(&s.h[last]),
    };
    if !counter && [&left, &right].iter().any(|h| h.reset_hint != ResetHint::Gauge) {
        remarks.add(Remark::NotGauge);
    }
    let mut change = right.clone();
    combine(change.subtract(&left), Operation::Subtraction, remarks)?;
    if counter {
        // A reset between the first two is in the value at the left edge already.
        let spanned = smoothed && s.t[first] < after.0 && s.h[first + 1].is_reset_after(&s.h[first]);
        let lost = lost(&s.h[first..=last], (&left, &right), spanned, remarks)?;
        if let Some(lost) = lost {
            combine(change.add(&lost), Operation::Addition, remarks)?;
        }
    }
    if kind == Kind::Rate {
        change.divide(spec.range.0 as f64 / 1000.0);
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

/// The histogram at each step, interpolated between those around it; the last one where none follows. `row` has what the
/// floats of the series give.
pub(crate) fn smoothed_of_both(
    spec: &WindowSpec,
    floats: Samples<'_>,
    s: Histograms<'_>,
    row: &mut RowBuf,
    remarks: &mut Remarks,
) {
    let (mut float_spans, mut spans) = (Vec::new(), Vec::new());
    let around = spec.reached();
    around.find(floats.t, &mut float_spans);
    around.find(s.t, &mut spans);
    for (step, &w) in spans.iter().enumerate().filter(|(_, w)| !w.is_empty()) {
        if !float_spans[step].is_empty() {
            remarks.add(Remark::MixedWithFloats);
            row.unset(step);
        } else if let Some(h) = at(s, w, spec.until(step), remarks) {
            row.set_histogram(step, h);
        }
    }
}

/// The histogram at `t` among those of a window around it.
fn at(s: Histograms<'_>, w: Span, t: TimestampMs, remarks: &mut Remarks) -> Option<Arc<FloatHistogram>> {
    let next = w.lo + s.t[w.lo..w.hi].partition_point(|&at| at < t.0);
    if next < w.hi && s.t[next] == t.0 {
        return Some(Arc::clone(&s.h[next]));
    }
    if next == w.lo {
        return None;
    }
    let before = next - 1;
    if next == w.hi {
        // What is known of resets is known of neighbours, not of what is carried on.
        let mut h = FloatHistogram::clone(&s.h[before]);
        h.reset_hint = ResetHint::Unknown;
        return Some(Arc::new(h));
    }
    if s.h[before].is_custom() != s.h[next].is_custom() {
        remarks.add(Remark::MixedSchemas);
        return None;
    }
    let gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    let counter = !(gauge(&s.h[before]) && gauge(&s.h[next]));
    between(s, before, t, counter, remarks).map(Arc::new)
}

/// Whether these can be computed with.
fn sound(h: &[Arc<FloatHistogram>], counter: bool, remarks: &mut Remarks) -> bool {
    for x in h {
        if x.is_custom() != h[0].is_custom() {
            remarks.add(Remark::MixedSchemas);
            return false;
        }
        if counter && x.reset_hint == ResetHint::Gauge {
            remarks.add(Remark::NotCounter);
        }
    }
    true
}

/// The histogram at `t` on the line from number `i` to the next one; a counter that was reset between them began at zero.
fn between(
    s: Histograms<'_>,
    i: usize,
    t: TimestampMs,
    counter: bool,
    remarks: &mut Remarks,
) -> Option<FloatHistogram> {
    let (a, b) = (&*s.h[i], &*s.h[i + 1]);
    if t.0 == s.t[i] {
        return Some(a.clone());
    }
    if t.0 == s.t[i + 1] {
        return Some(b.clone());
    }
    let share = t.0.saturating_sub(s.t[i]) as f64 / s.t[i + 1].saturating_sub(s.t[i]) as f64;
    let mut h = b.clone();
    if counter && b.is_reset_after(a) {
        h.multiply(share);
        return Some(h);
    }
    combine(h.subtract(a), Operation::Subtraction, remarks)?;
    h.multiply(share);
    combine(h.add(a), Operation::Addition, remarks)?;
    Some(h)
}

/// What a counter had reached when it was reset, summed up over `h`, the first and last of which `edges` stand for; nothing
/// inside if it never was.
fn lost(
    h: &[Arc<FloatHistogram>],
    (left, right): (&FloatHistogram, &FloatHistogram),
    spanned: bool,
    remarks: &mut Remarks,
) -> Option<Option<FloatHistogram>> {
    let (from, mut before) = if spanned { (2, &*h[1]) } else { (1, left) };
    let mut lost: Option<FloatHistogram> = None;
    // With nothing between the edges both may lie on one line, across the same reset.
    if from > h.len() - 1 {
        return Some(None);
    }
    let inner = h[from..h.len() - 1].iter().map(|h| &**h);
    for now in inner.chain([right]) {
        if now.is_reset_after(before) {
            match &mut lost {
                Some(lost) => combine(lost.add(before), Operation::Addition, remarks)?,
                None => lost = Some(before.clone()),
            }
        }
        before = now;
    }
    Some(lost)
}
