//! The program `boxoffice` with one planted bug, which the tests must find, or with one interruption, which it must survive. The environment
//! variable `PLANTED_BUG` or `PLANTED_INTERRUPTION` names it.

use std::process::ExitCode;

use boxoffice::{
    config,
    server::commands,
    store::{
        interruptions,
        planted::{self, Bug},
    },
};

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the bug is not an option of the program")]
    let [name, interruption] =
        ["PLANTED_BUG", "PLANTED_INTERRUPTION"].map(|name| std::env::var(name).unwrap_or_default());
    if !interruption.is_empty() {
        return match interruptions::plant(&interruption) {
            Ok(()) => commands::run(config::parse()),
            Err(error) => {
                eprintln!("PLANTED_INTERRUPTION names {error}");
                ExitCode::FAILURE
            }
        };
    }
    let Some(bug) = Bug::ALL.into_iter().find(|bug| bug.name() == name) else {
        eprintln!("PLANTED_BUG names no bug: {name:?}");
        return ExitCode::FAILURE;
    };
    planted::plant(bug);
    commands::run(config::parse())
}
