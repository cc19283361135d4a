//! Values at the edges of windows: `anchored` takes the last sample at or before the edge for what held there, `smoothed`
//! the straight line between the samples around it. A change is then taken between the edges, and nothing is
//! extrapolated.
//!
//! Windows come from [`WindowSpec::find`] with a reach: their first sample may lie before the window, their last one
//! behind it.

use super::extrapolate::Kind;
use super::{Samples, Span, Spans, WindowSpec};
use crate::eval::rows::RowBuf;
use crate::parse::ast::Edges;
use cardinal_storage::model::TimestampMs;
use std::ops::Range;

/// The change over each window. `drops`: where a counter fell, ascending.
pub(super) fn row(
    s: Samples<'_>,
    spans: Spans<'_>,
    (spec, edges): (&WindowSpec, Edges),
    kind: Kind,
    drops: &[usize],
    out: &mut RowBuf,
) {
    let mut next = 0;
    for (i, &span) in spans.iter().enumerate() {
        let (after, until) = (spec.after(i), spec.until(i));
        if span.is_empty() || s.t[span.lo] > until.0 {
            continue;
        }
        let window = Edged::new(s, span, (after, until), edges, kind != Kind::Delta);
        let mut change = window.right - window.left;
        if kind != Kind::Delta {
            while next < drops.len() && drops[next] <= window.inside.start {
                next += 1;
            }
            change += window.lost(s, &drops[next..]);
        }
        if kind == Kind::Rate {
            change /= spec.range.0 as f64 / 1000.0;
        }
        out.set(i, change);
    }
}

/// The value at each step, interpolated between the samples around it; the last one where none follows. Returns how many
/// there are.
pub(crate) fn smoothed(spec: &WindowSpec, s: Samples<'_>, row: &mut RowBuf) -> u64 {
    row.clear();
    let beyond = spec.reach.map_or(spec.range, |r| r.beyond);
    let (mut next, mut found) = (0, 0);
    for i in 0..spec.grid.count {
        let until = spec.until(i);
        while next < s.t.len() && s.t[next] <= until.0 {
            next += 1;
        }
        if next == 0 || s.t[next - 1] <= (until - spec.range).0 {
            continue;
        }
        let followed = next < s.t.len() && s.t[next] <= (until + beyond).0;
        let exact = s.t[next - 1] == until.0;
        row.set(i, if followed && !exact { s.between(next - 1, until, false) } else { s.v[next - 1] });
        found += 1;
    }
    found
}

/// The samples of the first window, with the values at its edges in place of what lies on or beyond them.
pub(crate) fn points(spec: &WindowSpec, s: Samples<'_>) -> Vec<(TimestampMs, f64)> {
    let mut spans = Vec::with_capacity(1);
    spec.find(s.t, &mut spans);
    let Some(&span) = spans.first().filter(|s| !s.is_empty()) else { return Vec::new() };
    let plain = |r: Range<usize>| r.map(|i| (TimestampMs(s.t[i]), s.v[i]));
    let Some(reach) = spec.reach else { return plain(span.lo..span.hi).collect() };
    let (after, until) = (spec.after(0), spec.until(0));
    let window = Edged::new(s, span, (after, until), reach.edges, false);
    let edge = |t: TimestampMs, v: f64| std::iter::once((t, v));
    edge(after, window.left).chain(plain(window.inside)).chain(edge(until, window.right)).collect()
}

/// A window with the values at its edges.
struct Edged {
    left: f64,
    right: f64,
    /// The samples strictly between the edges.
    inside: Range<usize>,
}

impl Edged {
    fn new(
        s: Samples<'_>,
        span: Span,
        (after, until): (TimestampMs, TimestampMs),
        edges: Edges,
        counter: bool,
    ) -> Self {
        let (first, last) = (span.lo, span.hi - 1);
        let smoothed = edges == Edges::Smoothed;
        let before = smoothed && s.t[first] < after.0;
        let behind = smoothed && last > first && s.t[last] > until.0;
        let inside = first + usize::from(s.t[first] <= after.0)..span.hi - usize::from(s.t[last] >= until.0);
        Self {
            left: if before { s.between(first, after, counter) } else { s.v[first] },
            right: if behind { s.between(last - 1, until, counter) } else { s.v[last] },
            inside,
        }
    }

    /// What a counter had reached when it fell back, summed up over the window. `drops` begin inside.
    fn lost(&self, s: Samples<'_>, drops: &[usize]) -> f64 {
        let mut lost = 0.0;
        let mut before = self.left;
        if let Some(last) = self.inside.clone().next_back() {
            if s.v[self.inside.start] < self.left {
                lost += self.left;
            }
            drops.iter().take_while(|&&d| d <= last).for_each(|&d| lost += s.v[d - 1]);
            before = s.v[last];
        }
        if self.right < before { lost + before } else { lost }
    }
}

impl Samples<'_> {
    /// The value at `t` on the line from sample `i` to the next one; a counter that fell between them began at zero.
    fn between(&self, i: usize, t: TimestampMs, counter: bool) -> f64 {
        let (a, b) = (self.v[i], self.v[i + 1]);
        let a = if counter && b < a { 0.0 } else { a };
        let part = t.0.saturating_sub(self.t[i]) as f64;
        a + (b - a) * part / self.t[i + 1].saturating_sub(self.t[i]) as f64
    }
}
