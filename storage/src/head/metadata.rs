//! What senders said about metric families: few, small, and all in memory.
//!
//! Statements and their bytes are bounded. One that nobody has repeated for an hour makes room for a new one; while all are repeated, as
//! senders do every minute, it is the new one that is dropped: else those that do not fit would replace one another for ever, and
//! each would be written to the log each time.

use crate::model::MetricMetadata;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Statements kept. A platform has thousands of families.
pub(crate) const STATEMENTS_MAX: usize = 100_000;
/// Bytes of statements kept, where the memory budget is not small.
const BYTES_MAX: u64 = 16 << 20;
/// The part of the memory budget that they may take.
const BUDGET_PART: u64 = 16;
/// One that was not repeated for so long makes room.
const SILENCE: Duration = Duration::from_secs(3600);
/// How many are looked at for each new one: those that were repeated go behind the others.
const LOOKS: usize = 8;
/// What a statement takes beside its texts: two places in tables, three texts and two counts. Its family's name stands twice.
const STATEMENT_BYTES: u64 = 256;

/// Distinct statements by family, each with the time when it was said last.
#[derive(Debug)]
pub(crate) struct MetadataStore {
    families: BTreeMap<String, BTreeMap<Arc<MetricMetadata>, Duration>>,
    /// All of them, those that may be silent first.
    by_age: VecDeque<Arc<MetricMetadata>>,
    bytes: u64,
    bytes_max: u64,
    dropped: u64,
}

impl Default for MetadataStore {
    fn default() -> Self {
        Self {
            families: BTreeMap::new(),
            by_age: VecDeque::new(),
            bytes: 0,
            bytes_max: BYTES_MAX,
            dropped: 0,
        }
    }
}

impl MetadataStore {
    /// Takes no more than a part of the memory budget from here on. What is beyond it is dropped.
    pub(crate) fn fit_budget(&mut self, budget: u64) {
        self.bytes_max = BYTES_MAX.min(budget / BUDGET_PART);
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    /// Adds a statement that was said `now`, by a clock that begins with the process; whether it is new and was kept.
    pub(crate) fn add(&mut self, item: &MetricMetadata, now: Duration) -> bool {
        if let Some(said) = self.families.get_mut(&item.family).and_then(|f| f.get_mut(item)) {
            *said = now;
            return false;
        }
        if !self.make_room(bytes_of(item), now) {
            self.dropped += 1;
            return false;
        }
        let item = Arc::new(item.clone());
        self.bytes += bytes_of(&item);
        self.by_age.push_back(item.clone());
        self.families.entry(item.family.clone()).or_default().insert(item, now);
        true
    }

    /// All statements, sorted by family.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MetricMetadata> {
        self.families.values().flat_map(|f| f.keys()).map(|item| &**item)
    }

    /// Statements kept, and those dropped: new ones that there was no room for, and old ones that made room.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.by_age.len(), self.dropped)
    }

    /// Heap bytes, roughly.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets silent ones go until there is room for a statement of so many bytes; whether there is.
    fn make_room(&mut self, bytes: u64, now: Duration) -> bool {
        if bytes > self.bytes_max {
            return false;
        }
        for _ in 0..LOOKS {
            if self.by_age.len() < STATEMENTS_MAX && self.bytes + bytes <= self.bytes_max {
                return true;
            }
            let Some(oldest) = self.by_age.front() else { return false };
            let said = self.families.get(&oldest.family).and_then(|f| f.get(oldest));
            if said.is_some_and(|said| now.saturating_sub(*said) < SILENCE) {
                self.by_age.rotate_left(1);
            } else {
                self.drop_oldest();
            }
        }
        self.by_age.len() < STATEMENTS_MAX && self.bytes + bytes <= self.bytes_max
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.by_age.pop_front() else { return };
        self.bytes -= bytes_of(&oldest);
        self.dropped += 1;
        if let Some(family) = self.families.get_mut(&oldest.family) {
            family.remove(&oldest);
            if family.is_empty() {
                self.families.remove(&oldest.family);
            }
        }
    }
}

fn bytes_of(item: &MetricMetadata) -> u64 {
    (item.family.len() * 2 + item.unit.len() + item.help.len()) as u64 + STATEMENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(n: usize) -> MetricMetadata {
        MetricMetadata { family: format!("family_{n}"), help: "x".repeat(1000), ..MetricMetadata::default() }
    }

    #[test]
    fn bytes_are_bounded_and_those_that_are_repeated_stay() {
        let mut store = MetadataStore::default();
        store.fit_budget(16 * 100_000);
        let now = Duration::from_secs(7);
        let kept = (0..1000).filter(|n| store.add(&help(*n), now)).count();
        assert!((70..80).contains(&kept) && store.memory_bytes() <= 100_000, "{kept}");
        assert_eq!(store.counts(), (kept, 1000 - kept as u64));
        (0..10).for_each(|n| assert!(!store.add(&help(n), now + SILENCE), "said again"));
        assert!(store.add(&help(1000), now + SILENCE), "others are silent");
        assert_eq!(store.counts().0, kept);
        let later = (1001..2000).filter(|n| store.add(&help(*n), now + SILENCE)).count();
        assert_eq!(later + 1 + 10, kept, "all that were silent have made room, and no others");
        assert!((0..10).all(|n| store.iter().any(|m| *m == help(n))));
        store.fit_budget(16 * 5_000);
        assert!(store.memory_bytes() <= 5_000 && store.counts().0 == 3);
    }

    #[test]
    fn statements_are_bounded_and_one_larger_than_the_bound_drops_no_other() {
        let mut store = MetadataStore::default();
        let small = |n: usize| MetricMetadata { family: n.to_string(), ..MetricMetadata::default() };
        let kept = (0..STATEMENTS_MAX + 5).filter(|n| store.add(&small(*n), Duration::ZERO)).count();
        assert!(kept < STATEMENTS_MAX && store.memory_bytes() <= BYTES_MAX);
        let mut store = MetadataStore { bytes_max: u64::MAX, ..MetadataStore::default() };
        (0..STATEMENTS_MAX + 5).for_each(|n| {
            store.add(&small(n), Duration::ZERO);
        });
        assert_eq!(store.counts(), (STATEMENTS_MAX, 5));
        store.bytes_max = store.bytes;
        let huge = MetricMetadata { help: "x".repeat(1 << 26), ..small(0) };
        assert!(!store.add(&huge, SILENCE * 2));
        assert_eq!(store.counts(), (STATEMENTS_MAX, 6));
    }
}
