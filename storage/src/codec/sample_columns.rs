//! Decoded samples: floats as two plain columns, histograms beside them; and the merge of several such runs.

use crate::model::{HistogramSample, TimeRange, merge_histograms, merge_values};

/// Samples of one series: floats as times and values, two columns of equal length; and native histograms, which few series have.
/// Reusable scratch.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Times of the floats in milliseconds, strictly ascending.
    pub t: Vec<i64>,
    /// The value at each time.
    pub v: Vec<f64>,
    /// The histograms, times strictly ascending; once merged none of them a time of the floats.
    pub histograms: Vec<HistogramSample>,
}

/// How many samples of each kind there were at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    floats: usize,
    histograms: usize,
}

impl Samples {
    /// No samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(Mark { floats: 0, histograms: 0 });
    }

    /// Adds one float at the end. Its time must be greater than the last.
    pub fn push(&mut self, t: i64, v: f64) {
        self.t.push(t);
        self.v.push(v);
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.t.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.t.is_empty() && self.histograms.is_empty()
    }

    /// The times of the first and the last sample.
    pub fn ends(&self) -> Option<(i64, i64)> {
        let floats = self.t.first().copied().zip(self.t.last().copied());
        let of_histogram = |h: Option<&HistogramSample>| h.map(|h| h.t.0);
        let histograms = of_histogram(self.histograms.first()).zip(of_histogram(self.histograms.last()));
        match (floats, histograms) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (floats, histograms) => floats.or(histograms),
        }
    }

    /// Takes the samples in `range` out.
    pub fn remove(&mut self, range: TimeRange) {
        let from = self.t.partition_point(|t| *t <= range.after.0);
        let to = self.t.partition_point(|t| *t <= range.until.0).max(from);
        self.t.drain(from..to);
        self.v.drain(from..to);
        self.histograms.retain(|h| !range.contains(h.t));
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { floats: self.t.len(), histograms: self.histograms.len() }
    }

    /// Keeps the samples that there were at a moment.
    pub(super) fn truncate(&mut self, to: Mark) {
        self.t.truncate(to.floats);
        self.v.truncate(to.floats);
        self.histograms.truncate(to.histograms);
    }

    fn truncate_floats(&mut self, len: usize) {
        self.t.truncate(len);
        self.v.truncate(len);
    }

    /// Appends the floats of `other` from index `from` on.
    fn extend_from(&mut self, other: &Samples, from: usize) {
        self.t.extend_from_slice(&other.t[from..]);
        self.v.extend_from_slice(&other.v[from..]);
    }
}

/// Merges runs of one series' samples into `out`, replacing what it held. Where two runs have the same time,
/// [`merge_values`] and [`merge_histograms`] decide, and a histogram beats a float. Each run must ascend strictly; the order of the
/// runs is free, they are reordered, and their histograms are taken out of them.
///
/// Cost: a copy where runs do not overlap in time, else proportional to the samples in the overlap for each run.
pub fn merge(parts: &mut [Samples], out: &mut Samples) {
    merge_floats(parts, out);
    if parts.iter().any(|p| !p.histograms.is_empty()) {
        merge_with_histograms(parts, out);
    }
}

/// Moves the histograms of all runs to the merged floats.
fn merge_with_histograms(parts: &mut [Samples], out: &mut Samples) {
    let mut all: Vec<HistogramSample> = parts.iter_mut().flat_map(|p| p.histograms.drain(..)).collect();
    all.sort_by_key(|h| h.t);
    for sample in all {
        match out.histograms.pop_if(|last| last.t == sample.t) {
            Some(last) => {
                out.histograms.push(HistogramSample { t: last.t, h: merge_histograms(last.h, sample.h) })
            }
            None => out.histograms.push(sample),
        }
    }
    let mut kept = 0;
    let mut histograms = out.histograms.iter().map(|h| h.t.0).peekable();
    for i in 0..out.t.len() {
        while histograms.next_if(|t| *t < out.t[i]).is_some() {}
        if histograms.peek() != Some(&out.t[i]) {
            (out.t[kept], out.v[kept]) = (out.t[i], out.v[i]);
            kept += 1;
        }
    }
    out.t.truncate(kept);
    out.v.truncate(kept);
}

fn merge_floats(parts: &mut [Samples], out: &mut Samples) {
    out.clear();
    parts.sort_by_key(|p| p.t.first().copied());
    let mut tail = Samples::new();
    for part in parts.iter() {
        let Some(&first) = part.t.first() else { continue };
        let overlap = out.t.partition_point(|&t| t < first);
        if overlap == out.t.len() {
            out.extend_from(part, 0);
            continue;
        }
        tail.clear();
        tail.extend_from(out, overlap);
        out.truncate_floats(overlap);
        merge_two(&tail, part, out);
    }
}

/// Appends the union of two runs.
fn merge_two(a: &Samples, b: &Samples, out: &mut Samples) {
    let (mut i, mut j) = (0, 0);
    while i < a.t.len() && j < b.t.len() {
        let (s, t) = (a.t[i], b.t[j]);
        let v = match s.cmp(&t) {
            std::cmp::Ordering::Less => a.v[i],
            std::cmp::Ordering::Greater => b.v[j],
            std::cmp::Ordering::Equal => merge_values(a.v[i], b.v[j]),
        };
        out.push(s.min(t), v);
        i += usize::from(s <= t);
        j += usize::from(t <= s);
    }
    out.extend_from(a, i);
    out.extend_from(b, j);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{STALE_NAN_BITS, stale_nan};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn samples(pairs: &[(i64, f64)]) -> Samples {
        let mut s = Samples::new();
        for &(t, v) in pairs {
            s.push(t, v);
        }
        s
    }

    fn bits(s: &Samples) -> Vec<(i64, u64)> {
        s.t.iter().zip(&s.v).map(|(&t, v)| (t, v.to_bits())).collect()
    }

    #[test]
    fn overlapping_runs_merge_under_the_merge_rule() {
        let check = |parts: &[&[(i64, f64)]], want: &[(i64, f64)]| {
            let mut parts: Vec<Samples> = parts.iter().map(|p| samples(p)).collect();
            let mut out = samples(&[(99, 9.0)]);
            merge(&mut parts, &mut out);
            assert_eq!(bits(&out), bits(&samples(want)));
        };
        check(&[], &[]);
        check(&[&[], &[(1, 1.0)]], &[(1, 1.0)]);
        check(&[&[(3, 3.0)], &[(1, 1.0), (2, 2.0)]], &[(1, 1.0), (2, 2.0), (3, 3.0)]);
        check(&[&[(1, 1.0), (5, 5.0)], &[(3, 3.0)], &[(5, 6.0)]], &[(1, 1.0), (3, 3.0), (5, 6.0)]);
        check(&[&[(1, stale_nan())], &[(1, -1.0)]], &[(1, -1.0)]);
    }

    proptest! {
        #[test]
        fn merge_equals_the_naive_model(
            runs in proptest::collection::vec(proptest::collection::btree_map(-20i64..20, 0u8..4, 0..12), 0..6)
        ) {
            let value = |k: u8| [0.0, -0.0, 1.0, f64::from_bits(STALE_NAN_BITS)][usize::from(k)];
            let mut model: BTreeMap<i64, f64> = BTreeMap::new();
            for (&t, &k) in runs.iter().flatten() {
                model.entry(t).and_modify(|v| *v = merge_values(*v, value(k))).or_insert(value(k));
            }
            let mut parts: Vec<Samples> = runs.iter()
                .map(|run| samples(&run.iter().map(|(&t, &k)| (t, value(k))).collect::<Vec<_>>()))
                .collect();
            let mut out = Samples::new();
            merge(&mut parts, &mut out);
            let want: Vec<(i64, u64)> = model.into_iter().map(|(t, v)| (t, v.to_bits())).collect();
            prop_assert_eq!(bits(&out), want);
        }
    }
}
