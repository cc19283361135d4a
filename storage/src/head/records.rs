//! The records of a shard's slots, in pages that never move: growth allocates one more page and copies nothing, and a page
//! in which no series stands is given back.
//!
//! Of a page that was given back the generations stay, a byte per slot: a reference that a sender's series still has must
//! not meet a later series at the same slot.

use super::series::SeriesRecord;
use crate::model::SeriesSlot;
use hashbrown::HashMap;

/// Records per page.
const PAGE: usize = 1024;

/// Records by slot.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Empty where it was given back.
    pages: Vec<Vec<SeriesRecord>>,
    /// The generations of the pages that were given back.
    generations: HashMap<usize, Box<[u8]>>,
    len: usize,
}

impl Records {
    /// The number of slots.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a free slot; returns its number.
    pub(crate) fn push(&mut self) -> usize {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages[self.len / PAGE].push(SeriesRecord::vacant(0));
        self.len += 1;
        self.len - 1
    }

    /// The record at a slot; `None` beyond the end, or where its page was given back.
    pub(crate) fn get(&self, at: usize) -> Option<&SeriesRecord> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    /// As [`Self::get`], mutably.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut SeriesRecord> {
        self.pages.get_mut(at / PAGE)?.get_mut(at % PAGE)
    }

    /// The generation of the series that stands at a slot, or stood there last.
    pub(crate) fn generation(&self, at: usize) -> u8 {
        match self.get(at) {
            Some(record) => record.generation,
            None => self.generations.get(&(at / PAGE)).map_or(0, |g| g[at % PAGE]),
        }
    }

    /// Puts a record at a slot that there is.
    pub(crate) fn put(&mut self, at: usize, record: SeriesRecord) {
        if let Some(generations) = self.generations.remove(&(at / PAGE)) {
            self.pages[at / PAGE] = generations.into_iter().map(SeriesRecord::vacant).collect();
        }
        self[at] = record;
    }

    /// Gives back the pages of these slots, as far as no series stands in them.
    pub(crate) fn give_back(&mut self, slots: &[SeriesSlot]) {
        let mut seen = usize::MAX;
        for page in slots.iter().map(|s| s.0 as usize / PAGE) {
            if page != seen {
                seen = page;
                self.give_back_page(page);
            }
        }
    }

    fn give_back_page(&mut self, at: usize) {
        let page = &mut self.pages[at];
        if page.len() == PAGE && page.iter().all(|r| !r.live) {
            self.generations.insert(at, page.iter().map(|r| r.generation).collect());
            *page = Vec::new();
        }
    }

    /// Heap bytes, spare room of the last page included.
    pub(crate) fn memory_bytes(&self) -> usize {
        (self.pages.len() - self.generations.len()) * PAGE * size_of::<SeriesRecord>()
            + self.pages.capacity() * size_of::<Vec<SeriesRecord>>()
            + self.generations.len() * PAGE
    }
}

impl std::ops::Index<usize> for Records {
    type Output = SeriesRecord;

    fn index(&self, at: usize) -> &SeriesRecord {
        &self.pages[at / PAGE][at % PAGE]
    }
}

impl std::ops::IndexMut<usize> for Records {
    fn index_mut(&mut self, at: usize) -> &mut SeriesRecord {
        &mut self.pages[at / PAGE][at % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(generation: u8) -> SeriesRecord {
        let mut record = SeriesRecord::vacant(generation);
        record.live = true;
        record
    }

    #[test]
    fn records_keep_their_slots_across_pages() {
        let mut records = Records::default();
        for at in 0..3000 {
            assert_eq!(records.push(), at);
        }
        records.put(2047, live(7));
        assert_eq!((records[0].generation, records[2047].generation, records.len()), (0, 7, 3000));
        assert!(records.get(3000).is_none());
        assert!(records.memory_bytes() >= 3 * PAGE * size_of::<SeriesRecord>());
    }

    #[test]
    fn a_page_without_series_is_given_back_and_its_generations_stay() {
        let mut records = Records::default();
        (0..3 * PAGE).for_each(|at| assert_eq!(records.push(), at));
        (0..3 * PAGE).for_each(|at| records.put(at, live(at as u8)));
        let full = records.memory_bytes();
        let vacate = |records: &mut Records, at: usize| {
            let generation = records[at].generation;
            records.put(at, SeriesRecord::vacant(generation));
        };
        (PAGE..2 * PAGE).for_each(|at| vacate(&mut records, at));
        vacate(&mut records, 5);
        records.give_back(&[SeriesSlot(5), SeriesSlot(PAGE as u32 + 9), SeriesSlot(PAGE as u32 + 8)]);
        assert!(records.memory_bytes() < full / 3 * 2 + 2 * PAGE, "one page of three");
        assert!(records.get(PAGE + 9).is_none() && records.get_mut(PAGE).is_none());
        assert!(records.get(6).is_some_and(|r| r.live), "a page with a series stays");
        assert_eq!(records.generation(PAGE + 9), (PAGE + 9) as u8);
        records.put(PAGE + 9, live(77));
        assert_eq!((records[PAGE + 9].generation, records[PAGE + 10].generation), (77, (PAGE + 10) as u8));
        assert_eq!(records.memory_bytes(), full);
    }
}
