//! How many series each account has in one shard: kept with every series that comes or goes, so that a limit costs a look.

use crate::index::ValueId;

/// One account's series in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountSeries {
    /// Those that are in the head.
    pub(crate) active: u64,
    /// Those that were new, since the process began or since the account last came into the head.
    pub(crate) created: u64,
    /// Of these: within the interval.
    created_lately: u64,
    interval: u64,
}

impl AccountSeries {
    /// How many were new within an interval, if it is the last one in which any was.
    pub(crate) fn created_in(&self, interval: u64) -> u64 {
        if self.interval == interval { self.created_lately } else { 0 }
    }

    /// Counts new ones.
    pub(crate) fn create(&mut self, n: u64, interval: u64) {
        self.created_lately = self.created_in(interval) + n;
        self.interval = interval;
        self.created += n;
    }
}

/// All accounts of a shard, by the ids of their label's values. Series without the label are one account more.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    by_value: Vec<AccountSeries>,
    unowned: AccountSeries,
    active: u64,
}

impl Accounts {
    /// The series of one account.
    pub(crate) fn of(&self, account: Option<ValueId>) -> AccountSeries {
        match account {
            Some(id) => self.by_value.get(id.0 as usize).copied().unwrap_or_default(),
            None => self.unowned,
        }
    }

    /// The series of all accounts together.
    pub(crate) fn active(&self) -> u64 {
        self.active
    }

    pub(super) fn came(&mut self, account: Option<ValueId>) {
        self.many_came(account, 1);
    }

    pub(super) fn many_came(&mut self, account: Option<ValueId>, n: u64) {
        self.active += n;
        self.of_mut(account).active += n;
    }

    pub(super) fn left(&mut self, account: Option<ValueId>) {
        self.active -= 1;
        self.of_mut(account).active -= 1;
    }

    pub(super) fn created(&mut self, account: Option<ValueId>, interval: u64) {
        self.of_mut(account).create(1, interval);
    }

    /// An id stands for nothing any more.
    pub(super) fn forget(&mut self, account: ValueId) {
        if let Some(of_account) = self.by_value.get_mut(account.0 as usize) {
            *of_account = AccountSeries::default();
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.by_value.capacity() * size_of::<AccountSeries>()
    }

    fn of_mut(&mut self, account: Option<ValueId>) -> &mut AccountSeries {
        let Some(id) = account else { return &mut self.unowned };
        let at = id.0 as usize;
        if self.by_value.len() <= at {
            self.by_value.resize(at + 1, AccountSeries::default());
        }
        &mut self.by_value[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_count_anew() {
        let mut account = AccountSeries::default();
        account.create(3, 7);
        account.create(1, 7);
        assert_eq!((account.created, account.created_in(7), account.created_in(8)), (4, 4, 0));
        account.create(1, 8);
        assert_eq!((account.created, account.created_in(7), account.created_in(8)), (5, 0, 1));
    }

    #[test]
    fn accounts_and_what_has_none_are_apart() {
        let mut accounts = Accounts::default();
        let (a, b) = (Some(ValueId(5)), Some(ValueId(0)));
        [a, a, b, None].into_iter().for_each(|account| accounts.came(account));
        accounts.left(a);
        accounts.created(a, 1);
        let active = |account| accounts.of(account).active;
        assert_eq!((active(a), active(b), active(None), accounts.active()), (1, 1, 1, 3));
        assert_eq!(accounts.of(Some(ValueId(99))), AccountSeries::default());
        accounts.left(a);
        accounts.forget(ValueId(5));
        assert_eq!(accounts.of(a), AccountSeries::default());
    }
}
