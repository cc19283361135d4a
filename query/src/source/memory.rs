//! A source over lists in memory: what tests of the evaluator, and scripts that bring their own series, read from.

use super::{Grouping, Part, Source, SourceError, Wanted};
use cardinal_storage::index::{Matcher, accepts};
use cardinal_storage::model::{HistogramSample, Label, LabelSet, TimeRange, TimestampMs};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

/// A series with its samples: two columns of equal length, and histograms.
#[derive(Clone, Debug, PartialEq)]
pub struct MemorySeries {
    /// The labels.
    pub labels: LabelSet,
    /// Times in milliseconds, strictly ascending.
    pub t: Vec<i64>,
    /// Values.
    pub v: Vec<f64>,
    /// Native histograms in strictly ascending time, at no time of `t`.
    pub histograms: Vec<HistogramSample>,
}

/// Series dealt out to several parts, so that merging is exercised. Answers about labels are given for all of time.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    parts: Vec<Vec<MemorySeries>>,
}

impl MemorySource {
    /// `series` dealt out to `parts` parts in turn.
    pub fn new(series: Vec<MemorySeries>, parts: usize) -> Self {
        let mut dealt = vec![Vec::new(); parts];
        series.into_iter().enumerate().for_each(|(i, s)| dealt[i % parts].push(s));
        Self { parts: dealt }
    }

    fn matching(&self, selectors: &[Vec<Matcher>]) -> impl Iterator<Item = &LabelSet> {
        let any = move |l: &LabelSet| selectors.is_empty() || selectors.iter().any(|m| accepts(m, l));
        self.parts.iter().flatten().map(|s| &s.labels).filter(move |l| any(l))
    }
}

impl Source for MemorySource {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        _wanted: Wanted,
    ) -> Result<Vec<Box<dyn Part + 'a>>, SourceError> {
        let part = |all: &'a Vec<MemorySeries>| -> Box<dyn Part + 'a> {
            let series: Vec<_> = all.iter().filter(|s| accepts(matchers, &s.labels)).collect();
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
        let names: BTreeSet<_> =
            self.matching(selectors).flat_map(|l| l.iter()).map(|l| l.name.into()).collect();
        Ok(names.into_iter().take(limit.unwrap_or(usize::MAX)).collect())
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError> {
        let values: BTreeSet<String> =
            self.matching(selectors).filter_map(|l| l.get(name)).map(Into::into).collect();
        Ok(values.into_iter().take(limit.unwrap_or(usize::MAX)).collect())
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        _range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.matching(selectors).take(limit.unwrap_or(usize::MAX)).cloned().collect())
    }
}

struct MemoryPart<'a> {
    series: Vec<&'a MemorySeries>,
    /// One beyond the current series.
    next: usize,
    range: TimeRange,
    groups: HashMap<Vec<(String, String)>, u32>,
}

impl MemoryPart<'_> {
    fn current(&self) -> &MemorySeries {
        self.series[self.next - 1]
    }
}

impl Part for MemoryPart<'_> {
    fn series_max(&self) -> u64 {
        self.series.len().saturating_sub(self.next) as u64
    }

    fn advance(&mut self) -> Result<bool, SourceError> {
        self.next += 1;
        Ok(self.next <= self.series.len())
    }

    fn samples(&mut self) -> Result<(&[i64], &[f64]), SourceError> {
        let s = self.current();
        let TimeRange { after: TimestampMs(after), until: TimestampMs(until) } = self.range;
        let lo = s.t.partition_point(|&t| t <= after);
        let hi = s.t.partition_point(|&t| t <= until).max(lo);
        Ok((&s.t[lo..hi], &s.v[lo..hi]))
    }

    fn histograms(&mut self) -> Result<&[HistogramSample], SourceError> {
        let s = self.current();
        let lo = s.histograms.partition_point(|h| h.t <= self.range.after);
        let hi = s.histograms.partition_point(|h| h.t <= self.range.until).max(lo);
        Ok(&s.histograms[lo..hi])
    }

    fn labels(&mut self) -> Result<LabelSet, SourceError> {
        Ok(self.current().labels.clone())
    }

    fn label(&mut self, name: &str) -> Result<Option<Cow<'_, str>>, SourceError> {
        Ok(self.current().labels.get(name).map(Cow::Borrowed))
    }

    fn group(&mut self, grouping: &Grouping) -> Result<u32, SourceError> {
        let own = |l: Label<'_>| (l.name.to_owned(), l.value.to_owned());
        let key: Vec<_> = self.current().labels.iter().filter(|l| grouping.keeps(l.name)).map(own).collect();
        let next = self.groups.len() as u32;
        Ok(*self.groups.entry(key).or_insert(next))
    }
}
