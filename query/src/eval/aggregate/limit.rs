//! `limitk` and `limit_ratio`: a few series of each group, whatever their values.

use super::{Job, extent, group_of};
use crate::QueryError;
use crate::eval::Evaluator;
use crate::eval::budget::Held;
use crate::eval::rows::{RowBuf, RowLabels, Rows};
use crate::eval::stream::{Series, Sink};
use crate::parse::Span;
use crate::source::Grouping;
use cardinal_storage::model::LabelSet;
use std::collections::HashMap;
use xxhash_rust::xxh64::Xxh64;

impl<'q> Evaluator<'q> {
    /// The first `k` series of each group at each step.
    pub(super) fn limit(&self, job: &Job<'_, 'q>, span: Span) -> Result<Rows, QueryError> {
        let Some(sizes) = self.sizes(job.param, span)? else { return self.none_of(job) };
        let parts = self.drain(job.input, || First {
            grouping: job.grouping,
            sizes: &sizes,
            labels: Vec::new(),
            counts: Vec::new(),

            groups: Vec::new(),
            rows: self.rows(job.grid),
            held: Held::none(&self.budget),
            kept: RowBuf::new(sizes.len()),
        })?;
        // Each part has kept as many as may be wanted; of all of them, the first are.
        let mut taken: HashMap<LabelSet, Vec<usize>> = HashMap::new();
        let mut rows = self.rows(job.grid);
        let mut row = RowBuf::new(sizes.len());
        for part in parts {
            for i in 0..part.rows.len() {
                part.rows.load(i, &mut row);
                let group = &part.labels[part.groups[i]].labels;
                let counts = match taken.get_mut(group) {
                    Some(counts) => counts,
                    None => taken.entry(group.clone()).or_insert_with(|| vec![0; sizes.len()]),
                };
                take_first(&mut row, counts, &sizes);
                rows.push(part.rows.labels(i).clone(), &row)?;
            }
        }
        Ok(rows)
    }

    /// The series whose labels hash to below the ratio, or, of a negative ratio, all the others.
    pub(super) fn limit_ratio(&self, job: &Job<'_, 'q>, span: Span) -> Result<Rows, QueryError> {
        let (low, high) = extent(job.param);
        if job.param.iter().any(|r| r.is_nan()) {
            return Err(self.error(span, "Ratio value is NaN"));
        }
        if low == 0.0 && high == 0.0 {
            return self.none_of(job);
        }
        if high > 1.0 {
            self.note(|n| n.invalid_ratio(high, 1.0, span));
        }
        if low < -1.0 {
            self.note(|n| n.invalid_ratio(low, -1.0, span));
        }
        let make =
            || Sampled { ratios: job.param, rows: self.rows(job.grid), kept: RowBuf::new(job.grid.count) };
        let parts = self.drain(job.input, make)?;
        let mut rows = self.rows(job.grid);
        parts.into_iter().for_each(|p| rows.append(p.rows));
        Ok(rows)
    }
}

/// Removes what `row` has at steps that have their fill; counts the rest.
fn take_first(row: &mut RowBuf, counts: &mut [usize], sizes: &[usize]) {
    row.retain(|step| {
        let more = counts[step] < sizes[step];
        counts[step] += usize::from(more);
        more
    });
}

/// The first series of each group of one part.
struct First<'a> {
    grouping: &'a Grouping,
    sizes: &'a [usize],
    labels: Vec<RowLabels>,
    /// How many are kept, by group and step.
    counts: Vec<usize>,
    /// The group of each row.
    groups: Vec<usize>,

    rows: Rows,
    held: Held,
    kept: RowBuf,
}

impl Sink for First<'_> {
    fn take(&mut self, series: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError> {
        let steps = self.sizes.len();
        let group = group_of(series, self.grouping, &mut self.labels)?;

        if self.counts.len() < self.labels.len() * steps {
            self.held.grow(steps)?;
            self.counts.resize(self.labels.len() * steps, 0);
        }
        self.kept.copy_from(row);
        take_first(&mut self.kept, &mut self.counts[group * steps..][..steps], self.sizes);
        if !self.kept.is_empty() {
            self.rows.push(series.labels()?, &self.kept)?;
            self.groups.push(group);
        }
        Ok(())
    }
}

/// The series of one part that the ratio takes.
struct Sampled<'a> {
    ratios: &'a [f64],
    rows: Rows,
    kept: RowBuf,
}

impl Sink for Sampled<'_> {
    fn take(&mut self, series: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError> {
        let labels = series.labels()?;
        let share = hash(&labels.labels) as f64 / u64::MAX as f64;
        self.kept.copy_from(row);
        self.kept.retain(|step| takes(self.ratios[step], share));
        self.rows.push(labels, &self.kept)
    }
}

/// The hash that the reference goes by, so that the same series are taken: xxh64 of names and values in order, each after
/// its length in one byte, or from 255 on in a byte 255 and three more.
fn hash(labels: &LabelSet) -> u64 {
    let mut hasher = Xxh64::new(0);
    for text in labels.iter().flat_map(|l| [l.name, l.value]) {
        match u8::try_from(text.len()) {
            Ok(len) if len < u8::MAX => hasher.update(&[len]),
            _ => {
                let [a, b, c, ..] = text.len().to_le_bytes();
                hasher.update(&[u8::MAX, a, b, c]);
            }
        }
        hasher.update(text.as_bytes());
    }
    hasher.digest()
}

/// Whether a series that lies at `share` of all hashes is taken. A ratio and the complement of its opposite take
/// every series exactly once.
fn takes(ratio: f64, share: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { share < ratio } else { share >= 1.0 + ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_encoded_labels() {
        let long = "x".repeat(300);
        let labels = LabelSet::from_pairs([("a", "1"), ("b", long.as_str())]).unwrap();
        let mut bytes = b"\x01a\x011\x01b\xff\x2c\x01\x00".to_vec();
        bytes.extend(long.bytes());
        assert_eq!(hash(&labels), xxhash_rust::xxh64::xxh64(&bytes, 0));
        assert_eq!(hash(&LabelSet::empty()), 0xef46_db37_51d8_e999);
    }

    #[test]
    fn a_ratio_and_its_complement_are_everything() {
        for share in [0.0, 0.2999, 0.3001, 0.9999] {
            assert_ne!(takes(0.3, share), takes(-0.7, share), "{share}");
            assert!(takes(1.0, share) && takes(-1.0, share) && takes(5.0, share) && !takes(0.0, share));
        }
    }
}
