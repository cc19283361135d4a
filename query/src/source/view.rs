//! The storage's view as a source: one part for each shard.

use super::{Grouping, Part, ReadCost, Source, SourceError};
use cardinal_storage::index::Matcher;
use cardinal_storage::model::{HistogramSample, LabelSet, TimeRange};
use cardinal_storage::read::{Change, Estimate, Grouper, Mark, ReadError, SeriesCursor, View, Wanted};
use std::borrow::Cow;

impl From<ReadError> for SourceError {
    fn from(e: ReadError) -> Self {
        Self::new(e)
    }
}

impl Source for View {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
    ) -> Result<Vec<Box<dyn Part + 'a>>, SourceError> {
        let part = |cursor| Box::new(ShardPart { cursor, groupers: Vec::new() }) as Box<dyn Part + 'a>;
        Ok(self.select(matchers, range, wanted)?.into_iter().map(part).collect())
    }

    fn estimate(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
    ) -> Result<Option<Estimate>, SourceError> {
        Ok(Some(self.estimate(matchers, range, wanted)?))
    }

    fn mark(&self) -> Option<Mark> {
        self.mark()
    }

    fn changes_since(&self, number: u64) -> Vec<Change> {
        self.changes_since(number)
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings()
    }

    fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError> {
        Ok(self.label_names(selectors, range, limit)?)
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, SourceError> {
        Ok(self.label_values(name, selectors, range, limit)?)
    }

    fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.series(selectors, range, limit)?)
    }
}

/// The selected series of one shard.
struct ShardPart<'a> {
    cursor: SeriesCursor<'a>,
    /// One for each grouping asked for: one, as a rule.
    groupers: Vec<(Grouping, Grouper)>,
}

impl Part for ShardPart<'_> {
    fn series_max(&self) -> u64 {
        self.cursor.series_max()
    }

    fn series_min(&self) -> u64 {
        self.cursor.series_min()
    }

    fn cost(&self) -> ReadCost {
        let (chunks, bytes) = self.cursor.chunks_read();
        ReadCost { chunks, bytes }
    }

    fn advance(&mut self) -> Result<bool, SourceError> {
        Ok(self.cursor.advance()?)
    }

    fn samples(&mut self) -> Result<(&[i64], &[f64]), SourceError> {
        Ok(self.cursor.samples()?)
    }

    fn times(&mut self, out: &mut Vec<i64>) -> Result<bool, SourceError> {
        Ok(self.cursor.times(out))
    }

    fn histograms(&mut self) -> Result<&[HistogramSample], SourceError> {
        Ok(self.cursor.histograms()?)
    }

    fn labels(&mut self) -> Result<LabelSet, SourceError> {
        Ok(self.cursor.labels()?)
    }

    fn label(&mut self, name: &str) -> Result<Option<Cow<'_, str>>, SourceError> {
        Ok(self.cursor.label(name)?)
    }

    fn group(&mut self, grouping: &Grouping) -> Result<u32, SourceError> {
        if grouping.is_one_group() {
            return Ok(0);
        }
        let at = match self.groupers.iter().position(|(g, _)| g == grouping) {
            Some(at) => at,
            None => {
                let keeps = grouping.clone();
                self.groupers.push((grouping.clone(), Grouper::new(move |name| keeps.keeps(name))));
                self.groupers.len() - 1
            }
        };
        Ok(self.cursor.group(&mut self.groupers[at].1)?)
    }
}
