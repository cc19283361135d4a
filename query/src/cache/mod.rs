//! Results of range queries that are asked for again: a dashboard that refreshes wants the steps of last time and a few new ones.
//!
//! ```text
//!           kept, and nothing that it looks at has changed        evaluated
//! ┌───────────────────────────────────────────────────────┬──────────────────┐
//! first step                                   settled ───┘          last step
//! ```
//!
//! Kept are the rows of steps, by the query's text, its step and where its steps lie. A step is reused if nothing in its
//! windows can have changed: what is newer than the storage's settled time is evaluated each time, and what arrives late, is
//! deleted or expires is asked for, with the selectors that it may touch. Only queries are kept whose steps do not depend on one
//! another ([`fit`]).

mod entry;
mod fit;
mod steps;
#[cfg(test)]
mod tests;

use crate::eval::{Evaluator, Grid, Notes};
use crate::parse::Expr;
use crate::{MatrixSeries, QueryError};
use cardinal_storage::model::DurationMs;
use entry::{Entry, Segment};
use fit::Fit;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use steps::Source as From;

/// What one query may take of the cache.
const ENTRY_SHARE: u64 = 4;
/// Least steps of a segment of a query that has remarks: they hold for a whole segment, so that one that is cut is evaluated anew.
const REMARKED_STEPS: usize = 32;
/// Most such segments of a query, each of which is selected and read for itself.
const REMARKED_SEGMENTS: usize = 16;
/// Runs of steps that are evaluated apart; with more of them, all are evaluated at once.
const RUNS_MAX: usize = 4;

/// Keeps results within a number of bytes.
#[derive(Debug)]
pub(crate) struct ResultCache {
    bytes_max: u64,
    kept: Mutex<Kept>,
    stats: Counts,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Arc<Key>, Entry>,
    bytes: u64,
    /// Counts uses: the entry used longest ago goes first.
    uses: u64,
}

/// What a result is of.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    query: String,
    step: DurationMs,
    /// Where the steps lie between multiples of the step.
    phase: i64,
    lookback: DurationMs,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    partial: AtomicU64,
    misses: AtomicU64,
    unfit: AtomicU64,
    steps_reused: AtomicU64,
    steps_evaluated: AtomicU64,
    steps_changed: AtomicU64,
    evicted: AtomicU64,
}

/// What a cache of results has done since the start, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Queries of which all settled steps were there.
    pub hits: u64,
    /// Queries of which some were.
    pub partial: u64,
    /// Queries of which none were.
    pub misses: u64,
    /// Queries whose results are never kept.
    pub unfit: u64,
    /// Steps that were not evaluated.
    pub steps_reused: u64,
    /// Steps that were.
    pub steps_evaluated: u64,
    /// Of these: steps that were there, and that something has changed of.
    pub steps_changed: u64,
    /// Results that went to make room.
    pub evicted: u64,
    /// Results that are held.
    pub entries: u64,
    /// The bytes that they take.
    pub bytes: u64,
    /// The most that they may take.
    pub bytes_max: u64,
}

impl ResultCache {
    /// Nothing yet; nothing ever, where `bytes_max` is 0.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, kept: Mutex::default(), stats: Counts::default() }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let kept = self.kept.lock();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheStats {
            hits: of(&self.stats.hits),
            partial: of(&self.stats.partial),
            misses: of(&self.stats.misses),
            unfit: of(&self.stats.unfit),
            steps_reused: of(&self.stats.steps_reused),
            steps_evaluated: of(&self.stats.steps_evaluated),
            steps_changed: of(&self.stats.steps_changed),
            evicted: of(&self.stats.evicted),
            entries: kept.entries.len() as u64,
            bytes: kept.bytes,
            bytes_max: self.bytes_max,
        }
    }

    /// The rows of a range query, as `evaluate` gives them for any run of its steps; those that are kept are not evaluated.
    pub(crate) fn rows(
        &self,
        evaluator: &Evaluator<'_>,
        expr: &Expr,
        grid: &Grid,
        evaluate: impl Fn(&Grid) -> Result<Vec<MatrixSeries>, QueryError>,
    ) -> Result<Vec<MatrixSeries>, QueryError> {
        if self.bytes_max == 0 || grid.count == 0 {
            return evaluate(grid);
        }
        let Some((mark, fit)) = evaluator.source.mark().zip(Fit::of(evaluator, expr)) else {
            add(&self.stats.unfit, 1);
            return evaluate(grid);
        };
        let key = Arc::new(Key {
            query: evaluator.query.to_owned(),
            step: grid.step,
            phase: grid.start.0.rem_euclid(grid.step.0),
            lookback: evaluator.lookback,
        });
        let known = self.look_up(&key);
        let is_remarked = known.as_ref().is_some_and(|entry| entry.is_remarked);
        let settled = steps::settled(grid, &fit, mark.settled);
        let (sources, changed) =
            steps::sources(grid, &fit, known.as_ref(), |n| evaluator.source.changes_since(n));
        let runs = steps::runs(grid, &sources, settled, is_remarked);
        self.count(grid, &sources, settled, changed);
        let mut work = Work { evaluator, grid, evaluate, pieces: Vec::new(), mixed: false };
        for run in &runs {
            work.run(run, settled, known.as_ref())?;
        }
        if evaluator.is_coupled() {
            // What makes steps depend on one another was met in the new ones alone.
            work.pieces.clear();
            self.forget(&key);
            return (work.evaluate)(grid);
        }
        let Work { pieces, mixed, .. } = work;
        if evaluator.source.warnings().is_empty() {
            self.keep(key, &pieces, known, settled, grid, (mark.number, is_remarked || mixed));
        }
        let mut notes = Notes::default();
        pieces.iter().for_each(|(segment, _)| notes.merge(segment.notes.clone()));
        evaluator.note(|all| all.merge(notes));
        entry::joined(
            pieces.iter().map(|(segment, steps)| (&**segment, steps.clone())),
            grid,
            &evaluator.watch,
        )
    }

    fn look_up(&self, key: &Arc<Key>) -> Option<Entry> {
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let uses = kept.uses;
        let entry = kept.entries.get_mut(key)?;
        entry.used = uses;
        Some(entry.clone())
    }

    fn forget(&self, key: &Key) {
        let mut kept = self.kept.lock();
        if let Some(entry) = kept.entries.remove(key) {
            kept.bytes -= entry.bytes(key.query.len());
        }
    }

    /// Keeps what is settled of the pieces of a result.
    fn keep(
        &self,
        key: Arc<Key>,
        pieces: &[Piece],
        known: Option<Entry>,
        settled: usize,
        grid: &Grid,
        (number, is_remarked): (u64, bool),
    ) {
        let of_pieces = pieces.iter().filter(|(_, steps)| steps.start < settled);
        let is_known = |segment: &Arc<Segment>| known.as_ref().is_some_and(|k| k.has(segment));
        if known.is_some() && of_pieces.clone().all(|(segment, _)| is_known(segment)) {
            // All of it is there; perhaps more, for a longer range.
            return;
        }
        let mut segments = Vec::new();
        for (segment, steps) in of_pieces {
            if segment.notes.is_empty() {
                segments.push(Arc::new(segment.cut(grid, steps.start..steps.end.min(settled))));
            } else if steps.end <= settled && segment.is_within(grid) {
                // Remarks are on all of a segment: it stays whole.
                segments.push(segment.clone());
            }
        }
        let segments = Segment::joined(segments).map(|segment| (segment, number)).collect();
        self.put(key, Entry { segments, is_remarked, used: 0 });
    }

    fn put(&self, key: Arc<Key>, mut entry: Entry) {
        let bytes = entry.bytes(key.query.len());
        let mut kept = self.kept.lock();
        let old = kept.entries.remove(&key).map_or(0, |old| old.bytes(key.query.len()));
        kept.bytes -= old;
        if bytes > self.bytes_max / ENTRY_SHARE {
            return;
        }
        while kept.bytes + bytes > self.bytes_max {
            let oldest = kept.entries.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            let gone = kept.entries.remove(&oldest).map_or(0, |e| e.bytes(oldest.query.len()));
            kept.bytes -= gone;
            add(&self.stats.evicted, 1);
        }
        entry.used = kept.uses;
        kept.bytes += bytes;
        kept.entries.insert(key, entry);
    }

    fn count(&self, grid: &Grid, sources: &[From], settled: usize, changed: u64) {
        let reused = sources.iter().filter(|s| s.is_some()).count();
        let outcome = match reused {
            0 => &self.stats.misses,
            n if n >= settled => &self.stats.hits,
            _ => &self.stats.partial,
        };
        add(outcome, 1);
        add(&self.stats.steps_reused, reused as u64);
        add(&self.stats.steps_evaluated, (grid.count - reused) as u64);
        add(&self.stats.steps_changed, changed);
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

/// A segment, and which of a query's steps it answers.
type Piece = (Arc<Segment>, std::ops::Range<usize>);

/// One query being put together.
struct Work<'a, F> {
    evaluator: &'a Evaluator<'a>,
    grid: &'a Grid,
    evaluate: F,
    pieces: Vec<Piece>,
    /// Whether remarks were met that hold for settled and other steps together.
    mixed: bool,
}

impl<F: Fn(&Grid) -> Result<Vec<MatrixSeries>, QueryError>> Work<'_, F> {
    fn run(&mut self, run: &steps::Run, settled: usize, known: Option<&Entry>) -> Result<(), QueryError> {
        let steps = run.steps.clone();
        let kept = run.source.zip(known).and_then(|(at, entry)| entry.segments.get(at));
        if let Some((segment, _)) = kept {
            self.pieces.push((segment.clone(), steps));
            return Ok(());
        }
        let part = self.grid.part(steps.clone());
        let rows = (self.evaluate)(&part)?;
        let notes = std::mem::take(&mut *self.evaluator.notes.lock());
        self.mixed |= !notes.is_empty() && steps.start < settled;
        self.pieces.push((Arc::new(Segment::new(&part, rows, notes)), steps));
        Ok(())
    }
}
