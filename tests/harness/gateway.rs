//! The demo payment gateway as a process of its own, and clients of it.

use std::{path::Path, process::Command, time::Duration};

use boxoffice::{
    payments::{Gateway as Client, Options},
    pb::boxoffice::demo::v1::{
        CompleteActionRequest, GatewayFaultSettings, SetGatewayFaultsRequest,
        gateway_faults_client::GatewayFaultsClient,
    },
};
use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};

use super::{process::Process, server};

/// The subcommand `demo-gateway` of the real binary.
pub(crate) struct Gateway {
    address: String,
    process: Process,
    options: Vec<String>,
}

impl Gateway {
    /// Starts one with its file in this folder.
    pub(crate) async fn start(folder: &Path, options: &[&str]) -> Self {
        let folder = folder.to_str().expect("a readable path");
        let options = ["--data-dir", folder].iter().chain(options).map(ToString::to_string).collect();
        Self::listen("127.0.0.1:0", options).await
    }

    async fn listen(listen: &str, options: Vec<String>) -> Self {
        let mut command: Command = server::binary();
        command.args(["demo-gateway", "--listen", listen]).args(&options);
        let process = Process::spawn("demo gateway", command, Signal::KILL);
        let address = process.console().find("its address", address).await;
        Self { address, process, options }
    }

    /// Returns the value for `--payment-gateway-url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The client that the service has, too.
    pub(crate) fn client(&self) -> Client {
        let options =
            Options { url: self.url(), api_key: None, ca_pem: None, insecure: false, timeout: Duration::from_secs(30) };
        Client::new(&options).expect("the options are valid")
    }

    pub(crate) async fn set(&self, faults: GatewayFaultSettings) {
        let request = SetGatewayFaultsRequest { faults: Some(faults) };
        self.faults().set_gateway_faults(request).await.expect("the faults are set");
    }

    /// Does what a customer does. Returns the name of the payment's state.
    pub(crate) async fn complete(&self, payment_key: &str, approve: bool) -> String {
        let request = CompleteActionRequest { payment_key: payment_key.to_owned(), approve };
        self.faults().complete_action(request).await.expect("the payment is known").into_inner().state
    }

    fn faults(&self) -> GatewayFaultsClient<Channel> {
        GatewayFaultsClient::new(Endpoint::from_shared(self.url()).expect("an address").connect_lazy())
    }

    /// Kills the gateway, and starts it again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        *self = Self::listen(&self.address.clone(), self.options.clone()).await;
    }
}

/// Finds the address in a line such as `demo gateway on http://127.0.0.1:50071`.
fn address(line: &str) -> Option<String> {
    let rest = line.split("demo gateway on ").nth(1)?.split("://").nth(1)?;
    Some(rest.split(|c: char| !c.is_ascii_alphanumeric() && !".:[]-".contains(c)).next()?.to_owned())
}
