//! Subqueries, and range functions of what had to be computed whole first.

use super::histogram_column::HistogramColumn;
use super::misuse::Misuse;
use super::pipeline::is_counter_name;
use super::range::{RangeCall, RangeFunction, RangeScratch, Samples, WindowSpec};
use super::remarks::Remarks;
use super::rows::{RowBuf, Rows};
use super::tally::{Tally, lift};
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::eval::labels::{has_type_or_unit, without_name};
use crate::parse::Span;
use crate::plan::{NodeId, Op, Windows};

impl<'q> Evaluator<'q> {
    /// The windows of a subquery, and the steps of the expression inside that fill them.
    pub(crate) fn subquery_windows(
        &self,
        windows: &Windows,
        grid: &Grid,
    ) -> Result<(WindowSpec, Grid), QueryError> {
        let Windows::Subquery { range, step, offset, at, .. } = windows else {
            unreachable!("only subqueries are asked for their steps")
        };
        let ends = at.map_or(*grid, Grid::instant);
        let inner = ends.subquery(*range, *offset, *step, self.budget.limit())?;
        Ok((WindowSpec { grid: *grid, range: *range, offset: *offset, at: *at, reach: None }, inner))
    }

    /// The rows of a subquery's expression over its own steps, with the windows over them.
    pub(crate) fn subquery(
        &self,
        windows: &Windows,
        grid: &Grid,
    ) -> Result<(WindowSpec, Grid, Rows), QueryError> {
        let Windows::Subquery { expr, .. } = windows else {
            unreachable!("selectors stream: only subqueries are held")
        };
        let (spec, inner) = self.subquery_windows(windows, grid)?;
        self.begin_tally(Tally::of_subquery(&inner));
        let rows = self.vector(*expr, &inner)?;
        let read = lift(&self.end_tally().read, &inner, &spec);
        self.tally(|t| t.read.add(&read));
        Ok((spec, inner, rows))
    }

    /// A range function over a subquery that is no pipeline.
    pub(crate) fn range_over_rows(&self, id: NodeId, grid: &Grid) -> Result<Rows, QueryError> {
        let Op::Range { function, windows, params, argument } = &self.plan.node(id).op else {
            unreachable!("only range functions come here")
        };
        let params = params.iter().map(|p| self.kept_scalar(*p, grid)).collect::<Result<Vec<_>, _>>()?;
        let misuse = Misuse::of(*function, &params, *argument);
        let (spec, inner, rows) = self.subquery(windows, grid)?;
        let call = RangeCall { function: *function, spec, params: &params, watch: &self.watch };
        let out = self.call_over_rows(call, *argument, &inner, &rows, misuse)?;
        if !self.delayed && !function.keeps_name() {
            self.refuse_equal_labels(&out)?;
        }
        Ok(out)
    }

    /// Which rows of a subquery have values in which windows.
    pub(crate) fn presence_rows(&self, windows: &Windows, grid: &Grid) -> Result<Rows, QueryError> {
        let (spec, inner, rows) = self.subquery(windows, grid)?;

        let call = RangeCall { function: RangeFunction::Present, spec, params: &[], watch: &self.watch };
        let argument = Span::default();
        let misuse = Misuse::of(call.function, &[], argument);
        self.call_over_rows(call, argument, &inner, &rows, misuse)
    }

    /// Applies a function to each row. `argument`: what remarks on the series point at.
    fn call_over_rows(
        &self,
        call: RangeCall<'_>,
        argument: Span,
        inner: &Grid,
        rows: &Rows,
        mut misuse: Misuse,
    ) -> Result<Rows, QueryError> {
        let mut out = Rows::new(call.spec.grid.count, &self.budget);
        let mut row = RowBuf::new(call.spec.grid.count);
        let mut scratch = RangeScratch::default();
        let (mut t, mut v) = (Vec::new(), Vec::new());
        let (mut column, mut live, mut remarks) =
            (HistogramColumn::default(), HistogramColumn::default(), Remarks::default());
        let mut inside = RowBuf::new(inner.count);
        for i in 0..rows.len() {
            t.clear();
            v.clear();
            for (step, value) in rows.values(i) {
                t.push(inner.at(step).0);
                v.push(value);
            }
            let samples = Samples { t: &t, v: &v };
            let held = call.row(samples, &mut scratch, &mut row);
            self.tally(|tally| tally.windows(scratch.windows(), held));
            misuse.check(self, call.function, call.params, scratch.windows())?;
            let name = rows.labels(i).labels.metric_name();
            if !rows.histograms(i).is_empty() {
                rows.load(i, &mut inside);
                column.read_row(&inside, inner);
                let histograms = column.live(&mut live);
                call.histogram_row(samples, histograms, &mut scratch, &mut row, &mut remarks);
                let (windows, sizes) = scratch.histogram_windows();
                misuse.check_histograms(self, call.function, call.params, windows)?;
                self.tally(|tally| tally.histogram_windows(windows, sizes));
                self.note(|n| n.remarks(&mut remarks, name, argument));
            }
            self.watch.check()?;
            if row.is_empty() {
                continue;
            }
            if call.function.wants_counter() && !row.has_no_values() && !is_counter_name(name) {
                self.note(|n| n.possible_non_counter(name, argument));
            }
            let mut labels = rows.labels(i).clone();
            if !call.function.keeps_name() {
                labels.drop_name = true;
            }
            if labels.drop_name && !self.delayed {
                if has_type_or_unit(&labels.labels) {
                    self.couple_steps();
                }
                labels.labels = without_name(&labels.labels);
            }
            out.push(labels, &row)?;
        }
        Ok(out)
    }
}
