//! The way in: remote write, from compressed bytes to samples in the storage engine.
//!
//! ```text
//! admission ─► intake (snappy, walk, times) ─► storage, which calls resolve for what it never saw ─► refusal or success
//! ```
//!
//! [`Writer`] is the whole path; nothing here knows HTTP but for the statuses in [`Refusal::status`].

mod admission;
mod counters;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod histogram;
mod histogram_groups;
mod intake;
mod labels;
mod refusal;
mod resolve;
mod section_hash;
pub mod walk;
mod wire;
mod write;

pub use admission::{Admission, Overloaded, Permit};
pub use counters::WriteStats;
pub use intake::WriteOptions;
pub use labels::series_text;
pub use refusal::Refusal;
pub use resolve::{LabelLimits, Resolver};
pub use wire::{Malformed, Reason};
pub use write::{Response, Writer};
