//! Configuration: flags over the environment over a TOML file over defaults, checked once, before any port is opened.
//!
//! No other room reads the environment or the command line. All problems are reported at once, each with its option and
//! where the value came from. Secrets are never printed: not in messages, not by `check-config`, not by `Debug`.
//! Deliberately absent: default locations of the file, and reading it again while the service runs.
//!
//! # Adding an option
//!
//! 1. Add a field to the struct of its group in `config/options.rs`. Its doc comment is the help:
//!
//!    ```text
//!    /// Longest pause between two sweeps.
//!    sweep_interval: Duration = "1s" in TENTH..=HOUR,
//!    ```
//!
//!    From this come the flag `--sweep-interval`, the variable `BOXOFFICE_SWEEP_INTERVAL`, the key `sweep_interval` in the
//!    file, the line in `--help`, and the line in `check-config`. `config/declare.rs` explains the parts.
//! 2. Add its line to `docs/configuration.md`. A test prints the line that is missing.
//! 3. Use it: `config.seats.sweep_interval`. A mistyped name does not compile.
//!
//! A rule over several options goes to `config/checks.rs`. A new type of values implements `Value` in `config/values.rs`.

mod build;
mod checks;
mod choices;
mod cli;
mod command;
mod declare;
mod demos;
mod location;
mod names;
mod operators;
mod options;
mod problem;
mod row;
mod secret;
mod sink_url;
mod sinks;
mod sources;
mod values;

#[cfg(test)]
mod tests;

use std::ffi::OsString;

use self::{declare::Section as _, sources::Settings};

pub use choices::{AccessibleSeats, LogFormat, Migrate, OrphanSeats, Sample};
pub use command::{
    Command, DeadLetters, EventAction, KeyAction, Parsed, PurchaseAction, RefundAction, RefundOutcome, Stop,
};
pub use demos::{DemoGateway, DemoProvider, Faults, GatewayFaults};
pub use location::DatabaseLocation;
pub use operators::AuditConfig;
pub use options::{
    Cache, Cinema, Config, Database, DemoConfig, DemoGatewayConfig, Exposure, Grpc, Http, Limits, Observability,
    Payments, ProjectConfig, Projector, Provider, Reports, Seats, Webhooks, WebhooksConfig,
};
pub use problem::Problem;
pub use secret::{Secret, SecretUrl};
pub use sink_url::{Broker, Sasl, Sink};
pub use sinks::Sinks;
pub use values::{Cors, EndpointNames, Hosts, Listen, Pauses};

/// Reads the command line and the environment of the process. It ends the process after `--help`, and if something is wrong.
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
                // clap knows whether this is help or a mistake, and where to print either.
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
/// Help was asked for, or something is wrong.
pub fn from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Parsed, Stop> {
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let call = cli::parse(arguments).map_err(|error| Stop::Usage(Box::new(error)))?;
    let options = cli::all_rows();
    let warnings = names::unknown_variables(&environment, &options);
    let mut settings = Settings::new(call.flags, environment);
    if call.subcommand.reads_file()
        && let Some(path) = options::File::read(&mut settings).config
    {
        let in_file: Vec<_> =
            options.into_iter().filter(|option| option.key() != options::File::config.key()).collect();
        settings.load(&path, &in_file);
    }
    let command = build::command(call.subcommand, &call.words, settings).map_err(Stop::Wrong)?;
    Ok(Parsed { command, warnings })
}

impl Config {
    /// Whether sample auditoriums and showtimes are created.
    #[must_use]
    pub fn wants_sample(&self) -> bool {
        match self.cinema.sample {
            Sample::Auto => self.database.database_url.is_none() && self.provider.provider_url.is_none(),
            Sample::On => true,
            Sample::Off => false,
        }
    }
}

/// The names of all environment variables that are options.
#[must_use]
pub fn variables() -> Vec<String> {
    cli::all_rows().iter().map(row::Row::variable).collect()
}
