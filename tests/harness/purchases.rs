//! Purchases: requests for them, and what the books say.

pub(crate) mod ends;

use std::time::Duration;

use boxoffice::pb::boxoffice::{
    demo::v1::{CompleteActionRequest, GatewayFaultSettings, gateway_faults_client::GatewayFaultsClient},
    v1::{
        CancelPurchaseRequest, ContinuePurchaseRequest, GetPurchaseRequest, GetReceiptRequest, Payment, PaymentChoice,
        PaymentMethod, PaymentState, Purchase, PurchaseState, PurchaseStep, PurchaseStepName, PurchaseStepState,
        PurchaseTicketsRequest, Receipt, Reservation, Showtime, WatchPurchaseRequest, payments_client::PaymentsClient,
        purchases_client::PurchasesClient,
    },
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tokio::time::timeout;
use tonic::{Status, transport::Channel};

pub(crate) use super::gateway::Gateway;
use super::{DEADLINE, Server, eventually, gateway::channel, request_id, seats::seats};

/// Does what a customer would do at the gateway with this address, if it can be reached.
pub(crate) async fn act(gateway: &str, payment_key: &str, approve: bool) {
    let request = CompleteActionRequest { payment_key: payment_key.to_owned(), approve };
    let _may_be_down = GatewayFaultsClient::new(channel(gateway.to_owned())).complete_action(request).await;
}

pub(crate) fn client(server: &Server) -> PurchasesClient<Channel> {
    PurchasesClient::new(server.channel())
}

/// How to pay with this token.
pub(crate) fn card(token: &str) -> PaymentChoice {
    PaymentChoice { method: PaymentMethod::CreditCard.into(), token: token.to_owned(), ..PaymentChoice::default() }
}

/// A request to buy the seats of a hold.
pub(crate) fn of_hold(held: &Reservation, token: &str) -> PurchaseTicketsRequest {
    PurchaseTicketsRequest {
        reservation_id: held.reservation_id.clone(),
        customer_id: held.customer_id.clone(),
        payment: Some(card(token)),
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
        payment: Some(card(token)),
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
    let request = GetPurchaseRequest { purchase_id: purchase.purchase_id.clone(), ..GetPurchaseRequest::default() };
    let answer = client(server).get_purchase(request).await.expect("the purchase exists");
    answer.into_inner().purchase.expect("the answer has the purchase")
}

pub(crate) async fn continue_with(
    server: &Server,
    purchase: &Purchase,
    payment: Option<PaymentChoice>,
) -> Result<Purchase, Status> {
    continue_by(client(server), purchase, payment).await
}

pub(crate) async fn continue_by(
    mut client: PurchasesClient<Channel>,
    purchase: &Purchase,
    payment: Option<PaymentChoice>,
) -> Result<Purchase, Status> {
    let (purchase_id, customer_id) = (purchase.purchase_id.clone(), String::new());
    let answer = client.continue_purchase(ContinuePurchaseRequest { purchase_id, customer_id, payment }).await?;
    Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
}

pub(crate) async fn give_up(server: &Server, purchase: &Purchase) -> Result<Purchase, Status> {
    give_up_by(client(server), purchase).await
}

pub(crate) async fn give_up_by(mut client: PurchasesClient<Channel>, purchase: &Purchase) -> Result<Purchase, Status> {
    let (purchase_id, customer_id) = (purchase.purchase_id.clone(), String::new());
    let answer = client.cancel_purchase(CancelPurchaseRequest { purchase_id, customer_id }).await?;
    Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
}

/// Waits until nothing more happens to the purchase by itself.
pub(crate) async fn until_ended(server: &Server, begun: &Purchase) -> Purchase {
    let states = [PurchaseState::Completed, PurchaseState::Compensated, PurchaseState::Stuck];
    watched_until(server, begun, &states).await
}

/// Waits until the purchase has this state.
pub(crate) async fn until_state(server: &Server, bought: &Purchase, state: PurchaseState) -> Purchase {
    watched_until(server, bought, &[state]).await
}

/// Waits until all money of the last payment of the purchase was given back.
pub(crate) async fn until_refunded(server: &Server, of: &Purchase) -> Purchase {
    eventually("the money is given back", async || {
        let now = purchase(server, of).await;
        (now.payments.last().map(Payment::state) == Some(PaymentState::Refunded)).then_some(now)
    })
    .await
}

/// Watches the purchase until it has one of these states.
pub(crate) async fn watched_until(server: &Server, of: &Purchase, states: &[PurchaseState]) -> Purchase {
    let (purchase_id, customer_id) = (of.purchase_id.clone(), String::new());
    let watch = async {
        let watch = client(server).watch_purchase(WatchPurchaseRequest { purchase_id, customer_id }).await;
        let mut watch = watch.expect("the purchase exists").into_inner();
        loop {
            let message = watch.message().await.expect("the watch goes on").expect("the purchase has not ended");
            let found = message.purchase.expect("a message has the purchase");
            if states.contains(&found.state()) {
                return found;
            }
        }
    };
    let found = timeout(DEADLINE, watch).await.unwrap_or_else(|_| panic!("none of {states:?} within {DEADLINE:?}"));
    // A watcher receives neither of these.
    let Purchase { secret, code, .. } = purchase(server, of).await;
    Purchase { secret, code, ..found }
}

pub(crate) async fn receipt(server: &Server, purchase: &Purchase) -> Result<Receipt, Status> {
    let (purchase_id, customer_id) = (purchase.purchase_id.clone(), String::new());
    let answer =
        PaymentsClient::new(server.channel()).get_receipt(GetReceiptRequest { purchase_id, customer_id }).await?;
    Ok(answer.into_inner().receipt.expect("the answer has the receipt"))
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
