//! The order of everything that was ever logged.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The sequence number of a batch of the log, from 1 without gaps over the life of a directory; 0 stands before all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number before this one; 0 has none and stays.
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The batches that something was made of lie between these, both included. As JSON a list of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct LsnRange {
    /// The first.
    pub first: Lsn,
    /// The last.
    pub last: Lsn,
}

impl From<(u64, u64)> for LsnRange {
    fn from((first, last): (u64, u64)) -> Self {
        Self { first: Lsn(first), last: Lsn(last) }
    }
}

impl From<LsnRange> for (u64, u64) {
    fn from(range: LsnRange) -> Self {
        (range.first.0, range.last.0)
    }
}
