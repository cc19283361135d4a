//! Making blocks: out of the head (a cut), and out of other blocks.

mod chunker;
pub(crate) mod cut;
mod found;
pub(crate) mod merge;
pub(crate) mod passage;
pub(crate) mod plan;
pub(crate) mod reference;
pub(crate) mod retention;
mod split;

pub use chunker::Chunker;
