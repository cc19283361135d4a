//! Checking the tombstones of a manifest, and mending them.

use crate::database::manifest::{State, TOMBSTONE_BYTES_MAX, TOMBSTONES_MAX, TombstoneEntry};
use crate::model::{BlockId, TombstoneId};
use std::collections::BTreeMap;

type Entries = BTreeMap<TombstoneId, TombstoneEntry>;

/// Whether a tombstone says what one may, by itself and after those before it.
struct Order<'a> {
    state: &'a State,
    created_ms: i64,
    is_open: bool,
}

impl<'a> Order<'a> {
    fn new(state: &'a State) -> Self {
        Self { state, created_ms: i64::MIN, is_open: false }
    }

    /// What makes it of no use: it hides nothing, or what it hides cannot be told.
    fn is_nonsense(&self, t: &TombstoneEntry) -> Option<String> {
        let id_end = self.state.next_sequence.saturating_mul(65536);
        if t.start > t.end {
            return Some(format!("expected a range, found {} to {}", t.start, t.end));
        }
        if t.id >= id_end {
            return Some(format!("expected an id below {id_end:016x}, of an edit that there is, found it"));
        }
        if self.state.blocks.contains_key(&BlockId(t.id)) {
            return Some("expected an id of its own, found that of a block".into());
        }
        if let Err(error) = t.compile() {
            return Some(format!("expected matchers, found {error}"));
        }
        let bytes = t.bytes();
        (bytes > TOMBSTONE_BYTES_MAX)
            .then(|| format!("expected {TOMBSTONE_BYTES_MAX} bytes at most, found {bytes}"))
    }

    /// What contradicts those before it.
    fn is_out_of_order(&mut self, t: &TombstoneEntry) -> Option<String> {
        let (created, is_open) = (self.created_ms, self.is_open);
        (self.created_ms, self.is_open) = (created.max(t.created_ms), is_open || !t.is_final);
        if t.created_ms < created {
            return Some(format!("expected created_ms from {created} on, found {}", t.created_ms));
        }
        (t.is_final && is_open)
            .then(|| "expected one that can be undone, as one before it, found a final one".into())
    }
}

/// Tells what is wrong with the tombstones of a state.
pub(super) fn check(state: &State, on_damage: &mut dyn FnMut(String)) {
    let held = state.tombstones.len();
    if held > TOMBSTONES_MAX {
        on_damage(format!("expected {TOMBSTONES_MAX} deletions at most, found {held}"));
    }
    let mut order = Order::new(state);
    for (id, t) in &state.tombstones {
        let wrong = order.is_nonsense(t).or_else(|| order.is_out_of_order(t));
        wrong.into_iter().for_each(|what| on_damage(format!("deletion {id}: {what}")));
    }
}

/// The tombstones of a state without those that are of no use, and in order: a deletion is never reclaimed sooner for it.
pub(super) fn mended(state: &State) -> Entries {
    let order = Order::new(state);
    let (mut created_ms, mut is_open) = (i64::MIN, false);
    let mut kept = Entries::new();
    for (id, t) in &state.tombstones {
        if order.is_nonsense(t).is_none() && kept.len() < TOMBSTONES_MAX {
            created_ms = created_ms.max(t.created_ms);
            is_open |= !t.is_final;
            kept.insert(*id, TombstoneEntry { created_ms, is_final: !is_open, ..t.clone() });
        }
    }
    kept
}

/// A deletion in words.
pub(super) fn told(t: &TombstoneEntry) -> String {
    let matchers = t.compile().map(|t| t.matchers).unwrap_or_default();
    let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{} of {{{}}} from {} to {}", TombstoneId(t.id), matchers.join(","), t.start, t.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::manifest::{Init, MatcherEntry, Op};

    fn tombstone(id: u64, created_ms: i64) -> TombstoneEntry {
        let matchers = vec![MatcherEntry { name: "a".into(), op: Op::Equal, value: "1".into() }];
        TombstoneEntry { id, matchers, start: 0, end: 9, created_ms, is_final: false }
    }

    /// What is found where a third one follows two; and nothing is found once it is mended.
    fn check_third(change: impl FnOnce(&mut TombstoneEntry, &mut State), want: &[&str], kept: usize) {
        let init = Init { seed: 1, shards: 1, account_label: "a".into(), spread: 1, window_ms: 1 };
        let mut state = State { next_sequence: 5, ..State::new(init) };
        let mut third = tombstone(4 * 65536, 7);
        change(&mut third, &mut state);
        let first = TombstoneEntry { is_final: true, ..tombstone(65536, 3) };
        state.tombstones = [first, tombstone(2 * 65536, 5), third].map(|t| (TombstoneId(t.id), t)).into();
        let found = |state: &State| {
            let mut found = vec![];
            check(state, &mut |what| found.push(what));
            found
        };
        let damage = found(&state);
        assert_eq!(damage.len(), want.len(), "{damage:?}");
        assert!(damage.iter().zip(want).all(|(found, want)| found.contains(want)), "{damage:?}");
        state.tombstones = mended(&state);
        assert_eq!((found(&state), state.tombstones.len()), (vec![], kept));
    }

    #[test]
    fn what_tombstones_must_say() {
        check_third(|_, _| {}, &[], 3);
        check_third(
            |t, _| (t.start, t.end) = (9, 8),
            &["deletion 262144: expected a range, found 9 to 8"],
            2,
        );
        check_third(|t, _| t.id = 5 * 65536, &["of an edit that there is"], 2);
        check_third(|t, _| t.created_ms = 4, &["expected created_ms from 5 on, found 4"], 3);
        check_third(|t, _| t.is_final = true, &["found a final one"], 3);
        let pattern = MatcherEntry { name: "a".into(), op: Op::Regex, value: "(".into() };
        check_third(|t, _| t.matchers.push(pattern), &["expected matchers, found "], 2);
        check_third(|t, _| t.matchers[0].value = "x".repeat(9000), &["expected 8192 bytes at most"], 2);
    }
}
