//! Encodings of samples: open chunks that grow in place, sealed chunks, shared time columns. `docs/format/chunk.md` is the
//! layout.
//!
//! ```text
//! samples ──► OpenChunk (byte tokens, in the head) ──► seal ──► chunk (constant, decimals, XOR, …) ──► decode
//!                └──► to_chunk (as it is) ──► from_chunk
//! ```
//!
//! Decoding gives plain columns and is safe on arbitrary bytes: no panic, and never more memory than 65,535 samples take.
//! Every round trip is exact to the bit.

mod bitpack;
mod bits;
mod chunk;
mod constant;
mod decimal;
mod error;
mod exceptions;
mod ints;
mod open;
mod rational;
mod residual;
mod sample_columns;
mod seal;
mod times;
mod xor;

pub use chunk::{ChunkHeader, ChunkKind, ChunkTimes, Encoding, SAMPLES_MAX, decode, header, verify};
pub use error::ChunkError;
pub use open::{Append, OpenChunk, TOKEN_BYTES_MAX};
pub use sample_columns::{Samples, merge};
pub use seal::{EncoderHint, Times, seal};
pub use times::{NoColumns, TimeColumnId, TimeColumns, decode_column, encode_column};
