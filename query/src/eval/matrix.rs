//! Range vectors as results: the samples themselves.

use super::budget::{Held, Ticker};
use super::histogram_column::HistogramColumn;
use super::meter::Meter;
use super::pipeline::without_stale;
use super::range::points;
use super::tally::Tally;
use super::{Evaluator, Grid};
use crate::parse::ast::Edges;
use crate::plan::{Selector, Windows};
use crate::source::Wanted;
use crate::{MatrixSeries, QueryError};
use cardinal_storage::model::{DurationMs, TimestampMs};
use std::sync::Arc;

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
        let (mut column, mut live) = (HistogramColumn::default(), HistogramColumn::default());
        let mut held = Held::none(&self.budget);
        let mut ticker = Ticker::new(&self.watch);
        let mut series = Vec::new();
        for mut part in self.select(&selector.matchers, spec.hull(), Wanted::Samples)? {
            let mut meter = Meter::new(self);
            loop {
                let began = meter.begin();
                if !part.advance()? {
                    break;
                }
                meter.series(&*part)?;
                column.read(part.histograms()?, selector.counts_only);
                if let Some(edges) = selector.edges.filter(|_| !column.is_empty()) {
                    return Err(unsupported(edges));
                }
                let (t, v) = part.samples()?;
                let samples = t.len() + column.samples();
                meter.samples(samples);
                meter.read(began);
                ticker.tick(samples)?;
                let points = points(&spec, without_stale(t, v, &mut kept_t, &mut kept_v));
                let live = column.live(&mut live);
                let histograms: Vec<_> =
                    live.t.iter().zip(live.h).map(|(t, h)| (TimestampMs(*t), Arc::clone(h))).collect();
                if points.is_empty() && histograms.is_empty() {
                    continue;
                }
                let samples = points.len() + histograms.iter().map(|(_, h)| h.samples()).sum::<usize>();
                held.grow(samples)?;
                self.tally(|tally| tally.whole(samples as u64, samples as u64));
                series.push(MatrixSeries { labels: part.labels()?, points, histograms });
            }
            meter.end(&*part, selector.span)?;
        }
        Ok(series)
    }
}

/// Between histograms nothing is interpolated where the whole query is a range of them.
fn unsupported(edges: Edges) -> QueryError {
    let modifier = match edges {
        Edges::Anchored => "anchored",
        Edges::Smoothed => "smoothed",
    };
    let message = format!("{modifier} modifier is not supported with histograms");
    QueryError::Execution { position: None, message }
}
