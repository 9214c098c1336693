//! The demo payment gateway as a process of its own, and clients of it.

use std::{path::Path, process::Command, time::Duration};

use boxoffice::{
    payments::{Gateway as Client, Options},
    pb::{
        boxoffice::demo::v1::{
            CompleteActionRequest, GatewayFaultSettings, SetGatewayFaultsRequest,
            gateway_faults_client::GatewayFaultsClient,
        },
        payments::v1::{AuthorizeRequest, ListPaymentsRequest, Payment, PaymentState, gateway_client::GatewayClient},
    },
};
use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};

use super::{eventually, process::Process, server};

/// The subcommand `demo-gateway` of the real binary.
pub(crate) struct Gateway {
    address: String,
    process: Process,
    options: Vec<String>,
}

/// A channel to the gateway with this URL. It connects with the first call.
pub(crate) fn channel(url: String) -> Channel {
    Endpoint::from_shared(url).expect("an address").connect_lazy()
}

impl Gateway {
    /// Starts one with its file in a folder in this one.
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::with(&folder.join("gateway"), &[]).await
    }

    /// Starts one with its file in this folder.
    pub(crate) async fn with(folder: &Path, options: &[&str]) -> Self {
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

    pub(crate) async fn set_faults(&self, faults: GatewayFaultSettings) {
        let request = SetGatewayFaultsRequest { faults: Some(faults) };
        self.faults().set_gateway_faults(request).await.expect("the faults are set");
    }

    /// Does what a customer does. Returns the name of the payment's state.
    pub(crate) async fn complete_action(&self, payment_key: &str, approve: bool) -> String {
        let request = CompleteActionRequest { payment_key: payment_key.to_owned(), approve };
        self.faults().complete_action(request).await.expect("the payment is known").into_inner().state
    }

    fn faults(&self) -> GatewayFaultsClient<Channel> {
        GatewayFaultsClient::new(self.channel())
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(self.url())
    }

    /// Kills the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Pauses the process: requests are received and not answered.
    pub(crate) async fn pause(&self) {
        self.process.signal(Signal::STOP);
        eventually("the gateway stands still", async || self.process.is_stopped().then_some(())).await;
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// All payments that the gateway knows.
    pub(crate) async fn payments(&self) -> Vec<Payment> {
        let (mut client, mut payments, mut page_token) =
            (GatewayClient::new(self.channel()), Vec::new(), String::new());
        loop {
            let page = client.list_payments(ListPaymentsRequest { page_size: 500, page_token }).await;
            let page = page.expect("the gateway answers").into_inner();
            payments.extend(page.payments);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return payments;
            }
        }
    }

    /// The state of each payment, in the gateway's order.
    pub(crate) async fn states(&self) -> Vec<PaymentState> {
        self.payments().await.iter().map(Payment::state).collect()
    }

    /// What an `Authorize` answers that comes late.
    pub(crate) async fn authorize_late(&self, payment: &Payment, token: &str) -> PaymentState {
        let request = AuthorizeRequest {
            payment_key: payment.payment_key.clone(),
            operation_key: format!("{}/authorize", payment.payment_key),
            amount: payment.amount.clone(),
            method: "CREDIT_CARD".to_owned(),
            token: token.to_owned(),
            return_uri: String::new(),
        };
        let answer = GatewayClient::new(self.channel()).authorize(request).await.expect("the gateway answers");
        answer.into_inner().payment.expect("the answer has the payment").state()
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
