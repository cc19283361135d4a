//! The distinct texts of a long walk, sorted: label values, of which there may be millions.

/// Texts that are gathered before they are sorted and doubles go: most walks have fewer.
const LOOSE_MIN: usize = 4096;

/// Gathers texts; of those that are wanted it keeps the first in order, and at most as many again that are still to be sorted. A set
/// that is always sorted takes several times as long.
#[derive(Debug)]
pub(super) struct Texts {
    texts: Vec<String>,
    wanted: usize,
    /// The last that is wanted, once there are enough.
    last: Option<String>,
    /// How many texts make it worth to sort them.
    pack_at: usize,
}

impl Texts {
    /// Keeps the first `wanted` in order.
    pub(super) fn new(wanted: Option<usize>) -> Self {
        Self { texts: Vec::new(), wanted: wanted.unwrap_or(usize::MAX), last: None, pack_at: LOOSE_MIN }
    }

    /// Adds a text.
    pub(super) fn add(&mut self, text: &str) {
        if self.last.as_deref().is_some_and(|last| text >= last) {
            return;
        }
        self.texts.push(text.into());
        if self.texts.len() >= self.pack_at {
            self.pack();
        }
    }

    /// The texts, sorted and each once.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.pack();
        self.texts
    }

    fn pack(&mut self) {
        // Most of it is sorted already.
        self.texts.sort();
        self.texts.dedup();
        self.texts.truncate(self.wanted);
        self.last = self.texts.last().filter(|_| self.texts.len() == self.wanted).cloned();
        self.pack_at = (self.texts.len() * 2).max(self.texts.len() + LOOSE_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_in_order_are_kept_each_once() {
        let check = |wanted: Option<usize>, n: u32| {
            // Neither sorted nor distinct.
            let text = |i: u32| format!("{:08x}", i.wrapping_mul(0x9e37_79b9) >> 12 << 3);
            let mut texts = Texts::new(wanted);
            (0..n).for_each(|i| texts.add(&text(i)));
            let want: BTreeSet<String> = (0..n).map(text).collect();
            let want: Vec<String> = want.into_iter().take(wanted.unwrap_or(usize::MAX)).collect();
            assert_eq!(texts.finish(), want, "{wanted:?} of {n}");
        };
        for n in [0, 1, 100, 4095, 4096, 30_000] {
            for wanted in [None, Some(0), Some(1), Some(100), Some(5000), Some(1 << 20)] {
                check(wanted, n);
            }
        }
    }

    #[test]
    fn memory_follows_what_is_wanted() {
        let mut texts = Texts::new(Some(10));
        (0..100_000).for_each(|i| texts.add(&format!("{i:06}")));
        assert!(texts.texts.capacity() <= 2 * (LOOSE_MIN + 10), "{}", texts.texts.capacity());
    }
}
