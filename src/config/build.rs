//! From the sources to a command whose values are all right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    checks,
    cli::Subcommand,
    command::Command,
    declare::Section,
    options::{Config, DemoConfig, Grpc, HealthcheckConfig, Output, Probe, WebhooksConfig},
    problem::Problem,
    sources::Settings,
};

/// What was asked for, or all that is wrong.
pub(super) fn command(subcommand: Subcommand, mut settings: Settings) -> Result<Command, Vec<Problem>> {
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
        Subcommand::Webhooks => {
            let config = WebhooksConfig::read(&mut settings);
            checks::webhooks(&mut settings, &config);
            Command::Webhooks(config)
        }
        Subcommand::Healthcheck => healthcheck(&mut settings),
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
    let mut address = probe.address.unwrap_or(grpc.listen);
    // A service can listen on "every address", but a client cannot call it.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let options = [Probe::address, Grpc::listen];
    settings.demand(&options, address.port() != 0, "must be given where --listen leaves the port open");
    Command::Healthcheck { address, service: probe.service }
}
