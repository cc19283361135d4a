//! What a view cannot give: blocks set aside at the start, and damage that readers met.
//!
//! Readers leave out what is damaged and go on; what they left out is noted here, so that an answer can say so.

use super::ReadError;
use crate::head::Head;
use crate::model::{BlockId, TimeRange, Window};
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Texts that are kept; one page may hold thousands of series, and each place says the same.
const TEXTS_MAX: usize = 16;

/// A block that the manifest names and that cannot be opened. Its files stay where they are: what is readable of them is not
/// lost, and a file that comes back from a backup is served after the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockAside {
    /// Its id.
    pub id: BlockId,
    /// The samples that answers lack lie in it.
    pub window: Window,
    /// File, offset, expected and found.
    pub why: String,
}

/// What the readers of one view had to leave out.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    texts: Mutex<BTreeSet<String>>,
}

impl Missing {
    /// Notes damage that something was left out for.
    pub(crate) fn note(&self, damage: &ReadError) {
        self.add(format!("data are missing from this answer: {damage}"));
    }

    /// Notes those of the blocks set aside that a reader of `range` would want.
    pub(crate) fn note_aside(&self, aside: &[BlockAside], range: TimeRange) {
        for block in aside.iter().filter(|b| b.window.range().overlaps(range)) {
            self.add(format!(
                "data are missing from this answer: block {} was set aside: {}",
                block.id, block.why
            ));
        }
    }

    /// Notes what a head lacks that a reader of `range` may want.
    pub(crate) fn note_head(&self, head: &Head, range: TimeRange) {
        for text in head.damage.get().filter(|d| d.range.overlaps(range)).iter().flat_map(|d| &d.texts) {
            self.add(format!("data may be missing from this answer: when the server was started, {text}"));
        }
    }

    /// What was noted so far, each once.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.texts.lock().iter().cloned().collect()
    }

    /// `result`, or what it says noted and nothing.
    pub(crate) fn or_note<T>(&self, result: Result<T, impl Into<ReadError>>) -> Option<T> {
        result.map_err(|e| self.note(&e.into())).ok()
    }

    fn add(&self, text: String) {
        let mut texts = self.texts.lock();
        if texts.len() < TEXTS_MAX {
            texts.insert(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DurationMs, TimestampMs};

    #[test]
    fn each_place_is_told_once_and_blocks_only_where_they_are_wanted() {
        let missing = Missing::default();
        for n in 0..100 {
            missing.note(&ReadError::corrupt(format!("place {}", n % 3)));
        }
        assert_eq!(missing.texts().len(), 3);
        let window = Window { start: TimestampMs(100), len: DurationMs(100) };
        let aside = [BlockAside { id: BlockId(7), window, why: "gone".into() }];
        missing.note_aside(&aside, TimeRange { after: TimestampMs(0), until: TimestampMs(100) });
        assert_eq!(missing.texts().len(), 3);
        missing.note_aside(&aside, TimeRange { after: TimestampMs(150), until: TimestampMs(160) });
        assert!(
            missing.texts()[0].contains("block 0000000000000007 was set aside: gone"),
            "{:?}",
            missing.texts()
        );
        (0..100).for_each(|n| missing.note(&ReadError::corrupt(format!("other {n}"))));
        assert_eq!(missing.texts().len(), TEXTS_MAX);
    }
}
