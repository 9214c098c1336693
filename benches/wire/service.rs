//! The service, as it is run: the real binary with its access lines, which nobody reads here, on a port of its own.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::account;
use crate::harness::{postgres::free_port, server::Setup, supervisor};

/// A running service.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// A connection to it.
    pub(crate) channel: Channel,
    /// From its start until it was serving.
    pub(crate) started: Duration,
}

impl Service {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(setup: Setup) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = setup.with("--listen", address.as_str()).with("--admin-listen", "off").command("");
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::null()).spawn().expect("the service");
        supervisor::watch(Pid::from_child(&child), Signal::KILL);
        loop {
            if let Ok(channel) = serving(&address).await {
                return Self { child, address, channel, started: begun.elapsed() };
            }
            let ended = child.try_wait().expect("its state");
            assert!(ended.is_none(), "the service does not start: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(30), "the service does not start");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Resident memory, from the system's own account.
    pub(crate) fn memory_mib(&self) -> f64 {
        account::resident_kib(self.id()) / 1_024.0
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

async fn serving(address: &str) -> Result<Channel, Box<dyn std::error::Error>> {
    let channel = tonic::transport::Endpoint::try_from(format!("http://{address}"))?.connect().await?;
    let asked = HealthCheckRequest::default();
    match HealthClient::new(channel.clone()).check(asked).await?.into_inner().status() {
        ServingStatus::Serving => Ok(channel),
        other => Err(other.as_str_name().into()),
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _ended_by_itself = self.child.kill();
        let _status = self.child.wait();
        supervisor::forget(pid);
    }
}
