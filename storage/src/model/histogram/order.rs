//! The rule that settles two histograms at one time.

use super::{BucketCounts, Counts, Histogram, HistogramSample};
use std::cmp::Ordering;

/// The histogram that stands where two of a series have the same timestamp.
///
/// Identical ones are one; else the one of more observations wins, and between equally many [`Histogram::total_cmp`] decides. As
/// with floats the rule does not depend on order or grouping, so compaction cannot change an answer. Between a histogram and a
/// float the histogram wins, a staleness marker included.
pub fn merge_histograms(a: Histogram, b: Histogram) -> Histogram {
    if a.total_cmp(&b) == Ordering::Less { b } else { a }
}

impl Histogram {
    /// A total order: by observations, then by everything else, to the bit. Equal are only identical histograms.
    pub fn total_cmp(&self, other: &Self) -> Ordering {
        self.observations()
            .total_cmp(&other.observations())
            .then_with(|| self.sum.total_cmp(&other.sum))
            .then_with(|| self.schema.cmp(&other.schema))
            .then_with(|| (self.reset_hint as u8).cmp(&(other.reset_hint as u8)))
            .then_with(|| self.zero_threshold.total_cmp(&other.zero_threshold))
            .then_with(|| spans(&self.positive_spans).cmp(spans(&other.positive_spans)))
            .then_with(|| spans(&self.negative_spans).cmp(spans(&other.negative_spans)))
            .then_with(|| compare(&self.custom_bounds, &other.custom_bounds, f64::total_cmp))
            .then_with(|| match (&self.counts, &other.counts) {
                (Counts::Integer(a), Counts::Integer(b)) => a.compare(b, u64::cmp),
                (Counts::Float(a), Counts::Float(b)) => a.compare(b, f64::total_cmp),
                (Counts::Float(_), Counts::Integer(_)) => Ordering::Less,
                (Counts::Integer(_), Counts::Float(_)) => Ordering::Greater,
            })
    }

    /// How many observations there are.
    fn observations(&self) -> f64 {
        match &self.counts {
            Counts::Integer(counts) => counts.count as f64,
            Counts::Float(counts) => counts.count,
        }
    }

    /// The bytes that it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let buckets = match &self.counts {
            Counts::Integer(c) => c.positive.capacity() + c.negative.capacity(),
            Counts::Float(c) => c.positive.capacity() + c.negative.capacity(),
        };
        let spans = self.positive_spans.capacity() + self.negative_spans.capacity();
        size_of::<HistogramSample>() + (buckets + spans + self.custom_bounds.capacity()) * 8
    }
}

impl<C> BucketCounts<C> {
    fn compare(&self, other: &Self, of: impl Fn(&C, &C) -> Ordering + Copy) -> Ordering {
        of(&self.count, &other.count)
            .then_with(|| of(&self.zero, &other.zero))
            .then_with(|| compare(&self.positive, &other.positive, of))
            .then_with(|| compare(&self.negative, &other.negative, of))
    }
}

fn spans(spans: &[super::BucketSpan]) -> impl Iterator<Item = (i32, u32)> {
    spans.iter().map(|s| (s.offset, s.length))
}

/// By the first difference, then by length.
fn compare<T>(a: &[T], b: &[T], of: impl Fn(&T, &T) -> Ordering) -> Ordering {
    let differences = a.iter().zip(b).map(|(a, b)| of(a, b));
    differences.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::any_histogram;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_rule_depends_on_neither_order_nor_grouping(
            (a, b, c) in (any_histogram(), any_histogram(), any_histogram()), alike in 0u8..4,
        ) {
            let mut b = b;
            if alike > 0 {
                // Of as many observations, now and then of all else alike too.
                b = Histogram { sum: if alike > 2 { b.sum } else { a.sum }, ..a.clone() };
            }
            let m = |x: &Histogram, y: &Histogram| merge_histograms(x.clone(), y.clone());
            prop_assert!(m(&a, &b).total_cmp(&m(&b, &a)).is_eq());
            prop_assert!(m(&m(&a, &b), &c).total_cmp(&m(&a, &m(&b, &c))).is_eq());
            prop_assert!(a.total_cmp(&a.clone()).is_eq());
            prop_assert_eq!(a.total_cmp(&b), b.total_cmp(&a).reverse());
        }
    }
}
