//! Criterion benches over the public APIs, and the seeded inputs that they share.
//!
//! Each file in `benches/` says at its top what it measures, on which input, at what size, and what it leaves out. All run
//! with `cargo bench`, one with `cargo bench --bench NAME`. With `CARDINAL_BENCH_TINY=1` in the environment inputs are so
//! small that `cargo bench -- --test` merely shows that every bench still runs; figures of such a run mean nothing.

pub mod bed;
pub mod kinds;
pub mod mix;
pub mod telecom;

/// The size of an input: `full`, or `tiny` where `CARDINAL_BENCH_TINY` is set to anything but nothing and 0.
pub fn size(full: usize, tiny: usize) -> usize {
    match std::env::var("CARDINAL_BENCH_TINY") {
        Ok(set) if !set.is_empty() && set != "0" => tiny,
        _ => full,
    }
}
