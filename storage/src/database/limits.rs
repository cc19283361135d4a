//! How many series accounts may have, and may create: what is allowed, what is left of it, and who was refused.
//!
//! ```text
//! unknown row ─► refused lately? ─► account still full? ─► refused: a probe and a look, whatever the labels are
//!                     │no                  │no
//!                     └────────► resolve ──┴─► room left? ─► registered, else refused and remembered
//! ```
//!
//! Samples of known series never come here. Counts of an account are kept by its shard's index; what spans shards (all accounts
//! together, and series without an account) is registered by one request at a time, so that these limits are exact too.

mod refused;

use super::RefusalClass;
use crate::head::Head;
use crate::head::accounts::AccountSeries;
use crate::head::symbols::HeadIndex;
use crate::model::{DurationMs, Fingerprint};
use parking_lot::{Mutex, MutexGuard};
use refused::{RefusedAccounts, RefusedSeries};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

pub use refused::AccountRefusals;

/// So many new series in each interval. Intervals follow one another without gaps, from the start of the process on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesRate {
    /// How many.
    pub series: u64,
    /// In how long; longer than nothing.
    pub per: DurationMs,
}

impl SeriesRate {
    /// The number of the interval that an instant lies in.
    fn interval(self, now: Duration) -> u64 {
        now.as_millis() as u64 / self.per.0.max(1) as u64
    }
}

impl fmt::Display for SeriesRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.series, self.per)
    }
}

/// The most that one account may have, or all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesMax {
    /// Series in the head.
    pub active: Option<u64>,
    /// New series.
    pub created: Option<SeriesRate>,
}

impl SeriesMax {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits on series. There are none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Of each account, and of series without one.
    pub account: SeriesMax,
    /// Of accounts that have limits of their own, by name.
    pub accounts: BTreeMap<String, SeriesMax>,
    /// Of all accounts together.
    pub total: SeriesMax,
}

impl SeriesLimits {
    /// The limits of one account.
    pub fn of(&self, account: &str) -> SeriesMax {
        self.accounts.get(account).copied().unwrap_or(self.account)
    }

    fn is_none(&self) -> bool {
        self.account.is_none() && self.total.is_none() && self.accounts.values().all(SeriesMax::is_none)
    }
}

/// The limit that a new series is refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    limit: Limit,
    is_total: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Active(u64),
    Created(SeriesRate),
}

impl Over {
    pub(super) fn class(self) -> RefusalClass {
        match self.limit {
            Limit::Active(_) => RefusalClass::SeriesLimit,
            Limit::Created(_) => RefusalClass::SeriesCreatedLimit,
        }
    }

    /// Why a series of `account` is refused, and until when.
    pub(super) fn reason(self, account: &str) -> String {
        let whose = match (self.is_total, account) {
            (true, _) => "all accounts together have".to_owned(),
            (false, "") => "series without an account have".to_owned(),
            (false, account) => format!("account {account:?} has"),
        };
        let suffix = if self.is_total { "_total" } else { "" };
        match self.limit {
            Limit::Active(n) => {
                format!(
                    "{whose} the {n} series of limits.series{suffix}; new ones are refused until others are idle and leave"
                )
            }
            Limit::Created(SeriesRate { series, per }) => {
                format!(
                    "{whose} had the {series} new series of limits.series_created{suffix}; further ones are refused until {per} are over"
                )
            }
        }
    }
}

/// What an account, or all together, may still register.
#[derive(Clone, Copy, Debug)]
struct Room {
    left: u64,
    /// What is met first.
    limit: Limit,
    interval: u64,
}

impl Room {
    fn new(max: &SeriesMax, active: u64, created_in: impl Fn(u64) -> u64, now: Duration) -> Self {
        let of_active = max.active.map_or(u64::MAX, |n| n.saturating_sub(active));
        let limit = Limit::Active(max.active.unwrap_or(u64::MAX));
        let Some(rate) = max.created else { return Self { left: of_active, limit, interval: 0 } };
        let interval = rate.interval(now);
        let of_created = rate.series.saturating_sub(created_in(interval));
        match of_active <= of_created {
            true => Self { left: of_active, limit, interval },
            false => Self { left: of_created, limit: Limit::Created(rate), interval },
        }
    }
}

/// New series of all accounts in the interval under way.
#[derive(Debug, Default)]
struct Totals {
    created: AccountSeries,
}

/// Of the head's memory budget refused series are remembered in one part in so many.
const REFUSED_BUDGET_PART: u64 = 64;

/// Keeps the limits.
#[derive(Debug)]
pub(super) struct LimitKeeper {
    limits: SeriesLimits,
    /// Held while series are registered that a limit over all shards is about.
    totals: Mutex<Totals>,
    refused: Mutex<RefusedSeries>,
    accounts: Mutex<RefusedAccounts>,
}

impl LimitKeeper {
    /// Remembers refused series in a small part of a memory budget.
    pub(super) fn new(limits: SeriesLimits, memory_budget: u64) -> Self {
        let refused = Mutex::new(RefusedSeries::within(memory_budget / REFUSED_BUDGET_PART));
        Self { limits, totals: Mutex::default(), refused, accounts: Mutex::default() }
    }

    pub(super) fn limits(&self) -> &SeriesLimits {
        &self.limits
    }

    /// What is left for series of these accounts (and no others); `None` where nothing is limited. To be asked for before any lock
    /// of a shard is taken: it looks at all of them where a limit spans them.
    pub(super) fn rooms<'a>(
        &'a self,
        head: &Head,
        now: Duration,
        mut accounts: impl Iterator<Item = &'a str>,
    ) -> Option<Rooms<'a>> {
        if self.limits.is_none() {
            return None;
        }
        let spans_unowned = !self.limits.of("").is_none() && accounts.any(str::is_empty);
        let spans_all = !self.limits.total.is_none();
        let totals = (spans_all || spans_unowned).then(|| self.totals.lock());
        let indexes = || head.shards.iter().map(|s| s.index.read());
        let active = if spans_all { indexes().map(|i| i.series_count()).sum() } else { 0 };
        let created_in = |interval| totals.as_ref().map_or(0, |t| t.created.created_in(interval));
        let mut rooms = Rooms {
            limits: &self.limits,
            now,
            all: Room::new(&self.limits.total, active, created_in, now),
            accounts: HashMap::new(),
            totals,
        };
        if spans_unowned {
            let unowned: Vec<_> = indexes().map(|i| i.account("")).collect();
            let active = unowned.iter().map(|a| a.active).sum();
            let created = |interval| unowned.iter().map(|a| a.created_in(interval)).sum();
            rooms.accounts.insert("", Room::new(&self.limits.of(""), active, created, now));
        }
        Some(rooms)
    }

    /// Which of these series were refused lately; `None` where none was.
    pub(super) fn refused_lately(&self, series: impl Iterator<Item = Fingerprint>) -> Option<Vec<bool>> {
        let refused = self.refused.lock();
        (!refused.is_empty()).then(|| series.map(|f| refused.contains(f)).collect())
    }

    /// Remembers series that were resolved and refused.
    pub(super) fn remember(&self, series: impl Iterator<Item = Fingerprint>) {
        let mut refused = self.refused.lock();
        series.for_each(|f| refused.insert(f));
    }

    /// Counts refused samples of accounts. Those of an account mostly come together.
    pub(super) fn count<'a>(&self, mut samples: impl Iterator<Item = (&'a str, Over, u64)>) {
        let mut accounts = self.accounts.lock();
        let Some((account, over, n)) = samples.next() else { return };
        let mut run = (account, over.class(), n);
        for (account, over, n) in samples {
            match (account, over.class()) == (run.0, run.1) {
                true => run.2 += n,
                false => {
                    accounts.add(run.0, run.1, run.2);
                    run = (account, over.class(), n);
                }
            }
        }
        accounts.add(run.0, run.1, run.2);
    }

    /// The accounts with most samples refused, and the others together.
    pub(super) fn refusals(&self, limit: usize) -> (Vec<AccountRefusals>, AccountRefusals) {
        self.accounts.lock().heaviest(limit)
    }

    /// Of one account, if it is remembered.
    pub(super) fn refusals_of(&self, account: &str) -> AccountRefusals {
        self.accounts.lock().of(account)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.refused.lock().memory_bytes()
    }
}

/// What is left for the series of one request in one shard.
pub(super) struct Rooms<'a> {
    limits: &'a SeriesLimits,
    now: Duration,
    all: Room,
    accounts: HashMap<&'a str, Room>,
    totals: Option<MutexGuard<'a, Totals>>,
}

impl<'a> Rooms<'a> {
    /// Why no series of the account can be registered now; `None` where one can.
    pub(super) fn over(&mut self, account: &'a str, index: &HeadIndex) -> Option<Over> {
        let room = *self.room(account, index);
        match (room.left, self.all.left) {
            (0, _) => Some(Over { limit: room.limit, is_total: false }),
            (_, 0) => Some(Over { limit: self.all.limit, is_total: true }),
            _ => None,
        }
    }

    /// Takes room for one series.
    pub(super) fn take(&mut self, account: &'a str, index: &HeadIndex) -> Result<(), Over> {
        if let Some(over) = self.over(account, index) {
            return Err(over);
        }
        self.room(account, index).left -= 1;
        self.all.left -= 1;
        Ok(())
    }

    /// The interval in which a new series of the account counts.
    pub(super) fn interval(&mut self, account: &'a str, index: &HeadIndex) -> u64 {
        self.room(account, index).interval
    }

    /// Counts series that were registered.
    pub(super) fn registered(&mut self, n: u64) {
        let interval = self.all.interval;
        if let Some(totals) = &mut self.totals {
            totals.created.create(n, interval);
        }
    }

    fn room(&mut self, account: &'a str, index: &HeadIndex) -> &mut Room {
        let (limits, now) = (self.limits, self.now);
        self.accounts.entry(account).or_insert_with(|| {
            let has = index.account(account);
            Room::new(&limits.of(account), has.active, |interval| has.created_in(interval), now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_met_first_limits() {
        let rate = SeriesRate { series: 10, per: DurationMs::mins(1) };
        let check = |max: SeriesMax, active, lately, left, limit| {
            let room = Room::new(&max, active, |_| lately, Duration::from_secs(90));
            assert_eq!((room.left, room.limit), (left, limit), "{max:?}, {active} active, {lately} new");
        };
        let none = SeriesMax::default();
        check(none, 7, 7, u64::MAX, Limit::Active(u64::MAX));
        check(SeriesMax { active: Some(5), ..none }, 3, 99, 2, Limit::Active(5));
        check(SeriesMax { active: Some(5), ..none }, 9, 0, 0, Limit::Active(5));
        check(SeriesMax { created: Some(rate), ..none }, 99, 4, 6, Limit::Created(rate));
        check(SeriesMax { active: Some(100), created: Some(rate) }, 99, 4, 1, Limit::Active(100));
        check(SeriesMax { active: Some(200), created: Some(rate) }, 99, 12, 0, Limit::Created(rate));
    }

    #[test]
    fn intervals_follow_one_another() {
        let rate = SeriesRate { series: 1, per: DurationMs::mins(1) };
        let at = |secs| rate.interval(Duration::from_secs(secs));
        assert_eq!((at(0), at(59), at(60), at(180)), (0, 0, 1, 3));
        assert_eq!(rate.to_string(), "1/1m");
    }

    #[test]
    fn an_account_has_its_own_limits_or_those_of_all() {
        let max = |n| SeriesMax { active: Some(n), created: None };
        let accounts =
            BTreeMap::from([("big".to_owned(), max(100)), ("free".to_owned(), SeriesMax::default())]);
        let limits = SeriesLimits { account: max(1), accounts, total: SeriesMax::default() };
        assert_eq!((limits.of("big"), limits.of("x"), limits.of("")), (max(100), max(1), max(1)));
        assert_eq!(limits.of("free"), SeriesMax::default());
        assert!(!limits.is_none() && SeriesLimits::default().is_none());
    }
}
