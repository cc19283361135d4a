//! Whether a counter began anew between two histograms.

use super::shape::{coarsen, common, rebounded};
use super::{Bucket, FloatHistogram};
use cardinal_storage::model::ResetHint;

impl FloatHistogram {
    /// Whether a counter reset lies between `previous` and this one: what the hint says, else whether anything was
    /// counted before that is not counted now. A finer schema or a narrower zero bucket come with a reset alone.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.is_custom() {
            return !previous.is_custom() || self.lost_in_custom(previous);
        }
        self.schema > previous.schema
            || self.zero_threshold < previous.zero_threshold
            || self.lost_in_exponential(previous)
    }

    fn lost_in_custom(&self, previous: &Self) -> bool {
        if self.custom_bounds == previous.custom_bounds {
            return lost(&self.positive, &previous.positive);
        }
        let bounds = common(&self.custom_bounds, &previous.custom_bounds);
        let over = |h: &Self| rebounded(&h.positive, &h.custom_bounds, &bounds);
        lost(&over(self), &over(previous))
    }

    fn lost_in_exponential(&self, previous: &Self) -> bool {
        let (zero, threshold) = previous.zero_up_to(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero < zero {
            return true;
        }
        let inside =
            |b: &Bucket| super::bounds::exponential_bound(b.index, self.schema) <= self.zero_threshold;
        let lost_side = |now: &[Bucket], before: &[Bucket]| {
            let mut coarse = Vec::new();
            let before = if previous.schema == self.schema {
                before
            } else {
                coarse.extend_from_slice(before);
                coarsen(&mut coarse, previous.schema, self.schema);
                &coarse
            };
            let outside = |buckets: &[Bucket]| buckets.iter().take_while(|b| inside(b)).count();
            lost(&now[outside(now)..], &before[outside(before)..])
        };
        lost_side(&self.positive, &previous.positive) || lost_side(&self.negative, &previous.negative)
    }
}

/// Whether any bucket held more before than it does now.
fn lost(now: &[Bucket], before: &[Bucket]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|b| {
        while now.next_if(|n| n.index < b.index).is_some() {}
        match now.peek() {
            Some(n) if n.index == b.index => n.count < b.count,
            _ => b.count != 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{custom, histogram};
    use super::*;

    fn check(now: &FloatHistogram, before: &FloatHistogram, want: bool) {
        assert_eq!(now.is_reset_after(before), want, "{now:?} after {before:?}");
    }

    #[test]
    fn a_bucket_that_loses_is_a_reset() {
        let before = histogram(4.0, 5.0, &[1.0, 2.0, 1.0]);
        check(&histogram(4.0, 5.0, &[1.0, 2.0, 1.0]), &before, false);
        check(&histogram(9.0, 5.0, &[1.0, 1.0, 7.0]), &before, true);
        check(&histogram(9.0, 5.0, &[1.0, 8.0]), &before, true);
        check(&histogram(3.0, 5.0, &[1.0, 2.0, 1.0]), &before, true);
        check(&histogram(4.0, 5.0, &[1.0, 2.0, 1.0]), &histogram(4.0, 5.0, &[1.0, 2.0, 0.0, 0.0]), false);
    }

    #[test]
    fn hints_are_believed() {
        let mut now = histogram(1.0, 1.0, &[1.0]);
        now.reset_hint = ResetHint::NotReset;
        check(&now, &histogram(9.0, 9.0, &[9.0]), false);
        now.reset_hint = ResetHint::Reset;
        check(&now, &histogram(0.0, 0.0, &[]), true);
    }

    #[test]
    fn coarser_buckets_and_a_wider_zero_bucket_are_no_reset() {
        let before = histogram(4.0, 5.0, &[1.0, 2.0, 1.0]);
        let mut now = histogram(5.0, 5.0, &[1.0, 4.0]);
        now.schema = -1;
        check(&now, &before, false);
        check(&before, &now, true);
        let mut wide = histogram(4.0, 5.0, &[0.0, 2.0, 1.0]);
        (wide.zero_threshold, wide.zero) = (1.0, 1.0);
        check(&wide, &before, false);
        wide.zero = 0.5;
        check(&wide, &before, true);
        // The zero bucket may not cut a bucket that holds something.
        (wide.zero_threshold, wide.zero) = (1.5, 9.0);
        check(&wide, &before, true);
        check(&before, &wide, true);
    }

    #[test]
    fn custom_buckets_compare_over_common_bounds() {
        let before = custom(&[2.0, 4.0, 6.0], &[1.0, 2.0, 5.0, 7.0]);
        check(&custom(&[2.0, 3.0, 4.0, 6.0], &[1.0, 0.0, 1.0, 5.0, 8.0]), &before, true);
        check(&custom(&[2.0, 3.0, 4.0, 6.0], &[1.0, 1.0, 1.0, 5.0, 7.0]), &before, false);
        check(&before, &histogram(1.0, 1.0, &[1.0]), true);
        check(&histogram(99.0, 1.0, &[99.0]), &before, true);
    }
}
