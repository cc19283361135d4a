//! What a selection needs to know of a shard's labels, be they in memory or on disk.

use super::Bitmap;
use std::ops::Range;

/// How many values, or series, are asked for in one call: what an index behind a lock may do per lock hold.
pub const SCAN_VALUES: usize = 1024;

/// A label name within one shard's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

/// A value within one label name of one shard's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// Texts copied out of an index: a scratch buffer that is filled many times.
#[derive(Clone, Debug, Default)]
pub struct Values {
    text: String,
    ends: Vec<usize>,
}

impl Values {
    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds a text.
    pub fn push(&mut self, value: &str) {
        self.text.push_str(value);
        self.ends.push(self.text.len());
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + '_ {
        let mut from = 0;
        self.ends.iter().map(move |&end| &self.text[std::mem::replace(&mut from, end)..end])
    }
}

/// The labels of one shard's series. A series is a `u32`: a slot of the head, an ordinal of a block.
///
/// Every call stands alone, so that an index behind a lock takes it per call and regular expressions run outside it.
/// Between two calls series and values may be added. A series' labels never change, and while a selection runs no id that
/// a series in it had, of series or value, may come to stand for another one.
pub trait LabelIndex {
    /// Why reading fails; [`std::convert::Infallible`] in memory.
    type Error;

    /// The id of a label name, `None` if no series has it.
    fn name_id(&self, name: &str) -> Result<Option<NameId>, Self::Error>;

    /// The ids of `name`'s values that may begin with `prefix`: all of them where values are not sorted. Ids that stand for
    /// nothing any more may be among them.
    fn value_range(&self, name: NameId, prefix: &str) -> Result<Range<u32>, Self::Error>;

    /// The id of one value.
    fn value_id(&self, name: NameId, value: &str) -> Result<Option<ValueId>, Self::Error>;

    /// Pushes the texts of `ids` (at most [`SCAN_VALUES`]) onto `out`, one for each id in ascending order; an empty one for
    /// an id that stands for nothing.
    fn values(&self, name: NameId, ids: Range<u32>, out: &mut Values) -> Result<(), Self::Error>;

    /// Pushes onto `out`, for each of `ids` (at most [`SCAN_VALUES`]), how many series have the value: none where the id
    /// stands for nothing.
    fn counts(&self, name: NameId, ids: Range<u32>, out: &mut Vec<u64>) -> Result<(), Self::Error>;

    /// Adds to `out` the series that have one of `values` (at most [`SCAN_VALUES`]).
    fn postings(&self, name: NameId, values: &[ValueId], out: &mut Bitmap) -> Result<(), Self::Error>;

    /// Adds to `out` the series that have the label at all.
    fn having(&self, name: NameId, out: &mut Bitmap) -> Result<(), Self::Error>;

    /// Pushes onto `out`, for each of `series` (at most [`SCAN_VALUES`], ascending), its value of `name`.
    fn values_of(
        &self,
        name: NameId,
        series: &[u32],
        out: &mut Vec<Option<ValueId>>,
    ) -> Result<(), Self::Error>;

    /// Adds all series to `out`.
    fn all(&self, out: &mut Bitmap) -> Result<(), Self::Error>;
}
