//! The program `boxoffice`: what was asked for is read, done, and answered with an exit code.

use std::process::ExitCode;

use boxoffice::{config, server::commands};

fn main() -> ExitCode {
    commands::run(config::parse())
}
