//! `count_values`: how many series of each group have which value.

use super::Job;
use crate::QueryError;
use crate::eval::Evaluator;
use crate::eval::budget::Held;
use crate::eval::float_text::plain;
use crate::eval::labels::{grouped, with};
use crate::eval::rows::{RowBuf, RowLabels, Rows};
use crate::eval::stream::{Series, Sink};
use crate::source::Grouping;
use cardinal_storage::model::LabelSet;
use std::collections::HashMap;

impl<'q> Evaluator<'q> {
    /// One row for each group and value, the value in `label`.
    pub(super) fn count_values(&self, job: &Job<'_, 'q>, label: &str) -> Result<Rows, QueryError> {
        // The label is set on every series before they are grouped: what it was says nothing, and it is kept unless
        // `without` names it.
        let labelled = !job.grouping.without || job.grouping.keeps(label);
        let names = job.grouping.labels.iter().filter(|l| *l != label).cloned();
        let grouping = if job.grouping.without {
            Grouping::without(names.chain([label.to_owned()]))
        } else {
            Grouping::by(names)
        };
        let make = || Tally {
            grouping: &grouping,
            groups: Vec::new(),
            counts: HashMap::new(),
            held: Held::none(&self.budget),
        };
        let parts = self.drain(job.input, make)?;

        let mut points: HashMap<LabelSet, Vec<(usize, u64)>> = HashMap::new();
        for part in &parts {
            for ((group, value), steps) in &part.counts {
                let value = match value {
                    Counted::Float(bits) => plain(f64::from_bits(*bits)),
                    Counted::Histogram(text) => text.clone(),
                };
                let change = labelled.then_some((label, value.as_str()));
                let labels = with(&part.groups[*group], change);
                points.entry(labels).or_default().extend(steps.iter().map(|(step, count)| (*step, *count)));
            }
        }
        let mut points: Vec<_> = points.into_iter().collect();
        points.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = self.rows(job.grid);
        let mut row = RowBuf::new(job.grid.count);
        for (labels, points) in points {
            row.clear();
            for (step, count) in points {
                row.set(step, row.get(step).unwrap_or(0.0) + count as f64);
            }
            out.push(RowLabels { labels, drop_name: false }, &row)?;
        }
        Ok(out)
    }
}

/// A value whose occurrences are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    /// The bits of a float, all NaN as one.
    Float(u64),
    /// The text of a histogram.
    Histogram(String),
}

/// Counts by group, value and step.
struct Tally<'a> {
    grouping: &'a Grouping,
    groups: Vec<LabelSet>,
    counts: HashMap<(usize, Counted), HashMap<usize, u64>>,
    held: Held,
}

impl Tally<'_> {
    fn count(&mut self, group: usize, value: Counted, step: usize) -> Result<(), QueryError> {
        let steps = self.counts.entry((group, value)).or_default();
        if !steps.contains_key(&step) {
            self.held.grow(1)?;
        }
        *steps.entry(step).or_insert(0) += 1;
        Ok(())
    }
}

impl Sink for Tally<'_> {
    fn take(&mut self, series: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError> {
        let group = series.group(self.grouping)? as usize;
        if group == self.groups.len() {
            self.groups.push(grouped(&series.labels()?.labels, self.grouping));
        }
        for (step, v) in row.iter() {
            let bits = if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
            self.count(group, Counted::Float(bits), step)?;
        }
        for (step, h) in row.histograms() {
            self.count(group, Counted::Histogram(h.to_string()), *step)?;
        }
        Ok(())
    }
}
