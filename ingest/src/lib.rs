//! The way in: remote write, from compressed bytes to samples in the storage engine.

mod labels;
pub mod walk;
mod wire;

pub use labels::series_text;
pub use wire::{Malformed, Reason};
