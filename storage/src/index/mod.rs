//! The label index: matchers, the lists of series that have a label value, and the one selection over them that head and
//! blocks share.
//!
//! Values are interned per label name: a [`NameId`] stands for a name, and within it a [`ValueId`] for a value. Ids mean
//! nothing outside the shard (of the head or of a block) that gave them.

mod label_index;
mod matcher;
mod pattern;
mod postings;
mod select;

pub use croaring::Bitmap;
pub use label_index::{LabelIndex, NameId, SCAN_VALUES, ValueId, Values};
pub use matcher::{MatchOp, Matcher, MatcherError, accepts};
pub use pattern::{AUTOMATON_BYTES_MAX, PATTERN_BYTES_MAX};
pub use postings::{INLINE_IDS, Ids, PostingsList};
pub use select::select;

#[cfg(test)]
pub(crate) use select::tests::{label_sets, matchers};
