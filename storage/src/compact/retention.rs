//! How long data are kept.

use super::merge::Hidden;
use crate::block::{BlockShard, Corruption, Tier};
use crate::index::{Bitmap, MatchOp, Matcher};
use crate::model::{DurationMs, ShardId, TimeRange, TimestampMs, Window, shard_of_account};
use std::collections::BTreeMap;

/// Whatever its age, a block stays so long after the newest of its data came (in the time of the data): history that is
/// imported is there to be looked at, and a mistake in a retention or a timestamp can be noticed.
const GRACE: DurationMs = DurationMs::hours(24);

/// How long data are kept, by tier and account, in the time of the data: from the newest sample back, or from the clock where
/// that is behind. A clock that jumps deletes nothing, nor does a sender whose clock is wrong, nor both for less than a day, unless
/// they jump by less than an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// By tier, in the order of [`Tier::ALL`].
    pub tiers: [DurationMs; 4],
    /// Accounts whose raw samples are kept longer or shorter than those of the others.
    pub accounts: BTreeMap<String, DurationMs>,
    /// Bytes that blocks may take; beyond it the oldest windows go, whatever their retention.
    pub bytes_max: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: i64| DurationMs::hours(24 * n);
        Self { tiers: [days(7), days(30), days(90), days(365)], accounts: BTreeMap::new(), bytes_max: None }
    }
}

impl Retention {
    /// How long data of a tier are kept where no account says otherwise.
    pub fn of(&self, tier: Tier) -> DurationMs {
        self.tiers[Tier::ALL.iter().position(|t| *t == tier).expect("ALL has every tier")]
    }

    /// The longest of any tier and account: what is older can be in none.
    pub fn longest(&self) -> DurationMs {
        let all = self.tiers.iter().chain(self.accounts.values());
        all.copied().max().expect("there are tiers")
    }

    /// The shortest of any tier and account.
    pub fn shortest(&self) -> DurationMs {
        let all = self.tiers.iter().chain(self.accounts.values());
        all.copied().min().expect("there are tiers")
    }

    /// The accounts that have a retention of their own and may be in a shard of a block, each with its series there.
    fn own_in<'a>(
        &'a self,
        shard: &'a BlockShard<'_>,
    ) -> impl Iterator<Item = Result<(DurationMs, Bitmap), Corruption>> + 'a {
        let spec = shard.block().spec();
        let is_here = |account: &str| {
            spec.tier == Tier::Raw && shard_of_account(account.as_bytes(), spec.shards) == shard.id()
        };
        self.accounts.iter().filter(move |(account, _)| is_here(account)).filter_map(move |(account, own)| {
            // No pattern, so nothing that could be refused.
            let matcher = Matcher::new(&spec.account_label, MatchOp::Equal, account).ok()?;
            Some(shard.select(&[matcher]).map(|series| (*own, series)))
        })
    }

    /// How many series of a block's shard have which retention of their own.
    pub(crate) fn count_own(&self, shard: &BlockShard<'_>) -> Result<Vec<(DurationMs, u64)>, Corruption> {
        let counts = self.own_in(shard).map(|own| own.map(|(own, series)| (own, series.cardinality())));
        Ok(counts.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|(_, n)| *n > 0).collect())
    }
}

/// What of one block is past retention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry<'a> {
    pub(crate) retention: &'a Retention,
    pub(crate) tier: Tier,
    pub(crate) window: Window,
    /// When the newest of its data came, in the time of the data (see [`super::reference`]).
    pub(crate) arrived: Option<TimestampMs>,
    /// What it is counted back from (see [`super::reference`]).
    pub(crate) reference: TimestampMs,
}

impl Expiry<'_> {
    /// Whether series of this retention are past it.
    pub(crate) fn is_past(&self, retention: DurationMs) -> bool {
        self.window.end() + retention <= self.reference && !self.is_fresh()
    }

    /// Whether series are past retention whose account has none of its own.
    pub(crate) fn others_are_past(&self) -> bool {
        self.is_past(self.retention.of(self.tier))
    }

    fn is_fresh(&self) -> bool {
        self.arrived.is_some_and(|a| a + GRACE > self.reference)
    }

    /// The series of a shard of the block that are past retention.
    pub(crate) fn hidden(&self, shard: &BlockShard<'_>) -> Result<Hidden, Corruption> {
        let others = self.others_are_past();
        let mut gone = Bitmap::new();
        if others {
            gone.add_range(0..shard.series_count());
        }
        for own in self.retention.own_in(shard) {
            let (own, series) = own?;
            match (others, self.is_past(own)) {
                (true, false) => gone.andnot_inplace(&series),
                (false, true) => gone.or_inplace(&series),
                _ => {}
            }
        }
        Ok(if gone.is_empty() { Hidden::new() } else { vec![(gone, TimeRange::ALL)] })
    }
}

/// The shards that accounts with a retention of their own lie in.
pub(crate) fn shards_of_own(retention: &Retention, shards: crate::model::ShardCount) -> Vec<ShardId> {
    let mut of_own: Vec<ShardId> =
        retention.accounts.keys().map(|account| shard_of_account(account.as_bytes(), shards)).collect();
    of_own.sort();
    of_own.dedup();
    of_own
}
