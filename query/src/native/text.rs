//! Histograms as text, as the reference writes them.

use super::FloatHistogram;
use super::buckets::Interval;
use crate::eval::float_text::general;
use std::fmt;

/// `{count:3, sum:4, (1,2]:3}`: buckets that hold anything, in ascending order.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", general(self.count), general(self.sum))?;
        let negative = self.negative.iter().rev().map(|b| self.below_zero(b));
        let zero = std::iter::once(self.around_zero());
        let positive = self.positive.iter().map(|b| self.above_zero(b));
        for i in negative.chain(zero).chain(positive).filter(|i| i.count != 0.0) {
            write!(f, ", {i}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper, count) = (general(self.lower), general(self.upper), general(self.count));
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bucket;
    use super::super::tests::{custom, histogram};

    #[test]
    fn buckets_are_intervals() {
        let mut h = histogram(9.0, 4.5, &[0.0, 2.0]);
        h.negative = vec![Bucket { index: 1, count: 3.0 }];
        (h.zero, h.zero_threshold) = (4.0, 0.5);
        assert_eq!(h.to_string(), "{count:9, sum:4.5, [-2,-1):3, [-0.5,0.5]:4, (1,2]:2}");
        let h = custom(&[5.0], &[1.0, 2e6]);
        assert_eq!(h.to_string(), "{count:2.000001e+06, sum:2.000001e+06, [-Inf,5]:1, (5,+Inf]:2e+06}");
    }
}
