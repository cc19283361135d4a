//! The key table of a shard: what the merge of blocks joins on, without a look at labels.

use super::error::{Corruption, WriteBlockError, offset_u32};
use super::section::Section;
use crate::model::SeriesKey;
use std::collections::{BTreeSet, HashMap};

const ACCOUNT_LEN: u64 = 12;
const RUN_LEN: u64 = 8;
const HASH_LEN: u64 = 8;

/// The sections of a key table, in the order of their numbers.
#[derive(Default)]
pub(super) struct KeySections {
    pub(super) accounts: Vec<u8>,
    pub(super) runs: Vec<u8>,
    pub(super) metrics: Vec<u8>,
    pub(super) families: Vec<u8>,
    pub(super) ranks: Vec<u8>,
    pub(super) le: Vec<u8>,
}

/// Collects keys in ascending order.
#[derive(Default)]
pub(super) struct KeyTableWriter {
    sections: KeySections,
    metrics: HashMap<u64, u32>,
    last: Option<SeriesKey>,
    /// The rank of every series; empty until one has a rank.
    le: Vec<u64>,
    n_series: u32,
}

impl KeyTableWriter {
    pub(super) fn push(&mut self, key: SeriesKey) -> Result<(), WriteBlockError> {
        let last = self.last.replace(key);
        let new_account = last.is_none_or(|l| l.account != key.account);
        if new_account {
            let run = offset_u32(self.sections.runs.len() / RUN_LEN as usize, "runs of metrics")?;
            self.sections.accounts.extend_from_slice(&key.account.to_le_bytes());
            self.sections.accounts.extend_from_slice(&run.to_le_bytes());
        }
        if new_account || last.is_some_and(|l| l.name != key.name) {
            let next = offset_u32(self.metrics.len(), "metrics")?;
            let metric = *self.metrics.entry(key.name).or_insert_with(|| {
                self.sections.metrics.extend_from_slice(&key.name.to_le_bytes());
                next
            });
            self.sections.runs.extend_from_slice(&self.n_series.to_le_bytes());
            self.sections.runs.extend_from_slice(&metric.to_le_bytes());
        }
        self.sections.families.extend_from_slice(&key.family.to_le_bytes());
        if key.le != 0 || !self.le.is_empty() {
            self.le.resize(self.n_series as usize, 0);
            self.le.push(key.le);
        }
        self.n_series += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> KeySections {
        let ranks: Vec<u64> = self.le.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let width = rank_width(ranks.len() as u64) as usize;
        for rank in &self.le {
            let index = ranks.partition_point(|r| r < rank) as u32;
            self.sections.le.extend_from_slice(&index.to_le_bytes()[..width]);
        }
        ranks.iter().for_each(|r| self.sections.ranks.extend_from_slice(&r.to_le_bytes()));
        self.sections
    }
}

fn rank_width(ranks: u64) -> u64 {
    match ranks {
        0..=256 => 1,
        257..=65_536 => 2,
        _ => 4,
    }
}

/// Reads keys. Remembers the run it is in, so that ascending ordinals cost no search.
pub(super) struct Keys<'a> {
    pub(super) accounts: Section<'a>,
    pub(super) runs: Section<'a>,
    pub(super) metrics: Section<'a>,
    pub(super) families: Section<'a>,
    pub(super) ranks: Section<'a>,
    pub(super) le: Section<'a>,
    pub(super) run: Run,
}

/// Series from `from` until before `to`, all of one account and metric.
#[derive(Clone, Copy, Default)]
pub(super) struct Run {
    from: u32,
    to: u32,
    account: u64,
    name: u64,
}

impl Keys<'_> {
    /// The key of a series.
    pub(super) fn key(&mut self, ordinal: u32) -> Result<SeriesKey, Corruption> {
        let family = self.families.u64(u64::from(ordinal) * HASH_LEN)?;
        if !(self.run.from..self.run.to).contains(&ordinal) {
            self.run = self.find(ordinal)?;
        }
        let le = if self.le.len() == 0 { 0 } else { self.rank(ordinal)? };
        Ok(SeriesKey { account: self.run.account, name: self.run.name, family, le })
    }

    fn find(&self, ordinal: u32) -> Result<Run, Corruption> {
        let n_runs = self.runs.len() / RUN_LEN;
        let run = last_at_most(n_runs, ordinal, |i| self.runs.u32(i * RUN_LEN))?
            .ok_or_else(|| self.runs.corruption(0, format!("a run with series {ordinal}"), "none"))?;
        let metric = self.runs.u32(run * RUN_LEN + 4)?;
        let n_accounts = self.accounts.len() / ACCOUNT_LEN;
        let account = last_at_most(n_accounts, run as u32, |i| self.accounts.u32(i * ACCOUNT_LEN + 8))?
            .ok_or_else(|| self.accounts.corruption(0, format!("an account with run {run}"), "none"))?;
        Ok(Run {
            from: self.runs.u32(run * RUN_LEN)?,
            to: if run + 1 < n_runs { self.runs.u32((run + 1) * RUN_LEN)? } else { u32::MAX },
            account: self.accounts.u64(account * ACCOUNT_LEN)?,
            name: self.metrics.u64(u64::from(metric) * HASH_LEN)?,
        })
    }

    fn rank(&self, ordinal: u32) -> Result<u64, Corruption> {
        let width = rank_width(self.ranks.len() / HASH_LEN);
        let mut index = [0; 8];
        index[..width as usize].copy_from_slice(self.le.bytes(u64::from(ordinal) * width, width)?);
        self.ranks.u64(u64::from_le_bytes(index) * HASH_LEN)
    }
}

/// The last of `n` ascending numbers that is at most `wanted`.
fn last_at_most(
    n: u64,
    wanted: u32,
    number: impl Fn(u64) -> Result<u32, Corruption>,
) -> Result<Option<u64>, Corruption> {
    let (mut from, mut to) = (0, n);
    while from < to {
        let middle = from + (to - from) / 2;
        if number(middle)? <= wanted { from = middle + 1 } else { to = middle }
    }
    Ok(from.checked_sub(1))
}
