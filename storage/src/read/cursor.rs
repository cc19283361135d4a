//! The series of one shard that a selection found, from head and blocks merged.
//!
//! Without blocks the head's series come in order of their slots. With blocks, all sources come in order of their keys,
//! and the cursor is a merge join: what stands at the smallest key is one series, unless labels tell otherwise.

use super::block_rows::BlockRows;
use super::equal_labels::{EqualIds, LabelTexts};
use super::grouping::{Grouper, RowIds};
use super::head_chunks::HeadChunk;
use super::head_rows::HeadRows;
use super::pieces::Pieces;
use super::{ReadError, Wanted};
use crate::index::Bitmap;
use crate::model::{BlockId, HistogramSample, LabelSet, SeriesKey, TimeRange};
use hashbrown::HashMap;
use std::borrow::Cow;

/// The number of the head among the sources of a cursor; blocks count from 1.
const HEAD: u32 = 0;

/// Walks the selected series of one shard.
#[derive(Debug)]
pub struct SeriesCursor<'a> {
    head: HeadRows<'a>,
    blocks: Vec<BlockRows<'a>>,
    range: TimeRange,
    /// Whether the current series is in the head, and which blocks it is in.
    in_head: bool,
    in_blocks: Vec<usize>,
    pieces: Pieces,
    /// Whether the pieces are those of the current series.
    is_read: bool,
    ids: RowIds,
    /// Whether `ids` are those of the current series, in the first source that has it.
    has_ids: bool,
    other_ids: RowIds,
    wanted: Wanted,
    /// What is known of pairs of sources, by their numbers.
    equal: HashMap<(u32, u32), EqualIds>,
}

impl<'a> SeriesCursor<'a> {
    pub(super) fn new(
        head: HeadRows<'a>,
        blocks: Vec<BlockRows<'a>>,
        range: TimeRange,
        wanted: Wanted,
    ) -> Self {
        Self {
            head,
            blocks,
            range,
            in_head: false,
            in_blocks: Vec::new(),
            pieces: Pieces::default(),
            is_read: false,
            ids: RowIds::default(),
            has_ids: false,
            other_ids: RowIds::default(),
            wanted,
            equal: HashMap::new(),
        }
    }

    /// At most how many series are still to come.
    pub fn series_max(&self) -> u64 {
        self.head.remaining() + self.blocks.iter().map(BlockRows::remaining).sum::<u64>()
    }

    /// At least how many series are still to come: what one source has of them.
    pub fn series_min(&self) -> u64 {
        self.blocks.iter().map(BlockRows::remaining).max().unwrap_or(0).max(self.head.remaining())
    }

    /// Chunks that samples were read from so far, and their bytes.
    pub fn chunks_read(&self) -> (u64, u64) {
        self.pieces.read_so_far()
    }

    /// The blocks that have any of the series.
    pub(super) fn block_ids(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.blocks.iter().map(BlockRows::block_id)
    }

    /// Whether the current series is in the head.
    pub(super) fn is_in_head(&self) -> bool {
        self.in_head
    }

    /// How many chunks the samples of the current series in the range are in, and their bytes.
    pub(super) fn weigh(&mut self) -> (u64, u64) {
        let Self { head, blocks, in_blocks, range, in_head, .. } = self;
        let mut weight = if *in_head { head.weigh(*range) } else { (0, 0) };
        for at in in_blocks {
            let (chunks, bytes) = blocks[*at].weigh(*range);
            weight = (weight.0 + chunks, weight.1 + bytes);
        }
        weight
    }

    /// Moves to the next series; false at the end.
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        (self.is_read, self.has_ids) = (false, false);
        if self.in_head {
            self.head.skip();
        }
        for at in self.in_blocks.drain(..) {
            self.blocks[at].skip();
        }
        self.in_head = self.head.fill();
        if self.blocks.is_empty() {
            return Ok(self.in_head);
        }
        self.join()
    }

    /// Finds which sources stand at the smallest key with equal labels.
    fn join(&mut self) -> Result<bool, ReadError> {
        let mut least: Option<SeriesKey> = self.in_head.then(|| self.head.key());
        for block in &self.blocks {
            if let Some(key) = block.key() {
                least = Some(least.map_or(key, |l| l.min(key)));
            }
        }
        let Some(least) = least else { return Ok(false) };
        self.in_head = self.in_head && self.head.key() == least;
        for (at, block) in self.blocks.iter().enumerate() {
            if block.key() == Some(least) {
                self.in_blocks.push(at);
            }
        }
        if usize::from(self.in_head) + self.in_blocks.len() > 1 {
            self.has_ids = self.have_equal_labels()?;
            if !self.has_ids {
                self.keep_equal_labels()?;
            }
        }
        Ok(true)
    }

    /// Whether all sources at the current key have the same labels, as they nearly always do; `ids` are those of the first then.
    fn have_equal_labels(&mut self) -> Result<bool, ReadError> {
        let Self { head, blocks, in_head, in_blocks, ids, other_ids, equal, .. } = self;
        let mut others = in_blocks.iter().copied();
        let first = if *in_head { None } else { others.next() };
        match first {
            None => head.ids(ids),
            Some(at) => blocks[at].ids(ids)?,
        }
        for at in others {
            blocks[at].ids(other_ids)?;
            let of_first: &dyn LabelTexts<Error = ReadError> = match first {
                None => &*head,
                Some(first) => &blocks[first],
            };
            let pair = (first.map_or(HEAD, |at| blocks[at].number), blocks[at].number);
            if !equal.entry(pair).or_default().are_equal((ids, of_first), (other_ids, &blocks[at]))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Of several sources at one key, keeps those with the smallest label set: within a key, every source is sorted by
    /// labels, but for the head, whose order is by slot.
    fn keep_equal_labels(&mut self) -> Result<(), ReadError> {
        let mut of_blocks = Vec::with_capacity(self.in_blocks.len());
        for at in &self.in_blocks {
            of_blocks.push(self.blocks[*at].labels()?);
        }
        let of_head = self.in_head.then(|| self.head.labels());
        let least = of_blocks.iter().chain(&of_head).min().cloned();
        let least = least.expect("there are several sources");
        self.in_head = of_head.is_some_and(|l| l == least);
        let mut labels = of_blocks.iter();
        self.in_blocks.retain(|_| labels.next() == Some(&least));
        Ok(())
    }

    /// From now on slots of the head in `suspects` are looked at chunk by chunk when it is asked whether they can have samples.
    pub(super) fn suspect(&mut self, suspects: Bitmap) {
        self.head.suspects = suspects;
    }

    /// Whether the current series can have samples in the range, told without reading any.
    pub(super) fn may_have_samples(&mut self) -> bool {
        let Self { blocks, in_blocks, range, .. } = self;
        in_blocks.iter().any(|at| blocks[*at].may_have_samples(*range))
            || self.in_head && self.head.may_have_samples(self.range)
    }

    /// The floats of the current series in the range: times strictly ascending, staleness markers included.
    pub fn samples(&mut self) -> Result<(&[i64], &[f64]), ReadError> {
        self.read();
        Ok(self.pieces.columns(self.range))
    }

    /// The histograms of the current series in the range: times strictly ascending, none of them that of a float. They are read
    /// together with the floats, once.
    pub fn histograms(&mut self) -> Result<&[HistogramSample], ReadError> {
        self.read();
        Ok(self.pieces.histograms(self.range))
    }

    /// Appends the times of the current series' samples in the range, if they can be told without reading values and none of them is
    /// a staleness marker: whether they can. That of the newest alone where no more is wanted, and none where it is a
    /// staleness marker.
    pub fn times(&mut self, out: &mut Vec<i64>) -> bool {
        let Self { head, blocks, range, in_head, in_blocks, pieces, wanted, .. } = self;
        if *in_head
            && *wanted == Wanted::Newest
            && let Some((t, is_stale)) = head.newest()
            && t <= range.until
        {
            out.extend((!is_stale && t > range.after).then_some(t.0));
            return true;
        }
        pieces.clear_times();
        let in_blocks_alone = !(*in_head && head.has_samples(*range));
        let are_told = in_blocks_alone && in_blocks.iter().all(|at| blocks[*at].times(*range, pieces));
        if are_told {
            out.extend_from_slice(pieces.times(*range));
        }
        are_told
    }

    fn read(&mut self) {
        if std::mem::replace(&mut self.is_read, true) {
            return;
        }
        self.pieces.clear();
        for at in &self.in_blocks {
            self.blocks[*at].pieces(self.range, &mut self.pieces);
        }
        if self.in_head {
            self.head.pieces(self.range, &mut self.pieces);
        }
    }

    /// Adds what the head has of the current series outside the view's blocks, place by place, newest first. On an error `out`
    /// has what was found before it.
    pub fn head_chunks(&mut self, out: &mut Vec<HeadChunk>) -> Result<(), ReadError> {
        if self.in_head { self.head.chunks(out) } else { Ok(()) }
    }

    /// The current series' labels.
    pub fn labels(&mut self) -> Result<LabelSet, ReadError> {
        match self.in_blocks.first() {
            _ if self.in_head => Ok(self.head.labels()),
            Some(at) => self.blocks[*at].labels(),
            None => Err(ReadError::corrupt("no current series".into())),
        }
    }

    /// One label of the current series.
    pub fn label(&mut self, name: &str) -> Result<Option<Cow<'_, str>>, ReadError> {
        match self.in_blocks.first() {
            _ if self.in_head => Ok(self.head.label(name).map(Cow::Owned)),
            Some(at) => Ok(self.blocks[*at].label(name)?.map(Cow::Owned)),
            None => Ok(None),
        }
    }

    /// Calls `f` with the names of the current series.
    pub(super) fn for_each_name(&mut self, mut f: impl FnMut(&str)) -> Result<(), ReadError> {
        self.labels()?.iter().for_each(|l| f(l.name));
        Ok(())
    }

    /// The number of the current series' group: dense from 0 in order of first appearance.
    pub fn group(&mut self, grouper: &mut Grouper) -> Result<u32, ReadError> {
        let Self { head, blocks, in_blocks, ids, has_ids, .. } = self;
        if self.in_head {
            if !*has_ids {
                head.ids(ids);
                *has_ids = true;
            }
            return grouper.group(HEAD, ids, |name| Ok(head.name(name)), || Ok(head.labels()));
        }
        let at = in_blocks.first().ok_or_else(|| ReadError::corrupt("no current series".into()))?;
        let block = &mut blocks[*at];
        if !*has_ids {
            block.ids(ids)?;
            *has_ids = true;
        }
        let block = std::cell::RefCell::new(block);
        let number = block.borrow().number;
        grouper.group(number, ids, |name| block.borrow().name(name), || block.borrow_mut().labels())
    }
}

impl LabelTexts for HeadRows<'_> {
    type Error = ReadError;

    fn name(&self, name: u32) -> Result<String, ReadError> {
        Ok(self.name(name))
    }

    fn value(&self, name: u32, value: u32) -> Result<String, ReadError> {
        Ok(self.value(name, value))
    }
}

impl LabelTexts for BlockRows<'_> {
    type Error = ReadError;

    fn name(&self, name: u32) -> Result<String, ReadError> {
        self.name(name)
    }

    fn value(&self, name: u32, value: u32) -> Result<String, ReadError> {
        self.value(name, value)
    }
}
