//! Purchases: a payment gateway as a process of its own, requests, and what the books say.

use std::{path::Path, process::Command, time::Duration};

use boxoffice::pb::{
    boxoffice::{
        demo::v1::{
            CompleteActionRequest, GatewayFaultSettings, SetGatewayFaultsRequest,
            gateway_faults_client::GatewayFaultsClient,
        },
        v1::{
            CancelPurchaseRequest, ContinuePurchaseRequest, GetPurchaseRequest, PaymentChoice, PaymentMethod, Purchase,
            PurchaseState, PurchaseStep, PurchaseStepName, PurchaseStepState, PurchaseTicketsRequest, Reservation,
            Showtime, purchases_client::PurchasesClient,
        },
    },
    payments::v1::{AuthorizeRequest, ListPaymentsRequest, Payment, PaymentState, gateway_client::GatewayClient},
};
use rustix::process::Signal;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::{Server, eventually, process::Process, request_id, seats::seats, server};

/// The subcommand `demo-gateway` of the real binary. Its port and its data stay when it is killed and started again.
pub(crate) struct Gateway {
    address: String,
    process: Process,
    folder: String,
}

impl Gateway {
    /// Starts one with its data in this folder.
    pub(crate) async fn start(folder: &Path) -> Self {
        let folder = folder.join("gateway").to_str().expect("a readable path").to_owned();
        Self::listen("127.0.0.1:0", folder).await
    }

    async fn listen(listen: &str, folder: String) -> Self {
        let mut command: Command = server::binary();
        command.args(["demo-gateway", "--listen", listen, "--data-dir", &folder]);
        let process = Process::spawn("demo gateway", command, Signal::KILL);
        let address = |line: &str| {
            let rest = line.split("http://").nth(1)?;
            Some(rest.split(|one: char| !one.is_ascii_alphanumeric() && !".:".contains(one)).next()?.to_owned())
        };
        let address = process.console().find("its address", address).await;
        Self { address, process, folder }
    }

    /// The value for `--payment-gateway-url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again at the same address with the same data.
    pub(crate) async fn restart(&mut self) {
        *self = Self::listen(&self.address.clone(), self.folder.clone()).await;
    }

    /// Pauses the process: requests are received and not answered.
    pub(crate) async fn pause(&self) {
        self.process.signal(Signal::STOP);
        eventually("the gateway stands still", async || self.process.is_stopped().then_some(())).await;
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url()).expect("an address").connect_lazy()
    }

    pub(crate) async fn set_faults(&self, faults: GatewayFaultSettings) {
        let request = SetGatewayFaultsRequest { faults: Some(faults) };
        GatewayFaultsClient::new(self.channel()).set_gateway_faults(request).await.expect("the faults are valid");
    }

    /// Does what the customer would do.
    pub(crate) async fn complete_action(&self, payment_key: &str, approve: bool) {
        let request = CompleteActionRequest { payment_key: payment_key.to_owned(), approve };
        GatewayFaultsClient::new(self.channel()).complete_action(request).await.expect("the payment is known");
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
}

/// Does what a customer would do at the gateway with this address, if it can be reached.
pub(crate) async fn act(gateway: &str, payment_key: &str, approve: bool) {
    let channel = Endpoint::from_shared(gateway.to_owned()).expect("an address").connect_lazy();
    let request = CompleteActionRequest { payment_key: payment_key.to_owned(), approve };
    let _may_be_down = GatewayFaultsClient::new(channel).complete_action(request).await;
}

pub(crate) fn client(server: &Server) -> PurchasesClient<Channel> {
    PurchasesClient::new(server.channel())
}

/// How to pay with this token.
pub(crate) fn card(token: &str) -> Option<PaymentChoice> {
    Some(PaymentChoice { method: PaymentMethod::CreditCard.into(), token: token.to_owned() })
}

/// A request to buy the seats of a hold.
pub(crate) fn of_hold(held: &Reservation, token: &str) -> PurchaseTicketsRequest {
    PurchaseTicketsRequest {
        reservation_id: held.reservation_id.clone(),
        customer_id: held.customer_id.clone(),
        payment: card(token),
        request_id: request_id(),
        ..PurchaseTicketsRequest::default()
    }
}

/// A request to hold seats and buy them.
pub(crate) fn of_seats(showtime: &Showtime, customer: &str, names: &str, token: &str) -> PurchaseTicketsRequest {
    PurchaseTicketsRequest {
        showtime_id: showtime.showtime_id.clone(),
        seats: seats(names),
        customer_id: customer.to_owned(),
        payment: card(token),
        request_id: request_id(),
        ..PurchaseTicketsRequest::default()
    }
}

pub(crate) async fn buy(server: &Server, request: PurchaseTicketsRequest) -> Result<Purchase, Status> {
    let answer = client(server).purchase_tickets(request).await?;
    Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
}

/// The purchase as it is now.
pub(crate) async fn purchase(server: &Server, purchase: &Purchase) -> Purchase {
    let request = GetPurchaseRequest { purchase_id: purchase.purchase_id.clone(), customer_id: String::new() };
    let answer = client(server).get_purchase(request).await.expect("the purchase exists");
    answer.into_inner().purchase.expect("the answer has the purchase")
}

pub(crate) async fn continue_with(
    server: &Server,
    purchase: &Purchase,
    payment: Option<PaymentChoice>,
) -> Result<Purchase, Status> {
    let (purchase_id, customer_id) = (purchase.purchase_id.clone(), String::new());
    let answer =
        client(server).continue_purchase(ContinuePurchaseRequest { purchase_id, customer_id, payment }).await?;
    Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
}

pub(crate) async fn give_up(server: &Server, purchase: &Purchase) -> Result<Purchase, Status> {
    let (purchase_id, customer_id) = (purchase.purchase_id.clone(), String::new());
    let answer = client(server).cancel_purchase(CancelPurchaseRequest { purchase_id, customer_id }).await?;
    Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
}

/// Waits until the purchase has this state.
pub(crate) async fn until_state(server: &Server, bought: &Purchase, state: PurchaseState) -> Purchase {
    eventually(&format!("the purchase is {state:?}"), async || {
        Some(purchase(server, bought).await).filter(|found| found.state() == state)
    })
    .await
}

/// The step of this name.
pub(crate) fn step(purchase: &Purchase, name: PurchaseStepName) -> &PurchaseStep {
    purchase.steps.iter().find(|step| step.name() == name).expect("every purchase has all steps")
}

/// The states of the steps, in order, each with that of what undoes it.
pub(crate) fn steps(purchase: &Purchase) -> Vec<(PurchaseStepState, Option<PurchaseStepState>)> {
    let states = |step: &PurchaseStep| (step.state(), step.compensation.as_ref().map(|undoes| undoes.state()));
    purchase.steps.iter().map(states).collect()
}

/// What each account has, as far as it is not nothing.
pub(crate) async fn books(connection: &DatabaseConnection) -> Vec<(String, i64)> {
    let sql =
        "SELECT account, CAST(SUM(minor) AS BIGINT) AS minor FROM money_entries GROUP BY account ORDER BY account";
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.expect("the books are read");
    let read = |row: &sea_orm::QueryResult| {
        (row.try_get("", "account").expect("an account"), row.try_get("", "minor").expect("an amount"))
    };
    rows.iter().map(read).collect()
}

/// A fault by which every answer is late.
pub(crate) fn latency(of: Duration) -> GatewayFaultSettings {
    let latency = prost_types::Duration { seconds: of.as_secs().cast_signed(), nanos: of.subsec_nanos().cast_signed() };
    GatewayFaultSettings { latency: Some(latency), ..GatewayFaultSettings::default() }
}

/// A fault by which every call fails.
pub(crate) fn outage() -> GatewayFaultSettings {
    GatewayFaultSettings { outage: true, ..GatewayFaultSettings::default() }
}

/// A gateway that works.
pub(crate) fn no_faults() -> GatewayFaultSettings {
    GatewayFaultSettings::default()
}
