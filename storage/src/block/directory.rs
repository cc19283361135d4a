//! The directory of a block: which block it is, and where the parts of its shards lie.

use super::error::Corruption;
use super::rows::{GROUP, GROUP_LEN};
use super::section::{Cursor, Extent};
use super::spec::{BlockSpec, Tier};
use crate::model::{
    BlockId, DurationMs, HashSeed, Lsn, LsnRange, ShardCount, ShardId, TimestampMs, Window, varint,
};

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

/// Where the fields before the account label stand, each behind the one before it.
mod field {
    pub(super) const BLOCK: usize = 0;
    pub(super) const WINDOW_START: usize = BLOCK + 8;
    pub(super) const WINDOW_LEN: usize = WINDOW_START + 8;
    pub(super) const SEED: usize = WINDOW_LEN + 8;
    pub(super) const LSN_FIRST: usize = SEED + 8;
    pub(super) const LSN_LAST: usize = LSN_FIRST + 8;
    pub(super) const TIER: usize = LSN_LAST + 8;
    pub(super) const LEVEL: usize = TIER + 1;
    pub(super) const SHARDS: usize = LEVEL + 1;
    pub(super) const N_SECTIONS: usize = SHARDS + 2;
    pub(super) const CHUNKS_LEN: usize = N_SECTIONS + 4;
    pub(super) const COLUMNS_OFFSET: usize = CHUNKS_LEN + 8;
    pub(super) const N_COLUMNS: usize = COLUMNS_OFFSET + 8;
    pub(super) const N_PARTS: usize = N_COLUMNS + 4;
    /// Where the account label starts.
    pub(super) const END: usize = N_PARTS + 4;
}

/// Where the fields of a part stand.
mod part_field {
    pub(super) const SHARD: usize = 0;
    pub(super) const N_SERIES: usize = SHARD + 4;
    pub(super) const SECTIONS: usize = N_SERIES + 4;
    /// Bytes of one section's extent.
    pub(super) const SECTION_LEN: usize = 16;
    pub(super) const END: usize = SECTIONS + SECTION_LEN * super::N_SECTIONS;
}

/// The bytes of a time column's entry, in the file `chunks`.
pub(super) const COLUMN_LEN: u64 = 12;
/// What stands for a block that no log knows.
const NO_LSNS: LsnRange = LsnRange { first: Lsn(1), last: Lsn(0) };

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
    pub(super) sections: [Extent; N_SECTIONS],
}

impl Directory {
    pub(super) fn encode(&self) -> Vec<u8> {
        let spec = &self.spec;
        let lsns = spec.lsns.unwrap_or(NO_LSNS);
        let mut out = vec![0; field::END];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::BLOCK, &spec.id.0.to_le_bytes());
        put(field::WINDOW_START, &spec.window.start.0.to_le_bytes());
        put(field::WINDOW_LEN, &spec.window.len.0.to_le_bytes());
        put(field::SEED, &spec.seed.0.to_le_bytes());
        put(field::LSN_FIRST, &lsns.first.0.to_le_bytes());
        put(field::LSN_LAST, &lsns.last.0.to_le_bytes());
        put(field::TIER, &[spec.tier.number()]);
        put(field::LEVEL, &[spec.level]);
        put(field::SHARDS, &spec.shards.get().to_le_bytes());
        put(field::N_SECTIONS, &(N_SECTIONS as u32).to_le_bytes());
        put(field::CHUNKS_LEN, &self.chunks_len.to_le_bytes());
        put(field::COLUMNS_OFFSET, &self.columns_offset.to_le_bytes());
        put(field::N_COLUMNS, &self.n_columns.to_le_bytes());
        put(field::N_PARTS, &(self.parts.len() as u32).to_le_bytes());
        varint::put_bytes(&mut out, spec.account_label.as_bytes());
        self.parts.iter().for_each(|p| p.put(&mut out));
        out
    }

    /// Reads the directory of files whose payloads have these lengths. Sources are not in it, they are in `meta.json`.
    pub(super) fn decode(mut cursor: Cursor<'_>, payloads: Payloads) -> Result<Self, Corruption> {
        let at = cursor.at();
        let fixed = Fields(cursor.bytes(field::END as u64)?);
        let n_parts = fixed.u32(field::N_PARTS);
        let spec = fixed.spec();
        let spec = spec.map_err(|w| cursor.section_corruption(at + w.field as u64, w.expected, w.found))?;
        // Whoever goes through all columns is to meet no more than there can be.
        let (columns_offset, n_columns) = (fixed.u64(field::COLUMNS_OFFSET), fixed.u32(field::N_COLUMNS));
        let room = payloads.chunks.saturating_sub(columns_offset) / COLUMN_LEN;
        if u64::from(n_columns) > room {
            let at = at + field::N_COLUMNS as u64;
            let expected = format!("at most the {room} time columns that there is room for");
            return Err(cursor.section_corruption(at, expected, n_columns.to_string()));
        }
        let label_len = cursor.varint()?;
        let label = cursor.bytes(label_len)?;
        let account_label = String::from_utf8(label.to_vec())
            .map_err(|_| cursor.corruption("UTF-8", label.escape_ascii().to_string()))?;
        let mut parts: Vec<Part> = Vec::with_capacity(n_parts as usize);
        for _ in 0..n_parts {
            let part = Part::take(&mut cursor)?;
            part.check(payloads).map_err(|(expected, found)| cursor.corruption(expected, found))?;
            if part.shard.0 >= spec.shards.get() || parts.last().is_some_and(|l| l.shard >= part.shard) {
                return Err(cursor.corruption("shards in ascending order", format!("shard {}", part.shard)));
            }
            parts.push(part);
        }
        Ok(Self {
            spec: BlockSpec { account_label, ..spec },
            chunks_len: fixed.u64(field::CHUNKS_LEN),
            columns_offset,
            n_columns,
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

/// Fields of fixed length; offsets below their end only.
struct Fields<'a>(&'a [u8]);

/// A field that says what cannot be.
struct Wrong {
    field: usize,
    expected: &'static str,
    found: String,
}

impl Wrong {
    fn new(field: usize, expected: &'static str, found: impl ToString) -> Self {
        Self { field, expected, found: found.to_string() }
    }
}

impl Fields<'_> {
    /// What stands before the account label, which is still empty; everything there is checked.
    fn spec(&self) -> Result<BlockSpec, Wrong> {
        let tier = self.0[field::TIER];
        let tier =
            Tier::from_number(tier).ok_or_else(|| Wrong::new(field::TIER, "a tier from 0 to 3", tier))?;
        let shards = self.u16(field::SHARDS);
        let shards =
            ShardCount::new(shards).ok_or_else(|| Wrong::new(field::SHARDS, "1 to 256 shards", shards))?;
        let n_sections = self.u32(field::N_SECTIONS);
        if n_sections != N_SECTIONS as u32 {
            return Err(Wrong::new(field::N_SECTIONS, "14 sections", n_sections));
        }
        let (start, len) = (self.u64(field::WINDOW_START) as i64, self.u64(field::WINDOW_LEN) as i64);
        if len <= 0 {
            return Err(Wrong::new(field::WINDOW_LEN, "a window of positive length", len));
        }
        let n_parts = self.u32(field::N_PARTS);
        if n_parts > u32::from(ShardCount::MAX) {
            return Err(Wrong::new(field::N_PARTS, "at most 256 parts", n_parts));
        }
        let (first, last) = (Lsn(self.u64(field::LSN_FIRST)), Lsn(self.u64(field::LSN_LAST)));
        Ok(BlockSpec {
            id: BlockId(self.u64(field::BLOCK)),
            window: Window { start: TimestampMs(start), len: DurationMs(len) },
            tier,
            level: self.0[field::LEVEL],
            sources: Vec::new(),
            seed: HashSeed(self.u64(field::SEED)),
            account_label: String::new(),
            shards,
            lsns: (first <= last).then_some(LsnRange { first, last }),
        })
    }

    fn extent(&self, at: usize) -> Extent {
        Extent { offset: self.u64(at), len: self.u64(at + 8) }
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }
}

impl Part {
    /// Whether sections lie in their files, and those with an entry per series have that many. All loops over series
    /// are bounded by this.
    fn check(&self, payloads: Payloads) -> Result<(), (String, String)> {
        for (i, &Extent { offset, len }) in self.sections.iter().enumerate() {
            let payload = if i == section::CHUNKS { payloads.chunks } else { payloads.index };
            if offset.checked_add(len).is_none_or(|end| end > payload) {
                let expected = format!("{} of shard {} within {payload} bytes", SECTION_NAMES[i], self.shard);
                return Err((expected, format!("{len} bytes at {offset}")));
            }
        }
        let groups = u64::from(self.n_series.div_ceil(GROUP)) * GROUP_LEN;
        let families = u64::from(self.n_series) * 8;
        let found = (self.sections[section::GROUPS].len, self.sections[section::FAMILIES].len);
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
        for Extent { offset, len } in self.sections {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
        }
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Corruption> {
        let fields = Fields(cursor.bytes(part_field::END as u64)?);
        let shard = fields.u32(part_field::SHARD);
        let shard = u16::try_from(shard).map_err(|_| cursor.corruption("a shard", shard.to_string()))?;
        let section = |i| fields.extent(part_field::SECTIONS + part_field::SECTION_LEN * i);
        Ok(Self {
            shard: ShardId(shard),
            n_series: fields.u32(part_field::N_SERIES),
            sections: std::array::from_fn(section),
        })
    }
}
