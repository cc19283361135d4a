//! The series that have one label value: few as a rule (a phone number has a dozen), sometimes millions.

use super::Bitmap;

/// How many ids stand within the list itself; the twelve-odd series of one call session fit in two lists, and the list
/// stays at 32 bytes.
pub const INLINE_IDS: usize = 6;

/// What a bitmap takes for each of its containers beside their ids.
const CONTAINER_BYTES: usize = 32;

/// A growing and shrinking set of series ids: inline while small, a compressed bitmap beyond.
#[derive(Clone)]
pub struct PostingsList(Repr);

#[derive(Clone)]
enum Repr {
    /// The first `len` of `ids`, ascending.
    Inline { len: u8, ids: [u32; INLINE_IDS] },
    /// Boxed, so that the many short lists stay short.
    Bitmap(Box<Bitmap>),
}

const _: () = assert!(size_of::<PostingsList>() == 32);

impl Default for PostingsList {
    fn default() -> Self {
        Self(Repr::Inline { len: 0, ids: [0; INLINE_IDS] })
    }
}

/// What a list holds.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    /// Few, ascending.
    Few(&'a [u32]),
    /// Any number.
    Many(&'a Bitmap),
}

impl PostingsList {
    /// The list of these.
    pub fn from_bitmap(ids: Bitmap) -> Self {
        match ids.cardinality() <= INLINE_IDS as u64 {
            true => ids.iter().collect(),
            false => Self(Repr::Bitmap(Box::new(ids))),
        }
    }

    /// The list of up to [`INLINE_IDS`] ascending ids.
    pub fn of_few(few: &[u32]) -> Self {
        debug_assert!(few.len() <= INLINE_IDS && few.is_sorted_by(|a, b| a < b));
        let mut ids = [0; INLINE_IDS];
        ids[..few.len()].copy_from_slice(few);
        Self(Repr::Inline { len: few.len() as u8, ids })
    }

    /// All ids as a bitmap.
    pub fn into_bitmap(self) -> Bitmap {
        match self.0 {
            Repr::Inline { len, ids } => Bitmap::of(&ids[..usize::from(len)]),
            Repr::Bitmap(b) => *b,
        }
    }

    /// All ids.
    pub fn ids(&self) -> Ids<'_> {
        match &self.0 {
            Repr::Inline { len, ids } => Ids::Few(&ids[..usize::from(*len)]),
            Repr::Bitmap(b) => Ids::Many(b),
        }
    }

    /// Adds `id`; false if it was there.
    pub fn insert(&mut self, id: u32) -> bool {
        match &mut self.0 {
            Repr::Bitmap(b) => b.add_checked(id),
            Repr::Inline { len, ids } => {
                let n = usize::from(*len);
                let Err(at) = ids[..n].binary_search(&id) else { return false };
                if n < INLINE_IDS {
                    ids.copy_within(at..n, at + 1);
                    ids[at] = id;
                    *len += 1;
                } else {
                    let mut b = Bitmap::of(&ids[..]);
                    b.add(id);
                    self.0 = Repr::Bitmap(Box::new(b));
                }
                true
            }
        }
    }

    /// Removes `id`; false if it was not there. The list goes back inline at half of what fits, so that one series that
    /// comes and goes does not allocate each time.
    pub fn remove(&mut self, id: u32) -> bool {
        match &mut self.0 {
            Repr::Inline { len, ids } => {
                let n = usize::from(*len);
                let Ok(at) = ids[..n].binary_search(&id) else { return false };
                ids.copy_within(at + 1..n, at);
                *len -= 1;
                true
            }
            Repr::Bitmap(b) => {
                let removed = b.remove_checked(id);
                let n = b.cardinality();
                if n <= INLINE_IDS as u64 / 2 {
                    let mut ids = [0; INLINE_IDS];
                    ids.iter_mut().zip(b.iter()).for_each(|(slot, id)| *slot = id);
                    self.0 = Repr::Inline { len: n as u8, ids };
                }
                removed
            }
        }
    }

    /// Whether `id` is in the list.
    pub fn contains(&self, id: u32) -> bool {
        match &self.0 {
            Repr::Inline { len, ids } => ids[..usize::from(*len)].contains(&id),
            Repr::Bitmap(b) => b.contains(id),
        }
    }

    /// The number of ids. For long lists it is counted each time, by container.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Repr::Inline { len, .. } => u64::from(*len),
            Repr::Bitmap(b) => b.cardinality(),
        }
    }

    /// How many of the ids `others` has.
    pub fn count_in(&self, others: &Bitmap) -> u64 {
        match &self.0 {
            Repr::Inline { len, ids } => {
                ids[..usize::from(*len)].iter().filter(|id| others.contains(**id)).count() as u64
            }
            Repr::Bitmap(b) => b.and_cardinality(others),
        }
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Inline { len, .. } => *len == 0,
            Repr::Bitmap(b) => b.is_empty(),
        }
    }

    /// Adds all ids to `out`.
    pub fn union_into(&self, out: &mut Bitmap) {
        match &self.0 {
            Repr::Inline { len, ids } => out.add_many(&ids[..usize::from(*len)]),
            Repr::Bitmap(b) => out.or_inplace(b),
        }
    }

    /// Calls `f` for each id in ascending order.
    pub fn for_each(&self, f: impl FnMut(u32)) {
        match &self.0 {
            Repr::Inline { len, ids } => ids[..usize::from(*len)].iter().copied().for_each(f),
            Repr::Bitmap(b) => b.iter().for_each(f),
        }
    }

    /// Makes the list as small as it gets, runs included. For lists that have stopped changing.
    pub fn compress(&mut self) {
        if let Repr::Bitmap(b) = &mut self.0 {
            b.run_optimize();
            b.shrink_to_fit();
        }
    }

    /// What one more id takes beyond the list itself, as an estimate that costs nothing: two bytes in a bitmap, and the bitmap
    /// itself where the list turns into one.
    pub fn heap_bytes_of_next(&self) -> usize {
        match &self.0 {
            Repr::Inline { len, .. } if usize::from(*len) < INLINE_IDS => 0,
            Repr::Inline { .. } => {
                size_of::<Bitmap>() + CONTAINER_BYTES + (INLINE_IDS + 1) * size_of::<u16>()
            }
            Repr::Bitmap(_) => size_of::<u16>(),
        }
    }

    /// The bytes allocated beyond the list itself, to within the allocator's rounding; costs a walk over the containers
    /// (65,536 ids each) of a long list and nothing for a short one.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Bitmap(b) => {
                let s = b.statistics();
                let containers =
                    s.n_bytes_array_containers + s.n_bytes_run_containers + s.n_bytes_bitset_containers;
                size_of::<Bitmap>() + containers as usize + s.n_containers as usize * CONTAINER_BYTES
            }
        }
    }
}

impl FromIterator<u32> for PostingsList {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut list = Self::default();
        ids.into_iter().for_each(|id| {
            list.insert(id);
        });
        list
    }
}

impl std::fmt::Debug for PostingsList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut set = f.debug_set();
        self.for_each(|id| {
            set.entry(&id);
        });
        set.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in proptest::collection::vec((any::<bool>(), 0u32..20), 0..200)) {
            let mut list = PostingsList::default();
            let mut model = BTreeSet::new();
            for (add, id) in steps {
                if add {
                    prop_assert_eq!(list.insert(id), model.insert(id));
                } else {
                    prop_assert_eq!(list.remove(id), model.remove(&id));
                }
                prop_assert_eq!(list.len(), model.len() as u64);
                prop_assert_eq!(list.is_empty(), model.is_empty());
                prop_assert_eq!(list.contains(id), model.contains(&id));
                let even = Bitmap::from_iter((0..20).filter(|id| id % 2 == 0));
                prop_assert_eq!(list.count_in(&even), model.iter().filter(|id| **id % 2 == 0).count() as u64);
                let mut out = Bitmap::new();
                list.union_into(&mut out);
                prop_assert_eq!(out.to_vec(), model.iter().copied().collect::<Vec<_>>());
                let mut ids = vec![];
                list.for_each(|id| ids.push(id));
                prop_assert_eq!(ids, out.to_vec());
            }
        }
    }

    #[test]
    fn short_lists_allocate_nothing() {
        let mut list: PostingsList = (0..6).collect();
        assert_eq!(list.heap_bytes(), 0);
        list.insert(6);
        let sparse = list.heap_bytes();
        assert!(sparse > 0);
        list.extend_to(200_000);
        list.compress();
        assert!(list.heap_bytes() < 1000, "{}", list.heap_bytes());
    }

    impl PostingsList {
        fn extend_to(&mut self, n: u32) {
            (0..n).for_each(|id| {
                self.insert(id);
            });
        }
    }
}
