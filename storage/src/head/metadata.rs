//! What senders said about metric families: few, small, and all in memory.

use crate::model::MetricMetadata;
use std::collections::{BTreeMap, BTreeSet};

/// Statements kept; beyond it new ones are dropped and counted. A platform has thousands of families.
pub(crate) const STATEMENTS_MAX: usize = 100_000;

/// Distinct statements by family.
#[derive(Debug, Default)]
pub(crate) struct MetadataStore {
    families: BTreeMap<String, BTreeSet<MetricMetadata>>,
    statements: usize,
    dropped: u64,
}

impl MetadataStore {
    /// Adds a statement; whether it is new and was kept.
    pub(crate) fn add(&mut self, item: &MetricMetadata) -> bool {
        if self.families.get(&item.family).is_some_and(|f| f.contains(item)) {
            return false;
        }
        if self.statements >= STATEMENTS_MAX {
            self.dropped += 1;
            return false;
        }
        self.statements += 1;
        self.families.entry(item.family.clone()).or_default().insert(item.clone())
    }

    /// All statements, sorted by family.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MetricMetadata> {
        self.families.values().flatten()
    }

    /// Statements kept and dropped.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.statements, self.dropped)
    }
}
