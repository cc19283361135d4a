//! `info`: labels of info series, added to the series of a vector that have the same `instance` and `job`.
//!
//! Only info series with an instance and a job that the vector has are read, and of them only which sample is the newest
//! at each step. Per identity (name, instance, job) the series with the newest sample holds; a series of the vector
//! becomes as many as it meets different info series over time.

use super::labels::with;
use super::rows::{RowBuf, RowLabels, Rows};
use super::{Evaluator, Grid};
use crate::parse::Span;
use crate::plan::{InfoNode, Selector};
use crate::{QueryError, SampleValue};
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::model::{LabelSet, METRIC_NAME};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The labels that tell which info series belong to which series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Values of an identifying label beyond these are not listed to the storage: it gives all info series then.
const LISTED_MAX: usize = 50_000;

/// No info series.
const NONE: u32 = u32::MAX;

/// The name of an info series with its identifying labels.
type Identity<'a> = (&'a str, [&'a str; 2]);

impl Evaluator<'_> {
    /// The rows of the vector with the labels of info series.
    pub(crate) fn info(&self, node: &InfoNode, grid: &Grid, span: Span) -> Result<Rows, QueryError> {
        let base = self.vector(node.vector, grid)?;
        // What is an info series itself stays as it is.
        let enriched =
            |i: &usize| !node.names.iter().all(|m| m.matches(base.labels(*i).labels.metric_name()));
        let found = self.info_rows(
            node,
            (0..base.len()).filter(enriched).map(|i| &base.labels(i).labels),
            grid,
            span,
        )?;
        let holders = self.holders(&found, &base, span)?;
        let mut names: Vec<&str> = holders.keys().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();

        let mut out = self.rows(grid);
        let mut row = RowBuf::new(grid.count);
        for i in 0..base.len() {
            if i % 1024 == 0 {
                self.watch.check()?;
            }
            let labels = base.labels(i);
            let identity = identity(&labels.labels);
            let held: Vec<&Vec<u32>> = match enriched(&i) {
                true => names.iter().filter_map(|name| holders.get(&(*name, identity))).collect(),
                false => Vec::new(),
            };
            if held.is_empty() {
                if !enriched(&i) || node.keeps_unmatched() {
                    base.load(i, &mut row);
                    out.push(labels.clone(), &row)?;
                }
                continue;
            }
            for (infos, row) in by_infos(&base, i, &held) {
                if infos.is_empty() && !node.keeps_unmatched() {
                    continue;
                }
                let infos = infos.iter().map(|&info| &found.labels(info as usize).labels);
                let labels = self.add(node, labels, infos, span)?;
                out.push(labels, &row)?;
            }
        }
        self.merge_equal_labels(out)
    }

    /// The info series that may belong to any of `series`, with the times of their newest samples.
    fn info_rows<'l>(
        &self,
        node: &InfoNode,
        series: impl Iterator<Item = &'l LabelSet>,
        grid: &Grid,
        span: Span,
    ) -> Result<Rows, QueryError> {
        let mut values = [const { BTreeSet::new() }; 2];
        for labels in series {
            for (values, name) in values.iter_mut().zip(IDENTIFYING) {
                values.extend(labels.get(name));
            }
        }
        if values.iter().all(BTreeSet::is_empty) {
            return Ok(self.rows(grid));
        }
        let wanted = |labels: &LabelSet| {
            let has = |(values, name): (&BTreeSet<&str>, &str)| {
                values.is_empty() || labels.get(name).is_some_and(|v| values.contains(v))
            };
            values.iter().zip(IDENTIFYING).all(has)
        };
        let listed = values.iter().zip(IDENTIFYING).filter_map(|(values, name)| one_of(name, values));
        let matchers = node.names.iter().chain(&node.labels).cloned().chain(listed).collect();
        let (offset, at) = (node.offset, node.at);
        let selector = Selector { matchers, offset, at, edges: None, counts_only: true, span };
        let mut pipeline = self.instant(&selector, grid, true, Span::default());
        // The time is looked at, the series stay what they are.
        pipeline.drops_name = false;
        pipeline.floats_alone = true;
        self.collect(&pipeline)?.transform(|labels, row| {
            if !wanted(&labels.labels) {
                row.clear();
            }
            Ok(())
        })
    }

    /// The info series that holds at each step, per identity. Fails where two are equally new while the vector has any value.
    fn holders<'r>(
        &self,
        infos: &'r Rows,
        base: &Rows,
        span: Span,
    ) -> Result<HashMap<Identity<'r>, Vec<u32>>, QueryError> {
        let mut members: HashMap<Identity<'_>, Vec<usize>> = HashMap::new();
        for i in 0..infos.len() {
            let labels = &infos.labels(i).labels;
            members.entry((labels.metric_name(), identity(labels))).or_default().push(i);
        }
        let mut asked = RowBuf::new(base.steps());
        (0..base.len()).flat_map(|i| base.occupied(i)).for_each(|step| asked.set(step, 0.0));
        let mut kept = self.kept.lock();
        let mut holders = HashMap::with_capacity(members.len());
        for (identity, members) in members {
            kept.grow(infos.steps().div_ceil(2))?;
            let newest = Newest::of(infos, &members);
            if let Some(rival) = newest.rivals.iter().find(|(step, _)| asked.has(*step)) {
                return Err(self.rivalry(infos, &newest, rival, span));
            }
            holders.insert(identity, newest.holders);
        }
        Ok(holders)
    }

    fn rivalry(&self, infos: &Rows, newest: &Newest, (step, rival): (usize, f64), span: Span) -> QueryError {
        let labels = |i: usize| infos.labels(i).labels.to_string();
        let one = newest.holders[step];
        let ms = (newest.times[step] * 1000.0).round();
        self.error(
            span,
            format!(
                "found duplicate series for info metric: existing {} @ {ms}, new {} @ {ms}",
                labels(one as usize),
                labels(rival as usize),
            ),
        )
    }

    /// The labels with those of the info series that are asked for and not there yet.
    fn add<'l>(
        &self,
        node: &InfoNode,
        labels: &RowLabels,
        infos: impl Iterator<Item = &'l LabelSet>,
        span: Span,
    ) -> Result<RowLabels, QueryError> {
        let mut added: Vec<(&str, &str)> = Vec::new();
        for label in infos.flat_map(LabelSet::iter).filter(|l| node.adds(l.name)) {
            match added.iter().find(|(name, _)| *name == label.name) {
                Some((_, value)) if *value != label.value => {
                    return Err(self.error(span, format!("conflicting label: {}", label.name)));
                }
                Some(_) => {}
                None if labels.labels.get(label.name).is_some() => {}
                None => added.push((label.name, label.value)),
            }
        }
        Ok(RowLabels { labels: with(&labels.labels, added), drop_name: labels.drop_name })
    }
}

impl InfoNode {
    /// Whether a series without any info series stays: it does unless a label is asked for that must be there.
    fn keeps_unmatched(&self) -> bool {
        self.labels.iter().all(Matcher::matches_empty)
    }

    /// Whether the label `name` of info series is taken over.
    fn adds(&self, name: &str) -> bool {
        name != METRIC_NAME && (self.labels.is_empty() || self.labels.iter().any(|m| m.name() == name))
    }
}

/// Which of several info series of one identity holds at each step: the one with the newest sample.
struct Newest {
    /// The row, or [`NONE`].
    holders: Vec<u32>,
    /// The time of its sample.
    times: Vec<f64>,
    /// Another row with a sample as new.
    rivals: RowBuf,
}

impl Newest {
    fn of(infos: &Rows, members: &[usize]) -> Self {
        let steps = infos.steps();
        let mut newest = Self {
            holders: vec![NONE; steps],
            times: vec![f64::NEG_INFINITY; steps],
            rivals: RowBuf::new(steps),
        };
        for &i in members {
            for (step, t) in infos.values(i) {
                if t > newest.times[step] {
                    newest.holders[step] = i as u32;
                    newest.times[step] = t;
                    newest.rivals.unset(step);
                } else if t == newest.times[step] {
                    newest.rivals.set(step, i as f64);
                }
            }
        }
        newest
    }
}

/// The values of row `i` of `base`, apart by the info series that hold at their steps.
fn by_infos(base: &Rows, i: usize, held: &[&Vec<u32>]) -> Vec<(Vec<u32>, RowBuf)> {
    let mut parts: Vec<(Vec<u32>, RowBuf)> = Vec::new();
    let mut infos = Vec::with_capacity(held.len());
    let mut at = 0;
    let histograms =
        base.histograms(i).iter().map(|(step, h)| (*step, SampleValue::Histogram(Arc::clone(h))));
    for (step, v) in base.values(i).map(|(step, v)| (step, SampleValue::Float(v))).chain(histograms) {
        infos.clear();
        infos.extend(held.iter().map(|h| h[step]).filter(|&info| info != NONE));
        if parts.get(at).is_none_or(|(own, _)| *own != infos) {
            at = parts.iter().position(|(own, _)| *own == infos).unwrap_or_else(|| {
                parts.push((infos.clone(), RowBuf::new(base.steps())));
                parts.len() - 1
            });
        }
        match v {
            SampleValue::Float(v) => parts[at].1.set(step, v),
            SampleValue::Histogram(h) => parts[at].1.set_histogram(step, h),
        }
    }
    parts
}

/// The identifying labels of a series; a missing one is empty.
fn identity(labels: &LabelSet) -> [&str; 2] {
    IDENTIFYING.map(|name| labels.get(name).unwrap_or(""))
}

/// The condition that the label `name` has one of `values`; none where they are too many to be listed.
fn one_of(name: &str, values: &BTreeSet<&str>) -> Option<Matcher> {
    if values.is_empty() || values.len() > LISTED_MAX {
        return None;
    }
    let mut pattern = String::new();
    for value in values {
        if !pattern.is_empty() {
            pattern.push('|');
        }
        for c in value.chars() {
            if c.is_ascii_punctuation() {
                pattern.push('\\');
            }
            pattern.push(c);
        }
    }
    // What the storage would have to run as an expression is compared here instead.
    Matcher::new(name, MatchOp::Regex, &pattern).ok().filter(|m| m.literals().is_some())
}
