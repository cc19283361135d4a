//! Minima and maxima of all windows in one pass: a queue of candidates, each better than those after it.

use super::{RangeScratch, Samples, Spans};
use crate::eval::rows::RowBuf;

/// Which of two values is kept.
pub(super) trait Better {
    /// Whether `new`, seen later, replaces `old` as the best. Neither is NaN.
    fn replaces(new: f64, old: f64) -> bool;
}

/// The first of the smallest values.
pub(super) struct Least;
/// The first of the greatest values.
pub(super) struct Greatest;
/// The last of the smallest values.
pub(super) struct LastLeast;
/// The last of the greatest values.
pub(super) struct LastGreatest;

impl Better for Least {
    fn replaces(new: f64, old: f64) -> bool {
        new < old
    }
}

impl Better for Greatest {
    fn replaces(new: f64, old: f64) -> bool {
        new > old
    }
}

impl Better for LastLeast {
    fn replaces(new: f64, old: f64) -> bool {
        new <= old
    }
}

impl Better for LastGreatest {
    fn replaces(new: f64, old: f64) -> bool {
        new >= old
    }
}

/// Sets `answer(index of the best sample)` for each window with samples. NaN loses against every number; a window
/// of NaN alone answers its last.
///
/// The queue holds the indices of the numbers that are, or may become, the best of some window: when a sample
/// enters, all that it replaces leave at the back; when the window moves on, the front leaves.
pub(super) fn row<B: Better>(
    s: Samples<'_>,
    spans: Spans<'_>,
    scratch: &mut RangeScratch,
    answer: impl Fn(usize) -> f64,
    out: &mut RowBuf,
) {
    let queue = &mut scratch.indices;
    queue.clear();
    let (mut front, mut seen) = (0, 0);
    for (i, &w) in spans.iter().enumerate() {
        while seen < w.hi {
            if !s.v[seen].is_nan() {
                while queue.len() > front && B::replaces(s.v[seen], s.v[queue[queue.len() - 1]]) {
                    queue.pop();
                }
                queue.push(seen);
            }
            seen += 1;
        }
        while front < queue.len() && queue[front] < w.lo {
            front += 1;
        }
        if !w.is_empty() {
            out.set(i, answer(queue.get(front).copied().unwrap_or(w.hi - 1)));
        }
    }
}
