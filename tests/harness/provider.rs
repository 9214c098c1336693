//! The demo provider as a process of its own, and its knobs, wherever it runs.

use std::process::Command;

use boxoffice::pb::boxoffice::demo::v1::{
    FaultSettings, GetFaultsRequest, SetFaultsRequest, faults_client::FaultsClient,
};
use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};

use super::{process::Process, server};

/// The real binary's `demo-provider`.
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

    /// What `--provider-url` takes.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same for one with a certificate. The name is the certificate's.
    pub(crate) fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.address.rsplit(':').next().expect("an address ends in a port"))
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults::at(&self.address)
    }

    /// Takes what it is sent and answers nothing, until it is resumed.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Comes back at the same address.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        *self = Self::listen(&self.address.clone(), self.options.clone()).await;
    }
}

/// The address after these words: `… demo provider on http://127.0.0.1:50061`, or https.
pub(crate) fn address(line: &str) -> Option<String> {
    let rest = line.split("demo provider on ").nth(1)?.split("://").nth(1)?;
    Some(rest.split(|c: char| !c.is_ascii_alphanumeric() && !".:[]-".contains(c)).next()?.to_owned())
}

/// The knobs of a running demo provider.
#[derive(Clone)]
pub(crate) struct Faults(FaultsClient<Channel>);

impl Faults {
    pub(crate) fn at(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self(FaultsClient::new(endpoint.connect_lazy()))
    }

    pub(crate) async fn set(&self, faults: FaultSettings) {
        let request = SetFaultsRequest { faults: Some(faults) };
        self.0.clone().set_faults(request).await.expect("the provider takes new faults");
    }

    pub(crate) async fn outage(&self) {
        self.set(FaultSettings { outage: true, ..no_faults() }).await;
    }

    pub(crate) async fn clear(&self) {
        self.set(no_faults()).await;
    }

    /// How many calls for movies it has seen.
    pub(crate) async fn call_count(&self) -> i64 {
        let answer = self.0.clone().get_faults(GetFaultsRequest {}).await;
        answer.expect("the provider tells its faults").into_inner().call_count
    }
}

pub(crate) fn no_faults() -> FaultSettings {
    FaultSettings::default()
}
