//! Series whose labels became equal: two at one step are an error, else they are one series.

use super::Evaluator;
use super::budget::{Budget, Ticker, Watch};
use super::labels::without_name;
use super::rows::{RowBuf, RowLabels, Rows};
use crate::QueryError;
use std::collections::HashMap;
use std::sync::Arc;

/// What looking up a row's labels counts as, in samples.
const ROW: usize = 64;

/// What the reference says when two series of a vector are one.
const EQUAL_LABELS: &str = "vector cannot contain metrics with the same labelset";

fn collision(labels: &RowLabels) -> QueryError {
    QueryError::Execution {
        position: None,
        message: format!("{EQUAL_LABELS}: {}", super::labels::braced(&labels.labels)),
    }
}

impl Evaluator<'_> {
    /// Fails if any two rows have equal labels.
    pub(crate) fn refuse_equal_labels(&self, rows: &Rows) -> Result<(), QueryError> {
        let mut seen = std::collections::HashSet::with_capacity(rows.len());
        let mut ticker = Ticker::new(&self.watch);
        for i in 0..rows.len() {
            ticker.tick(ROW)?;
            if !seen.insert(&rows.labels(i).labels) {
                return Err(collision(rows.labels(i)));
            }
        }
        Ok(())
    }

    /// Makes one of rows with equal labels; fails if they have values at the same step.
    pub(crate) fn merge_equal_labels(&self, rows: Rows) -> Result<Rows, QueryError> {
        merge(rows, &self.budget, &self.watch)
    }
}

/// Removes the metric names that were kept until now (delayed name removal).
pub(crate) fn drop_names(mut rows: Rows, budget: &Arc<Budget>, watch: &Watch) -> Result<Rows, QueryError> {
    for l in rows.labels_mut().iter_mut().filter(|l| l.drop_name) {
        l.labels = without_name(&l.labels);
    }
    merge(rows, budget, watch)
}

fn merge(rows: Rows, budget: &Arc<Budget>, watch: &Watch) -> Result<Rows, QueryError> {
    let mut ticker = Ticker::new(watch);
    let mut first_of = HashMap::with_capacity(rows.len());
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in 0..rows.len() {
        ticker.tick(ROW)?;
        let g = *first_of.entry(&rows.labels(i).labels).or_insert(groups.len());
        if g == groups.len() {
            groups.push(Vec::new());
        }
        groups[g].push(i);
    }
    if groups.len() == rows.len() {
        return Ok(rows);
    }
    let mut merged = Rows::new(rows.steps(), budget);
    let mut row = RowBuf::new(rows.steps());
    for group in &groups {
        ticker.tick(ROW + rows.steps())?;
        row.clear();
        let mut labels = rows.labels(group[0]).clone();
        for &i in group {
            labels.drop_name |= rows.labels(i).drop_name;
            for (step, v) in rows.values(i) {
                if row.occupied(step) {
                    return Err(collision(&labels));
                }
                row.set(step, v);
            }
            for (step, h) in rows.histograms(i) {
                if row.occupied(*step) {
                    return Err(collision(&labels));
                }
                row.set_histogram(*step, Arc::clone(h));
            }
        }
        merged.push(labels, &row)?;
    }
    Ok(merged)
}
