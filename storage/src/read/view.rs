//! A view: the blocks and the head as one consistent whole, for as long as a query runs.

use super::changes::{Change, ChangeLog, Mark};
use super::cursor::SeriesCursor;
use super::head_rows::HeadRows;
use super::hidden::{Tombstones, is_name_gone, values_gone};
use super::missing::{BlockAside, Missing};
use super::stop::Stop;
use super::texts::Texts;
use super::{ReadError, Wanted, block_rows::BlockRows};
use crate::block::{Block, BlockShard, Tier};
use crate::head::Head;
use crate::head::cuts::CutPositions;
use crate::head::shard::{Shard, ShardLabels};
use crate::index::{Bitmap, LabelIndex, MatchOp, Matcher, SCAN_VALUES, ValueId, Values, select};
use crate::model::{BlockId, LabelSet, ShardId, TimeRange, shard_of_account};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a view is of. Swapped as a whole when blocks come or go.
#[derive(Clone, Debug)]
pub(crate) struct ViewState {
    pub(crate) blocks: BTreeMap<BlockId, Arc<Block>>,
    /// What of the head-chunk log is in `blocks`.
    pub(crate) cuts: CutPositions,
    /// Blocks of the manifest that cannot be opened.
    pub(crate) aside: Arc<[BlockAside]>,
    pub(crate) tombstones: Arc<Tombstones>,
}

/// One consistent view. Everything acknowledged before it was taken is visible in it; what arrives while it is held may be.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) head: Arc<Head>,
    pub(super) state: Arc<ViewState>,
    pub(super) missing: Arc<Missing>,
    stop: Stop,
    /// What changes, and since when this view does not know it.
    changes: Option<(Mark, Arc<ChangeLog>)>,
}

impl View {
    pub(crate) fn new(head: Arc<Head>, state: Arc<ViewState>) -> Self {
        Self { head, state, missing: Arc::default(), stop: Stop::default(), changes: None }
    }

    /// The same, taken after `mark`.
    pub(crate) fn marked(self, mark: Mark, changes: Arc<ChangeLog>) -> Self {
        Self { changes: Some((mark, changes)), ..self }
    }

    /// A state of the data that this view knows all of, as far as times had settled; `None` where nobody counts changes.
    pub fn mark(&self) -> Option<Mark> {
        self.changes.as_ref().map(|(mark, _)| *mark)
    }

    /// What has changed of settled times since the change `number`, up to now.
    pub fn changes_since(&self, number: u64) -> Vec<Change> {
        self.changes.as_ref().map_or_else(Vec::new, |(_, changes)| changes.since(number))
    }

    /// The same, where a search for series fails with [`ReadError::Stopped`] soon after `is_over` says so.
    pub fn until(self, is_over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { stop: Stop::when(is_over), ..self }
    }

    /// What was left out of what was read through this view so far, since it is damaged; in words, for those who get the
    /// answer. Empty as long as nothing is wrong.
    pub fn warnings(&self) -> Vec<String> {
        self.missing.texts()
    }

    /// The blocks that cannot be opened.
    pub fn blocks_aside(&self) -> &[BlockAside] {
        &self.state.aside
    }

    /// Fails once nobody waits any more.
    pub(super) fn check_stop(&self) -> Result<(), ReadError> {
        self.stop.check()
    }

    /// Starts reading the series that all `matchers` accept and that may have samples in `range`: one cursor for each shard that
    /// may hold any.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
    ) -> Result<Vec<SeriesCursor<'_>>, ReadError> {
        let mut cursors = Vec::new();
        for shard in self.shards_for(matchers) {
            let cursor = self.select_in(shard, matchers, range, wanted)?;
            cursors.extend((cursor.series_max() > 0).then_some(cursor));
        }
        Ok(cursors)
    }

    fn select_in(
        &self,
        shard: &Shard,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
    ) -> Result<SeriesCursor<'_>, ReadError> {
        let mut blocks = Vec::new();
        let missing = &*self.missing;
        missing.note_aside(&self.state.aside, range);
        missing.note_head(&self.head, range);
        for (number, block) in self.blocks_in(range).enumerate() {
            let Some(of_shard) = block.shard(shard.id) else { continue };
            let found = self.stop.select(&of_shard, matchers)?;
            let Some(mut ordinals) = missing.or_note(found) else { continue };
            // Where it cannot be told what was deleted, nothing is shown.
            let hidden = self.state.tombstones.hidden(&of_shard, range);
            let Some(mut hidden) = missing.or_note(hidden) else { continue };
            if let Some(of_series) = &hidden {
                ordinals.andnot_inplace(&of_series.gone(range));
                hidden = hidden.filter(|h| h.hides_parts_of(&ordinals, range));
            }
            if !ordinals.is_empty() {
                blocks.push(BlockRows::new(number as u32 + 1, of_shard, &ordinals, hidden, missing));
            }
        }
        let shard = &self.head.shards[shard.id.index()];
        let slots = match self.stop.select(&ShardLabels(shard), matchers)? {
            Ok(slots) => slots.to_vec(),
            Err(never) => match never {},
        };
        let mut head = HeadRows::new(&self.head, shard, &self.state.cuts, slots, wanted, missing);
        if !blocks.is_empty() {
            head.sort_by_key(range, &self.stop)?;
        }
        Ok(SeriesCursor::new(head, blocks, range, wanted))
    }

    /// The shards that can hold a series that the matchers accept.
    pub(crate) fn shards_for(&self, matchers: &[Matcher]) -> impl Iterator<Item = &Shard> {
        let account = matchers.iter().find(|m| {
            m.name() == &*self.head.account_label && m.op() == MatchOp::Equal && !m.value().is_empty()
        });
        let one = account.map(|m| shard_of_account(m.value().as_bytes(), self.head.shard_count()));
        self.head.shards.iter().filter(move |s| one.is_none_or(|id| s.id == id))
    }

    /// Those that have samples; what others have in their chunks are aggregates.
    pub(super) fn blocks_in(&self, range: TimeRange) -> impl Iterator<Item = &Arc<Block>> {
        let has_some =
            move |b: &&Arc<Block>| b.spec().tier == Tier::Raw && b.spec().window.range().overlaps(range);
        self.state.blocks.values().filter(has_some)
    }

    /// The label names of the series that any of `selectors` accepts (of all series if there is none), sorted. Time is
    /// looked at by block: the head is part of every range.
    pub fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, ReadError> {
        let mut names = BTreeSet::new();
        if selectors.is_empty() {
            self.missing.note_aside(&self.state.aside, range);
            self.missing.note_head(&self.head, range);
            for shard in &self.head.shards {
                self.head_names(shard, range, &mut names);
                for of_shard in self.blocks_in(range).filter_map(|b| b.shard(shard.id)) {
                    self.missing.or_note(self.block_names(&of_shard, range, &mut names));
                }
            }
        }
        self.for_each_selected(selectors, range, |cursor| {
            self.missing.or_note(cursor.for_each_name(|name| {
                names.insert(name.to_string());
            }));
            Ok(true)
        })?;
        Ok(names.into_iter().take(limit.unwrap_or(usize::MAX)).collect())
    }

    /// The values of the label `name` on such series, sorted.
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<String>, ReadError> {
        let mut values = Texts::new(limit);
        if selectors.is_empty() {
            self.missing.note_aside(&self.state.aside, range);
            self.missing.note_head(&self.head, range);
            for shard in &self.head.shards {
                head_values(shard, name, &self.head_gone(shard, range), &mut values);
                for of_shard in self.blocks_in(range).filter_map(|b| b.shard(shard.id)) {
                    let gone = self.gone(&of_shard, range);
                    let found = gone.and_then(|gone| block_values(&of_shard, name, &gone, &mut values));
                    self.missing.or_note(found);
                }
            }
        }
        self.for_each_selected(selectors, range, |cursor| {
            if let Some(Some(value)) = self.missing.or_note(cursor.label(name)) {
                values.add(&value);
            }
            Ok(true)
        })?;
        Ok(values.finish())
    }

    /// The labels of such series, without duplicates, at most `limit` of them.
    pub fn series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: Option<usize>,
    ) -> Result<Vec<LabelSet>, ReadError> {
        let mut series = BTreeSet::new();
        let limit = limit.unwrap_or(usize::MAX);
        self.for_each_selected(selectors, range, |cursor| {
            series.extend(self.missing.or_note(cursor.labels()));
            Ok(series.len() < limit)
        })?;
        Ok(series.into_iter().collect())
    }

    /// Visits the series of each selector, until `f` says false.
    fn for_each_selected(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        mut f: impl FnMut(&mut SeriesCursor<'_>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        for matchers in selectors {
            for shard in self.shards_for(matchers) {
                let mut cursor = self.select_in(shard, matchers, range, Wanted::Newest)?;
                cursor.suspect(self.suspects(shard, range));
                while cursor.advance()? {
                    if cursor.may_have_samples() && !f(&mut cursor)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The series of a shard's head whose newest sample may be deleted: those of which the head knows it, since a deletion may be
    /// reclaimed before they leave, and those that a deletion in `range` accepts.
    fn suspects(&self, shard: &Shard, range: TimeRange) -> Bitmap {
        let mut suspects = shard.series.lock().doubted().clone();
        for tombstone in self.state.tombstones.in_range(range) {
            if self.shards_for(&tombstone.matchers).any(|s| s.id == shard.id) {
                match select(&ShardLabels(shard), &tombstone.matchers) {
                    Ok(slots) => suspects.or_inplace(&slots),
                    Err(never) => match never {},
                }
            }
        }
        suspects
    }

    /// Those of them of which the head has nothing in `range`.
    fn head_gone(&self, shard: &Shard, range: TimeRange) -> Bitmap {
        let (suspects, mut gone) = (self.suspects(shard, range), Bitmap::new());
        let slots = suspects.to_vec();
        let wanted = Wanted::Newest;
        let mut rows = HeadRows::new(&self.head, shard, &self.state.cuts, slots, wanted, &self.missing);
        while rows.fill() {
            if !rows.has_samples(range) {
                gone.add(rows.slot().0);
            }
            rows.skip();
        }
        gone
    }

    /// The series of a block's shard of which nothing is left in `range`.
    fn gone(&self, shard: &BlockShard<'_>, range: TimeRange) -> Result<Bitmap, ReadError> {
        let hidden = self.state.tombstones.hidden(shard, range)?;
        Ok(hidden.map_or_else(Bitmap::new, |h| h.gone(range)))
    }

    fn head_names(&self, shard: &Shard, range: TimeRange, out: &mut BTreeSet<String>) {
        let gone = self.head_gone(shard, range);
        let names: Vec<String> = shard.index.read().names_in_use().map(String::from).collect();
        let is_gone = |name: &String| match is_name_gone(&ShardLabels(shard), name, &gone) {
            Ok(is_gone) => is_gone,
            Err(never) => match never {},
        };
        out.extend(names.into_iter().filter(|name| gone.is_empty() || !is_gone(name)));
    }

    fn block_names(
        &self,
        shard: &BlockShard<'_>,
        range: TimeRange,
        out: &mut BTreeSet<String>,
    ) -> Result<(), ReadError> {
        let gone = self.gone(shard, range)?;
        for name in shard.names().filter_map(|name| self.missing.or_note(name)) {
            if gone.is_empty() || !is_name_gone(shard, name, &gone)? {
                out.insert(name.to_string());
            }
        }
        Ok(())
    }

    /// The blocks, oldest window first.
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        let mut blocks: Vec<_> = self.state.blocks.values().cloned().collect();
        blocks.sort_by_key(|b| b.spec().window.start);
        blocks
    }

    /// How many series a shard's head selects, for statistics.
    pub fn head_series(&self, shard: ShardId, matchers: &[Matcher]) -> u64 {
        let Some(shard) = self.head.shards.get(shard.index()) else { return 0 };
        let found: Result<Bitmap, std::convert::Infallible> = select(&ShardLabels(shard), matchers);
        match found {
            Ok(slots) => slots.cardinality(),
            Err(never) => match never {},
        }
    }
}

/// Adds the values that a shard of a block has of a label.
fn block_values(shard: &BlockShard<'_>, name: &str, gone: &Bitmap, out: &mut Texts) -> Result<(), ReadError> {
    let Some(id) = shard.name_id(name)? else { return Ok(()) };
    let values_gone = values_gone(shard, id, gone)?;
    let mut texts = Values::default();
    let n = shard.value_count(id)?;
    for from in (0..n).step_by(SCAN_VALUES) {
        texts.clear();
        shard.values(id, from..n.min(from + SCAN_VALUES as u32), &mut texts)?;
        let left = (from..).zip(texts.iter()).filter(|(id, _)| !values_gone.contains(&ValueId(*id)));
        left.for_each(|(_, text)| out.add(text));
    }
    Ok(())
}

/// Adds the values that a shard's head has of a label, a thousand per hold of the lock.
fn head_values(shard: &Shard, name: &str, gone: &Bitmap, out: &mut Texts) {
    let Some((id, n)) = ({
        let index = shard.index.read();
        index.name_id(name).map(|id| (id, index.value_count(id)))
    }) else {
        return;
    };
    let values_gone = match values_gone(&ShardLabels(shard), id, gone) {
        Ok(values) => values,
        Err(never) => match never {},
    };
    let mut texts = Values::default();
    for from in (0..n).step_by(SCAN_VALUES) {
        texts.clear();
        shard.index.read().copy_values_in_use(id, from..n.min(from + SCAN_VALUES as u32), &mut texts);
        let is_left = |(id, text): &(u32, &str)| !text.is_empty() && !values_gone.contains(&ValueId(*id));
        (from..).zip(texts.iter()).filter(is_left).for_each(|(_, text)| out.add(text));
    }
}
