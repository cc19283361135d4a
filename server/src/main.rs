//! The `cardinal` binary.

use std::process::ExitCode;

/// Freed memory goes back to the system, and threads do not wait for each other to allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cardinal_server::cli::run(std::env::args_os())
}
