//! The evaluator: what a plan says, for every step and series.
//!
//! Vectors are rows over steps ([`rows`]). Where an expression is a chain of per-series operations over one selector
//! it becomes a [`pipeline`]: series stream through it one by one, part by part, and only what the consumer keeps is
//! held: group rows for an aggregation, whole rows where labels must be matched.

mod absent;
mod aggregate;
mod binary;
mod budget;
pub(crate) mod dates;
pub(crate) mod float_text;
mod grid;
mod histogram;
mod histogram_column;
mod info;
pub(crate) mod kahan;
pub(crate) mod labels;
mod map;
pub(crate) mod math;
mod matrix;
mod merge;
mod meter;
mod misuse;
mod notes;
mod pipeline;
mod pool;
pub(crate) mod range;
mod reads;
mod relabel;
mod remarks;
mod rows;
mod sort;
mod stream;
mod subquery;
mod tally;
#[cfg(test)]
mod tests;
mod trace;

pub(crate) use budget::{Budget, Held, Ticker, Watch};
pub(crate) use grid::Grid;
pub(crate) use merge::drop_names;
pub(crate) use meter::ReadLimits;
pub(crate) use notes::Notes;
pub(crate) use pool::Pool;
pub(crate) use rows::Rows;
pub(crate) use tally::Tally;
pub use trace::{NodeCost, SelectorCost};
pub(crate) use trace::{Recorded, Trace, Unmatched};

use crate::error::Position;
use crate::parse::Span;
use crate::plan::{NodeId, Op, Plan};
use crate::source::Source;
use crate::{Progress, QueryError};
use cardinal_storage::model::{DurationMs, LabelSet};
use math::scalar_binary;
use parking_lot::Mutex;
use rows::{RowBuf, RowLabels};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One query's evaluation.
pub(crate) struct Evaluator<'q> {
    pub(crate) plan: &'q Plan,
    /// The query's text, for places in errors.
    pub(crate) query: &'q str,
    pub(crate) source: &'q dyn Source,
    pub(crate) lookback: DurationMs,
    /// Whether metric names stay until the very end (delayed name removal).
    pub(crate) delayed: bool,
    pub(crate) budget: Arc<Budget>,
    pub(crate) watch: Watch,
    pub(crate) pool: &'q Pool,
    pub(crate) notes: Mutex<Notes>,
    /// What was read, counted by all workers.
    pub(crate) progress: Progress,
    pub(crate) read_limits: ReadLimits,
    /// Whether something was met that makes steps depend on one another.
    pub(crate) coupled: AtomicBool,
    /// What parts of the query take, where that is asked for.
    pub(crate) trace: Trace,
    /// What steps looked at: of the whole query, and of what is being evaluated over grids of its own.
    pub(crate) tallies: Mutex<Vec<Tally>>,
    /// What parameters hold.
    pub(crate) kept: Mutex<Held>,
}

impl Evaluator<'_> {
    /// The value of a scalar expression at each step.
    pub(crate) fn scalar(&self, id: NodeId, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        self.watch.check()?;
        // A chain of operators leans left and may be long: it is followed in a loop.
        let mut links = Vec::new();
        let mut first = id;
        while let Op::ScalarBinary { op, lhs, rhs } = &self.plan.node(first).op {
            links.push((*op, *rhs));
            first = *lhs;
        }
        let mut values = self.scalar_leaf(first, grid)?;
        for (op, rhs) in links.into_iter().rev() {
            let right = self.scalar(rhs, grid)?;
            values.iter_mut().zip(right).for_each(|(l, r)| *l = scalar_binary(op, *l, r));
        }
        Ok(values)
    }

    /// The value of a scalar that stays until the query ends; its values count as held until then.
    pub(crate) fn kept_scalar(&self, id: NodeId, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        self.kept.lock().grow(grid.count)?;
        self.scalar(id, grid)
    }

    fn scalar_leaf(&self, id: NodeId, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        match &self.plan.node(id).op {
            Op::Number(v) => Ok(vec![*v; grid.count]),
            Op::Time => Ok(grid.times().map(|t| t.0 as f64 / 1000.0).collect()),
            Op::ScalarOf(vector) => self.scalar_of(*vector, grid),
            Op::Extreme { greatest, a, b } => {
                let choose = if *greatest { math::max } else { math::min };
                let (a, b) = (self.scalar(*a, grid)?, self.scalar(*b, grid)?);
                Ok(a.into_iter().zip(b).map(|(a, b)| choose(a, b)).collect())
            }
            Op::Invariant(inner) => {
                let once = self.tally_once(grid.count, || self.scalar(*inner, &grid.first_only()))?;
                Ok(once.first().map_or_else(Vec::new, |&v| vec![v; grid.count]))
            }
            other => unreachable!("the parser took {other:?} for a scalar"),
        }
    }

    /// The rows of a vector expression.
    pub(crate) fn vector(&self, id: NodeId, grid: &Grid) -> Result<Rows, QueryError> {
        self.watch.check()?;
        let began = self.trace.begin();
        let rows = self.rows_of(id, grid)?;
        let node = self.plan.node(id);
        if !matches!(node.op, Op::Invariant(_)) {
            self.trace.node(node.span, began, rows.len());
        }
        Ok(rows)
    }

    fn rows_of(&self, id: NodeId, grid: &Grid) -> Result<Rows, QueryError> {
        if grid.count == 0 {
            return Ok(self.rows(grid));
        }
        if let Some(pipeline) = self.pipeline(id, grid)? {
            return self.collect(&pipeline);
        }
        let node = self.plan.node(id);
        match &node.op {
            Op::Range { .. } => self.range_over_rows(id, grid),
            Op::AbsentOverTime { windows, labels } => self.absent_over_time(windows, labels, grid),
            Op::Absent { vector, labels } => self.absent(*vector, labels, grid),
            Op::Map { .. } | Op::VectorScalar { .. } | Op::VectorBinary { .. } => self.chain(id, grid),
            Op::VectorOf(scalar) => self.vector_of(*scalar, grid),
            Op::Relabel { relabel, vector } => self.relabel(relabel, self.vector(*vector, grid)?),
            Op::Sort { order, vector } => self.sort(order, *vector, grid, node.span),
            Op::Histogram { function, vector, vector_span } => {
                self.histogram(function, *vector, *vector_span, grid)
            }
            Op::Info(info) => self.info(info, grid, node.span),
            Op::Nothing(vector) => self.vector(*vector, grid).map(|_| self.rows(grid)),
            Op::Aggregate(_) => self.aggregate(id, grid),
            Op::Invariant(inner) => {
                let once = self.tally_once(grid.count, || self.vector(*inner, &grid.first_only()))?;
                self.repeat(once, grid)
            }
            other => unreachable!("the parser took {other:?} for a vector"),
        }
    }

    /// Notes that something was met for which the result of a step may depend on which others are evaluated with it.
    pub(crate) fn couple_steps(&self) {
        self.coupled.store(true, Ordering::Relaxed);
    }

    /// Whether what was evaluated for some steps may be different where others are evaluated with them.
    pub(crate) fn is_coupled(&self) -> bool {
        self.coupled.load(Ordering::Relaxed)
    }

    /// No rows over `grid`.
    pub(crate) fn rows(&self, grid: &Grid) -> Rows {
        Rows::new(grid.count, &self.budget)
    }

    /// Notes a remark.
    pub(crate) fn note(&self, f: impl FnOnce(&mut Notes)) {
        f(&mut self.notes.lock());
    }

    /// An execution error at a place in the query.
    pub(crate) fn error(&self, span: Span, message: impl Into<String>) -> QueryError {
        let position = Some(Position::of(self.query, span.start as usize));
        QueryError::Execution { position, message: message.into() }
    }

    /// The scalar as the only series of a vector.
    pub(crate) fn vector_of(&self, scalar: NodeId, grid: &Grid) -> Result<Rows, QueryError> {
        let mut row = RowBuf::new(grid.count);
        self.scalar(scalar, grid)?.into_iter().enumerate().for_each(|(i, v)| row.set(i, v));
        let mut rows = self.rows(grid);
        rows.push(RowLabels { labels: LabelSet::empty(), drop_name: false }, &row)?;
        Ok(rows)
    }

    /// The value of the only series at each step; NaN where there is not exactly one.
    fn scalar_of(&self, vector: NodeId, grid: &Grid) -> Result<Vec<f64>, QueryError> {
        let rows = self.vector(vector, grid)?;
        let mut seen = vec![0u8; grid.count];
        let mut values = vec![f64::NAN; grid.count];
        for (step, v) in (0..rows.len()).flat_map(|i| rows.values(i)) {
            values[step] = if seen[step] == 0 { v } else { f64::NAN };
            seen[step] = 1;
        }
        Ok(values)
    }

    /// Rows of one step, the same at every step of `grid`.
    fn repeat(&self, once: Rows, grid: &Grid) -> Result<Rows, QueryError> {
        if grid.count == 1 {
            return Ok(once);
        }
        let mut rows = self.rows(grid);
        let mut row = RowBuf::new(grid.count);
        for i in 0..once.len() {
            row.clear();
            if let Some((_, v)) = once.values(i).next() {
                row.fill(v);
            }
            if let Some((_, h)) = once.histograms(i).first() {
                (0..grid.count).for_each(|step| row.set_histogram(step, Arc::clone(h)));
            }
            rows.push(once.labels(i).clone(), &row)?;
        }
        Ok(rows)
    }
}
