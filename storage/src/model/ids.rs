//! Identities: of series, shards and blocks, and the key that orders series on disk.

use std::fmt;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// The seed of a data directory's fingerprints; drawn when the directory is made, recorded in its manifest and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashSeed(pub u64);

/// A series' identity: xxh3-128 of its canonical label section under the directory's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// Hashes a label section as it came. Only the hash of a canonical section is a series' fingerprint; that of another
    /// form is an alias.
    pub fn of_section(section: &[u8], seed: HashSeed) -> Self {
        Self(xxh3_128_with_seed(section, seed.0))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How many shards a data directory has: 1 to 256, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardCount(u16);

impl ShardCount {
    /// The most shards.
    pub const MAX: u16 = 256;

    /// `None` unless `n` is 1 to 256.
    pub fn new(n: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&n).then_some(Self(n))
    }

    /// The number itself.
    pub fn get(self) -> u16 {
        self.0
    }

    /// All shards in order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.0).map(ShardId)
    }
}

/// One partition of all series, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index into a list of all shards.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The shard of a series with this (non-empty) account.
pub fn shard_of_account(account: &[u8], shards: ShardCount) -> ShardId {
    ShardId((xxh3_64(account) % u64::from(shards.0)) as u16)
}

/// The shard of a series without an account.
pub fn shard_of_fingerprint(fingerprint: Fingerprint, shards: ShardCount) -> ShardId {
    ShardId((fingerprint.0 as u64 % u64::from(shards.0)) as u16)
}

/// Where a series' record stands in its shard's head. Reused after the series has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesSlot(pub u32);

/// A block's name: the number of the manifest edit that announced it, so that it is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

impl BlockId {
    /// The block of a directory's name, as [`Display`](fmt::Display) writes it; `None` for any other name.
    pub fn from_name(name: &str) -> Option<Self> {
        let id = u64::from_str_radix(name, 16).ok().map(Self)?;
        (id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A tombstone's name, and the greatest id (`covered_as`) of a block that it covers: given like a block's, so that no two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TombstoneId(pub u64);

impl fmt::Display for TombstoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What series are ordered by within a shard, in blocks and in every merge. Different series may share a key (two
/// spellings of one `le`, or a collision): labels decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// xxh3-64 of the account's value; 0 without one.
    pub account: u64,
    /// xxh3-64 of the metric's name.
    pub name: u64,
    /// xxh3-64, under the directory's seed, of the canonical section without `le`.
    pub family: u64,
    /// [`le_rank`] of the `le` label.
    pub le: u64,
}

/// The rank of an `le` value: 0 without the label, `u64::MAX` where it is no number, else in the order of the numbers.
pub fn le_rank(le: Option<&str>) -> u64 {
    let Some(le) = le else { return 0 };
    match le.parse::<f64>() {
        Ok(v) if !v.is_nan() => {
            let bits = (v + 0.0).to_bits();
            let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            ordered.clamp(1, u64::MAX - 1)
        }
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn le_values_rank_as_numbers() {
        let ranks = [
            None,
            Some("-Inf"),
            Some("-1"),
            Some("0"),
            Some("0.005"),
            Some("1"),
            Some("10"),
            Some("+Inf"),
            Some("x"),
        ];
        let ranks: Vec<u64> = ranks.into_iter().map(le_rank).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:x?}");
        assert_eq!(le_rank(Some("1")), le_rank(Some("1.0")));
        assert_eq!(le_rank(Some("0")), le_rank(Some("-0")));
    }

    #[test]
    fn blocks_are_known_by_their_names() {
        let check =
            |name: &str, id: Option<u64>| assert_eq!(BlockId::from_name(name), id.map(BlockId), "{name}");
        check("00000000000200ff", Some(0x200ff));
        check("ffffffffffffffff", Some(u64::MAX));
        check("200ff", None);
        check("00000000000200FF", None);
        check("+0000000000200ff", None);
        check("000000000000200ff", None);
        check("", None);
    }

    #[test]
    fn the_shard_of_an_account_is_a_contract() {
        let shards = ShardCount::new(16).unwrap();
        assert_eq!(shard_of_account(b"459500", shards), ShardId((xxh3_64(b"459500") % 16) as u16));
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert!(ShardCount::new(0).is_none() && ShardCount::new(257).is_none());
    }
}
