//! From fingerprint to slot: an open-addressing table of eight bytes per place.
//!
//! A place holds 32 bits of the fingerprint (the tag) and the slot; the caller compares the whole fingerprint in the series'
//! record, which it touches next anyway. A key's home is given by its tag's upper bits, so growing reads no record. Runs
//! are ordered by probing alone (linear); removal shifts back, so there are no graves.

use crate::model::{Fingerprint, SeriesSlot};

const EMPTY: u64 = 0;
const CAPACITY_MIN: usize = 64;

/// The table. Holds at most 2³² − 1 slots.
#[derive(Debug)]
pub(crate) struct FingerprintTable {
    /// `tag << 32 | slot + 1`; 0 is free. A power of two long, at most three quarters full.
    places: Vec<u64>,
    len: usize,
}

impl Default for FingerprintTable {
    fn default() -> Self {
        Self { places: vec![EMPTY; CAPACITY_MIN], len: 0 }
    }
}

/// Bits that neither the shard's choice (the lowest ones) nor anything else uses.
fn tag(fingerprint: Fingerprint) -> u64 {
    (fingerprint.0 >> 64) as u64 & 0xffff_ffff
}

impl FingerprintTable {
    fn home(&self, tag: u64) -> usize {
        (tag >> (32 - self.places.len().trailing_zeros())) as usize
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// The first place that a search for `fingerprint` reads. Reading it for a whole batch before any search lets the
    /// misses overlap.
    pub(crate) fn touch(&self, fingerprint: Fingerprint) -> u64 {
        self.places[self.home(tag(fingerprint))]
    }

    /// The slot of `fingerprint`, where `is_it` tells whether a candidate's record carries it.
    pub(crate) fn find(
        &self,
        fingerprint: Fingerprint,
        mut is_it: impl FnMut(SeriesSlot) -> bool,
    ) -> Option<SeriesSlot> {
        let tag = tag(fingerprint);
        let mut at = self.home(tag);
        loop {
            let place = self.places[at];
            if place == EMPTY {
                return None;
            }
            if place >> 32 == tag {
                let slot = SeriesSlot(place as u32 - 1);
                if is_it(slot) {
                    return Some(slot);
                }
            }
            at = self.next(at);
        }
    }

    /// Makes room for so many slots more, so that adding them moves nothing.
    pub(crate) fn reserve(&mut self, more: usize) {
        let places = ((self.len + more) * 4).div_ceil(3).next_power_of_two();
        assert!(places <= 1 << 31, "a tag has 32 bits");
        if places > self.places.len() {
            self.rebuild(places);
        }
    }

    /// Adds a slot that is not in the table.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, slot: SeriesSlot) {
        assert!(slot.0 < u32::MAX, "a shard holds fewer than 2^32 - 1 series");
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.put(tag(fingerprint) << 32 | u64::from(slot.0 + 1));
        self.len += 1;
    }

    fn put(&mut self, place: u64) {
        let mut at = self.home(place >> 32);
        while self.places[at] != EMPTY {
            at = self.next(at);
        }
        self.places[at] = place;
    }

    fn grow(&mut self) {
        assert!(self.places.len() < 1 << 31, "a tag has 32 bits");
        self.rebuild(self.places.len() * 2);
    }

    /// Gives memory back where most places are free. What is left is half full at most: the next series make it grow no
    /// sooner than there are half as many more.
    pub(crate) fn shrink(&mut self) {
        if self.len * 8 < self.places.len() {
            self.rebuild((self.len * 2).next_power_of_two().max(CAPACITY_MIN));
        }
    }

    fn rebuild(&mut self, places: usize) {
        let old = std::mem::replace(&mut self.places, vec![EMPTY; places]);
        for place in old.into_iter().filter(|p| *p != EMPTY) {
            self.put(place);
        }
    }

    /// Removes a slot; whether it was there.
    pub(crate) fn remove(&mut self, fingerprint: Fingerprint, slot: SeriesSlot) -> bool {
        let wanted = tag(fingerprint) << 32 | u64::from(slot.0 + 1);
        let mut hole = self.home(wanted >> 32);
        while self.places[hole] != wanted {
            if self.places[hole] == EMPTY {
                return false;
            }
            hole = self.next(hole);
        }
        let mut at = self.next(hole);
        while self.places[at] != EMPTY {
            let home = self.home(self.places[at] >> 32);
            let mask = self.places.len() - 1;
            // The entry may fill the hole if its home does not lie between the two.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.places[hole] = EMPTY;
        self.len -= 1;
        true
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn what_many_needed_is_given_back_when_few_are_left() {
        let key = |k: u32| Fingerprint(u128::from(k) << 64 | u128::from(k) << 84);
        let mut table = FingerprintTable::default();
        (0..10_000).for_each(|k| table.insert(key(k), SeriesSlot(k)));
        (0..9_990).for_each(|k| assert!(table.remove(key(k), SeriesSlot(k))));
        table.shrink();
        assert_eq!(table.memory_bytes(), CAPACITY_MIN * 8);
        assert_eq!(table.find(key(9_995), |s| s.0 == 9_995), Some(SeriesSlot(9_995)));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in proptest::collection::vec((0u32..400, any::<bool>()), 0..1500), narrow: bool) {
            // Narrow keys all share few tags, so that runs are long and wrap around.
            let key = |k: u32| Fingerprint(if narrow { (0xffff_ffffu128 - u128::from(k % 3)) << 64 | u128::from(k) }
                else { u128::from(k).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) });
            let mut table = FingerprintTable::default();
            let mut model: HashMap<u32, SeriesSlot> = HashMap::new();
            let owner: Vec<u32> = (0..400).collect();
            for (k, add) in ops {
                let slot = SeriesSlot(k);
                if add {
                    if model.insert(k, slot).is_none() {
                        table.insert(key(k), slot);
                    }
                } else {
                    prop_assert_eq!(table.remove(key(k), slot), model.remove(&k).is_some());
                    table.shrink();
                }
            }
            for k in 0..400 {
                prop_assert_eq!(table.find(key(k), |s| owner[s.0 as usize] == k), model.get(&k).copied());
            }
        }
    }
}
