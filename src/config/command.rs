//! What the program is asked to do.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::{
    operators::AuditConfig,
    options::{Config, DemoConfig, DemoGatewayConfig, ProjectConfig, WebhooksConfig},
    problem::Problem,
};

/// What the program is asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run the service.
    Serve(Config),
    /// Bring the schema up to date, and exit.
    Migrate(Config),
    /// Run the demo provider alone.
    DemoProvider(DemoConfig),
    /// Run the demo payment gateway alone.
    DemoGateway(DemoGatewayConfig),
    /// Fill a reporting database.
    Project(ProjectConfig),
    /// Deliver events to HTTP endpoints.
    Webhooks(WebhooksConfig),
    /// Print the configuration, in which nothing is wrong.
    CheckConfig {
        /// The configuration.
        config: Config,
        /// One line per option with its value and origin, in the form of the file. Secrets are masked.
        report: String,
    },
    /// Ask a running service for its health.
    Healthcheck {
        /// Where the service listens.
        address: SocketAddr,
        /// The service to ask about; none: the server as a whole.
        service: Option<String>,
    },
    /// Look at the sinks of a running service, or repair them.
    Events {
        /// Where the service listens.
        address: SocketAddr,
        /// What is done.
        action: EventAction,
    },
    /// Look at the purchases of a running service that are stuck, or repair them.
    Purchases {
        /// Where the service listens.
        address: SocketAddr,
        /// What is done.
        action: PurchaseAction,
    },
    /// Look at the refunds of a running service that are stuck, or repair them.
    Refunds {
        /// Where the service listens.
        address: SocketAddr,
        /// What is done.
        action: RefundAction,
    },
    /// Look at the keys that sign tickets of a running service, make one, or retire one.
    Keys {
        /// Where the service listens.
        address: SocketAddr,
        /// What is done.
        action: KeyAction,
    },
    /// Check the books, and compare them with the payment gateway.
    Audit(AuditConfig),
    /// Write the encoded descriptors of the contracts.
    Descriptors {
        /// The file; none: standard output.
        out: Option<PathBuf>,
        /// Write the `AsyncAPI` document instead.
        asyncapi: bool,
    },
}

/// What is done with the sinks of a running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventAction {
    /// Print how far each sink is.
    Lag,
    /// Print dead letters and what waits behind them, of all sinks or of one.
    List {
        /// The sink.
        sink: Option<String>,
    },
    /// Let dead letters be sent again.
    Redrive(DeadLetters),
    /// Give dead letters up.
    Drop(DeadLetters),
}

/// What is done with the purchases of a running service that are stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurchaseAction {
    /// Print them.
    List,
    /// Let one go on.
    Resume {
        /// The purchase.
        id: String,
        /// Why.
        note: String,
    },
    /// Say how one ends.
    Settle {
        /// The purchase.
        id: String,
        /// Whether it is completed; if not, it is compensated.
        completed: bool,
        /// Why.
        note: String,
    },
}

/// What is done with the keys that sign the codes of tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// Print them.
    List,
    /// Make a new one, which signs from then on.
    Rotate,
    /// Refuse codes of one from then on.
    Retire {
        /// The number of the key.
        id: i32,
        /// Whether that is done although tickets that can be used yet have codes of it.
        force: bool,
    },
}

/// What is done with the refunds of a running service that are stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundAction {
    /// Print them.
    List,
    /// Let one go on.
    Resume {
        /// The refund.
        id: String,
        /// Why.
        note: String,
    },
    /// Say how one ends.
    Settle {
        /// The refund.
        id: String,
        /// How.
        outcome: RefundOutcome,
        /// The till that paid it out; empty if none did.
        till: String,
        /// Why.
        note: String,
    },
}

/// How a refund is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The gateway has given the money back.
    Done,
    /// It was given back in another way.
    PaidOut,
    /// It was not given back.
    Failed,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// The one with this id.
    One(String),
    /// All of this sink.
    OfSink(String),
}

/// What the program is asked to do, and what to print before.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What to do.
    pub command: Command,
    /// A sentence for each environment variable that looks like ours and is no option.
    pub warnings: Vec<String>,
}

/// Why the program ends before it does anything.
#[derive(Debug)]
pub enum Stop {
    /// The command line asks for help, or cannot be parsed.
    Usage(Box<clap::Error>),
    /// Values are wrong.
    Wrong(Vec<Problem>),
}

impl Stop {
    /// The exit code: 0 after help, 2 if something is wrong.
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
