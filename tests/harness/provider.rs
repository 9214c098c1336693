//! The demo provider as a process of its own, and the fault settings of a demo provider, wherever it runs.

use std::process::Command;

use boxoffice::pb::boxoffice::demo::v1::{
    FaultSettings, GetFaultsRequest, SetFaultsRequest, faults_client::FaultsClient,
};
use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};

use super::{process::Process, server};

/// The subcommand `demo-provider` of the real binary.
pub(crate) struct Provider {
    address: String,
    process: Process,
    options: Vec<String>,
}

impl Provider {
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::listen("127.0.0.1:0", options.iter().map(ToString::to_string).collect()).await
    }

    async fn listen(listen: &str, options: Vec<String>) -> Self {
        let mut command: Command = server::binary();
        command.args(["demo-provider", "--listen", listen]).args(&options);
        let process = Process::spawn("demo provider", command, Signal::KILL);
        let address = process.console().find("its address", address).await;
        Self { address, process, options }
    }

    /// Returns the value for `--provider-url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the value for `--provider-url` if the provider uses TLS. Its certificate is for this host name.
    pub(crate) fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.address.rsplit(':').next().expect("an address ends in a port"))
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults::at(&self.address)
    }

    /// Stops the process, so that requests are received and not answered.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Kills the provider as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the provider again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        *self = Self::listen(&self.address.clone(), self.options.clone()).await;
    }
}

/// Finds the address in a line such as `… demo provider on http://127.0.0.1:50061`, or with https.
pub(crate) fn address(line: &str) -> Option<String> {
    let rest = line.split("demo provider on ").nth(1)?.split("://").nth(1)?;
    Some(rest.split(|c: char| !c.is_ascii_alphanumeric() && !".:[]-".contains(c)).next()?.to_owned())
}

/// A client of a running demo provider that sets its faults.
#[derive(Clone)]
pub(crate) struct Faults(FaultsClient<Channel>);

impl Faults {
    pub(crate) fn at(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self(FaultsClient::new(endpoint.connect_lazy()))
    }

    pub(crate) async fn set(&self, faults: FaultSettings) {
        let request = SetFaultsRequest { faults: Some(faults) };
        self.0.clone().set_faults(request).await.expect("the faults are set");
    }

    pub(crate) async fn outage(&self) {
        self.set(FaultSettings { outage: true, ..no_faults() }).await;
    }

    pub(crate) async fn clear(&self) {
        self.set(no_faults()).await;
    }

    /// Returns how many calls for movies the provider has received.
    pub(crate) async fn call_count(&self) -> i64 {
        let answer = self.0.clone().get_faults(GetFaultsRequest {}).await;
        answer.expect("the faults are read").into_inner().call_count
    }
}

pub(crate) fn no_faults() -> FaultSettings {
    FaultSettings::default()
}
