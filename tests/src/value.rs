//! What stands at one time of a series: a float, or a native histogram.

use cardinal_storage::model::{
    BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, Histogram, ResetHint, merge_histograms, merge_values,
};
use std::sync::Arc;

/// A sample's value. Equal are only those of the same bits.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Arc<Histogram>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a.total_cmp(b).is_eq(),
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<Histogram> for Value {
    fn from(h: Histogram) -> Self {
        Self::Histogram(Arc::new(h))
    }
}

impl Value {
    /// The value that stands where there are two, as the merge rule says.
    pub fn merge(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => merge_values(*a, *b).into(),
            (Self::Histogram(a), Self::Histogram(b)) => merge_histograms((**a).clone(), (**b).clone()).into(),
            (Self::Histogram(_), Self::Float(_)) => self.clone(),
            (Self::Float(_), Self::Histogram(_)) => other.clone(),
        }
    }

    /// A histogram of a number: its lowest bits tell of which kind and where its buckets are, so that those of numbers near one
    /// another are alike.
    pub fn histogram(n: u64) -> Self {
        let (kind, place, count) = (n & 3, (n >> 2 & 3) as u32, n >> 4 & 0xfff);
        let is_custom = kind == 3;
        let spans = match is_custom {
            true => vec![BucketSpan { offset: 0, length: 2 }],
            false => vec![
                BucketSpan { offset: place as i32 - 2, length: 2 },
                BucketSpan { offset: 3, length: place % 2 },
            ],
        };
        let positive: Vec<u64> =
            (0..u64::from(spans.iter().map(|s| s.length).sum::<u32>())).map(|i| i + count).collect();
        let zero = if is_custom { 0 } else { count / 3 };
        let in_all = positive.iter().sum::<u64>() + zero;
        let float = |c: &u64| *c as f64 / 4.0;
        let counts = match kind {
            0 | 1 => Counts::Integer(BucketCounts { count: in_all, zero, positive, negative: vec![] }),
            _ => Counts::Float(BucketCounts {
                count: float(&in_all),
                zero: float(&zero),
                positive: positive.iter().map(float).collect(),
                negative: vec![],
            }),
        };
        Histogram {
            schema: if is_custom { CUSTOM_SCHEMA } else { 1 + (kind as i8) },
            reset_hint: if count.is_multiple_of(5) { ResetHint::Reset } else { ResetHint::Unknown },
            zero_threshold: if is_custom { 0.0 } else { 0.001 },
            sum: if count.is_multiple_of(11) && kind > 1 { f64::NAN } else { count as f64 / 7.0 },
            positive_spans: spans,
            negative_spans: vec![],
            custom_bounds: if is_custom { vec![0.5, f64::from(place) + 1.0] } else { vec![] },
            counts,
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_numbers_are_sound_and_differ() {
        let all: Vec<Value> = (0..1 << 12).map(Value::histogram).collect();
        for (n, value) in all.iter().enumerate() {
            let Value::Histogram(h) = value else { panic!("a histogram") };
            assert_eq!(h.check(), Ok(()), "{n}");
            assert!(*value != all[(n + 16) % all.len()] && *value == value.clone(), "{n}");
        }
        let (float, h) = (Value::from(7.0), all[5].clone());
        assert_eq!((float.merge(&h), h.merge(&float)), (h.clone(), h));
    }
}
