//! Everything about a block that can be wrong though its pages' checksums are right, and these too.
//!
//! Postings are not rebuilt to be compared: what rows say and what lists say is summed up by hashes of (value, series), per
//! name, and the sums must be equal. So memory does not grow with the series.

use super::error::Corruption;
use super::reader::{Block, BlockShard};
use super::rows::CoarseTime;
use super::series::SeriesReader;
use super::spec::BlockMeta;
use crate::codec::{self, Samples, TimeColumnId};
use crate::index::{Bitmap, LabelIndex, NameId, ValueId, Values};
use crate::model::{LabelSet, SeriesKey, TimestampMs, shard_of_account, shard_of_fingerprint};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Values that are looked at in one go.
const VALUES_STEP: u32 = 1024;

/// What a block holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Samples.
    pub samples: u64,
}

/// Called with each thing that is wrong.
type Found<'a> = &'a mut dyn FnMut(Corruption);

impl Block {
    /// Checks the whole block: every page, the order of names, values and series, that rows, postings and keys say the same, that
    /// every chunk and time column decodes and lies where it should, in its place and in time.
    pub fn check(&self, found: Found<'_>) -> BlockCounts {
        self.verify().for_each(&mut *found);
        let mut counts = BlockCounts::default();
        for shard in self.shards() {
            ShardCheck::new(shard, found).run(&mut counts);
        }
        let mut times = Vec::new();
        for id in (0..self.time_columns()).map(TimeColumnId) {
            times.clear();
            match self.time_column(id) {
                Ok(column) => {
                    if let Err(error) = codec::decode_column(column, &mut times) {
                        found(self.columns_corruption(id, &error));
                    }
                }
                Err(damage) => found(damage),
            }
        }
        counts
    }

    /// Whether `meta.json` says what the block is; what does not agree.
    pub fn check_meta(&self, meta: &BlockMeta, counts: BlockCounts) -> Vec<Corruption> {
        let spec = self.spec();
        let (index_bytes, chunks_bytes) = self.file_bytes();
        let expected = BlockMeta {
            format: super::FORMAT,
            id: spec.id.to_string(),
            tier: spec.tier,
            level: spec.level,
            window_start: spec.window.start.0,
            window_ms: spec.window.len.0,
            sources: meta.sources.clone(),
            seed: spec.seed.0,
            account_label: spec.account_label.clone(),
            shards: spec.shards.get(),
            lsns: spec.lsns,
            index_bytes,
            chunks_bytes,
            series: counts.series,
            chunks: counts.chunks,
            samples: counts.samples,
            time_columns: u64::from(self.time_columns()),
        };
        if *meta == expected {
            return Vec::new();
        }
        let text = |m: &BlockMeta| serde_json::to_string(m).unwrap_or_default();
        let file = self.dir().join(super::META_FILE);
        vec![Corruption { file, offset: 0, expected: text(&expected), found: text(meta) }]
    }
}

/// Whether the samples of a chunk, all of one kind, are in order.
fn is_sorted(samples: &Samples) -> bool {
    samples.t.is_sorted_by(|a, b| a < b) && samples.histograms.is_sorted_by(|a, b| a.t < b.t)
}

/// Decodes a chunk of a block; of one that has a checksum of its own, that is looked at as well.
pub(crate) fn decode_checked(
    chunk: &[u8],
    shard: &BlockShard<'_>,
    out: &mut Samples,
) -> Result<(), codec::ChunkError> {
    if codec::header(chunk)?.form == codec::ChunkForm::Whole {
        codec::verify(chunk)?;
    }
    codec::decode(chunk, shard, out)
}

struct ShardCheck<'a, 'f> {
    shard: BlockShard<'a>,
    found: Found<'f>,
    /// By name: what rows say of its values, and of having it.
    sums: Vec<Sums>,
    chunks_end: u64,
    last: Option<(SeriesKey, LabelSet)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    n_values: u32,
    values: u64,
    having: u64,
}

fn hash(value: u32, series: u32) -> u64 {
    xxh3_64_with_seed(&series.to_le_bytes(), u64::from(value))
}

impl<'a, 'f> ShardCheck<'a, 'f> {
    fn new(shard: BlockShard<'a>, found: Found<'f>) -> Self {
        Self { shard, found, sums: Vec::new(), chunks_end: 0, last: None }
    }

    fn ok<T>(&mut self, result: Result<T, Corruption>) -> Option<T> {
        result.map_err(|e| (self.found)(e)).ok()
    }

    fn wrong(&mut self, expected: impl Into<String>, found: impl Into<String>) {
        let damage = self.shard.rows_corruption(expected.into(), found.into());
        (self.found)(damage);
    }

    fn run(mut self, counts: &mut BlockCounts) {
        if self.names().is_none() {
            return;
        }
        let mut reader = self.shard.reader();
        let mut samples = Samples::default();
        for ordinal in 0..self.shard.series_count() {
            counts.series += 1;
            self.series(&mut reader, ordinal);
            self.chunks(&mut reader, ordinal, &mut samples, counts);
        }
        for name in 0..self.sums.len() {
            self.postings(NameId(name as u32));
        }
    }

    /// Names in order, and the values of each; restarts where they should be.
    fn names(&mut self) -> Option<()> {
        let mut last: Option<&str> = None;
        for (name, id) in self.shard.names().zip(0..) {
            let name = self.ok(name)?;
            if last.is_some_and(|l| l >= name) {
                self.wrong("label names in order", format!("{name:?} after {last:?}"));
            }
            last = Some(name);
            let n_values = self.ok(self.shard.value_count(NameId(id)))?;
            self.sums.push(Sums { n_values, ..Sums::default() });
            self.values(name, NameId(id), n_values);
        }
        Some(())
    }

    fn values(&mut self, name: &str, id: NameId, n: u32) {
        let mut last = String::new();
        for from in (0..n).step_by(VALUES_STEP as usize) {
            let mut values = Values::default();
            let read = self.shard.values(id, from..n.min(from.saturating_add(VALUES_STEP)), &mut values);
            if self.ok(read).is_none() {
                return;
            }
            for (value, at) in values.iter().zip(from..) {
                if at > 0 && *last >= *value {
                    self.wrong(format!("values of {name} in order"), format!("{value:?} after {last:?}"));
                }
                last.clear();
                last.push_str(value);
            }
            let first = values.iter().next().map(str::to_owned);
            let Some(first) = first else { continue };
            let found = self.shard.value_id(id, &first);
            if self.ok(found).is_some_and(|found| found != Some(ValueId(from))) {
                self.wrong(format!("{first:?} to be found among the values of {name}"), "another value");
            }
        }
    }

    /// A series' labels, key and place.
    fn series(&mut self, reader: &mut SeriesReader<'_>, ordinal: u32) {
        let ids = reader.label_ids(ordinal).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        for (name, value) in self.ok(ids).unwrap_or_default() {
            match self.sums.get_mut(name.0 as usize).filter(|s| value.0 < s.n_values) {
                Some(sums) => {
                    sums.values = sums.values.wrapping_add(hash(value.0, ordinal));
                    sums.having = sums.having.wrapping_add(hash(0, ordinal));
                }
                None => self.wrong(
                    "labels that there are",
                    format!("series {ordinal}: name {} value {}", name.0, value.0),
                ),
            }
        }
        let (Some(labels), Some(key)) = (self.ok(reader.labels(ordinal)), self.ok(reader.key(ordinal)))
        else {
            return;
        };
        let spec = self.shard.block().spec();
        let expected = labels.key(&spec.account_label, spec.seed);
        if key != expected {
            self.wrong(format!("series {ordinal} {labels} with key {expected:?}"), format!("{key:?}"));
        }
        let shard = match labels.get(&spec.account_label) {
            Some(account) => shard_of_account(account.as_bytes(), spec.shards),
            None => shard_of_fingerprint(labels.fingerprint(spec.seed), spec.shards),
        };
        if shard != self.shard.id() {
            self.wrong(format!("series of shard {}", self.shard.id()), format!("{labels}, of shard {shard}"));
        }
        let place = (key, labels);
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            self.wrong(
                "series in order of keys and labels",
                format!("series {ordinal} {} out of order", place.1),
            );
        }
        self.last = Some(place);
    }

    /// A series' chunks: one after another in the file and in time.
    fn chunks(
        &mut self,
        reader: &mut SeriesReader<'_>,
        ordinal: u32,
        samples: &mut Samples,
        counts: &mut BlockCounts,
    ) {
        let Some(refs) = self.ok(reader.chunk_refs(ordinal)) else { return };
        let window = self.shard.block().spec().window;
        let (coarse, window) = (CoarseTime::new(window), window.range());
        let mut last_t = i64::MIN;
        for chunk in refs {
            let Some(chunk) = self.ok(chunk) else { return };
            counts.chunks += 1;
            let (from, to) = chunk.extent();
            if from < self.chunks_end {
                self.wrong(
                    format!("chunks of series {ordinal} from {} on", self.chunks_end),
                    from.to_string(),
                );
            }
            self.chunks_end = self.chunks_end.max(to);
            let Some(bytes) = self.ok(self.shard.chunk(&chunk)) else { continue };
            samples.clear();
            let decoded = decode_checked(bytes, &self.shard, samples);
            if let Err(error) = decoded {
                let damage = self.shard.chunk_corruption(&chunk, &error);
                (self.found)(damage);
                continue;
            }
            counts.samples += samples.len() as u64;
            let Some((first, last)) = samples.ends() else { continue };
            // The row's coarse times are those of the samples: wider ones would cost reads, narrower ones would hide samples.
            let (from, to) = (TimestampMs(first), TimestampMs(last));
            let inside = window.contains(from) && window.contains(to);
            let is_told = inside && chunk.range == coarse.range(coarse.step(from), coarse.step(to));
            if !(is_told && is_sorted(samples) && first > last_t) {
                self.wrong(
                    format!("samples of series {ordinal} in order, in {window:?} and {:?}", chunk.range),
                    format!("{first} to {last} after {last_t}"),
                );
            }
            last_t = last_t.max(last);
        }
    }

    /// The lists of a name against what the rows said.
    fn postings(&mut self, name: NameId) {
        let rows = self.sums[name.0 as usize];
        let mut lists = Sums { n_values: rows.n_values, ..Sums::default() };
        let mut series = Bitmap::new();
        for value in 0..rows.n_values {
            series.clear();
            let read = self.shard.postings(name, &[ValueId(value)], &mut series);
            if self.ok(read).is_none() {
                return;
            }
            lists.values = series.iter().fold(lists.values, |sum, s| sum.wrapping_add(hash(value, s)));
        }
        series.clear();
        let read = self.shard.having(name, &mut series);
        if self.ok(read).is_none() {
            return;
        }
        lists.having = series.iter().fold(0, |sum: u64, s| sum.wrapping_add(hash(0, s)));
        if lists != rows {
            let name = self.shard.name(name).unwrap_or("(damaged)");
            self.wrong(format!("postings of {name} as the rows say"), "others");
        }
    }
}
