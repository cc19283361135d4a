//! Immutable bytes, wherever they are.

use super::fault::KnownMap;
use memmap2::Mmap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A whole immutable file as memory: mapped, or held. Clones share it; the last one gives it back.
#[derive(Clone)]
pub struct Region(Arc<Backing>);

enum Backing {
    /// The entry goes before the map does.
    Mapped {
        _known: KnownMap,
        map: Mmap,
    },
    Held(Vec<u8>),
}

impl Region {
    /// A region of bytes in memory.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Backing::Held(bytes)))
    }

    /// A region of a mapped file.
    pub(super) fn from_map(map: Mmap, known: KnownMap) -> Self {
        Self(Arc::new(Backing::Mapped { _known: known, map }))
    }

    /// Whether the bytes are a mapped file's: those count as page cache, not as our memory.
    pub fn is_mapped(&self) -> bool {
        matches!(*self.0, Backing::Mapped { .. })
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Backing::Mapped { map, .. } => map,
            Backing::Held(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).field("mapped", &self.is_mapped()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_their_bytes() {
        let a = Region::from_vec(vec![1, 2, 3]);
        let b = a.clone();
        assert_eq!(a.as_ptr(), b.as_ptr());
        drop(a);
        assert_eq!(&b[..], [1, 2, 3]);
        assert!(!b.is_mapped());
    }
}
