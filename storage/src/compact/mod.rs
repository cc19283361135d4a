//! Making blocks: out of the head (a cut).

pub(crate) mod chunker;
pub(crate) mod cut;
