//! The program `boxoffice`: what was asked for is read, done, and answered with an exit code.

use std::process::ExitCode;

use boxoffice::{config, server::commands};

/// Measured: a tenth more reads a second than with the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(config::parse())
}
