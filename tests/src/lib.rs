//! Tests of whole paths through public APIs, and what they share.

pub mod disk;
pub mod draws;
pub mod fuzz;
pub mod life;
pub mod model;
pub mod parallel;
pub mod promqltest;
pub mod value;
