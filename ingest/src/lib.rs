//! The way in: remote write, from compressed bytes to samples in the storage engine.

mod admission;
mod labels;
mod resolve;
mod seam;
mod section_hash;
pub mod walk;
mod wire;

pub use admission::{Admission, Overloaded, Permit};
pub use labels::series_text;
pub use resolve::{LabelLimits, Resolver};
pub use seam::{RefusalClass, Refused, Resolve};
pub use wire::{Malformed, Reason};
