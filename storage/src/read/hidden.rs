//! What tombstones hide of one block: computed once per shard, when a query first wants it, and inherited by later views.

use super::tombstone::Tombstone;
use crate::block::{BlockShard, Corruption};
use crate::index::{Bitmap, LabelIndex, NameId, SCAN_VALUES, ValueId};
use crate::model::{BlockId, ShardCount, TimeRange, TombstoneId, Window};
use croaring::Portable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Bytes of bitmaps that a database keeps; what is beyond is computed for each query. Bitmaps of accounts take a few bytes,
/// those of every other series an eighth of a byte per series.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// The tombstones in force, and what they hide of each block that one of them touches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    pub(crate) by_id: BTreeMap<TombstoneId, Arc<Tombstone>>,
    blocks: BTreeMap<BlockId, Arc<HiddenBlock>>,
    kept: Arc<AtomicU64>,
}

impl Tombstones {
    /// `by_id` over these blocks, each with its window and the id that deletions judge it by. What is known from before is kept.
    pub(crate) fn over(
        &self,
        by_id: BTreeMap<TombstoneId, Arc<Tombstone>>,
        blocks: impl Iterator<Item = (BlockId, Window, BlockId)>,
        shards: ShardCount,
    ) -> Self {
        let mut hidden = BTreeMap::new();
        if !by_id.is_empty() {
            for (id, window, covered_as) in blocks {
                let touches = |t: &&Arc<Tombstone>| t.covers(covered_as) && t.range.overlaps(window.range());
                let touching: Vec<Arc<Tombstone>> = by_id.values().filter(touches).cloned().collect();
                if touching.is_empty() {
                    continue;
                }
                let known = self.blocks.get(&id).filter(|k| k.is_by(&touching));
                let new = || Arc::new(HiddenBlock::new(touching.clone(), shards, self.kept.clone()));
                hidden.insert(id, known.cloned().unwrap_or_else(new));
            }
        }
        Self { by_id, blocks: hidden, kept: self.kept.clone() }
    }

    /// What is hidden of a shard of a block from a reader of `range`; `None` where that is nothing.
    pub(crate) fn hidden(
        &self,
        shard: &BlockShard<'_>,
        range: TimeRange,
    ) -> Result<Option<Arc<HiddenShard>>, Corruption> {
        let Some(block) = self.blocks.get(&shard.block().spec().id) else { return Ok(None) };
        if !block.tombstones.iter().any(|t| t.range.overlaps(range)) {
            return Ok(None);
        }
        let hidden = block.of(shard)?;
        Ok((!hidden.is_empty()).then_some(hidden))
    }

    /// Those that may hide samples in `range`.
    pub(crate) fn in_range(&self, range: TimeRange) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.by_id.values().filter(move |t| t.range.overlaps(range))
    }
}

/// What is hidden of one block.
#[derive(Debug)]
struct HiddenBlock {
    /// Those that touch it; at least one.
    tombstones: Vec<Arc<Tombstone>>,
    /// By the shard's number.
    shards: Vec<OnceLock<Arc<HiddenShard>>>,
    /// What `shards` take of the database's share.
    bytes: AtomicU64,
    kept: Arc<AtomicU64>,
}

impl HiddenBlock {
    fn new(tombstones: Vec<Arc<Tombstone>>, shards: ShardCount, kept: Arc<AtomicU64>) -> Self {
        let shards = shards.iter().map(|_| OnceLock::new()).collect();
        Self { tombstones, shards, bytes: AtomicU64::new(0), kept }
    }

    /// Whether it is made by exactly these; a `final` one hides what it hid before.
    fn is_by(&self, tombstones: &[Arc<Tombstone>]) -> bool {
        self.tombstones.iter().map(|t| t.id).eq(tombstones.iter().map(|t| t.id))
    }

    fn of(&self, shard: &BlockShard<'_>) -> Result<Arc<HiddenShard>, Corruption> {
        let kept = self.shards.get(shard.id().index());
        if let Some(known) = kept.and_then(OnceLock::get) {
            return Ok(known.clone());
        }
        let hidden = Arc::new(HiddenShard::of(shard, &self.tombstones)?);
        let bytes = hidden.bytes();
        if let Some(kept) = kept
            && self.kept.load(Ordering::Relaxed).saturating_add(bytes) <= KEPT_BYTES_MAX
            && kept.set(hidden.clone()).is_ok()
        {
            self.kept.fetch_add(bytes, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(hidden)
    }
}

impl Drop for HiddenBlock {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// What is hidden of one shard of a block.
#[derive(Debug, Default)]
pub(crate) struct HiddenShard {
    /// The block's window.
    window: Option<Window>,
    /// Series of which nothing is left.
    whole: Bitmap,
    /// Other series, and when they are hidden.
    parts: Vec<(TimeRange, Bitmap)>,
}

impl HiddenShard {
    fn of(shard: &BlockShard<'_>, tombstones: &[Arc<Tombstone>]) -> Result<Self, Corruption> {
        let window = shard.block().spec().window;
        let mut hidden = Self { window: Some(window), ..Self::default() };
        for tombstone in tombstones {
            let series = tombstone.select(shard)?;
            match holds(tombstone.range, window.range()) {
                true => hidden.whole.or_inplace(&series),
                false => hidden.parts.push((tombstone.range, series)),
            }
        }
        hidden.parts.iter_mut().for_each(|(_, series)| series.andnot_inplace(&hidden.whole));
        let gone = hidden.without_chunks(shard)?;
        hidden.whole.or_inplace(&gone);
        for (_, series) in &mut hidden.parts {
            series.andnot_inplace(&gone);
            series.run_optimize();
        }
        hidden.parts.retain(|(_, series)| !series.is_empty());
        hidden.whole.run_optimize();
        Ok(hidden)
    }

    /// Those of the `parts` of which every chunk is hidden.
    fn without_chunks(&self, shard: &BlockShard<'_>) -> Result<Bitmap, Corruption> {
        let mut all = Bitmap::new();
        self.parts.iter().for_each(|(_, series)| all.or_inplace(series));
        let (mut reader, mut ranges, mut gone) = (shard.reader(), Vec::new(), Bitmap::new());
        for ordinal in all.iter() {
            self.ranges(ordinal, TimeRange::ALL, &mut ranges);
            let mut is_gone = true;
            for chunk in reader.chunk_refs(ordinal)? {
                is_gone &= self.is_hidden(chunk?.range, &ranges);
            }
            if is_gone {
                gone.add(ordinal);
            }
        }
        Ok(gone)
    }

    fn bytes(&self) -> u64 {
        let bytes = |b: &Bitmap| b.get_serialized_size_in_bytes::<Portable>() as u64;
        bytes(&self.whole) + self.parts.iter().map(|(_, b)| bytes(b)).sum::<u64>()
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.parts.is_empty()
    }

    /// The series of which a reader of `range` sees nothing, as far as whole ranges tell.
    pub(crate) fn gone(&self, range: TimeRange) -> Bitmap {
        let mut gone = self.whole.clone();
        let wanted = self.clip(range);
        for (_, series) in self.parts.iter().filter(|(hidden, _)| holds(*hidden, wanted)) {
            gone.or_inplace(series);
        }
        gone
    }

    /// Whether a part of one of `series` is hidden from a reader of `range`.
    pub(crate) fn hides_parts_of(&self, series: &Bitmap, range: TimeRange) -> bool {
        self.parts.iter().any(|(hidden, of)| hidden.overlaps(range) && of.intersect(series))
    }

    /// When a series is hidden, as far as a reader of `range` cares: ascending, apart from one another.
    pub(crate) fn ranges(&self, ordinal: u32, range: TimeRange, out: &mut Vec<TimeRange>) {
        out.clear();
        let of_series = |(hidden, of): &&(TimeRange, Bitmap)| hidden.overlaps(range) && of.contains(ordinal);
        out.extend(self.parts.iter().filter(of_series).map(|(hidden, _)| *hidden));
        out.sort_by_key(|r| r.after);
        out.dedup_by(|next, first| {
            let joins = next.after <= first.until;
            if joins {
                first.until = first.until.max(next.until);
            }
            joins
        });
    }

    /// Whether all of `chunk` lies in one of the ranges. A chunk's coarse range may reach beyond its window, the chunk does not.
    pub(crate) fn is_hidden(&self, chunk: TimeRange, ranges: &[TimeRange]) -> bool {
        let chunk = self.clip(chunk);
        ranges.iter().any(|r| holds(*r, chunk))
    }

    fn clip(&self, range: TimeRange) -> TimeRange {
        let Some(window) = self.window else { return range };
        TimeRange { after: range.after.max(window.start), until: range.until.min(window.end()) }
    }
}

fn holds(outer: TimeRange, inner: TimeRange) -> bool {
    outer.after <= inner.after && inner.until <= outer.until
}

/// The values of a label that only series in `gone` have.
pub(crate) fn values_gone<I: LabelIndex>(
    index: &I,
    name: NameId,
    gone: &Bitmap,
) -> Result<BTreeSet<ValueId>, I::Error> {
    let (mut ids, mut found) = (Vec::new(), BTreeSet::new());
    for series in gone.to_vec().chunks(SCAN_VALUES) {
        ids.clear();
        index.values_of(name, series, &mut ids)?;
        found.extend(ids.iter().flatten().copied());
    }
    let mut only = BTreeSet::new();
    for id in found {
        let mut series = Bitmap::new();
        index.postings(name, &[id], &mut series)?;
        if series.is_subset(gone) {
            only.insert(id);
        }
    }
    Ok(only)
}

/// Whether only series in `gone` have the label.
pub(crate) fn is_name_gone<I: LabelIndex>(index: &I, name: &str, gone: &Bitmap) -> Result<bool, I::Error> {
    let Some(name) = index.name_id(name)? else { return Ok(true) };
    let mut having = Bitmap::new();
    index.having(name, &mut having)?;
    Ok(having.is_subset(gone))
}
