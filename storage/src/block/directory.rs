//! The directory of a block: which block it is, and where the parts of its shards lie.

use super::error::Corruption;
use super::rows::{GROUP, GROUP_LEN};
use super::section::Cursor;
use super::spec::{BlockSpec, Tier};
use crate::model::{BlockId, DurationMs, HashSeed, ShardCount, ShardId, TimestampMs, Window, varint};

/// The numbers of a part's sections.
pub(super) mod section {
    pub(in crate::block) const NAMES: usize = 0;
    pub(in crate::block) const DICTIONARIES: usize = 1;
    pub(in crate::block) const POSTINGS: usize = 2;
    pub(in crate::block) const SCHEMAS: usize = 3;
    pub(in crate::block) const GROUPS: usize = 4;
    pub(in crate::block) const ROWS: usize = 5;
    pub(in crate::block) const ACCOUNTS: usize = 6;
    pub(in crate::block) const RUNS: usize = 7;
    pub(in crate::block) const METRICS: usize = 8;
    pub(in crate::block) const FAMILIES: usize = 9;
    pub(in crate::block) const RANKS: usize = 10;
    pub(in crate::block) const LE: usize = 11;
    pub(in crate::block) const RESTARTS: usize = 12;
    pub(in crate::block) const CHUNKS: usize = 13;
}

/// How many sections a part has.
pub(super) const N_SECTIONS: usize = 14;

/// What people call them.
pub(super) const SECTION_NAMES: [&str; N_SECTIONS] = [
    "names",
    "dictionaries",
    "postings",
    "schemas",
    "groups",
    "rows",
    "accounts",
    "runs",
    "metrics",
    "families",
    "le ranks",
    "le",
    "restarts",
    "chunks",
];

/// Bytes before the account label.
pub(super) const FIXED_LEN: u64 = 80;

/// Where the parts of a block are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) spec: BlockSpec,
    pub(super) chunks_len: u64,
    pub(super) columns_offset: u64,
    pub(super) n_columns: u32,
    pub(super) parts: Vec<Part>,
}

/// Where the sections of a shard are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) shard: ShardId,
    pub(super) n_series: u32,
    /// Offset and length.
    pub(super) sections: [(u64, u64); N_SECTIONS],
}

impl Directory {
    pub(super) fn encode(&self) -> Vec<u8> {
        let spec = &self.spec;
        let mut out = Vec::new();
        let (lsn_first, lsn_last) = spec.lsns.unwrap_or((1, 0));
        for v in [
            spec.id.0,
            spec.window.start.0 as u64,
            spec.window.len.0 as u64,
            spec.seed.0,
            lsn_first,
            lsn_last,
        ] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        out.extend_from_slice(&[spec.tier.number(), spec.level]);
        out.extend_from_slice(&spec.shards.get().to_le_bytes());
        out.extend_from_slice(&(N_SECTIONS as u32).to_le_bytes());
        out.extend_from_slice(&self.chunks_len.to_le_bytes());
        out.extend_from_slice(&self.columns_offset.to_le_bytes());
        out.extend_from_slice(&self.n_columns.to_le_bytes());
        out.extend_from_slice(&(self.parts.len() as u32).to_le_bytes());
        debug_assert_eq!(out.len() as u64, FIXED_LEN);
        varint::put_bytes(&mut out, spec.account_label.as_bytes());
        self.parts.iter().for_each(|p| p.put(&mut out));
        out
    }

    /// Reads the directory of files whose payloads have these lengths. Sources are not in it, they are in `meta.json`.
    pub(super) fn decode(mut cursor: Cursor<'_>, payloads: Payloads) -> Result<Self, Corruption> {
        let at = cursor.at();
        let fixed = Fixed(cursor.bytes(FIXED_LEN)?);
        let wrong = |field: u64, expected: &str, found: String| {
            Err(cursor.section_corruption(at + field, expected, found))
        };
        let Some(tier) = Tier::from_number(fixed.0[48]) else {
            return wrong(48, "a tier from 0 to 3", fixed.0[48].to_string());
        };
        let Some(shards) = ShardCount::new(fixed.u32(48).wrapping_shr(16) as u16) else {
            return wrong(50, "1 to 256 shards", (fixed.u32(48) >> 16).to_string());
        };
        if fixed.u32(52) != N_SECTIONS as u32 {
            return wrong(52, "14 sections", fixed.u32(52).to_string());
        }
        let window =
            Window { start: TimestampMs(fixed.u64(8) as i64), len: DurationMs(fixed.u64(16) as i64) };
        if window.len.0 <= 0 {
            return wrong(16, "a window of positive length", window.len.0.to_string());
        }
        let n_parts = fixed.u32(76);
        if n_parts > u32::from(ShardCount::MAX) {
            return wrong(76, "at most 256 parts", n_parts.to_string());
        }
        let label_len = cursor.varint()?;
        let label = cursor.bytes(label_len)?;
        let account_label = String::from_utf8(label.to_vec())
            .map_err(|_| cursor.corruption("UTF-8", label.escape_ascii().to_string()))?;
        let lsns = (fixed.u64(32), fixed.u64(40));
        let spec = BlockSpec {
            id: BlockId(fixed.u64(0)),
            window,
            tier,
            level: fixed.0[49],
            sources: Vec::new(),
            seed: HashSeed(fixed.u64(24)),
            account_label,
            shards,
            lsns: (lsns.0 <= lsns.1).then_some(lsns),
        };
        let mut parts: Vec<Part> = Vec::with_capacity(n_parts as usize);
        for _ in 0..n_parts {
            let part = Part::take(&mut cursor)?;
            part.check(payloads).map_err(|(expected, found)| cursor.corruption(expected, found))?;
            if part.shard.0 >= shards.get() || parts.last().is_some_and(|l| l.shard >= part.shard) {
                return Err(cursor.corruption("shards in ascending order", format!("shard {}", part.shard)));
            }
            parts.push(part);
        }
        Ok(Self {
            spec,
            chunks_len: fixed.u64(56),
            columns_offset: fixed.u64(64),
            n_columns: fixed.u32(72),
            parts,
        })
    }
}

/// The lengths of the payloads of both files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payloads {
    pub(super) index: u64,
    pub(super) chunks: u64,
}

/// The bytes before the account label; offsets below their length only.
struct Fixed<'a>(&'a [u8]);

impl Fixed<'_> {
    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    fn u32(&self, at: usize) -> u32 {
        self.0[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
    }
}

impl Part {
    /// Whether sections lie in their files, and those with an entry per series have that many. All loops over series
    /// are bounded by this.
    fn check(&self, payloads: Payloads) -> Result<(), (String, String)> {
        for (i, &(offset, len)) in self.sections.iter().enumerate() {
            let payload = if i == section::CHUNKS { payloads.chunks } else { payloads.index };
            if offset.checked_add(len).is_none_or(|end| end > payload) {
                let expected = format!("{} of shard {} within {payload} bytes", SECTION_NAMES[i], self.shard);
                return Err((expected, format!("{len} bytes at {offset}")));
            }
        }
        let groups = u64::from(self.n_series.div_ceil(GROUP)) * GROUP_LEN;
        let families = u64::from(self.n_series) * 8;
        let found = (self.sections[section::GROUPS].1, self.sections[section::FAMILIES].1);
        if found != (groups, families) {
            let expected =
                format!("groups and families of {groups} and {families} bytes for {} series", self.n_series);
            return Err((expected, format!("{} and {} bytes", found.0, found.1)));
        }
        Ok(())
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::from(self.shard.0).to_le_bytes());
        out.extend_from_slice(&self.n_series.to_le_bytes());
        for (offset, len) in self.sections {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
        }
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Corruption> {
        let bytes = Fixed(cursor.bytes(8 + 16 * N_SECTIONS as u64)?);
        let shard = u16::try_from(bytes.u32(0))
            .map_err(|_| cursor.corruption("a shard", bytes.u32(0).to_string()))?;
        let sections = std::array::from_fn(|i| (bytes.u64(8 + 16 * i), bytes.u64(16 + 16 * i)));
        Ok(Self { shard: ShardId(shard), n_series: bytes.u32(4), sections })
    }
}
