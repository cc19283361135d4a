//! The engine: from a query's text to its result, within bounds.

use crate::cache::{CacheStats, ResultCache};
use crate::eval::{
    Budget, Evaluator, Grid, Held, Notes, Pool, ReadLimits, Rows, Tally, Trace, Watch, drop_names,
};
use crate::explain::{Explain, Explanation};
use crate::parse::{Expr, Features, ParseLimits, ValueType, parse_within};
use crate::plan::{Op, Plan, QuerySpan, lower};
use crate::source::Source;
use crate::{Limits, MatrixSeries, Output, QueryError, QueryOptions, QueryStats, StepSamples, Value};
use cardinal_storage::model::{DurationMs, LabelSet, TimestampMs};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;
use std::time::Instant;
use std::vec::IntoIter;

/// How an engine evaluates.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// The bounds of every query.
    pub limits: Limits,
    /// Which parts of the language are understood.
    pub features: Features,
    /// Whether metric names stay until the very end, so that functions of series with different names do not
    /// collide, and `label_replace` still sees them. Off by default, as in a stock Prometheus.
    pub delayed_name_removal: bool,
    /// The step of subqueries that name none: 1m.
    pub subquery_step: DurationMs,
    /// How many threads may work on queries, one per query apart; by default three quarters of the processors, so
    /// that ingest keeps its share.
    pub threads: usize,
    /// Bytes of results of range queries that are kept for when they are asked for again; nothing is kept if 0. 64 MiB: a thousand
    /// panels of 20 series each at 240 steps.
    pub cache_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            limits: Limits::default(),
            features: Features::default(),
            delayed_name_removal: false,
            subquery_step: DurationMs::mins(1),
            threads: (processors * 3).div_ceil(4),
            cache_bytes: 64 << 20,
        }
    }
}

/// Evaluates queries; shared by all of them.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    pool: Pool,
    cache: ResultCache,
}

impl Engine {
    /// An engine without any thread running: queries start theirs.
    pub fn new(options: EngineOptions) -> Self {
        Self { options, pool: Pool::new(options.threads), cache: ResultCache::new(options.cache_bytes) }
    }

    /// The options it was made with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// What the cache of results has done so far.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Evaluates `query` at one time. Blocks; runs on the calling thread and, where the series are many, on threads
    /// of the pool.
    pub fn instant(
        &self,
        source: &dyn Source,
        query: &str,
        at: TimestampMs,
        options: &QueryOptions,
    ) -> Result<Output, QueryError> {
        let span = self.span(at, at, DurationMs(0));
        self.run_sound(source, query, span, Grid::instant(at), options)
    }

    /// Evaluates `query` at `start` and every `step` (positive) after it up to `end`. The result is a matrix, sorted
    /// by labels. Blocks, as [`Engine::instant`] does.
    pub fn range(
        &self,
        source: &dyn Source,
        query: &str,
        start: TimestampMs,
        end: TimestampMs,
        step: DurationMs,
        options: &QueryOptions,
    ) -> Result<Output, QueryError> {
        if step.0 <= 0 {
            return Err(QueryError::BadRequest("the step of a range query must be greater than 0".into()));
        }
        let grid = Grid::range(start, end, step, self.options.limits.samples_max)?;
        self.run_sound(source, query, self.span(start, end, step), grid, options)
    }

    fn span(&self, start: TimestampMs, end: TimestampMs, step: DurationMs) -> QuerySpan {
        QuerySpan { start, end, step, subquery_step: self.options.subquery_step }
    }

    /// Runs a query; once more where damage ended it, since it is known to the storage then, and left out with a warning.
    fn run_sound(
        &self,
        source: &dyn Source,
        query: &str,
        span: QuerySpan,
        grid: Grid,
        options: &QueryOptions,
    ) -> Result<Output, QueryError> {
        match self.run(source, query, span, grid, options) {
            Err(QueryError::Storage(_)) => self.run(source, query, span, grid, options),
            outcome => outcome,
        }
    }

    fn run(
        &self,
        source: &dyn Source,
        query: &str,
        span: QuerySpan,
        grid: Grid,
        options: &QueryOptions,
    ) -> Result<Output, QueryError> {
        let began = Instant::now();
        let range = span.step.0 > 0;
        let (expr, plan) = self.plan(query, span, range)?;
        let limits = &self.options.limits;
        let timeout = options.timeout.map_or(limits.timeout, |t| t.min(limits.timeout));
        options.progress.reset();
        let budget = Budget::seen(limits.samples_max, options.progress.clone());
        let evaluator = Evaluator {
            plan: &plan,
            query,
            source,
            lookback: options.lookback.unwrap_or(limits.lookback),
            delayed: self.options.delayed_name_removal,
            kept: Mutex::new(Held::none(&budget)),
            budget,
            watch: Watch::new(began.checked_add(timeout), options.cancel.clone()),
            pool: &self.pool,
            notes: Mutex::new(Notes::default()),
            progress: options.progress.clone(),
            read_limits: ReadLimits::of(limits),
            coupled: AtomicBool::new(false),
            trace: Trace::new(options.explain == Explain::Run),
            tallies: Mutex::new(vec![Tally::new(&grid, options.step_stats)]),
        };
        let mut stats = QueryStats { prepare: began.elapsed(), ..QueryStats::default() };
        let features = &self.options.features;
        let mut explanation = match options.explain {
            Explain::Off => None,
            _ => {
                let explained = Explanation::plan(&evaluator, &expr, features, &grid);
                Some(Box::new(explained.or_else(|error| evaluator.watch.check().and(Err(error)))?))
            }
        };
        if options.explain == Explain::Plan {
            return Ok(Output::nothing(range, explanation));
        }
        let evaluating = Instant::now();
        let evaluate = |grid: &Grid| as_rows(&evaluator, grid);
        let value = if !range {
            at_once(&evaluator, &grid)
        } else if options.no_cache || options.step_stats || explanation.is_some() {
            evaluate(&grid).map(Value::Matrix)
        } else {
            self.cache.rows(&evaluator, &expr, &grid, evaluate).map(Value::Matrix)
        };
        // What ends a query may show as a failure of what it was doing.
        let mut value = value.or_else(|error| evaluator.watch.check().and(Err(error)))?;
        stats.eval = evaluating.elapsed();
        let sorting = Instant::now();
        if let Value::Matrix(series) = &mut value {
            sort_by_labels(series, &evaluator.watch)?;
        }
        stats.sort = sorting.elapsed();
        if let Some(explanation) = &mut explanation {
            explanation.measured(&evaluator, &expr, features);
        }
        fill_counts(&mut stats, &evaluator, &grid, options.step_stats);
        stats.samples_peak = evaluator.budget.peak();
        let notes = evaluator.notes.into_inner();
        let (mut warnings, infos) = notes.texts(query);
        warnings.extend(source.warnings());
        Ok(Output { value, warnings, infos, stats, explanation })
    }

    fn plan(&self, query: &str, span: QuerySpan, range: bool) -> Result<(Expr, Plan), QueryError> {
        let limits =
            ParseLimits { query_bytes_max: self.options.limits.query_bytes_max, ..ParseLimits::default() };
        let expr = parse_within(query, &self.options.features, &limits)
            .map_err(|e| QueryError::of_text(&e, query))?;
        let value_type = expr.value_type();
        if range && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(QueryError::BadRequest(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                value_type.documented()
            )));
        }
        let plan = lower(&expr, query, span)?;
        Ok((expr, plan))
    }
}

/// Sorts by labels, in pieces between which the query may end: a million series take a second.
fn sort_by_labels(series: &mut Vec<MatrixSeries>, watch: &Watch) -> Result<(), QueryError> {
    const PIECE: usize = 1 << 14;
    let by_labels = |a: &MatrixSeries, b: &MatrixSeries| a.labels.cmp(&b.labels);
    if series.len() <= PIECE {
        series.sort_by(by_labels);
        return Ok(());
    }
    for piece in series.chunks_mut(PIECE) {
        watch.check()?;
        piece.sort_by(by_labels);
    }
    let mut rest = std::mem::take(series).into_iter();
    let mut pieces = Vec::new();
    while rest.len() > 0 {
        pieces.push(rest.by_ref().take(PIECE).collect::<Vec<_>>().into_iter().peekable());
    }
    let label = |piece: &mut Peekable<IntoIter<MatrixSeries>>| piece.peek().map(|s| s.labels.clone());
    let firsts = pieces.iter_mut().enumerate().filter_map(|(i, piece)| Some(Reverse((label(piece)?, i))));
    let mut least: BinaryHeap<Reverse<(LabelSet, usize)>> = firsts.collect();
    while let Some(Reverse((_, i))) = least.pop() {
        if series.len().is_multiple_of(PIECE) {
            watch.check()?;
        }
        series.extend(pieces[i].next());
        least.extend(label(&mut pieces[i]).map(|labels| Reverse((labels, i))));
    }
    Ok(())
}

/// Puts what was counted into `stats`.
fn fill_counts(stats: &mut QueryStats, evaluator: &Evaluator<'_>, grid: &Grid, each_step: bool) {
    let Tally { queryable, read } = evaluator.end_tally();
    let progress = &evaluator.progress;
    (stats.series, stats.samples_decoded) = (progress.series(), progress.samples_decoded());
    (stats.chunks, stats.chunk_bytes) = (progress.chunks(), progress.chunk_bytes());
    (stats.samples_queryable, stats.samples_read) = (queryable.total, read.total);
    let steps = |counts: Vec<u64>| grid.times().zip(counts).collect();
    stats.steps =
        each_step.then(|| StepSamples { queryable: steps(queryable.steps), read: steps(read.steps) });
}

/// The result of an instant query.
fn at_once(evaluator: &Evaluator<'_>, grid: &Grid) -> Result<Value, QueryError> {
    let plan = evaluator.plan;
    let t = grid.start;
    match (&plan.node(plan.root).op, plan.value_type) {
        (Op::Text(s), _) => Ok(Value::String { t, s: s.clone() }),
        (Op::Windows(windows), _) => Ok(Value::Matrix(evaluator.matrix(windows, grid)?)),
        (_, ValueType::Scalar) => {
            let v = evaluator.scalar(plan.root, grid)?.first().copied().unwrap_or(f64::NAN);
            Ok(Value::Scalar { t, v })
        }
        _ => Ok(Value::Vector(vector(evaluator, grid)?.into_vector(t))),
    }
}

/// The rows of a range query, or of some of its steps; in no order.
fn as_rows(evaluator: &Evaluator<'_>, grid: &Grid) -> Result<Vec<MatrixSeries>, QueryError> {
    let plan = evaluator.plan;
    let rows = match plan.value_type {
        ValueType::Scalar => evaluator.vector_of(plan.root, grid)?,
        _ => vector(evaluator, grid)?,
    };
    rows.into_matrix(grid, &evaluator.watch)
}

fn vector(evaluator: &Evaluator<'_>, grid: &Grid) -> Result<Rows, QueryError> {
    let rows = evaluator.vector(evaluator.plan.root, grid)?;
    if evaluator.delayed { drop_names(rows, &evaluator.budget, &evaluator.watch) } else { Ok(rows) }
}
