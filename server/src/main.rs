//! The `cardinal` binary.

use std::process::ExitCode;

/// Threads do not wait for each other to allocate. Without huge pages: see the decision record on the allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cardinal_server::cli::run(std::env::args_os())
}
