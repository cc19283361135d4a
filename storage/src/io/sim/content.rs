//! The bytes of a simulated file: sparse, and cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The size of a page, and the largest piece of a write that survives a power cut as one.
pub(super) const PAGE: usize = 4096;

/// Bytes by page; a missing page is zeroes. Clones share pages.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads what there is of `buf.len()` bytes at `offset`.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let n = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < n {
            let (page, from, take) = step(offset + done as u64, n - done);
            match self.pages.get(&page) {
                Some(p) => buf[done..done + take].copy_from_slice(&p[from..from + take]),
                None => buf[done..done + take].fill(0),
            }
            done += take;
        }
        n
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        for (at, piece) in pieces(bytes, offset) {
            let (page, from, take) = step(at, piece.len());
            let p = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(p)[from..from + take].copy_from_slice(piece);
        }
        self.extend(offset + bytes.len() as u64);
    }

    /// Makes the content at least `len` long.
    pub(super) fn extend(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, from, _) = step(len, 0);
            self.pages.split_off(&(page + 1));
            if let Some(p) = self.pages.get_mut(&page) {
                Arc::make_mut(p)[from..].fill(0);
            }
        }
        self.len = len;
    }
}

/// Cuts `bytes` where pages end: (offset, piece).
pub(super) fn pieces(bytes: &[u8], offset: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let (_, _, take) = step(at, bytes.len() - done);
        let piece = &bytes[done..done + take];
        done += take;
        (take > 0).then_some((at, piece))
    })
}

/// The page of `offset`, the place in it, and how much of `n` bytes fits there.
fn step(offset: u64, n: usize) -> (u64, usize, usize) {
    let from = (offset % PAGE as u64) as usize;
    (offset / PAGE as u64, from, n.min(PAGE - from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_vector_of_bytes(script in proptest::collection::vec((0u64..20_000, 0usize..9_000, 0u8..4, any::<u8>()), 0..12)) {
            let (mut content, mut model) = (Content::default(), Vec::<u8>::new());
            for (offset, n, what, fill) in script {
                let at = offset as usize;
                match what {
                    0 => { content.set_len(offset); model.resize(at, 0); }
                    1 => { content.extend(offset); model.resize(model.len().max(at), 0); }
                    _ => {
                        content.write(&vec![fill; n], offset);
                        model.resize(model.len().max(at + n), 0);
                        model[at..at + n].fill(fill);
                    }
                }
                prop_assert_eq!(content.len(), model.len() as u64);
            }
            prop_assert!(content.to_vec() == model);
        }
    }
}
