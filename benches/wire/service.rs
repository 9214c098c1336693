//! The service as it is run: the released program with its access lines, which nobody reads here, on a port of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::usage::{self, Memory};
use crate::harness::{process::free_port, server::Setup, supervisor};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH_CHECK_PERIOD: Duration = Duration::from_millis(2);

/// A program of the service.
#[derive(Clone, Default)]
pub(crate) enum Program {
    /// The one that was built with the bench.
    #[default]
    Built,
    /// Another one, to which the built one is compared.
    At(PathBuf),
}

impl Program {
    fn command(&self, setup: &Setup) -> Command {
        let built = setup.command("");
        let Self::At(path) = self else { return built };
        let mut command = Command::new(path);
        command.args(built.get_args());
        for (name, value) in built.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = built.get_current_dir() {
            command.current_dir(folder);
        }
        command
    }
}

/// A running service. It ends when this value is dropped, or with the bench.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// A connection to it.
    pub(crate) channel: Channel,
    /// Time from its start until its health was SERVING.
    pub(crate) start_time: Duration,
}

impl Service {
    /// Starts a service and waits until its health is SERVING.
    pub(crate) async fn start(program: &Program, setup: Setup) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let setup = setup.with("--listen", address.as_str()).with("--admin-listen", "off");
        let start = Instant::now();
        let mut child = program.command(&setup).stdout(Stdio::null()).spawn().expect("a process of the service");
        supervisor::watch(Pid::from_child(&child), Signal::KILL);
        loop {
            if let Ok(channel) = serving(&address).await {
                return Self { child, address, channel, start_time: start.elapsed() };
            }
            let ended = child.try_wait().expect("the state of a child process");
            assert!(ended.is_none(), "the service ended during its start: {ended:?}");
            assert!(start.elapsed() < START_TIMEOUT, "the service is not SERVING after {START_TIMEOUT:?}");
            tokio::time::sleep(HEALTH_CHECK_PERIOD).await;
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        usage::memory(self.id())
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

async fn serving(address: &str) -> Result<Channel, Box<dyn std::error::Error>> {
    let channel = tonic::transport::Endpoint::try_from(format!("http://{address}"))?.connect().await?;
    let request = HealthCheckRequest::default();
    match HealthClient::new(channel.clone()).check(request).await?.into_inner().status() {
        ServingStatus::Serving => Ok(channel),
        other => Err(other.as_str_name().into()),
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
        supervisor::forget(pid);
    }
}
