//! Configuration: flags over the environment over a TOML file over defaults, checked once, before any port is opened.
//!
//! Nobody else reads the environment or the command line. Every option is one row of `config/table.rs`; from it come its
//! flag (`--hold-duration`), its variable (`BOXOFFICE_HOLD_DURATION`), its key in the file (`hold_duration`), `--help` and
//! the reference in `docs/configuration.md`. What is wrong is said all at once, each value under the name of its option and
//! where it came from. Secrets are never shown: not in messages, not by `check-config`, not in `Debug`.
//!
//! Left out on purpose: no file is looked for that was not named, and nothing is read again while the service runs.

mod build;
mod cli;
mod options;
mod secret;
mod sources;
mod table;
mod typed;
mod values;

#[cfg(test)]
mod tests;

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf};

pub use secret::{Secret, SecretUrl};
pub use sources::Problem;
pub use typed::{
    Config, Cors, Database, DatabaseConfig, DemoConfig, Identity, LedgerConfig, Limits, LogFormat, Migrate,
    Observability, ProviderConfig, RedisConfig, RemoteProvider, Trust,
};

/// What the program was asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the service.
    Serve(Config),
    /// Bring the schema up to date, and end.
    Migrate(Config),
    /// Run the demo provider alone.
    DemoProvider(DemoConfig),
    /// Show the configuration: all of it is right, or this would not have been reached.
    CheckConfig(Config),
    /// Ask a running service how it is.
    Healthcheck {
        /// Where it listens.
        address: SocketAddr,
        /// The service in question; empty: the server as a whole.
        service: String,
    },
    /// Write the encoded descriptors of the contracts.
    Descriptors {
        /// The file; none: standard output.
        out: Option<PathBuf>,
    },
}

/// What the program was asked to do, and what it should say first.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What to do.
    pub command: Command,
    /// Variables that look like ours and are none.
    pub warnings: Vec<String>,
}

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Stop {
    /// The command line asks for help, or cannot be understood.
    Usage(Box<clap::Error>),
    /// Values are wrong.
    Wrong(Vec<Problem>),
}

impl Stop {
    /// The exit code: 0 after help, 2 where something is wrong.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Usage(error) => error.exit_code(),
            Self::Wrong(_) => 2,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Wrong(problems) => {
                let noun = if problems.len() == 1 { "value is" } else { "values are" };
                write!(f, "boxoffice cannot start: {} {noun} wrong", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// Reads the command line and the environment of the process. Ends it where there is nothing to do: after `--help`, or
/// because something is wrong.
#[must_use]
pub fn parse() -> Command {
    match from(std::env::args_os(), std::env::vars_os()) {
        Ok(parsed) => {
            for warning in parsed.warnings {
                eprintln!("boxoffice: warning: {warning}");
            }
            parsed.command
        }
        Err(stop) => {
            match &stop {
                // It knows whether it is help or a mistake, and where either is printed.
                Stop::Usage(error) => drop(error.print()),
                Stop::Wrong(_) => eprintln!("{stop}"),
            }
            std::process::exit(stop.exit_code());
        }
    }
}

/// Reads this command line, whose first word is the name of the program, and this environment.
///
/// # Errors
/// Says what is wrong, or that help was asked for.
pub fn from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Parsed, Stop> {
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let call = cli::read(arguments).map_err(|error| Stop::Usage(Box::new(error)))?;
    let command = build::command(&call, &environment).map_err(Stop::Wrong)?;
    Ok(Parsed { command, warnings: sources::strangers(&environment) })
}

/// The names of all environment variables that mean something.
#[must_use]
pub fn variables() -> Vec<String> {
    table::all().iter().map(options::Row::variable).collect()
}
