//! The command line: subcommands, and a flag for each option. Values are read as text here and checked later, so that all
//! wrong ones can be reported at once.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{Arg, ArgAction, ArgMatches, Command, error::ErrorKind, parser::ValueSource};

use super::{
    declare::Section as _,
    operators::{AuditConfig, KeysConfig, PurchasesConfig, RefundsConfig},
    options::{
        Config, DemoConfig, DemoGatewayConfig, EventsConfig, File, HealthcheckConfig, Output, ProjectConfig,
        WebhooksConfig,
    },
    row::Row,
    values::Form,
};

/// The argument of `events`, `purchases`, `refunds` and `keys`.
const ACTION: &str = "action";
const EVENTS: &str = "lag, dead-letters list, dead-letters redrive or dead-letters drop";
const STUCK: &str = "list, resume ID or settle ID";
const KEYS: &str = "list, rotate or retire ID";

/// What stands on the command line.
pub(super) struct Call {
    pub(super) subcommand: Subcommand,
    /// Texts of the flags by name of the option.
    pub(super) flags: BTreeMap<&'static str, String>,
    /// What stands after the subcommand and is no flag.
    pub(super) words: Vec<String>,
}

/// The subcommands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subcommand {
    Serve,
    Migrate,
    DemoProvider,
    DemoGateway,
    Project,
    Webhooks,
    CheckConfig,
    Healthcheck,
    Events,
    Purchases,
    Refunds,
    Keys,
    Audit,
    Descriptors,
}

impl Subcommand {
    const ALL: [Self; 14] = [
        Self::Serve,
        Self::Migrate,
        Self::DemoProvider,
        Self::DemoGateway,
        Self::Project,
        Self::Webhooks,
        Self::CheckConfig,
        Self::Healthcheck,
        Self::Events,
        Self::Purchases,
        Self::Refunds,
        Self::Keys,
        Self::Audit,
        Self::Descriptors,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Migrate => "migrate",
            Self::DemoProvider => "demo-provider",
            Self::DemoGateway => "demo-gateway",
            Self::Project => "project",
            Self::Webhooks => "webhooks",
            Self::CheckConfig => "check-config",
            Self::Healthcheck => "healthcheck",
            Self::Events => "events",
            Self::Purchases => "purchases",
            Self::Refunds => "refunds",
            Self::Keys => "keys",
            Self::Audit => "audit",
            Self::Descriptors => "descriptors",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Serve => "Run the service (the default without a subcommand)",
            Self::Migrate => "Bring the database's schema up to date, and exit",
            Self::DemoProvider => "Run the demo movie provider alone, with options for its faults",
            Self::DemoGateway => "Run the demo payment gateway alone, with options for its faults",
            Self::Project => "Fill a reporting database from the events of a service",
            Self::Webhooks => "Deliver the events of a running service to HTTP endpoints, as signed webhooks",
            Self::CheckConfig => "Print the effective configuration, secrets masked, or all that is wrong with it",
            Self::Healthcheck => "Ask a running service for its health: exit code 0 when it is serving",
            Self::Events => "Show how far the sinks of a running service are; list, redrive or drop dead letters",
            Self::Purchases => "List the purchases of a running service that are stuck; resume or settle one",
            Self::Refunds => "List the refunds of a running service that are stuck; resume or settle one",
            Self::Keys => "List the keys of a running service that sign tickets; make a new one, or retire one",
            Self::Audit => "Check the books, and compare them with the payment gateway: exit code 0 when they balance",
            Self::Descriptors => "Write the encoded descriptor set of the contracts, for generating clients",
        }
    }

    /// Whether it takes `--config`.
    pub(super) fn reads_file(self) -> bool {
        self != Self::Descriptors
    }

    /// The options that it takes.
    fn rows(self) -> Vec<Row> {
        let mut rows = match self {
            Self::Serve | Self::Migrate | Self::CheckConfig => Config::rows(),
            Self::DemoProvider => DemoConfig::rows(),
            Self::DemoGateway => DemoGatewayConfig::rows(),
            Self::Project => ProjectConfig::rows(),
            Self::Webhooks => WebhooksConfig::rows(),
            Self::Healthcheck => HealthcheckConfig::rows(),
            Self::Events => EventsConfig::rows(),
            Self::Purchases => PurchasesConfig::rows(),
            Self::Refunds => RefundsConfig::rows(),
            Self::Keys => KeysConfig::rows(),
            Self::Audit => AuditConfig::rows(),
            Self::Descriptors => Output::rows(),
        };
        if self.reads_file() {
            rows.extend(File::rows());
        }
        rows
    }
}

/// Every option there is. One that several subcommands share comes once.
pub(super) fn all_rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in Subcommand::ALL.into_iter().flat_map(Subcommand::rows) {
        if !rows.iter().any(|known| known.key() == row.key()) {
            rows.push(row);
        }
    }
    rows
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
        .args(Subcommand::Serve.rows().iter().map(argument));
    Subcommand::ALL.into_iter().fold(program, |program, subcommand| {
        let command =
            Command::new(subcommand.name()).about(subcommand.about()).after_help(SOURCES).next_line_help(true);
        let command = command.args(subcommand.rows().iter().map(argument));
        program.subcommand(match subcommand {
            Subcommand::Events => command.arg(action(EVENTS)),
            Subcommand::Purchases | Subcommand::Refunds => command.arg(action(STUCK)),
            Subcommand::Keys => command.arg(action(KEYS)),
            _ => command,
        })
    })
}

/// What `events`, `purchases`, `refunds` or `keys` does.
fn action(actions: &'static str) -> Arg {
    Arg::new(ACTION).value_name("ACTION").help(actions).num_args(1..=2).required(true)
}

fn argument(row: &Row) -> Arg {
    let argument = Arg::new(row.name)
        .long(row.long())
        .help(format!("{} [env: {}]", row.help(), row.variable()))
        .help_heading(row.heading)
        .value_name(row.placeholder)
        .allow_negative_numbers(true);
    let argument = if row.default.is_empty() { argument } else { argument.default_value(row.default) };
    match row.form {
        Form::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Form::List | Form::Sinks => argument.action(ArgAction::Append),
        _ => argument,
    }
}

/// Parses a command line.
pub(super) fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Call, clap::Error> {
    let mut program = program();
    let matches = program.try_get_matches_from_mut(arguments)?;
    let mut flags = given(&matches, Subcommand::Serve);
    let Some((name, own)) = matches.subcommand() else {
        return Ok(Call { subcommand: Subcommand::Serve, flags, words: Vec::new() });
    };
    let named = Subcommand::ALL.into_iter().find(|subcommand| subcommand.name() == name);
    let subcommand = named.unwrap_or(Subcommand::Serve);
    // Options in front of a subcommand are the service's. The subcommand may share them, but may also have an option of its
    // own with the same name and another meaning.
    let rows = subcommand.rows();
    let shared = |flag: &str| rows.iter().any(|row| row.scope.is_empty() && row.name == flag);
    if let Some(stray) = flags.keys().find(|flag| !shared(flag)) {
        let flag = stray.replace('_', "-");
        let message = format!("--{flag} before {name} is an option of the service; give {name} its own after it");
        return Err(program.error(ErrorKind::ArgumentConflict, message));
    }
    flags.extend(given(own, subcommand));
    let words = own.try_get_many::<String>(ACTION).ok().flatten();
    let words = words.map(|words| words.cloned().collect()).unwrap_or_default();
    Ok(Call { subcommand, flags, words })
}

/// The flags on the command line, without clap's defaults.
fn given(matches: &ArgMatches, subcommand: Subcommand) -> BTreeMap<&'static str, String> {
    let rows = subcommand.rows().into_iter();
    let on_command_line = rows.filter(|row| matches.value_source(row.name) == Some(ValueSource::CommandLine));
    on_command_line
        .filter_map(|row| {
            let values = matches.get_many::<String>(row.name)?;
            Some((row.name, values.cloned().collect::<Vec<_>>().join(",")))
        })
        .collect()
}
