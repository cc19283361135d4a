//! Tests of whole paths through public APIs, and what they share.

pub mod fuzz;
pub mod promqltest;
