//! How many series and values there are, and what has most of them: from the counts of postings, without a look at series or
//! chunks.
//!
//! A name's values lie apart in every shard and block, in any order. They are added up by the hash of their text, a bounded
//! number at a time: a name with more values is gone through once for each part of the hash's range. A second pass, which has
//! the texts at hand, takes those that belong on the lists. No lock is held for more than a thousand values.

use super::View;
use crate::block::{BlockShard, Corruption};
use crate::head::shard::{Shard, ShardLabels};
use crate::index::{Bitmap, LabelIndex, NameId, SCAN_VALUES, Values};
use crate::model::{METRIC_NAME, TimeRange};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Values that are added up at once: 16 MiB or so of hashes and counts.
const VALUES_AT_ONCE: u64 = 1 << 19;

/// What has most of something: a name and a count, greatest first, names deciding among equals.
pub type Top = Vec<(String, u64)>;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The head.
    Head,
    /// Blocks whose window overlaps a range.
    Blocks(TimeRange),
    /// Both.
    All(TimeRange),
}

impl Counted {
    fn head(self) -> bool {
        !matches!(self, Self::Blocks(_))
    }

    fn blocks(self) -> Option<TimeRange> {
        match self {
            Self::Head => None,
            Self::Blocks(range) | Self::All(range) => Some(range),
        }
    }
}

/// Series and values by label. Values are distinct ones. Series are counted in the head and in each block, and added up: one
/// that is in several of them counts in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series, each part's counted.
    pub series: u64,
    /// The head and blocks that were counted; series are distinct where it is one.
    pub parts: u64,
    /// Series by metric name.
    pub series_by_metric: Top,
    /// Series by account.
    pub series_by_account: Top,
    /// Series by label name.
    pub series_by_label: Top,
    /// Values by label name.
    pub values_by_label: Top,
    /// Bytes of values by label name, as often as they are stored.
    pub bytes_by_label: Top,
    /// Series by `label=value`.
    pub series_by_pair: Top,
    /// Distinct pairs of label and value.
    pub pairs: u64,
}

impl View {
    /// Counts series and values; each list has the `limit` greatest. Walks all label values twice, and reads of each list of
    /// series only how long it is. Memory is bounded. What is damaged is left out, and told by [`View::warnings`].
    pub fn cardinality(&self, counted: Counted, limit: usize) -> Cardinality {
        self.cardinality_in_steps(counted, limit, VALUES_AT_ONCE)
    }

    pub(crate) fn cardinality_in_steps(&self, counted: Counted, limit: usize, at_once: u64) -> Cardinality {
        let blocks: Vec<_> = match counted.blocks() {
            Some(range) => {
                self.missing.note_aside(&self.state.aside, range);
                self.blocks_in(range).cloned().collect()
            }
            None => Vec::new(),
        };
        let of_head = self.head.shards.iter().map(Part::Head).filter(|_| counted.head());
        let parts = of_head.chain(blocks.iter().flat_map(|b| b.shards()).map(Part::Block)).collect();
        let count = Count { view: self, parts, at_once: at_once.max(1) };
        let mut found = count.run(limit);
        found.parts = u64::from(counted.head()) + blocks.len() as u64;
        found
    }
}

/// One shard of the head or of a block.
enum Part<'a> {
    Head(&'a Shard),
    Block(BlockShard<'a>),
}

impl Part<'_> {
    fn names(&self) -> Result<Vec<(String, NameId)>, Corruption> {
        match self {
            Self::Head(shard) => {
                let index = shard.index.read();
                let name = |text: &str| Some((text.to_owned(), index.name_id(text)?));
                Ok(index.names_in_use().filter_map(name).collect())
            }
            Self::Block(shard) => {
                shard.names().zip(0..).map(|(text, id)| Ok((text?.to_owned(), NameId(id)))).collect()
            }
        }
    }

    fn value_range(&self, name: NameId) -> Result<Range<u32>, Corruption> {
        match self {
            Self::Head(shard) => ShardLabels(shard).value_range(name, "").map_err(|never| match never {}),
            Self::Block(shard) => shard.value_range(name, ""),
        }
    }

    fn having(&self, name: NameId) -> Result<u64, Corruption> {
        let mut having = Bitmap::new();
        match self {
            Self::Head(shard) => ShardLabels(shard).having(name, &mut having).map_err(|never| match never {}),
            Self::Block(shard) => shard.having(name, &mut having),
        }?;
        Ok(having.cardinality())
    }

    fn series(&self) -> u64 {
        match self {
            Self::Head(shard) => shard.series.lock().live() as u64,
            Self::Block(shard) => u64::from(shard.series_count()),
        }
    }

    fn slice(
        &self,
        name: NameId,
        ids: Range<u32>,
        texts: &mut Values,
        counts: &mut Vec<u64>,
    ) -> Result<(), Corruption> {
        texts.clear();
        counts.clear();
        match self {
            Self::Head(shard) => {
                let index = shard.index.read();
                index.copy_values(name, ids.clone(), texts);
                index.count_series(name, ids, counts);
                Ok(())
            }
            Self::Block(shard) => {
                shard.values(name, ids.clone(), texts)?;
                shard.counts(name, ids, counts)
            }
        }
    }
}

/// A name in one part.
struct Place {
    part: usize,
    name: NameId,
    values: Range<u32>,
}

struct Count<'a> {
    view: &'a View,
    parts: Vec<Part<'a>>,
    at_once: u64,
}

impl Count<'_> {
    fn run(&self, limit: usize) -> Cardinality {
        let mut lists = Lists::new(limit);
        let mut found =
            Cardinality { series: self.parts.iter().map(Part::series).sum(), ..Default::default() };
        for (name, places) in self.names() {
            let of_name = self.count(&name, &places, &mut lists);
            found.pairs += of_name.values;
            lists.series_by_label.offer(of_name.series, &name);
            lists.values_by_label.offer(of_name.values, &name);
            lists.bytes_by_label.offer(of_name.bytes, &name);
        }
        Cardinality {
            series_by_metric: lists.metrics.into_top(),
            series_by_account: lists.accounts.into_top(),
            series_by_label: lists.series_by_label.into_top(),
            values_by_label: lists.values_by_label.into_top(),
            bytes_by_label: lists.bytes_by_label.into_top(),
            series_by_pair: lists.pairs.into_top(),
            ..found
        }
    }

    /// Every name, with the parts that have it.
    fn names(&self) -> BTreeMap<String, Vec<Place>> {
        let mut names = BTreeMap::<String, Vec<Place>>::new();
        for (at, part) in self.parts.iter().enumerate() {
            for (text, name) in self.view.missing.or_note(part.names()).into_iter().flatten() {
                if let Some(values) = self.view.missing.or_note(part.value_range(name)) {
                    names.entry(text).or_default().push(Place { part: at, name, values });
                }
            }
        }
        names
    }

    /// Counts the values of one name, and offers them to the lists.
    fn count(&self, name: &str, places: &[Place], lists: &mut Lists) -> OfName {
        let having = |p: &Place| self.view.missing.or_note(self.parts[p.part].having(p.name));
        let mut of_name = OfName { series: places.iter().filter_map(having).sum(), ..OfName::default() };
        let values: u64 = places.iter().map(|p| p.values.len() as u64).sum();
        let passes = values.div_ceil(self.at_once);
        let is_metric = name == METRIC_NAME;
        let is_account = name == &*self.view.head.account_label;
        for pass in 0..passes {
            let mut counts = HashMap::<u64, u64, ByItself>::default();
            self.for_each_value(places, Pass { pass, passes }, |hash, text, series| {
                of_name.bytes += text.len() as u64;
                *counts.entry(hash).or_default() += series;
            });
            debug_assert!(counts.len() as u64 <= 2 * self.at_once + 64, "hashes are spread evenly");
            of_name.values += counts.len() as u64;
            self.for_each_value(places, Pass { pass, passes }, |hash, text, _| {
                // Each value once, though several parts have it.
                let series = counts.get_mut(&hash).map_or(0, std::mem::take);
                lists.pairs.offer_pair(series, name, text);
                if is_metric {
                    lists.metrics.offer(series, text);
                }
                if is_account {
                    lists.accounts.offer(series, text);
                }
            });
        }
        of_name
    }

    /// Calls `f` with hash, text and number of series of each value in use whose hash is in the pass.
    fn for_each_value(&self, places: &[Place], pass: Pass, mut f: impl FnMut(u64, &str, u64)) {
        let (mut texts, mut counts) = (Values::default(), Vec::new());
        for Place { part, name, values } in places {
            for from in values.clone().step_by(SCAN_VALUES) {
                let ids = from..values.end.min(from.saturating_add(SCAN_VALUES as u32));
                let read = self.parts[*part].slice(*name, ids, &mut texts, &mut counts);
                if self.view.missing.or_note(read).is_none() {
                    continue;
                }
                for (text, series) in texts.iter().zip(&counts).filter(|(_, n)| **n > 0) {
                    let hash = xxh3_64_with_seed(text.as_bytes(), self.view.head.seed.0);
                    if pass.has(hash) {
                        f(hash, text, *series);
                    }
                }
            }
        }
    }
}

/// A part of the range of hashes.
#[derive(Clone, Copy)]
struct Pass {
    pass: u64,
    passes: u64,
}

impl Pass {
    fn has(self, hash: u64) -> bool {
        (u128::from(hash) * u128::from(self.passes)) >> 64 == u128::from(self.pass)
    }
}

/// One name's values.
#[derive(Default)]
struct OfName {
    series: u64,
    values: u64,
    bytes: u64,
}

/// Keys that are hashes already.
type ByItself = std::hash::BuildHasherDefault<Itself>;

#[derive(Default)]
struct Itself(u64);

impl std::hash::Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole hashes are keys");
    }

    fn write_u64(&mut self, hash: u64) {
        // The upper bits are alike within a pass, and are what a table looks at first.
        self.0 = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

struct Lists {
    metrics: TopList,
    accounts: TopList,
    pairs: TopList,
    series_by_label: TopList,
    values_by_label: TopList,
    bytes_by_label: TopList,
}

impl Lists {
    fn new(limit: usize) -> Self {
        let list = || TopList::new(limit);
        Self {
            metrics: list(),
            accounts: list(),
            pairs: list(),
            series_by_label: list(),
            values_by_label: list(),
            bytes_by_label: list(),
        }
    }
}

/// The greatest of what is offered, in bounded memory.
pub(crate) struct TopList {
    limit: usize,
    /// The least of them on top.
    heap: BinaryHeap<(Reverse<u64>, String)>,
    scratch: String,
}

impl TopList {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new(), scratch: String::new() }
    }

    /// Offers a name with a count. Nothing is allocated for what does not get on the list.
    pub(crate) fn offer(&mut self, n: u64, name: &str) {
        if n == 0 || self.limit == 0 {
            return;
        }
        if self.heap.len() >= self.limit {
            let is_greater =
                self.heap.peek().is_some_and(|(least, last)| (n, last.as_str()) > (least.0, name));
            if !is_greater {
                return;
            }
            self.heap.pop();
        }
        self.heap.push((Reverse(n), name.to_owned()));
    }

    fn offer_pair(&mut self, n: u64, name: &str, value: &str) {
        let is_small =
            self.heap.len() >= self.limit && self.heap.peek().is_some_and(|(least, _)| n < least.0);
        if n == 0 || is_small {
            return;
        }
        let mut pair = std::mem::take(&mut self.scratch);
        pair.clear();
        pair.extend([name, "=", value]);
        self.offer(n, &pair);
        self.scratch = pair;
    }

    pub(crate) fn into_top(self) -> Top {
        self.heap.into_sorted_vec().into_iter().map(|(n, name)| (name, n.0)).collect()
    }
}

#[cfg(test)]
mod tests;
