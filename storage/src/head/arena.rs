//! A growing array that never moves its elements: growth allocates one more page and copies nothing.

/// Elements per page.
const PAGE: usize = 1024;

/// Elements by number, from 0, in pages of 1024.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    pages: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T> Arena<T> {
    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends an element; returns its number.
    pub(crate) fn push(&mut self, value: T) -> usize {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages[self.len / PAGE].push(value);
        self.len += 1;
        self.len - 1
    }

    /// The element `at`, or `None` beyond the end.
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    /// The element `at`, mutably.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.pages.get_mut(at / PAGE)?.get_mut(at % PAGE)
    }

    /// Heap bytes, spare room of the last page included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.pages.len() * (PAGE * size_of::<T>() + size_of::<Vec<T>>())
    }
}

impl<T> std::ops::Index<usize> for Arena<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.pages[at / PAGE][at % PAGE]
    }
}

impl<T> std::ops::IndexMut<usize> for Arena<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.pages[at / PAGE][at % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_numbers_across_pages() {
        let mut a = Arena::default();
        for i in 0..3000 {
            assert_eq!(a.push(i), i);
        }
        a[2047] = 7;
        assert_eq!((a[0], a[1024], a[2047], a.len()), (0, 1024, 7, 3000));
        assert_eq!(a.get(3000), None);
        assert!(a.memory_bytes() >= 3 * 1024 * size_of::<usize>());
    }
}
