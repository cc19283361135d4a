//! Histograms brought into a common shape: coarser buckets, a wider zero bucket, the custom bounds that both have.

use super::bounds::{coarser, exponential_bound};
use super::tally::Tally;
use super::{Bucket, FloatHistogram};
use std::sync::Arc;

impl<C: Tally> FloatHistogram<C> {
    /// Reduces the resolution to that of a coarser schema.
    pub(crate) fn coarsen(&mut self, schema: i8) {
        if schema < self.schema {
            coarsen(&mut self.positive, self.schema, schema);
            coarsen(&mut self.negative, self.schema, schema);
            self.schema = schema;
        }
    }

    /// What the zero bucket would hold if it reached up to `threshold`, which is not below what it is; and up to where it
    /// would reach really: never into the middle of a bucket that holds anything.
    pub(super) fn zero_up_to(&self, mut threshold: f64) -> (C, f64) {
        if threshold == self.zero_threshold {
            return (self.zero, threshold);
        }
        'widened: loop {
            let mut zero = self.zero;
            for side in [&self.positive, &self.negative] {
                let mut widened = false;
                for b in side {
                    if exponential_bound(b.index.wrapping_sub(1), self.schema) >= threshold {
                        break;
                    }
                    zero.add_all(&b.count, 1.0);
                    let upper = exponential_bound(b.index, self.schema);
                    if upper > threshold {
                        if !b.count.is_zero() {
                            threshold = upper;
                            widened = true;
                        }
                        break;
                    }
                }
                // A bucket on the other side may be cut now.
                if widened && std::ptr::eq(side, &self.negative) {
                    continue 'widened;
                }
            }
            return (zero, threshold);
        }
    }

    /// Widens the zero bucket until it is at least as wide as `other`'s, and both could have the same without cutting a
    /// bucket. Returns what `other`'s would hold then.
    pub(super) fn widen_zero<D: Tally>(&mut self, other: &FloatHistogram<D>) -> D {
        let (mut zero, mut threshold) = (other.zero, other.zero_threshold);
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (zero, threshold) = other.zero_up_to(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero, self.zero_threshold) = self.zero_up_to(threshold);
                let outside = |b: &Bucket<C>, schema, threshold| {
                    exponential_bound(b.index.wrapping_sub(1), schema) >= threshold
                };
                let (schema, threshold) = (self.schema, self.zero_threshold);
                self.positive.retain(|b| outside(b, schema, threshold));
                self.negative.retain(|b| outside(b, schema, threshold));
            }
        }
        zero
    }

    /// Brings custom buckets to `bounds`, all of which are among their own.
    pub(super) fn rebound(&mut self, bounds: &Arc<[f64]>) {
        self.positive = rebounded(&self.positive, &self.custom_bounds, bounds);
        self.custom_bounds = Arc::clone(bounds);
    }
}

/// Adds up buckets that are one in a coarser schema.
pub(super) fn coarsen<C: Tally>(buckets: &mut Vec<Bucket<C>>, from: i8, to: i8) {
    buckets.iter_mut().for_each(|b| b.index = coarser(b.index, from, to));
    buckets.dedup_by(|b, kept| {
        let same = b.index == kept.index;
        if same {
            kept.count.add_all(&b.count, 1.0);
        }
        same
    });
}

/// The buckets over `bounds` in place of `own`: each goes to the first that ends where it does or later.
pub(super) fn rebounded<C: Tally>(buckets: &[Bucket<C>], own: &[f64], bounds: &[f64]) -> Vec<Bucket<C>> {
    let mut out: Vec<Bucket<C>> = Vec::with_capacity(buckets.len().min(bounds.len() + 1));
    for b in buckets {
        let end = usize::try_from(b.index).ok().and_then(|i| own.get(i));
        let target = end.map_or(bounds.len(), |end| bounds.partition_point(|x| x < end));
        let index = i32::try_from(target).unwrap_or(i32::MAX);
        match out.last_mut().filter(|last| last.index == index) {
            Some(last) => last.count.add_all(&b.count, 1.0),
            None => out.push(Bucket { index, count: b.count }),
        }
    }
    out
}

/// The bounds that both have; both ascend.
pub(super) fn common(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter().copied().filter(|x| b.binary_search_by(|y| y.total_cmp(x)).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{custom, histogram, pairs};
    use super::*;

    #[test]
    fn coarser_buckets_hold_the_sums() {
        let mut h = histogram(10.0, 0.0, &[1.0, 2.0, 3.0, 4.0]);
        h.coarsen(-1);
        assert_eq!(pairs(&h.positive), [(0, 1.0), (1, 5.0), (2, 4.0)]);
        h.coarsen(0);
        assert_eq!(h.schema, -1);
    }

    #[test]
    fn a_zero_bucket_never_cuts_another() {
        let mut h = histogram(10.0, 0.0, &[1.0, 2.0, 3.0]);
        h.negative = vec![Bucket { index: 2, count: 4.0 }];
        // 1.5 lies in (1, 2], which holds something; 3 lies in (2, 4] on both sides.
        assert_eq!(h.zero_up_to(1.5), (3.0, 2.0));
        assert_eq!(h.zero_up_to(3.0), (10.0, 4.0));
        let mut other = histogram(0.0, 0.0, &[]);
        other.zero_threshold = 1.5;
        assert_eq!(h.widen_zero(&other), 0.0);
        assert_eq!((h.zero, h.zero_threshold), (3.0, 2.0));
        assert_eq!(pairs(&h.positive), [(2, 3.0)]);
        other.positive = vec![Bucket { index: 1, count: 5.0 }];
        assert_eq!(h.widen_zero(&other), 5.0);
    }

    #[test]
    fn custom_buckets_move_to_common_bounds() {
        let bounds = common(&[1.0, 2.0, 3.0, 5.0], &[2.0, 4.0, 5.0]);
        assert_eq!(*bounds, [2.0, 5.0]);
        let mut h = custom(&[1.0, 2.0, 3.0, 5.0], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        h.rebound(&bounds);
        assert_eq!(pairs(&h.positive), [(0, 3.0), (1, 7.0), (2, 5.0)]);
    }
}
