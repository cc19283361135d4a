//! Consumers of rows: the same for series that stream from the source and for rows that are held.

use super::labels::{grouped, has_type_or_unit, is_metadata, without_name};
use super::pipeline::Pipeline;
use super::rows::{RowBuf, RowLabels, Rows};
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::plan::NodeId;
use crate::source::{Grouping, Part};
use cardinal_storage::model::LabelSet;
use std::collections::HashMap;

/// The series of the row at hand.
pub(crate) trait Series {
    /// Its labels, built now.
    fn labels(&mut self) -> Result<RowLabels, QueryError>;

    /// Whether its metric name is to be dropped in the end, if it is not gone already.
    fn drops_name(&self) -> bool;

    /// The number of its group: dense from 0 in order of first appearance, per consumer.
    fn group(&mut self, grouping: &Grouping) -> Result<u32, QueryError>;
}

/// Takes rows one by one.
pub(crate) trait Sink: Send {
    /// Takes one row, which has values.
    fn take(&mut self, series: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError>;
}

/// Where rows come from.
pub(crate) enum Input<'q> {
    /// Straight from the source.
    Streamed(Pipeline<'q>),
    /// Computed before.
    Held(Rows),
}

impl Input<'_> {
    /// `grouping` as the source must see it: a metric name that is gone groups nothing.
    pub(crate) fn effective(&self, grouping: &Grouping, delayed: bool) -> Grouping {
        match self {
            Self::Streamed(p) if p.drops_name && !delayed && !grouping.without => {
                Grouping::by(grouping.labels.iter().filter(|l| !is_metadata(l)).cloned())
            }
            _ => grouping.clone(),
        }
    }
}

impl<'q> Evaluator<'q> {
    /// The rows of a vector expression, streamed if they can be.
    pub(crate) fn input(&self, id: NodeId, grid: &Grid) -> Result<Input<'q>, QueryError> {
        if grid.count > 0
            && let Some(pipeline) = self.pipeline(id, grid)?
        {
            // Series that may become one must be seen together first.
            if !self.may_collide(&pipeline) {
                return Ok(Input::Streamed(pipeline));
            }
            return Ok(Input::Held(self.collect(&pipeline)?));
        }
        Ok(Input::Held(self.vector(id, grid)?))
    }

    /// Passes all rows of `input` to sinks, one for each part, which are returned in the order of the parts.
    pub(crate) fn drain<S: Sink>(
        &self,
        input: &Input<'q>,
        make: impl Fn() -> S + Sync,
    ) -> Result<Vec<S>, QueryError> {
        match input {
            Input::Streamed(pipeline) => {
                let parts = pipeline.parts(self)?;
                let series = parts.iter().fold(0u64, |n, p| n.saturating_add(p.series_max()));
                self.pool.run(parts, series, |mut part| {
                    let mut sink = make();
                    pipeline.run(self, &mut *part, |part, row| {
                        let drop_name = pipeline.drops_name;
                        sink.take(&mut PartSeries { part, drop_name, delayed: self.delayed }, row)
                    })?;
                    Ok(sink)
                })
            }
            Input::Held(rows) => {
                let mut sink = make();
                let mut series = HeldSeries { rows, at: 0, groups: HashMap::new() };
                let mut row = RowBuf::new(rows.steps());
                for i in 0..rows.len() {
                    series.at = i;
                    rows.load(i, &mut row);
                    sink.take(&mut series, &row)?;
                    if i % 1024 == 0 {
                        self.watch.check()?;
                    }
                }
                Ok(vec![sink])
            }
        }
    }

    /// All rows of a pipeline with their labels.
    pub(crate) fn collect(&self, pipeline: &Pipeline<'q>) -> Result<Rows, QueryError> {
        let parts = pipeline.parts(self)?;
        let series = parts.iter().fold(0u64, |n, p| n.saturating_add(p.series_max()));
        let collected = self.pool.run(parts, series, |mut part| {
            let mut rows = self.rows(&pipeline.grid);
            let mut typed = false;
            pipeline.run(self, &mut *part, |part, row| {
                let mut labels = part.labels()?;
                if pipeline.drops_name && !self.delayed {
                    typed |= has_type_or_unit(&labels);
                    labels = without_name(&labels);
                }
                rows.push(RowLabels { labels, drop_name: pipeline.drops_name }, row)
            })?;
            Ok::<_, QueryError>((rows, typed))
        })?;
        let mut all = self.rows(&pipeline.grid);
        let mut typed = false;
        for (rows, t) in collected {
            all.append(rows);
            typed |= t;
        }
        if typed {
            self.couple_steps();
        }
        if !typed && !self.may_collide(pipeline) {
            return Ok(all);
        }
        if pipeline.strict {
            self.refuse_equal_labels(&all).map(|()| all)
        } else {
            self.merge_equal_labels(all)
        }
    }

    /// Whether two series of the pipeline may have equal labels at its end.
    fn may_collide(&self, pipeline: &Pipeline<'_>) -> bool {
        pipeline.drops_name && !self.delayed && pipeline.name().is_none()
    }
}

/// The current series of a part.
struct PartSeries<'a> {
    part: &'a mut dyn Part,
    drop_name: bool,
    delayed: bool,
}

impl Series for PartSeries<'_> {
    fn labels(&mut self) -> Result<RowLabels, QueryError> {
        let labels = self.part.labels()?;
        if self.drop_name && !self.delayed {
            return Ok(RowLabels { labels: without_name(&labels), drop_name: true });
        }
        Ok(RowLabels { labels, drop_name: self.drop_name })
    }

    fn drops_name(&self) -> bool {
        self.drop_name
    }

    fn group(&mut self, grouping: &Grouping) -> Result<u32, QueryError> {
        Ok(self.part.group(grouping)?)
    }
}

/// One of the rows that are held.
struct HeldSeries<'a> {
    rows: &'a Rows,
    at: usize,
    groups: HashMap<LabelSet, u32>,
}

impl Series for HeldSeries<'_> {
    fn labels(&mut self) -> Result<RowLabels, QueryError> {
        Ok(self.rows.labels(self.at).clone())
    }

    fn drops_name(&self) -> bool {
        self.rows.labels(self.at).drop_name
    }

    fn group(&mut self, grouping: &Grouping) -> Result<u32, QueryError> {
        let next = self.groups.len() as u32;
        let key = grouped(&self.rows.labels(self.at).labels, grouping);
        Ok(*self.groups.entry(key).or_insert(next))
    }
}
