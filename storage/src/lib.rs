//! Cardinal's storage engine: the log, the head in memory, immutable blocks on disk, and one merged view of them.
//!
//! The modules are ordered and import only leftwards (a test keeps it):
//!
//! ```text
//! model → io → codec → index → wal → block → head → read → compact → database
//! ```
//!
//! Nothing here knows HTTP, PromQL or the async runtime. The pages under `docs/format/` describe every byte written.

pub mod block;
pub mod codec;
pub mod compact;
pub mod database;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod head;
pub mod index;
pub mod io;
pub mod model;
pub mod read;
pub mod wal;
