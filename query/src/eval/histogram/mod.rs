//! Functions of the buckets of histograms. Of classic ones, series that differ in `le` alone are the buckets; native ones
//! have them in every sample.

mod buckets;
mod native;

use super::float_text::with_point;
use super::labels::{filtered, with, without_name};
use super::notes::Fixes;
use super::rows::{RowBuf, RowLabels, Rows};
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::parse::Span;
use crate::plan::{HistogramOp, NodeId};
use buckets::{Bucket, fraction, quantile};
use cardinal_storage::model::LabelSet;
use std::collections::HashMap;

/// The label of a bucket's upper bound.
const BUCKET: &str = "le";

/// The buckets of one histogram: upper bounds, ascending, with the rows of their counts.
struct Family {
    labels: RowLabels,
    buckets: Vec<(f64, usize)>,
    /// The steps at which a native histogram has the same labels, ascending: neither says anything there.
    refused: Vec<usize>,
}

/// Where buckets of a histogram were found that had to be fixed: each step counts once, for however many quantiles.
struct Remarked {
    grid: Grid,
    steps: RowBuf,
    span: Span,
}

impl Remarked {
    fn new(grid: &Grid, span: Span) -> Self {
        Self { grid: *grid, steps: RowBuf::new(grid.count), span }
    }
}

impl Evaluator<'_> {
    /// One row per histogram, or per histogram and quantile.
    pub(crate) fn histogram(
        &self,
        function: &HistogramOp,
        vector: NodeId,
        span: Span,
        grid: &Grid,
    ) -> Result<Rows, QueryError> {
        let rows = self.vector(vector, grid)?;
        let mut families = self.families(&rows, span);
        let natives = self.natives(&rows, &mut families, span);
        let mut out = self.rows(grid);
        match function {
            HistogramOp::Quantile(q, at) => {
                let q = self.quantile_param(*q, *at, grid)?;
                for f in &families {
                    let row = self.quantile_row(f, &rows, &q, &mut Remarked::new(grid, span));
                    out.push(self.named(&f.labels), &row)?;
                }
                for n in &natives {
                    out.push(self.named(&n.labels), &self.native_quantiles(n, &q, grid, span))?;
                }
            }
            HistogramOp::Quantiles { label, quantiles } => {
                let of = |&(q, at): &(NodeId, Span)| self.quantile_param(q, at, grid);
                let quantiles = quantiles.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                for f in &families {
                    let mut remarked = Remarked::new(grid, span);
                    for q in &quantiles {
                        let row = self.quantile_row(f, &rows, q, &mut remarked);
                        self.push_by_quantile(&f.labels, label, q, &row, &mut out)?;
                    }
                }
                for (n, q) in natives.iter().flat_map(|n| quantiles.iter().map(move |q| (n, q))) {
                    let row = self.native_quantiles(n, q, grid, span);
                    self.push_by_quantile(&n.labels, label, q, &row, &mut out)?;
                }
            }
            HistogramOp::Fraction { lower, upper } => {
                let (lower, upper) = (self.scalar(*lower, grid)?, self.scalar(*upper, grid)?);
                for f in &families {
                    let row = each_step(f, &rows, |i, b| fraction(lower[i], upper[i], b));
                    out.push(self.named(&f.labels), &row)?;
                }
                for n in &natives {
                    let row = self.native_fractions(n, (&lower, &upper), grid, span);
                    out.push(self.named(&n.labels), &row)?;
                }
            }
        }
        self.merge_equal_labels(out)
    }

    fn quantile_param(&self, q: NodeId, span: Span, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        let q = self.scalar(q, grid)?;
        for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.note(|n| n.invalid_quantile(*q, span));
        }
        Ok(q)
    }

    /// A quantile may differ from step to step, and then so does its label.
    fn push_by_quantile(
        &self,
        series: &RowLabels,
        label: &str,
        q: &[f64],
        row: &RowBuf,
        out: &mut Rows,
    ) -> Result<(), QueryError> {
        let mut values: Vec<u64> = q.iter().map(|q| q.to_bits()).collect();
        values.sort_unstable();
        values.dedup();
        for bits in values {
            let mut own = row.clone();
            own.filter_map(|step, v| (q[step].to_bits() == bits).then_some(v));
            let text = with_point(f64::from_bits(bits));
            let mut labels = self.named(series);
            labels.labels = with(&labels.labels, [(label, text.as_str())]);
            out.push(labels, &own)?;
        }
        Ok(())
    }

    /// Groups rows into histograms; those whose `le` is no number are remarked on.
    fn families(&self, rows: &Rows, span: Span) -> Vec<Family> {
        let mut number_of: HashMap<LabelSet, usize> = HashMap::new();
        let mut families: Vec<Family> = Vec::new();
        for i in (0..rows.len()).filter(|&i| rows.values(i).next().is_some()) {
            let RowLabels { labels, drop_name } = rows.labels(i);
            let le = labels.get(BUCKET).unwrap_or("");
            let Ok(bound) = le.parse::<f64>() else {
                let metric = if self.delayed { labels.metric_name() } else { "" };
                self.note(|n| n.bad_bucket(metric, le, span));
                continue;
            };
            let own = filtered(labels, |name| name != BUCKET);
            let number = *number_of.entry(own.clone()).or_insert(families.len());
            if number == families.len() {
                let labels = RowLabels { labels: own, drop_name: *drop_name };
                families.push(Family { labels, buckets: Vec::new(), refused: Vec::new() });
            }
            families[number].buckets.push((bound, i));
        }
        families.iter_mut().for_each(|f| f.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
        families
    }

    fn quantile_row(&self, family: &Family, rows: &Rows, q: &[f64], remarked: &mut Remarked) -> RowBuf {
        let mut fixes: Option<Fixes> = None;
        let row = each_step(family, rows, |step, buckets| {
            let (value, fixed) = quantile(q[step], buckets);
            if let Some(fixed) = fixed.filter(|_| !remarked.steps.has(step)) {
                remarked.steps.set(step, 0.0);
                let t = remarked.grid.at(step);
                let own = Fixes {
                    count: 1,
                    first: t,
                    last: t,
                    bucket_min: fixed.bucket_min,
                    bucket_max: fixed.bucket_max,
                    difference_max: fixed.difference_max,
                };
                fixes = Some(fixes.map_or(own, |f| f.merge(own)));
            }
            value
        });
        if let Some(fixes) = fixes {
            let metric = if self.delayed { family.labels.labels.metric_name() } else { "" };
            self.note(|n| n.forced_monotonicity(metric, fixes, remarked.span));
        }
        row
    }

    /// The labels of a result: the metric name goes, now or at the very end.
    fn named(&self, labels: &RowLabels) -> RowLabels {
        let own = if self.delayed { labels.labels.clone() } else { without_name(&labels.labels) };
        RowLabels { labels: own, drop_name: true }
    }
}

/// Computes a value from the buckets that are there at each step; nothing where there are none.
fn each_step(family: &Family, rows: &Rows, mut f: impl FnMut(usize, &mut Vec<Bucket>) -> f64) -> RowBuf {
    let mut columns: Vec<_> =
        family.buckets.iter().map(|&(bound, i)| (bound, rows.values(i).peekable())).collect();
    let mut row = RowBuf::new(rows.steps());
    let mut buckets = Vec::with_capacity(columns.len());
    for step in 0..rows.steps() {
        buckets.clear();
        for (bound, values) in &mut columns {
            if let Some((_, count)) = values.next_if(|(at, _)| *at == step) {
                buckets.push(Bucket { bound: *bound, count });
            }
        }
        if !buckets.is_empty() && family.refused.binary_search(&step).is_err() {
            row.set(step, f(step, &mut buckets));
        }
    }
    row
}
