//! The program `boxoffice` with one planted bug, which the tests must find. The environment variable `PLANTED_BUG` names it.

use std::process::ExitCode;

use boxoffice::{
    config,
    server::commands,
    store::planted::{self, Bug},
};

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the bug is not an option of the program")]
    let name = std::env::var("PLANTED_BUG").unwrap_or_default();
    let Some(bug) = Bug::ALL.into_iter().find(|bug| bug.name() == name) else {
        eprintln!("PLANTED_BUG names no bug: {name:?}");
        return ExitCode::FAILURE;
    };
    planted::plant(bug);
    commands::run(config::parse())
}
