//! `absent` and `absent_over_time`: a series where there is none.

use super::rows::{RowBuf, RowLabels, Rows};
use super::stream::{Input, Series, Sink};
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::plan::{NodeId, Windows};
use cardinal_storage::model::LabelSet;

/// The steps at which any row has a value or a histogram.
struct Union(RowBuf);

impl Sink for Union {
    fn take(&mut self, _: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError> {
        row.iter().for_each(|(step, _)| self.0.set(step, 1.0));
        row.histograms().iter().for_each(|(step, _)| self.0.set(*step, 1.0));
        Ok(())
    }
}

impl<'q> Evaluator<'q> {
    /// 1 at each step at which `vector` is empty.
    pub(crate) fn absent(&self, vector: NodeId, labels: &LabelSet, grid: &Grid) -> Result<Rows, QueryError> {
        let input = self.input(vector, grid)?;
        self.complement(&input, labels, grid)
    }

    /// 1 at each step at which no series has a sample in the window.
    pub(crate) fn absent_over_time(
        &self,
        windows: &'q Windows,
        labels: &LabelSet,
        grid: &Grid,
    ) -> Result<Rows, QueryError> {
        let input = match self.presence(windows, grid)? {
            Some(pipeline) => Input::Streamed(pipeline),
            None => Input::Held(self.presence_rows(windows, grid)?),
        };
        self.complement(&input, labels, grid)
    }

    fn complement(&self, input: &Input<'q>, labels: &LabelSet, grid: &Grid) -> Result<Rows, QueryError> {
        let unions = self.drain(input, || Union(RowBuf::new(grid.count)))?;
        let mut row = RowBuf::new(grid.count);
        row.fill(1.0);
        for (step, _) in unions.iter().flat_map(|u| u.0.iter()) {
            row.unset(step);
        }
        let mut rows = self.rows(grid);
        rows.push(RowLabels { labels: labels.clone(), drop_name: false }, &row)?;
        Ok(rows)
    }
}
