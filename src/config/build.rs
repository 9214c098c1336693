//! From the sources to a command whose values are all right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    checks,
    cli::Subcommand,
    command::{Command, DeadLetters, EventAction, KeyAction, PurchaseAction, RefundAction, RefundOutcome},
    declare::Section,
    operators::{AuditConfig, KeysConfig, OfKeys, OfPurchases, OfRefunds, PurchasesConfig, RefundsConfig},
    options::{
        Config, DemoConfig, DemoGatewayConfig, EventsConfig, Grpc, HealthcheckConfig, OfEvents, Output, Probe,
        ProjectConfig, WebhooksConfig,
    },
    problem::Problem,
    row::Row,
    sources::Settings,
};

/// What was asked for, or all that is wrong.
pub(super) fn command(
    subcommand: Subcommand,
    words: &[String],
    mut settings: Settings,
) -> Result<Command, Vec<Problem>> {
    let command = match subcommand {
        Subcommand::Serve => Command::Serve(service(&mut settings)),
        Subcommand::Migrate => Command::Migrate(service(&mut settings)),
        Subcommand::CheckConfig => {
            let config = service(&mut settings);
            Command::CheckConfig { config, report: settings.describe(&Config::rows()) }
        }
        Subcommand::DemoProvider => {
            let config = DemoConfig::read(&mut settings);
            checks::demo(&mut settings, &config);
            Command::DemoProvider(config)
        }
        Subcommand::DemoGateway => {
            let config = DemoGatewayConfig::read(&mut settings);
            checks::demo_gateway(&mut settings, &config);
            Command::DemoGateway(config)
        }
        Subcommand::Project => {
            let config = ProjectConfig::read(&mut settings);
            checks::project(&mut settings, &config);
            Command::Project(config)
        }
        Subcommand::Webhooks => {
            let config = WebhooksConfig::read(&mut settings);
            checks::webhooks(&mut settings, &config);
            Command::Webhooks(config)
        }
        Subcommand::Healthcheck => healthcheck(&mut settings),
        Subcommand::Events => events(words, &mut settings)?,
        Subcommand::Purchases => purchases(words, &mut settings)?,
        Subcommand::Refunds => refunds(words, &mut settings)?,
        Subcommand::Keys => keys(words, &mut settings)?,
        Subcommand::Audit => {
            let config = AuditConfig::read(&mut settings);
            checks::audit(&mut settings, &config);
            Command::Audit(config)
        }
        Subcommand::Descriptors => {
            let Output { out, asyncapi } = Output::read(&mut settings);
            Command::Descriptors { out, asyncapi }
        }
    };
    settings.conclude(command)
}

fn service(settings: &mut Settings) -> Config {
    let config = Config::read(settings);
    checks::service(settings, &config);
    config
}

fn healthcheck(settings: &mut Settings) -> Command {
    let HealthcheckConfig { probe, grpc } = HealthcheckConfig::read(settings);
    let options = [Probe::address, Grpc::listen];
    Command::Healthcheck { address: callable(settings, &options, probe.address, &grpc), service: probe.service }
}

fn events(words: &[String], settings: &mut Settings) -> Result<Command, Vec<Problem>> {
    let EventsConfig { asked, grpc } = EventsConfig::read(settings);
    let address = callable(settings, &[OfEvents::address, Grpc::listen], asked.address, &grpc);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let action = match words[..] {
        ["lag"] => EventAction::Lag,
        ["dead-letters", "list"] => EventAction::List { sink: asked.sink },
        ["dead-letters", verb @ ("redrive" | "drop")] => {
            let letters = match (asked.id, asked.sink) {
                (Some(id), None) => DeadLetters::One(id),
                (None, Some(sink)) => DeadLetters::OfSink(sink),
                _ => {
                    let why = "needs either --id, for one dead letter, or --sink, for all of a sink";
                    return Err(vec![Problem::new(format!("events dead-letters {verb}"), why)]);
                }
            };
            if verb == "redrive" { EventAction::Redrive(letters) } else { EventAction::Drop(letters) }
        }
        _ => {
            let why = "is none of lag, dead-letters list, dead-letters redrive and dead-letters drop";
            return Err(vec![Problem::new(format!("events {}", words.join(" ")), why)]);
        }
    };
    Ok(Command::Events { address, action })
}

fn purchases(words: &[String], settings: &mut Settings) -> Result<Command, Vec<Problem>> {
    let PurchasesConfig { asked, grpc } = PurchasesConfig::read(settings);
    let address = callable(settings, &[OfPurchases::address, Grpc::listen], asked.address, &grpc);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let wrong = |why: &str| Err(vec![Problem::new(format!("purchases {}", words.join(" ")), why)]);
    let action = match (&words[..], asked.note, asked.outcome.as_deref()) {
        (["list"], _, _) => PurchaseAction::List,
        (["resume" | "settle", _], None, _) => return wrong("needs --note, which says why"),
        (["resume", id], Some(note), _) => PurchaseAction::Resume { id: (*id).to_owned(), note },
        (["settle", id], Some(note), Some(outcome @ ("completed" | "compensated"))) => {
            PurchaseAction::Settle { id: (*id).to_owned(), completed: outcome == "completed", note }
        }
        (["settle", _], ..) => return wrong("needs --outcome completed or --outcome compensated"),
        _ => return wrong("is none of list, resume ID and settle ID"),
    };
    Ok(Command::Purchases { address, action })
}

fn refunds(words: &[String], settings: &mut Settings) -> Result<Command, Vec<Problem>> {
    let RefundsConfig { asked, grpc } = RefundsConfig::read(settings);
    let address = callable(settings, &[OfRefunds::address, Grpc::listen], asked.address, &grpc);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let wrong = |why: &str| Err(vec![Problem::new(format!("refunds {}", words.join(" ")), why)]);
    let outcome = match asked.outcome.as_deref() {
        Some("done") => Some(RefundOutcome::Done),
        Some("paid-out") => Some(RefundOutcome::PaidOut),
        Some("failed") => Some(RefundOutcome::Failed),
        _ => None,
    };
    let action = match (&words[..], asked.note, outcome) {
        (["list"], _, _) => RefundAction::List,
        (["resume" | "settle", _], None, _) => return wrong("needs --note, which says why"),
        (["resume", id], Some(note), _) => RefundAction::Resume { id: (*id).to_owned(), note },
        (["settle", id], Some(note), Some(outcome)) => {
            RefundAction::Settle { id: (*id).to_owned(), outcome, till: asked.till.unwrap_or_default(), note }
        }
        (["settle", _], ..) => return wrong("needs --outcome done, paid-out or failed"),
        _ => return wrong("is none of list, resume ID and settle ID"),
    };
    Ok(Command::Refunds { address, action })
}

fn keys(words: &[String], settings: &mut Settings) -> Result<Command, Vec<Problem>> {
    let KeysConfig { asked, grpc } = KeysConfig::read(settings);
    let address = callable(settings, &[OfKeys::address, Grpc::listen], asked.address, &grpc);
    let wrong = |why: &str| Err(vec![Problem::new(format!("keys {}", words.join(" ")), why)]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let action = match &words[..] {
        ["list"] => KeyAction::List,
        ["rotate"] => KeyAction::Rotate,
        ["retire", id] => match id.parse() {
            Ok(id) => KeyAction::Retire { id, force: asked.force },
            Err(_) => return wrong("needs the number of a key, as keys list prints it"),
        },
        _ => return wrong("is none of list, rotate and retire ID"),
    };
    Ok(Command::Keys { address, action })
}

/// The address at which a service is called.
fn callable(settings: &mut Settings, options: &[Row], given: Option<SocketAddr>, grpc: &Grpc) -> SocketAddr {
    let mut address = given.unwrap_or(grpc.listen);
    // A service can listen on "every address", but a client cannot call it.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    settings.demand(options, address.port() != 0, "must be given where --listen leaves the port open");
    address
}
