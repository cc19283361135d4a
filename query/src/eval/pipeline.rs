//! Chains of per-series operations over one selector: each series passes through alone.
//!
//! `max_over_time(rate(x[5m])[1h:1m]) * 2` is a pipeline of three stages; nothing but the row at hand is held while
//! a series passes. A stage that takes the metric name away ends the pipeline unless all series have the same name:
//! only then can no two of them become one.

use super::budget::{Held, Ticker};
use super::histogram_column::{HistogramColumn, newest_of_both};
use super::map::Map;
use super::meter::Meter;
use super::misuse::Misuse;
use super::notes::Notes;
use super::range::{
    RangeCall, RangeFunction, RangeScratch, Reach, Samples, WindowSpec, smoothed, smoothed_of_both,
};
use super::remarks::Remarks;
use super::rows::RowBuf;
use super::tally::{Tally, lift};
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::parse::Span;
use crate::parse::ast::Edges;
use crate::plan::{MapOp, NodeId, Op, Selector, Windows};
use crate::source::{Part, Wanted};
use cardinal_storage::model::{DurationMs, METRIC_NAME, TimeRange, is_stale};

/// A selector and what happens to each of its series.
pub(crate) struct Pipeline<'q> {
    selector: &'q Selector,
    range: TimeRange,
    stages: Vec<Stage>,
    /// The steps of the rows that leave it.
    pub(crate) grid: Grid,
    /// Whether the metric name is no longer there at the end (or, delayed, to be dropped).
    pub(crate) drops_name: bool,
    /// Whether a range function took the name.
    pub(crate) strict: bool,
    /// Whether no series may have histograms.
    pub(crate) floats_alone: bool,
    /// Whether whoever takes the rows looks at their values, and not only at whether there are any.
    pub(crate) values_matter: bool,
}

/// One operation on one series.
enum Stage {
    /// The newest sample at each step, or its time.
    Instant { spec: WindowSpec, time: bool },
    /// The value at each step, interpolated between the samples around it.
    Smoothed { spec: WindowSpec, argument: Span },
    /// A function of windows: of the samples, or of the values before (a subquery).
    Range {
        function: RangeFunction,
        spec: WindowSpec,
        params: Vec<Vec<f64>>,
        /// Where the series stand in the query.
        argument: Span,
        /// Whether they have their metric names still.
        named: bool,
        inner: Option<Grid>,
        misuse: Misuse,
    },
    /// A function of each value.
    Map(Map),
}

impl<'q> Evaluator<'q> {
    /// The pipeline that computes `id`, if it is one.
    pub(crate) fn pipeline(&self, id: NodeId, grid: &Grid) -> Result<Option<Pipeline<'q>>, QueryError> {
        let mut maps = Vec::new();
        let mut at = id;
        while let Some(vector) = self.map_operand(at) {
            maps.push(at);
            at = vector;
        }
        let Some(mut pipeline) = self.window_stage(at, grid)? else { return Ok(None) };
        for id in maps.into_iter().rev() {
            if !self.may_extend(&pipeline) {
                return Ok(None);
            }
            let map = self.map(id, grid)?;
            pipeline.drops_name |= map.drops_name();
            pipeline.stages.push(Stage::Map(map));
        }
        Ok(Some(pipeline))
    }

    /// What a per-value operation is applied to; `None` for other operations.
    pub(crate) fn map_operand(&self, id: NodeId) -> Option<NodeId> {
        match &self.plan.node(id).op {
            Op::Map { vector, .. } => Some(*vector),
            Op::VectorScalar { lhs, rhs, scalar_left, .. } => Some(if *scalar_left { *rhs } else { *lhs }),
            _ => None,
        }
    }

    /// The per-value operation `id` with its scalars evaluated.
    pub(crate) fn map(&self, id: NodeId, grid: &Grid) -> Result<Map, QueryError> {
        let scalar = |id: &Option<NodeId>| id.map(|id| self.kept_scalar(id, grid)).transpose();
        let node = self.plan.node(id);
        Ok(match &node.op {
            Op::Map { map: MapOp::Math(f), .. } => Map::Math(*f),
            Op::Map { map: MapOp::Negate, .. } => Map::Negate,
            Op::Map { map: MapOp::Statistic(statistic), .. } => Map::Statistic(*statistic),
            Op::Map { map: MapOp::EvaluationTime, .. } => Map::EvaluationTime(*grid),
            Op::Map { map: MapOp::Round(unit), .. } => Map::Round(self.kept_scalar(*unit, grid)?),
            Op::Map { map: MapOp::Clamp { low, high }, .. } => {
                Map::Clamp { low: scalar(low)?, high: scalar(high)? }
            }
            Op::VectorScalar { op, lhs, rhs, scalar_left, return_bool } => Map::Scalar {
                op: *op,
                scalar: self.kept_scalar(if *scalar_left { *lhs } else { *rhs }, grid)?,
                scalar_left: *scalar_left,
                return_bool: *return_bool,
                span: node.span,
            },
            other => unreachable!("{other:?} is no operation on single values"),
        })
    }

    /// Whether no two series can have become one so far.
    fn may_extend(&self, p: &Pipeline<'_>) -> bool {
        !p.drops_name || self.delayed || p.selector.name().is_some()
    }

    /// A selector or a range function, perhaps of a subquery over another pipeline.
    fn window_stage(&self, id: NodeId, grid: &Grid) -> Result<Option<Pipeline<'q>>, QueryError> {
        let node = self.plan.node(id);
        match &node.op {
            Op::Instant(selector) => Ok(Some(self.instant(selector, grid, false, node.span))),
            Op::Timestamp(selector) => Ok(Some(self.instant(selector, grid, true, node.span))),
            Op::Range { function, windows, params, argument } => {
                let Some((mut pipeline, spec, inner)) = self.windows_stage(windows, grid)? else {
                    return Ok(None);
                };
                let params =
                    params.iter().map(|p| self.kept_scalar(*p, grid)).collect::<Result<Vec<_>, _>>()?;
                let misuse = Misuse::of(*function, &params, *argument);
                let named = !pipeline.drops_name || self.delayed;
                pipeline.drops_name |= !function.keeps_name();
                pipeline.strict |= !function.keeps_name();
                let (function, argument) = (*function, *argument);
                pipeline.stages.push(Stage::Range { function, spec, params, argument, named, inner, misuse });
                pipeline.grid = *grid;
                Ok(Some(pipeline))
            }
            _ => Ok(None),
        }
    }

    /// The presence of samples in windows, as a pipeline.
    pub(crate) fn presence(
        &self,
        windows: &'q Windows,
        grid: &Grid,
    ) -> Result<Option<Pipeline<'q>>, QueryError> {
        let Some((mut pipeline, spec, inner)) = self.windows_stage(windows, grid)? else { return Ok(None) };
        let function = RangeFunction::Present;
        let (params, argument) = (Vec::new(), Span::default());
        let misuse = Misuse::of(function, &[], argument);
        let named = false;
        pipeline.stages.push(Stage::Range { function, spec, params, argument, named, inner, misuse });
        pipeline.grid = *grid;
        Ok(Some(pipeline))
    }

    /// What fills the windows: a selector's samples, or an inner pipeline's rows over the grid that comes with it.
    fn windows_stage(
        &self,
        windows: &'q Windows,
        grid: &Grid,
    ) -> Result<Option<(Pipeline<'q>, WindowSpec, Option<Grid>)>, QueryError> {
        match windows {
            Windows::Series { selector, range } => {
                let spec = self.spec(selector, *range, grid);
                Ok(Some((self.empty(selector, spec), spec, None)))
            }
            Windows::Subquery { expr, .. } => {
                let (spec, inner) = self.subquery_windows(windows, grid)?;
                let pipeline = if inner.count == 0 { None } else { self.pipeline(*expr, &inner)? };
                Ok(pipeline.filter(|p| self.may_extend(p)).map(|p| (p, spec, Some(inner))))
            }
        }
    }

    /// The newest samples of series, or their times in seconds. `argument`: where the series stand in the query.
    pub(crate) fn instant(
        &self,
        selector: &'q Selector,
        grid: &Grid,
        time: bool,
        argument: Span,
    ) -> Pipeline<'q> {
        let plain = WindowSpec {
            grid: *grid,
            range: self.lookback,
            offset: selector.offset,
            at: selector.at,
            reach: None,
        };
        let (spec, stage) = if selector.edges == Some(Edges::Smoothed) {
            let reach = Reach { edges: Edges::Smoothed, before: DurationMs(0), beyond: self.lookback };
            let spec = WindowSpec { reach: Some(reach), ..plain };
            (spec, Stage::Smoothed { spec, argument })
        } else {
            (plain, Stage::Instant { spec: plain, time })
        };
        let mut pipeline = self.empty(selector, spec);
        pipeline.stages.push(stage);
        pipeline.drops_name = time;
        pipeline
    }

    /// The windows of a selector.
    pub(crate) fn spec(&self, selector: &Selector, range: DurationMs, grid: &Grid) -> WindowSpec {
        let reach = selector.edges.map(|edges| Reach {
            edges,
            before: self.lookback,
            beyond: if edges == Edges::Smoothed { self.lookback } else { DurationMs(0) },
        });
        WindowSpec { grid: *grid, range, offset: selector.offset, at: selector.at, reach }
    }

    fn empty(&self, selector: &'q Selector, spec: WindowSpec) -> Pipeline<'q> {
        Pipeline {
            selector,
            range: spec.hull(),
            stages: Vec::new(),
            grid: spec.grid,
            drops_name: false,
            strict: false,
            floats_alone: false,
            values_matter: true,
        }
    }
}

/// What a worker needs to pass series through a pipeline.
pub(crate) struct Scratch {
    rows: Vec<RowBuf>,
    t: Vec<i64>,
    v: Vec<f64>,
    /// The histograms of the series at hand: as they are stored, as a stage before has left them, and without staleness
    /// markers.
    stored: HistogramColumn,
    computed: HistogramColumn,
    live: HistogramColumn,
    range: RangeScratch,
    /// What is still to be met, of each stage that has steps.
    misuse: Vec<Option<Misuse>>,
    /// What is to be remarked on the series at hand, once its name is looked up.
    met: Vec<Met>,
    notes: Notes,
    tally: Tally,
    _held: Held,
}

/// What a stage met in a series.
struct Met {
    /// Where the series stands in the query.
    argument: Span,
    /// Whether it has its name still.
    named: bool,
    /// Whether it was taken for a counter and gave any float, whatever is made of it later.
    rated: bool,
    remarks: Remarks,
}

/// What one series cost.
#[derive(Default)]
struct Work {
    /// Steps of all stages and samples of all windows: a subquery inside may have a million times the steps outside.
    total: usize,
}

impl Work {
    fn add(&mut self, n: usize) {
        self.total = self.total.saturating_add(n);
    }
}

impl<'q> Pipeline<'q> {
    /// The metric name of all its series, if they have the same.
    pub(crate) fn name(&self) -> Option<&str> {
        self.selector.name()
    }

    /// The time that it reads.
    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    /// Starts reading.
    pub(crate) fn parts(&self, eval: &Evaluator<'q>) -> Result<Vec<Box<dyn Part + 'q>>, QueryError> {
        eval.select(&self.selector.matchers, self.range, self.wanted())
    }

    /// What of the samples makes a difference.
    pub(crate) fn wanted(&self) -> Wanted {
        match &self.stages[..] {
            [Stage::Instant { spec, time }, rest @ ..] if *time || rest.is_empty() && !self.values_matter => {
                let is_one = spec.grid.count == 1 || spec.at.is_some();
                if is_one { Wanted::Newest } else { Wanted::Times }
            }
            _ => Wanted::Samples,
        }
    }

    /// Scratch space for one worker: a row for each stage that has steps of its own.
    pub(crate) fn scratch(&self, eval: &Evaluator<'_>) -> Result<Scratch, QueryError> {
        let mut held = Held::none(&eval.budget);
        let (mut rows, mut misuse) = (Vec::new(), Vec::new());
        for stage in &self.stages {
            misuse.extend(match stage {
                Stage::Range { misuse, .. } => Some(Some(misuse.clone())),
                Stage::Instant { .. } | Stage::Smoothed { .. } => Some(None),
                Stage::Map(_) => None,
            });
            let steps = match stage {
                Stage::Instant { spec, .. } | Stage::Smoothed { spec, .. } | Stage::Range { spec, .. } => {
                    spec.grid.count
                }
                Stage::Map(_) => continue,
            };
            held.grow(steps)?;
            rows.push(RowBuf::new(steps));
        }
        let first = self.stages.first().map_or(self.grid, |stage| match stage {
            Stage::Instant { spec, .. } | Stage::Smoothed { spec, .. } | Stage::Range { spec, .. } => {
                spec.grid
            }
            Stage::Map(_) => self.grid,
        });
        let tally = eval.worker_tally(&first, rows.len() > 1);
        let column = HistogramColumn::default;
        Ok(Scratch {
            rows,
            t: Vec::new(),
            v: Vec::new(),
            stored: column(),
            computed: column(),
            live: column(),
            range: RangeScratch::default(),
            misuse,
            met: Vec::new(),
            notes: Notes::default(),
            tally,
            _held: held,
        })
    }

    /// What a worker counted, over the grid of the rows that leave.
    fn lifted(&self, tally: Tally) -> Tally {
        let Tally { queryable, mut read } = tally;
        for stage in &self.stages {
            if let Stage::Range { spec, inner: Some(inner), .. } = stage {
                read = lift(&read, inner, spec);
            }
        }
        Tally { queryable, read }
    }

    /// Passes all series of `part` through; those with values go to `consume`.
    pub(crate) fn run(
        &self,
        eval: &Evaluator<'_>,
        part: &mut dyn Part,
        mut consume: impl FnMut(&mut dyn Part, &RowBuf) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut scratch = self.scratch(eval)?;
        let mut ticker = Ticker::new(&eval.watch);
        let mut meter = Meter::new(eval);
        let wanted = self.wanted();
        // What only its times are wanted of has some value or other.
        let (mut times, mut ones) = (Vec::new(), Vec::new());
        loop {
            let began = meter.begin();
            if !part.advance()? {
                break;
            }
            meter.series(part)?;
            times.clear();
            let (t, v) = if wanted != Wanted::Samples && part.times(&mut times)? {
                scratch.stored.read(&[], true);
                ones.resize(times.len(), 1.0);
                (&times[..], &ones[..])
            } else {
                scratch.stored.read(part.histograms()?, self.selector.counts_only);
                let samples = part.samples()?;
                meter.samples(samples.0.len() + scratch.stored.samples());
                samples
            };
            let samples = t.len() + scratch.stored.samples();
            meter.read(began);
            ticker.tick(samples + self.grid.count)?;
            if samples == 0 {
                continue;
            }
            if self.floats_alone && !scratch.stored.is_empty() {
                return Err(not_floats(part)?);
            }
            let work = self.pass(t, v, &mut scratch, eval)?;
            ticker.tick(work.total)?;
            let row = scratch.rows.last().expect("a pipeline begins with a stage that has steps");
            if !row.is_empty() {
                consume(part, row)?;
            }
            self.remark(part, &mut scratch)?;
        }
        meter.end(part, self.selector.span)?;
        let tally = self.lifted(scratch.tally);
        eval.tally(|t| t.add(&tally));
        if !scratch.notes.is_empty() {
            eval.note(|n| n.merge(scratch.notes));
        }
        Ok(())
    }

    /// Computes one series; the result is the last row of the scratch, complete unless the query must stop.
    fn pass(
        &self,
        t: &[i64],
        v: &[f64],
        scratch: &mut Scratch,
        eval: &Evaluator<'_>,
    ) -> Result<Work, QueryError> {
        let mut level = 0;
        let mut work = Work::default();
        let last = scratch.rows.len() - 1;
        scratch.met.clear();
        for stage in &self.stages {
            match stage {
                Stage::Map(map) => map.apply(&mut scratch.rows[level - 1], &mut scratch.notes),
                Stage::Instant { spec, time } => {
                    let (row, column) = (&mut scratch.rows[level], &scratch.stored);
                    let found = match column.is_empty() {
                        true => newest(spec, *time, t, v, row),
                        false => newest_of_both(spec, *time, (t, v), column, row),
                    };
                    scratch.tally.instants(&scratch.rows[level], found, level == last);
                    work.add(spec.grid.count);
                    level += 1;
                }
                Stage::Smoothed { spec, argument } => {
                    let samples = without_stale(t, v, &mut scratch.t, &mut scratch.v);
                    let row = &mut scratch.rows[level];
                    let mut found = smoothed(spec, samples, row);
                    if !scratch.stored.is_empty() {
                        let histograms = scratch.stored.live(&mut scratch.live);
                        let mut met = Met::of(*argument, true);
                        smoothed_of_both(spec, samples, histograms, row, &mut met.remarks);
                        scratch.met.push(met);
                        found = row.samples() as u64;
                    }
                    scratch.tally.instants(&scratch.rows[level], found, level == last);
                    work.add(spec.grid.count);
                    level += 1;
                }
                Stage::Range { .. } => {
                    self.window(stage, level, (t, v), scratch, eval, &mut work)?;
                    level += 1;
                }
            }
        }
        Ok(work)
    }

    /// Computes the row of a function of windows.
    fn window(
        &self,
        stage: &Stage,
        level: usize,
        (t, v): (&[i64], &[f64]),
        scratch: &mut Scratch,
        eval: &Evaluator<'_>,
        work: &mut Work,
    ) -> Result<(), QueryError> {
        let Stage::Range { function, spec, params, argument, named, inner, .. } = stage else {
            return Ok(());
        };
        let (before, rows) = scratch.rows.split_at_mut(level);
        let (samples, column) = match inner {
            Some(grid) => {
                let row = &before[level - 1];
                scratch.computed.read_row(row, grid);
                (row_samples(row, grid, &mut scratch.t, &mut scratch.v), &scratch.computed)
            }
            None => (without_stale(t, v, &mut scratch.t, &mut scratch.v), &scratch.stored),
        };
        let call = RangeCall { function: *function, spec: *spec, params, watch: &eval.watch };
        let (stored, last) = (inner.is_none(), rows.len() == 1);
        let mut held = call.row(samples, &mut scratch.range, &mut rows[0]);
        if stored {
            scratch.tally.samples(spec, scratch.range.windows(), held);
        }
        if last {
            scratch.tally.windows(scratch.range.windows(), held);
        }
        if let Some(misuse) = &mut scratch.misuse[level] {
            misuse.check(eval, *function, params, scratch.range.windows())?;
        }
        let mut met = Met::of(*argument, *named);
        if !column.is_empty() {
            let histograms = column.live(&mut scratch.live);
            held +=
                call.histogram_row(samples, histograms, &mut scratch.range, &mut rows[0], &mut met.remarks);
            let (windows, sizes) = scratch.range.histogram_windows();
            if let Some(misuse) = &mut scratch.misuse[level] {
                misuse.check_histograms(eval, *function, params, windows)?;
            }
            if stored {
                scratch.tally.histograms(spec, windows, sizes);
            }
            if last {
                scratch.tally.histogram_windows(windows, sizes);
            }
        }
        met.rated = function.wants_counter() && *named && !rows[0].has_no_values();
        if met.rated || !met.remarks.is_empty() {
            scratch.met.push(met);
        }
        work.add(spec.grid.count);
        work.add(usize::try_from(held).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Remarks on what was met in a series, among it rates of what is no counter by its name.
    fn remark(&self, part: &mut dyn Part, scratch: &mut Scratch) -> Result<(), QueryError> {
        for mut met in scratch.met.drain(..) {
            let name = match self.selector.name() {
                _ if !met.named => std::borrow::Cow::Borrowed(""),
                Some(name) => std::borrow::Cow::Borrowed(name),
                None => part.label(METRIC_NAME)?.unwrap_or_default(),
            };
            scratch.notes.remarks(&mut met.remarks, &name, met.argument);
            if met.rated && !is_counter_name(&name) {
                scratch.notes.possible_non_counter(&name, met.argument);
            }
        }
        Ok(())
    }
}

impl Met {
    fn of(argument: Span, named: bool) -> Self {
        Self { argument, named, rated: false, remarks: Remarks::default() }
    }
}

/// Says that the series at hand has histograms where none may be.
fn not_floats(part: &mut dyn Part) -> Result<QueryError, QueryError> {
    let labels = part.labels()?;
    let message = format!("this should be an info metric, with float samples: {labels}");
    Ok(QueryError::Execution { position: None, message })
}

/// Whether a rate of a metric with this name needs no remark.
pub(crate) fn is_counter_name(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end))
}

/// The newest sample of each window, unless it is a staleness marker; or its time in seconds.
fn newest(spec: &WindowSpec, time: bool, t: &[i64], v: &[f64], row: &mut RowBuf) -> u64 {
    row.clear();
    let (mut next, mut found) = (0, 0);
    for i in 0..spec.grid.count {
        let until = spec.until(i);
        while next < t.len() && t[next] <= until.0 {
            next += 1;
        }
        if next > 0 && t[next - 1] > (until - spec.range).0 && !is_stale(v[next - 1]) {
            row.set(i, if time { t[next - 1] as f64 / 1000.0 } else { v[next - 1] });
            found += 1;
        }
    }
    found
}

/// The samples without staleness markers; copied only if there are any.
pub(crate) fn without_stale<'a>(
    t: &'a [i64],
    v: &'a [f64],
    kept_t: &'a mut Vec<i64>,
    kept_v: &'a mut Vec<f64>,
) -> Samples<'a> {
    if !v.iter().any(|&v| is_stale(v)) {
        return Samples { t, v };
    }
    kept_t.clear();
    kept_v.clear();
    for (&t, &v) in t.iter().zip(v).filter(|(_, v)| !is_stale(**v)) {
        kept_t.push(t);
        kept_v.push(v);
    }
    Samples { t: kept_t, v: kept_v }
}

/// The values of a row as samples at the times of its steps.
fn row_samples<'a>(row: &RowBuf, grid: &Grid, t: &'a mut Vec<i64>, v: &'a mut Vec<f64>) -> Samples<'a> {
    t.clear();
    v.clear();
    for (step, value) in row.iter() {
        t.push(grid.at(step).0);
        v.push(value);
    }
    Samples { t, v }
}
