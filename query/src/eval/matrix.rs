//! Range vectors as results: the samples themselves.

use super::budget::{Held, Ticker};
use super::meter::Meter;
use super::pipeline::without_stale;
use super::range::points;
use super::tally::Tally;
use super::{Evaluator, Grid};
use crate::plan::{Selector, Windows};
use crate::{MatrixSeries, QueryError};
use cardinal_storage::model::DurationMs;

impl Evaluator<'_> {
    /// The samples of all series in the one window that ends at the first step; in no order.
    pub(crate) fn matrix(&self, windows: &Windows, grid: &Grid) -> Result<Vec<MatrixSeries>, QueryError> {
        match windows {
            Windows::Series { selector, range } => self.raw(selector, *range, grid),
            Windows::Subquery { expr, .. } => {
                let (_, inner) = self.subquery_windows(windows, grid)?;
                self.begin_tally(Tally::of_subquery(&inner));
                let rows = self.vector(*expr, &inner)?;
                let Tally { queryable, read } = self.end_tally();
                self.tally(|t| t.whole(queryable.total, read.total));
                let rows =
                    if self.delayed { super::drop_names(rows, &self.budget, &self.watch)? } else { rows };
                rows.into_matrix(&inner, &self.watch)
            }
        }
    }

    fn raw(
        &self,
        selector: &Selector,
        range: DurationMs,
        grid: &Grid,
    ) -> Result<Vec<MatrixSeries>, QueryError> {
        let spec = self.spec(selector, range, grid);
        let (mut kept_t, mut kept_v) = (Vec::new(), Vec::new());
        let mut held = Held::none(&self.budget);
        let mut ticker = Ticker::new(&self.watch);
        let mut series = Vec::new();
        for mut part in self.select(&selector.matchers, spec.hull())? {
            let mut meter = Meter::new(self);
            while part.advance()? {
                meter.series(&*part)?;
                let (t, v) = part.samples()?;
                meter.samples(t.len());
                ticker.tick(t.len())?;
                let points = points(&spec, without_stale(t, v, &mut kept_t, &mut kept_v));
                if points.is_empty() {
                    continue;
                }
                held.grow(points.len())?;
                self.tally(|tally| tally.whole(points.len() as u64, points.len() as u64));
                series.push(MatrixSeries { labels: part.labels()?, points });
            }
            meter.tell(&*part)?;
        }
        Ok(series)
    }
}
