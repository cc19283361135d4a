//! Making blocks: out of the head (a cut).

pub(crate) mod cut;
