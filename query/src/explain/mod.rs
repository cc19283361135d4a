//! What a query is going to do, and what it did: its plan as a tree, with what is known before it runs and what was measured.
//!
//! The tree is that of the query's text, so that people find their own words in it. What is read stands at its leaves: before the
//! run, series, chunks and bytes as the indexes tell them; after it, what was read, and what every expression took. An
//! expression without figures of its own was streamed: its series went one by one into what stands above it.

mod hints;
mod tree;

pub use crate::eval::{NodeCost, SelectorCost};

use crate::eval::{Evaluator, Grid};
use crate::parse::{Expr, Features};
use crate::{Position, QueryError};
use cardinal_storage::model::{DurationMs, TimeRange};
use cardinal_storage::read::Estimate;
use std::time::{Duration, Instant};

/// Whether a query is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    /// It is not.
    #[default]
    Off,
    /// Beside its answer.
    Run,
    /// It is not run: the answer is empty.
    Plan,
}

/// What is told about one query.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The query as it was understood.
    pub query: String,
    /// How many times it is evaluated at.
    pub steps: u64,
    /// How far instant selectors look back.
    pub lookback: DurationMs,
    /// How long finding out took, on top of the query's own time.
    pub planning: Duration,
    /// The whole query.
    pub plan: PlanNode,
    /// What an empty answer may be due to.
    pub hints: Vec<Hint>,
    /// Whether the query ran.
    pub is_run: bool,
}

/// One expression.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// What it does: `sum by (zone)`, `rate`, `select`.
    pub operation: String,
    /// Its text, cut where it is long.
    pub text: String,
    /// Where that begins.
    pub position: Position,
    /// What it reads; of selectors alone.
    pub read: Option<PlannedRead>,
    /// What it took; `None` before the run, and where it was streamed.
    pub cost: Option<NodeCost>,
    /// What it is computed from.
    pub inputs: Vec<PlanNode>,
    span: crate::parse::Span,
}

/// What a selector reads.
#[derive(Clone, Debug)]
pub struct PlannedRead {
    /// The conditions.
    pub matchers: Vec<String>,
    /// The samples that are looked at.
    pub range: TimeRange,
    /// Known before the run; `None` where the source cannot tell.
    pub estimate: Option<Estimate>,
    /// Known after it.
    pub cost: Option<SelectorCost>,
}

/// A likely cause of an empty answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What it is about.
    pub position: Position,
    /// What is the matter.
    pub text: String,
    /// The query that was probably meant; it parses.
    pub suggestion: Option<String>,
}

impl Explanation {
    /// Tells what a query is going to do.
    pub(crate) fn plan(
        evaluator: &Evaluator<'_>,
        expr: &Expr,
        features: &Features,
        grid: &Grid,
    ) -> Result<Self, QueryError> {
        let began = Instant::now();
        let mut reads = Vec::new();
        for read in evaluator.reads(grid)? {
            evaluator.watch.check()?;
            let estimate = evaluator.source.estimate(&read.matchers, read.range, read.wanted)?;
            let matchers = read.matchers.iter().map(ToString::to_string).collect();
            let planned = PlannedRead { matchers, range: read.range, estimate, cost: None };
            reads.push((read.span, planned));
        }
        let hints = hints::before(evaluator, expr, features, &reads)?;
        let plan = tree::of(expr, evaluator.query, &mut reads);
        Ok(Self {
            query: expr.to_string(),
            steps: grid.count as u64,
            lookback: evaluator.lookback,
            planning: began.elapsed(),
            plan,
            hints,
            is_run: false,
        })
    }

    /// Adds what was measured.
    pub(crate) fn measured(&mut self, evaluator: &Evaluator<'_>, expr: &Expr, features: &Features) {
        let recorded = evaluator.trace.take();
        self.is_run = true;
        self.hints.extend(hints::after(&recorded.unmatched, expr, evaluator.query, features));
        self.plan.measured(&recorded);
    }

    /// What all selectors read, as known before.
    pub fn estimate(&self) -> Estimate {
        let mut all = Estimate::default();
        self.plan.each(&mut |node| {
            if let Some(e) = node.read.as_ref().and_then(|read| read.estimate) {
                all.shards = all.shards.max(e.shards);
                all.blocks = all.blocks.max(e.blocks);
                all.series += e.series;
                all.head_series += e.head_series;
                all.chunks += e.chunks;
                all.bytes += e.bytes;
            }
        });
        all
    }

    /// What all selectors read.
    pub fn cost(&self) -> SelectorCost {
        let mut all = SelectorCost::default();
        self.plan.each(&mut |node| {
            if let Some(cost) = node.read.as_ref().and_then(|read| read.cost) {
                all.add(&cost);
            }
        });
        all
    }
}

impl PlanNode {
    /// Visits it and all below it.
    pub fn each(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        self.inputs.iter().for_each(|input| input.each(visit));
    }
}
