//! What is kept of one query.

use crate::eval::{Grid, Notes, Ticker, Watch};
use crate::{MatrixSeries, QueryError};
use cardinal_storage::model::{DurationMs, LabelSet, TimestampMs};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Segments of steps, ascending, apart from one another.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Each with the number of the last change that it knows.
    pub(super) segments: Vec<(Arc<Segment>, u64)>,
    /// Whether the query has remarks.
    pub(super) is_remarked: bool,
    /// When it was used last, counted in uses.
    pub(super) used: u64,
}

/// The rows of some steps in succession.
#[derive(Debug)]
pub(super) struct Segment {
    first: TimestampMs,
    last: TimestampMs,
    step: DurationMs,
    rows: Vec<MatrixSeries>,
    /// What was remarked on in these steps.
    pub(super) notes: Notes,
}

impl Entry {
    /// Whether it has exactly this segment.
    pub(super) fn has(&self, segment: &Arc<Segment>) -> bool {
        self.segments.iter().any(|(own, _)| Arc::ptr_eq(own, segment))
    }

    /// What it takes, with a key of so many bytes.
    pub(super) fn bytes(&self, key: usize) -> u64 {
        let segments: u64 = self.segments.iter().map(|(segment, _)| segment.bytes()).sum();
        segments + (key + size_of::<Self>() + 256) as u64
    }
}

impl Segment {
    /// What was evaluated over `grid`, which is not empty.
    pub(super) fn new(grid: &Grid, rows: Vec<MatrixSeries>, notes: Notes) -> Self {
        Self { first: grid.start, last: grid.last(), step: grid.step, rows, notes }
    }

    /// Those of `grid`'s steps that it has; the two have the same step and phase.
    pub(super) fn steps(&self, grid: &Grid) -> Option<Range<usize>> {
        let number = |t: TimestampMs| (i128::from(t.0) - i128::from(grid.start.0)) / i128::from(grid.step.0);
        let from = usize::try_from(number(self.first).max(0)).ok()?;
        let to = usize::try_from(number(self.last) + 1).ok()?.min(grid.count);
        (from < to).then_some(from..to)
    }

    /// Whether `grid` has all of its steps.
    pub(super) fn is_within(&self, grid: &Grid) -> bool {
        grid.start <= self.first && self.last <= grid.last()
    }

    /// A copy with the rows of these steps of `grid` alone; it has no remarks.
    pub(super) fn cut(&self, grid: &Grid, steps: Range<usize>) -> Self {
        let part = grid.part(steps);
        let (first, last) = (part.start, part.last());
        let rows = self.rows.iter().filter_map(|row| cut(row, first, last)).collect();
        Self { first, last, step: self.step, rows, notes: Notes::default() }
    }

    /// The same segments, ascending; those that adjoin and have no remarks as one.
    pub(super) fn joined(segments: Vec<Arc<Self>>) -> impl Iterator<Item = Arc<Self>> {
        let mut joined: Vec<Arc<Self>> = Vec::new();
        for segment in segments {
            match joined.last_mut() {
                Some(before) if before.is_continued_by(&segment) => *before = Arc::new(before.with(&segment)),
                _ => joined.push(segment),
            }
        }
        joined.into_iter()
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        self.notes.is_empty() && next.notes.is_empty() && self.last + self.step == next.first
    }

    fn with(&self, next: &Self) -> Self {
        let mut rows = Rows::default();
        rows.add(self.rows.iter().cloned());
        rows.add(next.rows.iter().cloned());
        Self { first: self.first, last: next.last, step: self.step, rows: rows.rows, notes: Notes::default() }
    }

    fn bytes(&self) -> u64 {
        let row = |row: &MatrixSeries| {
            let histograms: usize = row.histograms.iter().map(|(_, h)| 16 * h.samples() + 64).sum();
            row.labels.section().len() + 16 * row.points.len() + histograms + size_of::<MatrixSeries>() + 32
        };
        self.rows.iter().map(row).sum::<usize>() as u64 + size_of::<Self>() as u64
    }
}

/// The rows of pieces in succession, each with the steps that it answers.
pub(super) fn joined<'s>(
    pieces: impl Iterator<Item = (&'s Segment, Range<usize>)>,
    grid: &Grid,
    watch: &Watch,
) -> Result<Vec<MatrixSeries>, QueryError> {
    let mut ticker = Ticker::new(watch);
    let mut rows = Rows::default();
    for (segment, steps) in pieces {
        let (first, last) = (grid.at(steps.start), grid.at(steps.end - 1));
        for row in &segment.rows {
            ticker.tick(row.points.len())?;
            rows.add(cut(row, first, last));
        }
    }
    Ok(rows.rows)
}

/// Rows by their labels.
#[derive(Default)]
struct Rows {
    rows: Vec<MatrixSeries>,
    number_of: HashMap<LabelSet, usize>,
}

impl Rows {
    /// Adds rows of later steps.
    fn add(&mut self, rows: impl IntoIterator<Item = MatrixSeries>) {
        for row in rows {
            match self.number_of.get(&row.labels) {
                Some(number) => {
                    self.rows[*number].points.extend(row.points);
                    self.rows[*number].histograms.extend(row.histograms);
                }
                None => {
                    self.number_of.insert(row.labels.clone(), self.rows.len());
                    self.rows.push(row);
                }
            }
        }
    }
}

/// A row's values from `first` to `last`, if there are any.
fn cut(row: &MatrixSeries, first: TimestampMs, last: TimestampMs) -> Option<MatrixSeries> {
    let points = within(&row.points, first, last);
    let histograms = within(&row.histograms, first, last);
    if points.is_empty() && histograms.is_empty() {
        return None;
    }
    Some(MatrixSeries {
        labels: row.labels.clone(),
        points: points.to_vec(),
        histograms: histograms.to_vec(),
    })
}

fn within<T>(values: &[(TimestampMs, T)], first: TimestampMs, last: TimestampMs) -> &[(TimestampMs, T)] {
    let from = values.partition_point(|(t, _)| *t < first);
    let to = values.partition_point(|(t, _)| *t <= last).max(from);
    &values[from..to]
}
