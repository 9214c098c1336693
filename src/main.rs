//! The program `boxoffice`: it reads its configuration, runs the command, and exits with its code.

use std::process::ExitCode;

use boxoffice::{config, server::commands};

/// Compared with the C library's allocator: lists are a sixth faster, single reads equal within noise, and an idle process
/// needs 20 MiB more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(config::parse())
}
