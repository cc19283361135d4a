//! Encodings of samples: open chunks that grow in place, sealed chunks, shared time columns. `docs/format/chunk.md` is the
//! layout.
//!
//! ```text
//! samples ──► OpenChunk (byte tokens, in the head) ──► seal ──► chunk (constant, decimals, XOR, …) ──► decode
//!                └──► to_chunk (as it is) ──► from_chunk
//! ```
//!
//! Chunks of a block share time columns and may rest on one another ([`Shared`]); all others stand on their own.
//! Decoding gives plain columns and is safe on arbitrary bytes: no panic, and never more memory than 65,535 samples take.
//! Every round trip is exact to the bit.

mod bitpack;
mod bits;
mod chunk;
mod constant;
mod decimal;
mod decode;
mod difference;
mod error;
mod exceptions;
mod histogram;
mod ints;
mod lanes;
mod multiple;
mod only_times;
mod open;
mod plain;
mod rational;
mod residual;
mod runs;
mod sample_columns;
mod seal;
mod shared;
mod tans;
#[cfg(test)]
mod testing;
mod times;
mod xor;

pub use chunk::{ChunkForm, ChunkHeader, ChunkKind, ChunkTimes, Encoding, SAMPLES_MAX, header, verify};
pub use decode::decode;
pub use difference::Integers;
pub use error::ChunkError;
pub use histogram::{
    histogram_run, kind_of, may_share_chunk, put_histogram, seal_histograms, take_histogram,
};
pub use ints::Packing;
pub use only_times::times_without_stale;
pub use open::{Append, OpenChunk, TOKEN_BYTES_MAX};
pub use sample_columns::{Samples, merge};
pub use seal::{EncoderHint, Times, seal, seal_bucket, seal_same, seal_short};
pub use shared::{ChunkPlace, NothingShared, Shared};
pub use times::{TimeColumnId, decode_column, encode_column};
