//! Series whose labels became equal: two at one step are an error, else they are one series.

use super::Evaluator;
use super::labels::without_name;
use super::rows::{RowBuf, RowLabels, Rows};
use crate::QueryError;
use std::collections::HashMap;

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
        match (0..rows.len()).find(|&i| !seen.insert(&rows.labels(i).labels)) {
            Some(i) => Err(collision(rows.labels(i))),
            None => Ok(()),
        }
    }

    /// Makes one of rows with equal labels; fails if they have values at the same step.
    pub(crate) fn merge_equal_labels(&self, rows: Rows) -> Result<Rows, QueryError> {
        merge(rows, &self.budget)
    }
}

/// Removes the metric names that were kept until now (delayed name removal).
pub(crate) fn drop_names(mut rows: Rows, budget: &std::sync::Arc<super::Budget>) -> Result<Rows, QueryError> {
    for l in rows.labels_mut().iter_mut().filter(|l| l.drop_name) {
        l.labels = without_name(&l.labels);
    }
    merge(rows, budget)
}

fn merge(rows: Rows, budget: &std::sync::Arc<super::Budget>) -> Result<Rows, QueryError> {
    let mut first_of = HashMap::with_capacity(rows.len());
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in 0..rows.len() {
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
        row.clear();
        let mut labels = rows.labels(group[0]).clone();
        for &i in group {
            labels.drop_name |= rows.labels(i).drop_name;
            for (step, v) in rows.values(i) {
                if row.has(step) {
                    return Err(collision(&labels));
                }
                row.set(step, v);
            }
        }
        merged.push(labels, &row)?;
    }
    Ok(merged)
}
