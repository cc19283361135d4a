//! Making blocks: out of the head (a cut).

mod chunker;
pub(crate) mod cut;

pub use chunker::Chunker;
