//! A source over series in memory.

use super::Series;
use super::series::Point;
use cardinal_query::source::{Grouping, Part, Source, SourceError};
use cardinal_storage::index::Matcher;
use cardinal_storage::model::{LabelSet, TimeRange, TimestampMs};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A series with its samples, in ascending time.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSeries {
    /// The labels.
    pub labels: LabelSet,
    /// Times in milliseconds.
    pub t: Vec<i64>,
    /// Values.
    pub v: Vec<f64>,
}

/// What was loaded so far.
#[derive(Clone, Debug, Default)]
pub struct Loaded(BTreeMap<LabelSet, BTreeMap<i64, f64>>);

impl Loaded {
    /// Adds the points of a series that are `step` milliseconds apart from 0. A sample that is there already stays,
    /// as one that comes late does in the reference.
    pub fn add(&mut self, series: &Series, step: i64) {
        let samples = self.0.entry(series.labels.clone()).or_default();
        for (i, point) in series.points.iter().enumerate() {
            if let Point::Float(v) = point {
                samples.entry(i as i64 * step).or_insert(*v);
            }
        }
    }

    /// All series that have samples, sorted by labels.
    pub fn series(&self) -> Vec<LoadedSeries> {
        let loaded = |(labels, samples): (&LabelSet, &BTreeMap<i64, f64>)| LoadedSeries {
            labels: labels.clone(),
            t: samples.keys().copied().collect(),
            v: samples.values().copied().collect(),
        };
        self.0.iter().filter(|(_, samples)| !samples.is_empty()).map(loaded).collect()
    }
}

/// Series dealt out to several parts, so that merging is exercised.
#[derive(Clone, Debug)]
pub struct MemorySource {
    parts: Vec<Vec<LoadedSeries>>,
}

impl MemorySource {
    /// `series` dealt out to `parts` parts in turn.
    pub fn new(series: Vec<LoadedSeries>, parts: usize) -> Self {
        let mut dealt = vec![Vec::new(); parts];
        series.into_iter().enumerate().for_each(|(i, s)| dealt[i % parts].push(s));
        Self { parts: dealt }
    }

    fn labels_of<'a>(&'a self, selectors: &'a [Vec<Matcher>]) -> impl Iterator<Item = &'a LabelSet> {
        let any = |l: &LabelSet| selectors.is_empty() || selectors.iter().any(|m| accepts(m, l));
        self.parts.iter().flatten().map(|s| &s.labels).filter(move |l| any(l))
    }
}

/// Whether all matchers accept the labels.
pub fn accepts(matchers: &[Matcher], labels: &LabelSet) -> bool {
    matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
}

fn first(texts: BTreeSet<String>, limit: Option<usize>) -> Vec<String> {
    texts.into_iter().take(limit.unwrap_or(usize::MAX)).collect()
}

impl Source for MemorySource {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Box<dyn Part + 'a>>, SourceError> {
        let part = |all: &'a Vec<LoadedSeries>| -> Box<dyn Part + 'a> {
            let series = all.iter().filter(|s| accepts(matchers, &s.labels)).collect();
            Box::new(MemoryPart { series, next: 0, range, groups: HashMap::new() })
        };
        Ok(self.parts.iter().map(part).collect())
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError> {
        let names =
            self.labels_of(selectors).flat_map(|l| l.iter().map(|l| l.name.to_owned()).collect::<Vec<_>>());
        Ok(first(names.collect(), limit))
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError> {
        let values = self.labels_of(selectors).filter_map(|l| l.get(name)).map(str::to_owned);
        Ok(first(values.collect(), limit))
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.labels_of(selectors).take(limit.unwrap_or(usize::MAX)).cloned().collect())
    }
}

struct MemoryPart<'a> {
    series: Vec<&'a LoadedSeries>,
    /// One beyond the current series.
    next: usize,
    range: TimeRange,
    groups: HashMap<Vec<(String, String)>, u32>,
}

impl<'a> MemoryPart<'a> {
    fn current(&self) -> &'a LoadedSeries {
        self.series[self.next - 1]
    }
}

impl Part for MemoryPart<'_> {
    fn series_max(&self) -> u64 {
        (self.series.len() - self.next.min(self.series.len())) as u64
    }

    fn advance(&mut self) -> Result<bool, SourceError> {
        self.next += 1;
        Ok(self.next <= self.series.len())
    }

    fn samples(&mut self) -> Result<(&[i64], &[f64]), SourceError> {
        let series = self.current();
        let TimeRange { after: TimestampMs(after), until: TimestampMs(until) } = self.range;
        let from = series.t.partition_point(|&t| t <= after);
        let to = series.t.partition_point(|&t| t <= until).max(from);
        Ok((&series.t[from..to], &series.v[from..to]))
    }

    fn labels(&mut self) -> Result<LabelSet, SourceError> {
        Ok(self.current().labels.clone())
    }

    fn label(&mut self, name: &str) -> Result<Option<Cow<'_, str>>, SourceError> {
        Ok(self.current().labels.get(name).map(Cow::Borrowed))
    }

    fn group(&mut self, grouping: &Grouping) -> Result<u32, SourceError> {
        let labels = self.current().labels.iter().filter(|l| grouping.keeps(l.name));
        let key = labels.map(|l| (l.name.to_owned(), l.value.to_owned())).collect();
        let next = self.groups.len() as u32;
        Ok(*self.groups.entry(key).or_insert(next))
    }
}
