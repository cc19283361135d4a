//! Aggregations. They are pushed to the source: series stream into one cell per group and step, part by part, and
//! the parts' cells are merged in their order, so that the result does not depend on who worked on which part.

mod cells;
mod count_values;
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
use crate::plan::{AggregateNode, Param};
use crate::source::Grouping;
use cardinal_storage::model::LabelSet;
use cells::Cell;
use std::collections::HashMap;
use std::marker::PhantomData;

impl<'q> Evaluator<'q> {
    /// The aggregation's rows: one per group, or for `topk` and its like those of the chosen series.
    pub(crate) fn aggregate(&self, a: &AggregateNode, grid: &Grid) -> Result<Rows, QueryError> {
        use AggregateOp as A;
        let (param, span) = match &a.param {
            Param::Scalar(id, span) => (self.kept_scalar(*id, grid)?, *span),
            Param::Label(_) | Param::None => (Vec::new(), Span::default()),
        };
        let input = self.input(a.vector, grid)?;
        let grouping = input.effective(&a.grouping, self.delayed);
        let job = Job { input: &input, grouping: &grouping, grid, param: &param };
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
            A::Topk => self.top(&job, span, true),
            A::Bottomk => self.top(&job, span, false),
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
        let merged = merge_groups(parts, &self.watch)?;
        let mut rows = self.rows(job.grid);
        let mut row = RowBuf::new(job.grid.count);
        for (labels, cells) in merged {
            row.clear();
            for (step, cell) in cells.into_iter().enumerate() {
                if let Some(cell) = cell {
                    row.set(step, cell.value(job.param.get(step).copied().unwrap_or(0.0)));
                }
            }
            rows.push(labels, &row)?;
        }
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
    held: Held,
    cell: PhantomData<C>,
}

impl<'a, C: Cell> GroupCells<'a, C> {
    /// What a cell counts as: samples have 16 bytes.
    const CELL_SAMPLES: usize = size_of::<Option<C>>().div_ceil(16);

    fn new(grouping: &'a Grouping, steps: usize, held: Held) -> Self {
        Self { grouping, steps, labels: Vec::new(), cells: Vec::new(), held, cell: PhantomData }
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
        Ok(())
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
type Group<C> = (RowLabels, Vec<Option<C>>);

/// The groups of all parts, equal ones merged in the order of the parts.
fn merge_groups<C: Cell>(parts: Vec<GroupCells<'_, C>>, watch: &Watch) -> Result<Vec<Group<C>>, QueryError> {
    let mut ticker = Ticker::new(watch);
    let mut number_of: HashMap<LabelSet, usize> = HashMap::new();
    let mut groups: Vec<Group<C>> = Vec::new();
    for part in parts {
        let mut cells = part.cells.into_iter();
        for labels in part.labels {
            ticker.tick(part.steps)?;
            let own: Vec<_> = cells.by_ref().take(part.steps).collect();
            let number = *number_of.entry(labels.labels.clone()).or_insert(groups.len());
            let Some((first, into)) = groups.get_mut(number) else {
                groups.push((labels, own));
                continue;
            };
            first.drop_name |= labels.drop_name;
            for (a, b) in into.iter_mut().zip(own) {
                match (a.as_mut(), b) {
                    (Some(a), Some(b)) => a.merge(b),
                    (None, b) => *a = b,
                    (Some(_), None) => {}
                }
            }
        }
    }
    Ok(groups)
}
