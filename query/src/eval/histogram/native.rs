//! Functions of the buckets of native histograms.

use super::Family;
use crate::eval::rows::{RowBuf, RowLabels, Rows, StepHistogram};
use crate::eval::{Evaluator, Grid};
use crate::native::Nan;
use crate::parse::Span;
use cardinal_storage::model::LabelSet;
use std::collections::HashMap;

/// The native histograms of one series.
pub(super) struct Native {
    pub(super) labels: RowLabels,
    steps: Vec<StepHistogram>,
}

impl Evaluator<'_> {
    /// The native histograms among `rows`. Where a classic one has the same labels at the same step, neither is looked at.
    pub(super) fn natives(&self, rows: &Rows, families: &mut [Family], span: Span) -> Vec<Native> {
        let with_any = |i: &usize| !rows.histograms(*i).is_empty();
        let mut natives: Vec<Native> = (0..rows.len())
            .filter(with_any)
            .map(|i| Native { labels: rows.labels(i).clone(), steps: rows.histograms(i).to_vec() })
            .collect();
        if natives.is_empty() {
            return natives;
        }
        let family_of: HashMap<LabelSet, usize> =
            families.iter().enumerate().map(|(n, f)| (f.labels.labels.clone(), n)).collect();
        for native in &mut natives {
            let Some(family) = family_of.get(&native.labels.labels).map(|&n| &mut families[n]) else {
                continue;
            };
            let mut classic = RowBuf::new(rows.steps());
            family
                .buckets
                .iter()
                .flat_map(|&(_, i)| rows.values(i))
                .for_each(|(step, _)| classic.set(step, 0.0));
            let both = |step: usize| classic.has(step);
            family.refused.extend(native.steps.iter().map(|(step, _)| *step).filter(|&step| both(step)));
            native.steps.retain(|(step, _)| !both(*step));
            if !family.refused.is_empty() {
                let metric = self.metric_of(&native.labels);
                self.note(|n| n.mixed_classic(metric, span));
            }
        }
        natives
    }

    /// A quantile at each step.
    pub(super) fn native_quantiles(&self, native: &Native, q: &[f64], grid: &Grid, span: Span) -> RowBuf {
        let mut row = RowBuf::new(grid.count);
        for (step, h) in &native.steps {
            let taken = h.quantile(q[*step]);
            if taken.nan != Nan::Nothing {
                let metric = self.metric_of(&native.labels);
                self.note(|n| n.nan_in_quantile(taken.nan, metric, span));
            }
            row.set(*step, taken.value);
        }
        row
    }

    /// The fraction between two bounds at each step.
    pub(super) fn native_fractions(
        &self,
        native: &Native,
        (lower, upper): (&[f64], &[f64]),
        grid: &Grid,
        span: Span,
    ) -> RowBuf {
        let mut row = RowBuf::new(grid.count);
        for (step, h) in &native.steps {
            let (fraction, nan) = h.fraction(lower[*step], upper[*step]);
            if nan {
                let metric = self.metric_of(&native.labels);
                self.note(|n| n.nan_in_fraction(metric, span));
            }
            row.set(*step, fraction);
        }
        row
    }

    /// The metric name in remarks: none where it is dropped at once.
    fn metric_of<'l>(&self, labels: &'l RowLabels) -> &'l str {
        if self.delayed { labels.labels.metric_name() } else { "" }
    }
}
