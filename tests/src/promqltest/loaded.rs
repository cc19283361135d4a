//! What a script has loaded so far, as series.

use super::Series;
use super::series::Point;
use cardinal_query::source::MemorySeries;
use cardinal_storage::model::LabelSet;
use std::collections::BTreeMap;

/// What was loaded so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded(BTreeMap<LabelSet, BTreeMap<i64, f64>>);

impl Loaded {
    /// Adds the points of a series that are `step` milliseconds apart from 0. A sample that is there already stays,
    /// as one that comes late does in the reference.
    pub(super) fn add(&mut self, series: &Series, step: i64) {
        let samples = self.0.entry(series.labels.clone()).or_default();
        for (i, point) in series.points.iter().enumerate() {
            if let Point::Float(v) = point {
                samples.entry(i as i64 * step).or_insert(*v);
            }
        }
    }

    /// All series that have samples, sorted by labels.
    pub(super) fn series(&self) -> Vec<MemorySeries> {
        let loaded = |(labels, samples): (&LabelSet, &BTreeMap<i64, f64>)| MemorySeries {
            labels: labels.clone(),
            t: samples.keys().copied().collect(),
            v: samples.values().copied().collect(),
        };
        self.0.iter().filter(|(_, samples)| !samples.is_empty()).map(loaded).collect()
    }
}
