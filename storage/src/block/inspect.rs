//! What a block is made of, for people. Nothing here stops at damage: what can be decoded is counted, the rest is reported.

use super::directory::SECTION_NAMES;
use super::directory::section::CHUNKS;
use super::error::Corruption;
use super::reader::{Block, BlockShard};
use super::section::Extent;
use super::{CHUNKS_FILE, INDEX_FILE};
use crate::codec::{self, ChunkKind, Encoding};
use crate::index::{Bitmap, LabelIndex, NameId, ValueId};
use crate::model::{METRIC_NAME, ShardId};
use std::collections::{BTreeMap, HashMap};

/// The most damaged places that are listed; all are counted.
const DAMAGE_LISTED_MAX: usize = 100;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSize {
    /// The file's name.
    pub file: &'static str,
    /// The shard; `None` for what belongs to the whole block.
    pub shard: Option<ShardId>,
    /// What it holds.
    pub section: &'static str,
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A label name of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStats {
    /// The name.
    pub name: String,
    /// How many values it has.
    pub values: u32,
    /// How many series have it.
    pub series: u64,
}

/// Chunks of one kind and encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkStats {
    /// What they hold.
    pub kind: ChunkKind,
    /// How.
    pub encoding: Encoding,
    /// How many there are.
    pub chunks: u64,
    /// How many samples they have together.
    pub samples: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What the series with one label value weigh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesWeight {
    /// The value; empty for series without the label.
    pub value: String,
    /// How many series there are.
    pub series: u64,
    /// How many chunks they have.
    pub chunks: u64,
    /// The bytes of those.
    pub bytes: u64,
}

/// What one walk over a shard's series found.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// Chunks by encoding, most bytes first.
    pub chunks: Vec<ChunkStats>,
    /// Metrics, most bytes first.
    pub metrics: Vec<SeriesWeight>,
    /// Accounts, most bytes first.
    pub accounts: Vec<SeriesWeight>,
    /// The first hundred places that could not be decoded.
    pub damage: Vec<Corruption>,
    /// How many series or chunks could not be decoded.
    pub damaged: u64,
}

impl Block {
    /// All parts of both files, in order of shards.
    pub fn sections(&self) -> Vec<SectionSize> {
        let mut out: Vec<SectionSize> = self.shards().flat_map(|s| shard_sections(&s)).collect();
        let (index, chunks) = self.file_bytes();
        let columns_end = self.chunks_payload_len();
        let mut whole = |file, section, offset: u64, end: u64| {
            out.push(SectionSize { file, shard: None, section, offset, bytes: end.saturating_sub(offset) });
        };
        let directory = self.index_directory();
        whole(INDEX_FILE, "directory", directory.start, directory.end);
        whole(INDEX_FILE, "checksums", directory.end, index);
        whole(CHUNKS_FILE, "time column table", self.columns_offset(), columns_end);
        whole(CHUNKS_FILE, "checksums", columns_end, chunks);
        out
    }
}

fn shard_sections(shard: &BlockShard<'_>) -> Vec<SectionSize> {
    let of = |i: usize, at: &Extent| SectionSize {
        file: if i == CHUNKS { CHUNKS_FILE } else { INDEX_FILE },
        shard: Some(shard.id()),
        section: SECTION_NAMES[i],
        offset: at.offset,
        bytes: at.len,
    };
    shard.part().sections.iter().enumerate().map(|(i, s)| of(i, s)).collect()
}

impl BlockShard<'_> {
    /// The label names with their cardinalities; one that cannot be read is an error and does not end the iteration.
    pub fn name_stats(&self) -> impl Iterator<Item = Result<NameStats, Corruption>> + '_ {
        self.names().zip(0..).map(|(name, id)| {
            let mut series = Bitmap::new();
            self.having(NameId(id), &mut series)?;
            let values = self.value_count(NameId(id))?;
            Ok(NameStats { name: name?.to_owned(), values, series: series.cardinality() })
        })
    }

    /// Walks all series and the headers of their chunks.
    pub fn stats(&self) -> ShardStats {
        let mut walk = Walk::default();
        let metric = walk.or_report(self.name_id(METRIC_NAME)).flatten();
        let account = walk.or_report(self.name_id(&self.block().spec().account_label)).flatten();
        let mut reader = self.reader();
        for ordinal in 0..self.series_count() {
            let weight = match reader.chunk_refs(ordinal) {
                Ok(chunks) => walk.chunks(self, chunks),
                Err(e) => {
                    walk.report(e);
                    continue;
                }
            };
            let mut value = |name: Option<NameId>| match name {
                Some(name) => reader.value_id(ordinal, name),
                None => Ok(None),
            };
            let (metric, account) = (value(metric), value(account));
            walk.weigh(metric, account, weight);
        }
        walk.finish(self, metric, account)
    }
}

/// Series, chunks, bytes.
type Weight = [u64; 3];

#[derive(Default)]
struct Walk {
    encodings: BTreeMap<(u8, u8), ChunkStats>,
    metrics: HashMap<Option<ValueId>, Weight>,
    accounts: HashMap<Option<ValueId>, Weight>,
    stats: ShardStats,
}

impl Walk {
    fn report(&mut self, e: Corruption) {
        self.stats.damaged += 1;
        if self.stats.damage.len() < DAMAGE_LISTED_MAX && self.stats.damage.last() != Some(&e) {
            self.stats.damage.push(e);
        }
    }

    fn or_report<T>(&mut self, result: Result<T, Corruption>) -> Option<T> {
        result.map_err(|e| self.report(e)).ok()
    }

    fn chunks(&mut self, shard: &BlockShard<'_>, refs: super::ChunkRefs<'_>) -> Weight {
        let mut weight = [1, 0, 0];
        for chunk in refs {
            let Some(chunk) = self.or_report(chunk) else { break };
            weight[1] += 1;
            weight[2] += u64::from(chunk.len);
            let Some(bytes) = self.or_report(shard.chunk(&chunk)) else { continue };
            match codec::header(bytes).and_then(|h| Ok((h, h.samples(shard)?))) {
                Ok((header, samples)) => self.count(header, samples, bytes.len() as u64),
                Err(e) => self.report(Corruption {
                    file: shard.block().chunks_path().to_owned(),
                    offset: shard.part().sections[CHUNKS].offset.saturating_add(chunk.offset),
                    expected: "a chunk".to_owned(),
                    found: e.to_string(),
                }),
            }
        }
        weight
    }

    fn count(&mut self, header: codec::ChunkHeader, samples: u32, bytes: u64) {
        let (kind, encoding) = (header.kind, header.encoding);
        let key = (kind.number(), encoding.number());
        let new = ChunkStats { kind, encoding, chunks: 0, samples: 0, bytes: 0 };
        let stats = self.encodings.entry(key).or_insert(new);
        stats.chunks += 1;
        stats.samples += u64::from(samples);
        stats.bytes += bytes;
    }

    fn weigh(
        &mut self,
        metric: Result<Option<ValueId>, Corruption>,
        account: Result<Option<ValueId>, Corruption>,
        weight: Weight,
    ) {
        let (metric, account) = (self.or_report(metric), self.or_report(account));
        for (table, value) in [(&mut self.metrics, metric), (&mut self.accounts, account)] {
            if let Some(value) = value {
                let sum = table.entry(value).or_default();
                sum.iter_mut().zip(weight).for_each(|(s, w)| *s += w);
            }
        }
    }

    fn finish(
        mut self,
        shard: &BlockShard<'_>,
        metric: Option<NameId>,
        account: Option<NameId>,
    ) -> ShardStats {
        let (metrics, accounts) = (std::mem::take(&mut self.metrics), std::mem::take(&mut self.accounts));
        self.stats.metrics = self.named(shard, metric, metrics);
        self.stats.accounts = self.named(shard, account, accounts);
        self.stats.chunks = self.encodings.into_values().collect();
        self.stats.chunks.sort_by_key(|c| std::cmp::Reverse(c.bytes));
        self.stats
    }

    fn named(
        &mut self,
        shard: &BlockShard<'_>,
        name: Option<NameId>,
        weights: HashMap<Option<ValueId>, Weight>,
    ) -> Vec<SeriesWeight> {
        let mut out = Vec::with_capacity(weights.len());
        for (value, [series, chunks, bytes]) in weights {
            let text = match (name, value) {
                (Some(name), Some(value)) => shard.with_value(name, value, str::to_owned),
                _ => Ok(String::new()),
            };
            let value = self.or_report(text).unwrap_or_else(|| "(damaged)".to_owned());
            out.push(SeriesWeight { value, series, chunks, bytes });
        }
        out.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.value.cmp(&b.value)));
        out
    }
}
