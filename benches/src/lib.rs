//! Criterion benches over the public APIs, and the seeded inputs that they share.
