//! The command line: subcommands, and flags made from the rows of the table. Values are taken as text here and judged
//! later, so that all that are wrong can be named at once.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{
    options::{Group, Kind, Row},
    sources::Flags,
    table,
};

/// A call of the program.
pub(super) struct Call {
    pub(super) subcommand: Subcommand,
    pub(super) flags: Flags,
}

/// The subcommands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subcommand {
    Serve,
    Migrate,
    DemoProvider,
    CheckConfig,
    Healthcheck,
    Descriptors,
}

impl Subcommand {
    const ALL: [Self; 6] =
        [Self::Serve, Self::Migrate, Self::DemoProvider, Self::CheckConfig, Self::Healthcheck, Self::Descriptors];

    fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Migrate => "migrate",
            Self::DemoProvider => "demo-provider",
            Self::CheckConfig => "check-config",
            Self::Healthcheck => "healthcheck",
            Self::Descriptors => "descriptors",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Serve => "Run the service (this is what happens without a subcommand)",
            Self::Migrate => "Bring the database's schema up to date, and end",
            Self::DemoProvider => "Run the demo movie provider alone, with knobs for its faults",
            Self::CheckConfig => "Show the effective configuration, secrets masked, or all that is wrong with it",
            Self::Healthcheck => "Ask a running service how it is: exit code 0 when it is serving",
            Self::Descriptors => "Write the encoded descriptor set of the contracts, for generating clients",
        }
    }

    fn groups(self) -> &'static [Group] {
        match self {
            Self::Serve | Self::Migrate | Self::CheckConfig => table::SERVICE,
            Self::DemoProvider => table::DEMO,
            Self::Healthcheck => table::HEALTHCHECK,
            Self::Descriptors => table::DESCRIPTORS,
        }
    }

    /// The options that it takes.
    pub(super) fn rows(self) -> Vec<Row> {
        self.groups().iter().flat_map(|group| group.rows).copied().collect()
    }
}

const SOURCES: &str = "\
Every option can be given as a flag, as an environment variable, or as a key in the TOML file named by --config: a flag wins \
over the environment, the environment over the file, the file over the default. An empty value counts as none. Lengths of \
time are written like 500ms, 30s, 10m, 2h, 7d or 1h30m. A key in the file is the variable's name without BOXOFFICE_, in \
lower case.";

/// The whole command line.
pub(super) fn program() -> Command {
    let program = Command::new("boxoffice")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help(SOURCES)
        .disable_help_subcommand(true)
        .next_line_help(true)
        .args(arguments(table::SERVICE));
    Subcommand::ALL.into_iter().fold(program, |program, subcommand| {
        let command =
            Command::new(subcommand.name()).about(subcommand.about()).after_help(SOURCES).next_line_help(true);
        program.subcommand(command.args(arguments(subcommand.groups())))
    })
}

fn arguments(groups: &'static [Group]) -> impl Iterator<Item = Arg> {
    groups.iter().flat_map(|group| group.rows.iter().map(|row| argument(group.heading, row)))
}

fn argument(heading: &'static str, row: &'static Row) -> Arg {
    let help = format!("{} [env: {}]", row.explanation(), row.variable());
    let argument = Arg::new(row.name)
        .long(row.name)
        .help(help)
        .help_heading(heading)
        .value_name(row.kind.placeholder())
        .allow_negative_numbers(true);
    let argument = if row.default.is_empty() { argument } else { argument.default_value(row.default) };
    match row.kind {
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Origins => argument.action(ArgAction::Append),
        _ => argument,
    }
}

/// Reads a command line.
pub(super) fn read(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Call, clap::Error> {
    let mut program = program();
    let matches = program.try_get_matches_from_mut(arguments)?;
    let mut flags = given(&matches, table::SERVICE);
    let Some((name, own)) = matches.subcommand() else {
        return Ok(Call { subcommand: Subcommand::Serve, flags });
    };
    let known = Subcommand::ALL.into_iter().find(|subcommand| subcommand.name() == name);
    let subcommand = known.unwrap_or(Subcommand::Serve);
    // The options before a subcommand are the service's. Another may share them, but not those that it has under the
    // same name with a meaning of its own.
    let shared = |flag: &str| subcommand.rows().iter().any(|row| row.scope.is_empty() && row.name == flag);
    if let Some(stray) = flags.keys().find(|flag| !shared(flag)) {
        let message = format!("--{stray} before {name} is an option of the service; give {name} its own after it");
        return Err(program.error(clap::error::ErrorKind::ArgumentConflict, message));
    }
    flags.extend(given(own, subcommand.groups()));
    Ok(Call { subcommand, flags })
}

/// The flags on the command line: defaults are left to the table.
fn given(matches: &ArgMatches, groups: &'static [Group]) -> Flags {
    let rows = groups.iter().flat_map(|group| group.rows);
    let on_command_line =
        rows.filter(|row| matches.value_source(row.name) == Some(clap::parser::ValueSource::CommandLine));
    on_command_line
        .filter_map(|row| {
            let values = matches.get_many::<String>(row.name)?;
            Some((row.name, values.cloned().collect::<Vec<_>>().join(",")))
        })
        .collect()
}
