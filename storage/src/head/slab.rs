//! Room for the bytes of open chunks: size classes over pages of 64 KiB.
//!
//! A chunk starts in the smallest class and moves up as it grows, so that a shard's open chunks take little more than
//! their bytes, and appending a sample allocates nothing.

/// Sizes in bytes; each about a third above the one before, so that a moved chunk wastes a quarter at most.
const CLASSES: [usize; 14] = [32, 48, 64, 80, 96, 128, 160, 208, 272, 368, 496, 672, 1024, 2048];
const PAGE_BYTES: usize = 64 * 1024;

/// A place in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabRef {
    class: u8,
    index: u32,
}

/// No further free place in a page.
const END: u16 = u16::MAX;

/// 64 KiB of places of one size. Free ones form a list through their first two bytes.
#[derive(Debug)]
struct Page {
    bytes: Box<[u8]>,
    free: u16,
    used: u16,
    /// Whether the class lists this page among those with room.
    listed: bool,
}

/// The pages of one class. Series of one scrape grow in step and leave a class together: empty pages are given back.
#[derive(Debug, Default)]
struct Class {
    pages: Vec<Option<Page>>,
    with_room: Vec<u32>,
    vacant: Vec<u32>,
    used: usize,
}

/// All classes.
#[derive(Debug)]
pub(crate) struct Slab {
    classes: [Class; CLASSES.len()],
}

impl Default for Slab {
    fn default() -> Self {
        Self { classes: std::array::from_fn(|_| Class::default()) }
    }
}

impl Page {
    fn new(size: usize) -> Self {
        let mut page = Self { bytes: vec![0; PAGE_BYTES].into(), free: END, used: 0, listed: true };
        for place in (0..PAGE_BYTES / size).rev() {
            page.push(place as u16, size);
        }
        page
    }

    fn push(&mut self, place: u16, size: usize) {
        let at = usize::from(place) * size;
        self.bytes[at..at + 2].copy_from_slice(&self.free.to_le_bytes());
        self.free = place;
    }

    fn pop(&mut self, size: usize) -> Option<u16> {
        if self.free == END {
            return None;
        }
        let place = self.free;
        let at = usize::from(place) * size;
        self.free = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.used += 1;
        Some(place)
    }
}

impl Class {
    fn allocate(&mut self, size: usize) -> u32 {
        let per_page = (PAGE_BYTES / size) as u32;
        loop {
            let Some(&at) = self.with_room.last() else {
                let at = self.vacant.pop().unwrap_or_else(|| {
                    self.pages.push(None);
                    self.pages.len() as u32 - 1
                });
                self.pages[at as usize] = Some(Page::new(size));
                self.with_room.push(at);
                continue;
            };
            if let Some(page) = &mut self.pages[at as usize] {
                if let Some(place) = page.pop(size) {
                    self.used += 1;
                    return at * per_page + u32::from(place);
                }
                page.listed = false;
            }
            self.with_room.pop();
        }
    }

    fn free(&mut self, index: u32, size: usize) {
        let per_page = (PAGE_BYTES / size) as u32;
        let at = index / per_page;
        let page = self.pages[at as usize].as_mut().expect("a place in use keeps its page");
        page.push((index % per_page) as u16, size);
        page.used -= 1;
        self.used -= 1;
        if !page.listed {
            page.listed = true;
            self.with_room.push(at);
        } else if page.used == 0 && self.with_room.len() > 1 {
            self.with_room.retain(|p| *p != at);
            self.pages[at as usize] = None;
            self.vacant.push(at);
        }
    }
}

impl Slab {
    /// The most bytes that a place can have.
    pub(crate) const LEN_MAX: usize = CLASSES[CLASSES.len() - 1];

    /// A place of at least `len` bytes, whose content is arbitrary.
    ///
    /// # Panics
    /// When `len` exceeds [`Self::LEN_MAX`].
    pub(crate) fn allocate(&mut self, len: usize) -> SlabRef {
        let class = CLASSES.iter().position(|c| *c >= len).expect("callers keep within LEN_MAX");
        SlabRef { class: class as u8, index: self.classes[class].allocate(CLASSES[class]) }
    }

    /// Gives a place back.
    pub(crate) fn free(&mut self, at: SlabRef) {
        self.classes[usize::from(at.class)].free(at.index, CLASSES[usize::from(at.class)]);
    }

    fn range(at: SlabRef) -> (usize, std::ops::Range<usize>) {
        let size = CLASSES[usize::from(at.class)];
        let per_page = PAGE_BYTES / size;
        let start = at.index as usize % per_page * size;
        (at.index as usize / per_page, start..start + size)
    }

    /// The bytes of a place, all of its class's size.
    pub(crate) fn bytes(&self, at: SlabRef) -> &[u8] {
        let (page, range) = Self::range(at);
        let page = self.classes[usize::from(at.class)].pages[page].as_ref();
        &page.expect("a place in use keeps its page").bytes[range]
    }

    /// The bytes of a place, mutably.
    pub(crate) fn bytes_mut(&mut self, at: SlabRef) -> &mut [u8] {
        let (page, range) = Self::range(at);
        let page = self.classes[usize::from(at.class)].pages[page].as_mut();
        &mut page.expect("a place in use keeps its page").bytes[range]
    }

    /// Moves the first `used` bytes to a place of at least `len`.
    pub(crate) fn grow(&mut self, at: SlabRef, used: usize, len: usize) -> SlabRef {
        let mut moved = [0; Self::LEN_MAX];
        moved[..used].copy_from_slice(&self.bytes(at)[..used]);
        self.free(at);
        let to = self.allocate(len);
        self.bytes_mut(to)[..used].copy_from_slice(&moved[..used]);
        to
    }

    /// Gives back what classes without chunks keep for the next ones.
    pub(crate) fn shrink(&mut self) {
        self.classes.iter_mut().filter(|c| c.used == 0).for_each(|c| *c = Class::default());
    }

    /// Heap bytes of all pages.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pages = |c: &Class| {
            (c.pages.len() - c.vacant.len()) * PAGE_BYTES + c.pages.capacity() * size_of::<Page>()
        };
        self.classes.iter().map(pages).sum()
    }

    /// Bytes in use by open chunks.
    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> usize {
        self.classes.iter().zip(CLASSES).map(|(c, size)| c.used * size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap_and_are_reused() {
        let mut slab = Slab::default();
        let places: Vec<SlabRef> =
            (0..5000u32).map(|i| slab.allocate(20 + (i as usize * 37) % 2000)).collect();
        for (i, p) in places.iter().enumerate() {
            slab.bytes_mut(*p).fill(i as u8);
        }
        for (i, p) in places.iter().enumerate() {
            assert!(slab.bytes(*p).iter().all(|b| *b == i as u8), "place {i}");
        }
        let before = slab.memory_bytes();
        let used = slab.used_bytes();
        for p in &places {
            slab.free(*p);
        }
        assert_eq!(slab.used_bytes(), 0);
        assert!(slab.memory_bytes() < before / 4, "empty pages are given back");
        slab.shrink();
        assert_eq!(slab.memory_bytes(), 0);
        for i in 0..5000usize {
            slab.allocate(20 + (i * 37) % 2000);
        }
        assert_eq!(slab.used_bytes(), used);
        assert!(slab.memory_bytes() <= before, "places were reused");
    }

    #[test]
    fn growing_keeps_the_bytes() {
        let mut slab = Slab::default();
        let at = slab.allocate(32);
        slab.bytes_mut(at)[..30].copy_from_slice(&[9; 30]);
        let at = slab.grow(at, 30, 33);
        assert_eq!((slab.bytes(at).len(), &slab.bytes(at)[..30]), (48, &[9; 30][..]));
        assert_eq!(slab.used_bytes(), 48);
    }
}
