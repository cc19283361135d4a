//! Aggregations. They are pushed to the source: series stream into one cell per group and step, part by part, and
//! the parts' cells are merged in their order, so that the result does not depend on who worked on which part.

mod cells;
mod count_values;
mod histograms;
mod limit;
mod top;

use super::budget::{Held, Ticker, Watch};
use super::labels::grouped;
use super::math;
use super::rows::{RowBuf, RowLabels, Rows};
use super::stream::{Input, Series, Sink};
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::parse::Span;
use crate::parse::ast::AggregateOp;
use crate::plan::{NodeId, Op, Param};
use crate::source::Grouping;
use cardinal_storage::model::LabelSet;
use cells::{Cell, TakesHistograms};
use histograms::{GroupHistograms, GroupRemarks};
use std::collections::HashMap;

impl<'q> Evaluator<'q> {
    /// The aggregation's rows: one per group, or for `topk` and its like those of the chosen series.
    pub(crate) fn aggregate(&self, id: NodeId, grid: &Grid) -> Result<Rows, QueryError> {
        let Op::Aggregate(a) = &self.plan.node(id).op else { unreachable!("only aggregations come here") };
        use AggregateOp as A;
        let (param, span) = match &a.param {
            Param::Scalar(id, span) => (self.kept_scalar(*id, grid)?, *span),
            Param::Label(_) | Param::None => (Vec::new(), Span::default()),
        };
        let mut input = self.input(a.vector, grid)?;
        if let (A::Count | A::Group, Input::Streamed(pipeline)) = (a.op, &mut input) {
            pipeline.values_matter = false;
        }
        let grouping = input.effective(&a.grouping, self.delayed);
        let whole = self.plan.node(id).span;
        let job = Job { input: &input, grouping: &grouping, grid, param: &param, argument: a.argument };
        match a.op {
            A::Sum => self.cells::<cells::Sum>(&job),
            A::Avg => self.cells::<cells::Average>(&job),
            A::Count => self.cells::<cells::Count>(&job),
            A::Min => self.cells::<cells::Least>(&job),
            A::Max => self.cells::<cells::Greatest>(&job),
            A::Group => self.cells::<cells::One>(&job),
            A::Stdvar => self.cells::<cells::Variance>(&job),
            A::Stddev => self.cells::<cells::Deviation>(&job),
            A::Quantile => {
                self.remark_on_quantiles(&param, span);
                self.cells::<cells::Values>(&job)
            }
            A::Topk => self.top(&job, (span, whole), true),
            A::Bottomk => self.top(&job, (span, whole), false),
            A::Limitk => self.limit(&job, span),
            A::LimitRatio => self.limit_ratio(&job, span),
            A::CountValues => match &a.param {
                Param::Label(label) => self.count_values(&job, label),
                _ => unreachable!("the parser wants a label for count_values"),
            },
        }
    }

    fn remark_on_quantiles(&self, param: &[f64], span: Span) {
        let (low, high) = extent(param);
        self.note(|n| {
            if param.iter().any(|q| q.is_nan()) {
                n.invalid_quantile(f64::NAN, span);
            }
            if high > 1.0 {
                n.invalid_quantile(high, span);
            }
            if low < 0.0 {
                n.invalid_quantile(low, span);
            }
        });
    }

    fn cells<C: Cell>(&self, job: &Job<'_, 'q>) -> Result<Rows, QueryError> {
        let budget = &self.budget;
        let make = || GroupCells::<C>::new(job.grouping, job.grid.count, Held::none(budget));
        let parts = self.drain(job.input, make)?;
        let mut met = GroupRemarks::default();
        let merged = merge_groups(parts, &mut met, &self.watch)?;
        let mut rows = self.rows(job.grid);
        let mut row = RowBuf::new(job.grid.count);
        for Group { labels, cells, mut histograms } in merged {
            row.clear();
            for (step, cell) in cells.into_iter().enumerate() {
                if let Some(cell) = cell {
                    row.set(step, cell.value(job.param.get(step).copied().unwrap_or(0.0)));
                }
            }
            if !histograms.is_empty() {
                // What is added of histograms depends on the order of series, in last digits and in remarks.
                self.couple_steps();
            }
            histograms.finish(&mut row, &mut met);
            rows.push(labels, &row)?;
        }
        self.note(|n| met.note(n, job.argument));
        Ok(rows)
    }
}

/// What an aggregation works on.
pub(crate) struct Job<'a, 'q> {
    input: &'a Input<'q>,
    grouping: &'a Grouping,
    grid: &'a Grid,
    /// The parameter at each step; empty if there is none.
    param: &'a [f64],
    /// Where what is aggregated stands in the query.
    argument: Span,
}

/// The smallest and greatest value; of nothing, `(inf, -inf)`. Any NaN makes both NaN, but for an infinity that is the extreme.
fn extent(values: &[f64]) -> (f64, f64) {
    let fold = |(low, high): (f64, f64), &v: &f64| (math::min(low, v), math::max(high, v));
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), fold)
}

/// One cell per group and step.
struct GroupCells<'a, C> {
    grouping: &'a Grouping,
    steps: usize,
    labels: Vec<RowLabels>,
    cells: Vec<Option<C>>,
    /// What groups keep of histograms; grown as far as there are any.
    histograms: Vec<GroupHistograms>,
    met: GroupRemarks,
    held: Held,
}

impl<'a, C: Cell> GroupCells<'a, C> {
    /// What a cell counts as: samples have 16 bytes.
    const CELL_SAMPLES: usize = size_of::<Option<C>>().div_ceil(16);

    fn new(grouping: &'a Grouping, steps: usize, held: Held) -> Self {
        let met = GroupRemarks::default();
        Self { grouping, steps, labels: Vec::new(), cells: Vec::new(), histograms: Vec::new(), met, held }
    }
}

impl<C: Cell> Sink for GroupCells<'_, C> {
    fn take(&mut self, series: &mut dyn Series, row: &RowBuf) -> Result<(), QueryError> {
        let group = group_of(series, self.grouping, &mut self.labels)?;
        let begin = group * self.steps;
        if begin == self.cells.len() {
            self.held.grow(self.steps.saturating_mul(Self::CELL_SAMPLES))?;
            self.cells.resize_with(begin + self.steps, || None);
        }
        if C::HOLDS_VALUES {
            self.held.grow(row.count())?;
        }
        let cells = &mut self.cells[begin..begin + self.steps];
        for (step, v) in row.iter() {
            match &mut cells[step] {
                Some(cell) => cell.add(v),
                empty => *empty = Some(C::of(v)),
            }
        }
        if row.has_histograms() { self.take_histograms(group, series, row) } else { Ok(()) }
    }
}

impl<C: Cell> GroupCells<'_, C> {
    /// Takes the histograms of a row into group number `group`. Apart from what floats take, which are nearly all.
    #[cold]
    fn take_histograms(
        &mut self,
        group: usize,
        series: &mut dyn Series,
        row: &RowBuf,
    ) -> Result<(), QueryError> {
        match C::HISTOGRAMS {
            TakesHistograms::Counted => {
                let cells = &mut self.cells[group * self.steps..][..self.steps];
                for (step, _) in row.histograms() {
                    match &mut cells[*step] {
                        Some(cell) => cell.add(0.0),
                        empty => *empty = Some(C::of(0.0)),
                    }
                }
                Ok(())
            }
            TakesHistograms::Ignored(aggregation) => {
                self.met.ignored = Some(aggregation);
                Ok(())
            }
            TakesHistograms::Summed | TakesHistograms::Averaged => {
                if self.histograms.len() <= group {
                    self.histograms.resize_with(group + 1, GroupHistograms::default);
                }
                if self.histograms[group].is_empty() {
                    self.histograms[group].name(series.labels()?.labels.metric_name());
                }
                let averaged = C::HISTOGRAMS == TakesHistograms::Averaged;
                let incompatible = self.histograms[group].add(row, averaged, &mut self.held)?;
                if incompatible {
                    self.met.mixed_schemas(series.labels()?.labels.metric_name());
                }
                Ok(())
            }
        }
    }
}

/// The group of a series; labels are built for the first of each group only. A group's name goes if that of any of
/// its series does.
fn group_of(
    series: &mut dyn Series,
    grouping: &Grouping,
    labels: &mut Vec<RowLabels>,
) -> Result<usize, QueryError> {
    let group = series.group(grouping)? as usize;
    if group == labels.len() {
        labels.push(RowLabels { labels: grouped(&series.labels()?.labels, grouping), drop_name: false });
    }
    labels[group].drop_name |= series.drops_name();
    Ok(group)
}

/// A group with its cells, one for each step.
struct Group<C> {
    labels: RowLabels,
    cells: Vec<Option<C>>,
    histograms: GroupHistograms,
}

/// The groups of all parts, equal ones merged in the order of the parts.
fn merge_groups<C: Cell>(
    parts: Vec<GroupCells<'_, C>>,
    met: &mut GroupRemarks,
    watch: &Watch,
) -> Result<Vec<Group<C>>, QueryError> {
    let mut ticker = Ticker::new(watch);
    let mut number_of: HashMap<LabelSet, usize> = HashMap::new();
    let mut groups: Vec<Group<C>> = Vec::new();
    for part in parts {
        met.merge(part.met);
        let mut cells = part.cells.into_iter();
        let mut histograms = part.histograms.into_iter();
        for labels in part.labels {
            ticker.tick(part.steps)?;
            let own: Vec<_> = cells.by_ref().take(part.steps).collect();
            let own_histograms = histograms.next().unwrap_or_default();
            let number = *number_of.entry(labels.labels.clone()).or_insert(groups.len());
            let Some(group) = groups.get_mut(number) else {
                groups.push(Group { labels, cells: own, histograms: own_histograms });
                continue;
            };
            group.labels.drop_name |= labels.drop_name;
            for (a, b) in group.cells.iter_mut().zip(own) {
                match (a.as_mut(), b) {
                    (Some(a), Some(b)) => a.merge(b),
                    (None, b) => *a = b,
                    (Some(_), None) => {}
                }
            }
            group.histograms.merge(own_histograms, met);
        }
    }
    Ok(groups)
}
