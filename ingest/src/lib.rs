//! The way in: remote write, from compressed bytes to samples in the storage engine.
