//! The program `boxoffice`: what was asked for is read, done, and answered with an exit code.

use std::process::ExitCode;

use boxoffice::{config, server::commands};

/// Measured against the C library's: lists a sixth faster, single reads the same within the noise, 20 MiB more when idle.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(config::parse())
}
