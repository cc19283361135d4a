//! Which steps of a query come from where.

use super::entry::Entry;
use super::fit::Fit;
use super::{REMARKED_SEGMENTS, REMARKED_STEPS, RUNS_MAX};
use crate::eval::Grid;
use cardinal_storage::model::TimestampMs;
use cardinal_storage::read::Change;
use std::ops::Range;

/// The segment of an entry that a step comes from; `None` if it is to be evaluated.
pub(super) type Source = Option<usize>;

/// Steps that come from the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) steps: Range<usize>,
    pub(super) source: Source,
}

/// How many steps look at nothing that is not settled.
pub(super) fn settled(grid: &Grid, fit: &Fit<'_>, until: TimestampMs) -> usize {
    let last = until.0.saturating_sub(fit.beyond());
    steps_before(grid, last.saturating_add(1))
}

/// Where each step comes from, and how many were kept of which something has changed since.
pub(super) fn sources(
    grid: &Grid,
    fit: &Fit<'_>,
    known: Option<&Entry>,
    changes_since: impl Fn(u64) -> Vec<Change>,
) -> (Vec<Source>, u64) {
    let mut sources = vec![None; grid.count];
    let Some(entry) = known else { return (sources, 0) };
    let since = entry.segments.iter().map(|(_, number)| *number).min().unwrap_or(0);
    let changes = changes_since(since);
    let mut changed = 0;
    for (at, (segment, number)) in entry.segments.iter().enumerate() {
        let Some(steps) = segment.steps(grid) else { continue };
        sources[steps.clone()].fill(Some(at));
        for change in changes.iter().filter(|c| c.number > *number) {
            for (first, end) in fit.reaches.iter().filter_map(|reach| reach.steps_seeing(change)) {
                let from = steps_before(grid, first).max(steps.start);
                let to = steps_before(grid, end).min(steps.end);
                for source in sources.get_mut(from..to).into_iter().flatten() {
                    changed += u64::from(source.is_some());
                    *source = None;
                }
            }
        }
        // Remarks are on all steps of a segment.
        let is_whole = segment.is_within(grid) && sources[steps.clone()].iter().all(|s| *s == Some(at));
        if !segment.notes.is_empty() && !is_whole {
            sources[steps].fill(None);
        }
    }
    (sources, changed)
}

/// The steps as runs. Those that are evaluated go together, settled or not, unless the query has remarks.
pub(super) fn runs(grid: &Grid, sources: &[Source], settled: usize, is_remarked: bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (step, source) in sources.iter().enumerate() {
        let is_apart = is_remarked
            && source.is_none()
            && (step == settled || step < settled && begins_block(grid, step));
        match runs.last_mut() {
            Some(run) if run.source == *source && !is_apart => run.steps.end = step + 1,
            _ => runs.push(Run { steps: step..step + 1, source: *source }),
        }
    }
    let gaps = runs.iter().filter(|run| run.source.is_none()).count();
    if gaps > RUNS_MAX && !is_remarked {
        return vec![Run { steps: 0..grid.count, source: None }];
    }
    runs
}

/// Whether a block of remarked steps begins at a step, wherever the query begins: the same for ranges of some length.
fn begins_block(grid: &Grid, step: usize) -> bool {
    let block = grid.count.div_ceil(REMARKED_SEGMENTS).max(REMARKED_STEPS).next_power_of_two();
    grid.at(step).0.div_euclid(grid.step.0).rem_euclid(block as i64) == 0
}

/// How many steps are before the time `t`.
fn steps_before(grid: &Grid, t: i64) -> usize {
    let behind = i128::from(t) - i128::from(grid.start.0);
    let step = i128::from(grid.step.0);
    usize::try_from((behind + step - 1).div_euclid(step)).unwrap_or(0).min(grid.count)
}
