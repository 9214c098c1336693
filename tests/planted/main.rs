//! The program `boxoffice` with one bug planted in it, which the tests must find: its name is in `PLANTED_BUG`.

use std::process::ExitCode;

use boxoffice::{
    config,
    server::commands,
    store::planted::{self, Bug},
};

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "this is no option of the program's")]
    let name = std::env::var("PLANTED_BUG").unwrap_or_default();
    let Some(bug) = Bug::ALL.into_iter().find(|bug| bug.name() == name) else {
        eprintln!("there is no bug called {name:?}");
        return ExitCode::FAILURE;
    };
    planted::plant(bug);
    commands::run(config::parse())
}
