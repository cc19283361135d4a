//! Accounts in numbers: how many series each has in the head, what they are, and what was refused.

use super::Database;
use super::limits::{AccountRefusals, SeriesMax};
use crate::head::accounts::AccountSeries;
use crate::head::shard::Shard;
use crate::index::{Bitmap, SCAN_VALUES, Values};
use crate::model::{METRIC_NAME, shard_of_account};
use crate::read::{Top, TopList};
use std::collections::HashMap;

/// Metrics that an account's series are intersected with in one hold of a lock: each may walk long postings.
const METRICS_AT_ONCE: u32 = 64;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountUsage {
    /// Its name; empty for series without one.
    pub account: String,
    /// Series in the head.
    pub series: u64,
    /// Series that were new since the process began, or since the account came into the head last.
    pub created: u64,
    /// What it may have.
    pub max: SeriesMax,
    /// What was refused.
    pub refused: AccountRefusals,
    /// Its series by metric name.
    pub metrics: Top,
}

/// The accounts of the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountsUsage {
    /// How many accounts have series.
    pub accounts: u64,
    /// Series of all of them.
    pub series: u64,
    /// What all together may have.
    pub max: SeriesMax,
    /// The greatest, by series.
    pub greatest: Vec<AccountUsage>,
}

impl Database {
    /// The `limit` accounts with most series in the head, each with its `metrics` heaviest metrics.
    pub fn accounts(&self, limit: usize, metrics: usize) -> AccountsUsage {
        // While a view is held no id comes to stand for another text.
        let _view = self.view();
        let mut usage = AccountsUsage { max: self.limits.limits().total, ..AccountsUsage::default() };
        let mut greatest = TopList::new(limit);
        let mut offer = |account: &str, series: u64| {
            usage.accounts += u64::from(series > 0);
            usage.series += series;
            greatest.offer(series, account);
        };
        offer("", self.account_series("").active);
        self.head.shards.iter().for_each(|shard| for_each_account(shard, &mut offer));
        let of = |(account, _)| self.account_usage(account, metrics);
        usage.greatest = greatest.into_top().into_iter().map(of).collect();
        usage
    }

    /// The accounts with most samples refused for limits on series, and all others together.
    pub fn account_refusals(&self, limit: usize) -> (Vec<AccountRefusals>, AccountRefusals) {
        self.limits.refusals(limit)
    }

    /// How many series of an account are in the head; an empty name is that of series without one.
    pub fn series_of_account(&self, account: &str) -> u64 {
        self.account_series(account).active
    }

    fn account_usage(&self, account: String, metrics: usize) -> AccountUsage {
        let AccountSeries { active, created, .. } = self.account_series(&account);
        AccountUsage {
            series: active,
            created,
            max: self.limits.limits().of(&account),
            refused: self.limits.refusals_of(&account),
            metrics: self.metrics_of(&account, metrics),
            account,
        }
    }

    fn account_series(&self, account: &str) -> AccountSeries {
        let counts = self.shards_of(account).map(|s| s.index.read().account(account));
        counts.fold(AccountSeries::default(), |mut sum, one| {
            sum.active += one.active;
            sum.created += one.created;
            sum
        })
    }

    /// The shards that have an account's series: all of them where they have none.
    fn shards_of(&self, account: &str) -> impl Iterator<Item = &Shard> {
        let one = (!account.is_empty()).then(|| shard_of_account(account.as_bytes(), self.shards));
        self.head.shards.iter().filter(move |s| one.is_none_or(|id| s.id == id))
    }

    fn metrics_of(&self, account: &str, limit: usize) -> Top {
        let mut sums = HashMap::<String, u64>::new();
        for shard in self.shards_of(account) {
            let series = series_of(shard, account);
            for_each_metric(shard, &series, |metric, n| match sums.get_mut(metric) {
                Some(sum) => *sum += n,
                None => _ = sums.insert(metric.to_owned(), n),
            });
        }
        let mut top = TopList::new(limit);
        sums.iter().for_each(|(metric, n)| top.offer(*n, metric));
        top.into_top()
    }
}

/// Calls `f` with each account of a shard and its number of series, a thousand per hold of the lock.
fn for_each_account(shard: &Shard, f: &mut impl FnMut(&str, u64)) {
    let Some((name, end)) = ({
        let index = shard.index.read();
        index.account_name().map(|name| (name, index.value_count(name)))
    }) else {
        return;
    };
    let (mut texts, mut counts) = (Values::default(), Vec::new());
    for from in (0..end).step_by(SCAN_VALUES) {
        let ids = from..end.min(from + SCAN_VALUES as u32);
        texts.clear();
        counts.clear();
        {
            let index = shard.index.read();
            index.copy_values(name, ids.clone(), &mut texts);
            index.count_of_accounts(ids, &mut counts);
        }
        texts.iter().zip(&counts).filter(|(_, n)| **n > 0).for_each(|(text, n)| f(text, *n));
    }
}

/// The slots of an account's series.
fn series_of(shard: &Shard, account: &str) -> Bitmap {
    let index = shard.index.read();
    let mut series = Bitmap::new();
    match (account, index.account_name()) {
        ("", name) => {
            index.union_having(None, &mut series);
            let mut owned = Bitmap::new();
            if let Some(name) = name {
                index.union_having(Some(name), &mut owned);
            }
            series.andnot_inplace(&owned);
        }
        (account, Some(name)) => {
            if let Some(id) = index.find_value(name, account) {
                index.union_postings(name, &[id], &mut series);
            }
        }
        (_, None) => {}
    }
    series
}

/// Calls `f` with each metric of these series and how many of them it has.
fn for_each_metric(shard: &Shard, series: &Bitmap, mut f: impl FnMut(&str, u64)) {
    let Some((name, end)) = ({
        let index = shard.index.read();
        index.name_id(METRIC_NAME).map(|name| (name, index.value_count(name)))
    }) else {
        return;
    };
    let (mut texts, mut counts) = (Values::default(), Vec::new());
    for from in (0..end).step_by(METRICS_AT_ONCE as usize) {
        let ids = from..end.min(from + METRICS_AT_ONCE);
        texts.clear();
        counts.clear();
        {
            let index = shard.index.read();
            index.copy_values(name, ids.clone(), &mut texts);
            index.count_series_in(name, ids, series, &mut counts);
        }
        texts.iter().zip(&counts).filter(|(_, n)| **n > 0).for_each(|(text, n)| f(text, *n));
    }
}
