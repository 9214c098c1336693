//! The program `boxoffice`: it reads its configuration, runs the command, and exits with its code.

use std::process::ExitCode;

use boxoffice::{config, server::commands};

/// Compared with the C library's allocator: lists are a sixth faster, and single reads equal within noise. Its request for huge
/// pages is switched off (`no_thp`): with them an idle process takes 51 MiB instead of 24, and a read of a seat map a twentieth
/// less processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(config::parse())
}
