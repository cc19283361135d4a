//! What was refused for a limit: series, so that they are refused again without being looked at, and accounts, to be counted.

use crate::database::RefusalClass;
use crate::model::Fingerprint;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Places of a set.
const WAYS: usize = 4;
/// Sets at first: 4 KiB.
const SETS_MIN: usize = 1 << 7;
/// Sets at most: 8 MiB, for a million series. Beyond them the oldest of a set makes room, and is resolved when it comes again.
const SETS_MAX: usize = 1 << 18;

/// Series that are known to be valid and were refused. Whether they would be again is not for this table to say, so nothing
/// in it has to expire.
#[derive(Debug)]
pub(super) struct RefusedSeries {
    sets_max: usize,
    /// Tags of fingerprints; 0 is a free place. The newest of a set comes first.
    sets: Vec<[u64; WAYS]>,
    used: usize,
}

impl RefusedSeries {
    /// An empty table that grows to so many bytes, but to [`SETS_MIN`] in any case, and to [`SETS_MAX`] at most.
    pub(super) fn within(bytes: u64) -> Self {
        let sets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<[u64; WAYS]>();
        let sets_max = sets.clamp(SETS_MIN, SETS_MAX);
        // Sets are told by bits.
        Self { sets_max: 1 << sets_max.ilog2(), sets: Vec::new(), used: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(super) fn contains(&self, series: Fingerprint) -> bool {
        let tag = tag(series);
        !self.sets.is_empty() && self.sets[self.set_of(tag)].contains(&tag)
    }

    pub(super) fn insert(&mut self, series: Fingerprint) {
        if self.contains(series) {
            return;
        }
        if self.sets.len() < self.sets_max && self.used * 4 >= self.sets.len() * WAYS {
            self.grow();
        }
        self.put(tag(series));
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        (self.sets.capacity() * size_of::<[u64; WAYS]>()) as u64
    }

    fn put(&mut self, tag: u64) {
        let at = self.set_of(tag);
        let set = &mut self.sets[at];
        self.used += usize::from(set[WAYS - 1] == 0);
        set.copy_within(..WAYS - 1, 1);
        set[0] = tag;
    }

    fn grow(&mut self) {
        let sets = (self.sets.len() * 2).max(SETS_MIN);
        let old = std::mem::replace(&mut self.sets, vec![[0; WAYS]; sets]);
        self.used = 0;
        old.iter().flat_map(|set| set.iter().rev()).filter(|tag| **tag != 0).for_each(|tag| self.put(*tag));
    }

    fn set_of(&self, tag: u64) -> usize {
        (tag >> 32) as usize & (self.sets.len() - 1)
    }
}

/// A false find among a million takes some 10^13 probes, and refuses what would have been resolved and refused.
fn tag(series: Fingerprint) -> u64 {
    (series.0 >> 64) as u64 | 1
}

/// Accounts that are told apart. When there are more, the lighter half is counted together.
const ACCOUNTS_MAX: usize = 1024;

/// Samples of one account that were refused since the process began, or since it was counted with others last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRefusals {
    /// The account; empty for series without one.
    pub account: String,
    /// Refused for the number of series.
    pub series: u64,
    /// Refused for the number of new series.
    pub series_created: u64,
}

impl AccountRefusals {
    /// All of them.
    pub fn samples(&self) -> u64 {
        self.series + self.series_created
    }

    fn add(&mut self, class: RefusalClass, n: u64) {
        match class {
            RefusalClass::SeriesCreatedLimit => self.series_created += n,
            _ => self.series += n,
        }
    }
}

/// Refused samples by account, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct RefusedAccounts {
    by_account: BTreeMap<String, AccountRefusals>,
    others: AccountRefusals,
}

impl RefusedAccounts {
    pub(super) fn add(&mut self, account: &str, class: RefusalClass, n: u64) {
        if let Some(of_account) = self.by_account.get_mut(account) {
            return of_account.add(class, n);
        }
        if self.by_account.len() >= ACCOUNTS_MAX {
            self.merge_lighter_half();
        }
        let of_account = self.by_account.entry(account.to_owned()).or_default();
        of_account.account = account.to_owned();
        of_account.add(class, n);
    }

    pub(super) fn of(&self, account: &str) -> AccountRefusals {
        let none = || AccountRefusals { account: account.to_owned(), ..AccountRefusals::default() };
        self.by_account.get(account).cloned().unwrap_or_else(none)
    }

    /// The heaviest `limit`, and all others together.
    pub(super) fn heaviest(&self, limit: usize) -> (Vec<AccountRefusals>, AccountRefusals) {
        let mut all: Vec<_> = self.by_account.values().cloned().collect();
        all.sort_by_key(|a| Reverse(a.samples()));
        let rest = all.split_off(limit.min(all.len()));
        (all, rest.iter().fold(self.others.clone(), sum))
    }

    fn merge_lighter_half(&mut self) {
        let (heavy, others) = self.heaviest(ACCOUNTS_MAX / 2);
        self.others = others;
        self.by_account = heavy.into_iter().map(|a| (a.account.clone(), a)).collect();
    }
}

fn sum(a: AccountRefusals, b: &AccountRefusals) -> AccountRefusals {
    let (series, series_created) = (a.series + b.series, a.series_created + b.series_created);
    AccountRefusals { series, series_created, ..a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(n: u64) -> Fingerprint {
        Fingerprint::of_section(&n.to_le_bytes(), crate::model::HashSeed(1))
    }

    #[test]
    fn series_are_remembered_as_the_table_grows() {
        let mut table = RefusedSeries::within(u64::MAX);
        assert!(!table.contains(series(1)) && table.is_empty());
        (0..30_000).for_each(|n| table.insert(series(n)));
        (0..30_000).for_each(|n| table.insert(series(n)));
        let known = (0..30_000).filter(|n| table.contains(series(*n))).count();
        assert!(known > 28_000, "{known}: but for sets that were full");
        assert!((30_000..60_000).all(|n| !table.contains(series(n))));
        assert!(table.used <= 30_000 && table.memory_bytes() < 2 << 20);
    }

    #[test]
    fn the_table_is_bounded_and_the_newest_stay() {
        let mut table =
            RefusedSeries { sets_max: SETS_MAX, sets: vec![[0; WAYS]; SETS_MAX], used: SETS_MAX * WAYS };
        let same_set = |n: u64| Fingerprint(u128::from(n << 1 | 1) << 64);
        (0..9).for_each(|n| table.insert(same_set(n)));
        assert_eq!(table.sets.len(), SETS_MAX);
        let known: Vec<u64> = (0..9).filter(|n| table.contains(same_set(*n))).collect();
        assert_eq!(known, [5, 6, 7, 8]);
    }

    #[test]
    fn many_accounts_are_counted_together_and_none_is_lost() {
        let mut accounts = RefusedAccounts::default();
        (0..3000_u64).for_each(|n| accounts.add(&n.to_string(), RefusalClass::SeriesLimit, n % 10 + 1));
        (0..50).for_each(|_| accounts.add("7", RefusalClass::SeriesCreatedLimit, 2));
        accounts.add("heavy", RefusalClass::SeriesCreatedLimit, 1_000_000);
        let (top, others) = accounts.heaviest(2);
        assert_eq!((top.len(), top[0].account.as_str(), top[0].samples()), (2, "heavy", 1_000_000));
        let samples: u64 = top.iter().map(AccountRefusals::samples).sum::<u64>() + others.samples();
        assert_eq!(samples, 300 * 55 + 100 + 1_000_000);
        assert!(accounts.by_account.len() <= ACCOUNTS_MAX);
        assert_eq!(accounts.of("nobody").samples(), 0);
    }
}
