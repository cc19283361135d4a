//! Messages of the wire protocols that Cardinal speaks.
//!
//! The definitions are written by hand with prost's derive macros, so that no compiler for `.proto` files is needed. They
//! serve senders, tests and the rare parts of a request; samples come in through `cardinal-ingest`, which reads the same
//! bytes in place.

pub mod remote_write;
