//! The tests of purchases are tested themselves: each bug that is planted for them is found, and nothing is found without one.

use std::time::Duration;

use boxoffice::pb::{
    boxoffice::v1::{Purchase, RefundPaymentRequest, RefundState, payments_client::PaymentsClient},
    payments::v1::Payment,
};

use crate::{
    harness::{
        Store, euros, eventually,
        purchases::{buy, latency, no_faults, of_seats, outage, purchase, until_ended},
        request_id,
        seats::{confirm, reserve, showtime, these},
        server::Setup,
    },
    purchase_edges::{Edge, cancel_showtime, until_paying, wake_up},
};

/// Fails unless an anomaly with this text is found with the bug, and none without it.
async fn assert_found(bug: &str, text: &str, run: impl AsyncFn(&Edge, Setup) -> Vec<String>) {
    let edge = Edge::new(Store::Postgres, "1s").await;
    let found = Box::pin(run(&edge, edge.setup.clone().with_bug(bug))).await;
    assert!(found.iter().any(|anomaly| anomaly.contains(text)), "the bug {bug} is not found: {found:#?}");
    let edge = Edge::new(Store::Postgres, "1s").await;
    let found = Box::pin(run(&edge, edge.setup.clone())).await;
    assert!(found.is_empty(), "something is found where there is no bug: {found:#?}");
}

/// Buys a seat, waits until that has ended, and lists every anomaly.
async fn buy_to_the_end(edge: &Edge, setup: Setup, token: &str) -> Vec<String> {
    let server = setup.with("--pay-time", "3s").start().await;
    let showtime = showtime(&server).await;
    let begun = buy(&server, of_seats(&showtime, "ada", "A1", token)).await.expect("it begins");
    until_ended(&server, &begun).await;
    edge.anomalies().await
}

#[tokio::test]
async fn a_new_key_for_each_retry_is_found() {
    let run = async |edge: &Edge, setup| buy_to_the_end(edge, setup, "tok_lost_reply").await;
    assert_found("new-key-for-each-retry", "a charge belongs to no purchase", run).await;
}

#[tokio::test]
async fn a_capture_that_fails_and_leaves_the_seats_sold_is_found() {
    let run = async |edge: &Edge, setup| buy_to_the_end(edge, setup, "tok_capture_fails").await;
    assert_found("lost-compensation", "it is compensated, and has its seats", run).await;
}

/// The authorisation is under way for longer than the time for the payment, and comes to the gateway after it was asked whether it knows
/// the payment.
#[tokio::test]
async fn a_payment_that_the_gateway_does_not_know_and_that_counts_as_not_charged_is_found() {
    let run = async |edge: &Edge, setup: Setup| {
        let server = setup.with("--pay-time", "1s").start().await;
        let showtime = showtime(&server).await;
        let begun = buy(&server, of_seats(&showtime, "ada", "A1", "tok_error")).await.expect("it begins");
        until_ended(&server, &begun).await;
        let (payment_key, amount) = (begun.payments[0].payment_id.clone(), begun.total.clone());
        let late = Payment { payment_key, amount, ..Payment::default() };
        edge.gateway.authorize_late(&late, "tok_ok").await;
        edge.anomalies().await
    };
    assert_found("not-found-is-not-charged", "it is compensated, and money is kept or taken", run).await;
}

/// A till pays out what it is told to, so nothing but the service stands between two requests and the same money.
#[tokio::test]
async fn refunds_beyond_what_was_taken_are_found() {
    let run = async |edge: &Edge, setup: Setup| {
        let server = setup.start().await;
        let showtime = showtime(&server).await;
        let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
        let sold = confirm(&server, &held).await.expect("the seat is held");
        for _ in 0..2 {
            let request = RefundPaymentRequest {
                payment_id: sold.purchase_id.clone(),
                amount: Some(euros(5, 0)),
                reason: "the film was cut".to_owned(),
                request_id: request_id(),
                ..RefundPaymentRequest::default()
            };
            let _may_be_refused = PaymentsClient::new(server.channel()).refund_payment(request).await;
            let named = Purchase { purchase_id: sold.purchase_id.clone(), ..Purchase::default() };
            eventually("no refund is under way", async || {
                let found = purchase(&server, &named).await;
                let mut refunds = found.payments.iter().flat_map(|payment| &payment.refunds);
                refunds.all(|refund| refund.state() == RefundState::Done).then_some(())
            })
            .await;
        }
        edge.anomalies().await
    };
    assert_found("refund-beyond-captured", "more was given back than was taken", run).await;
}

#[tokio::test]
async fn a_missing_fence_is_found() {
    assert_found("no-fence", " became ", async |edge: &Edge, setup| wake_up(edge, setup).await).await;
}

/// The showtime is cancelled while the payment is being authorised.
#[tokio::test]
async fn money_that_is_taken_before_the_seats_are_sold_is_found() {
    let run = async |edge: &Edge, setup: Setup| {
        let server = setup.start().await;
        let showtime = showtime(&server).await;
        edge.gateway.set_faults(latency(Duration::from_millis(800))).await;
        let cancels = async {
            until_paying(&server, 1).await;
            cancel_showtime(&server, &showtime).await;
        };
        let (begun, ()) = tokio::join!(buy(&server, of_seats(&showtime, "ada", "A1", "tok_ok")), cancels);
        edge.gateway.set_faults(no_faults()).await;
        until_ended(&server, &begun.expect("it begins")).await;
        edge.anomalies().await
    };
    assert_found("capture-before-confirm", "money was taken for seats that were never sold", run).await;
}

/// The gateway does not answer until the time for the payment is over. Somebody else asks for the seat meanwhile.
#[tokio::test]
async fn seats_that_are_given_up_before_the_void_are_found() {
    let run = async |edge: &Edge, setup: Setup| {
        let server = setup.with("--pay-time", "1s").start().await;
        let showtime = showtime(&server).await;
        edge.gateway.set_faults(outage()).await;
        let begun = buy(&server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
        eventually("a void has failed", async || {
            let steps = purchase(&server, &begun).await.steps;
            steps.iter().any(|step| step.compensation.as_ref().is_some_and(|undoes| undoes.attempts > 1)).then_some(())
        })
        .await;
        let rival = reserve(&server, these(&showtime, "bob", "A1")).await;
        let early = rival.ok().map(|rival| format!("a payment may succeed, and others have its seats: {rival:?}"));
        edge.gateway.set_faults(no_faults()).await;
        until_ended(&server, &begun).await;
        [edge.anomalies().await, early.into_iter().collect()].concat()
    };
    assert_found("free-while-payment-may-succeed", "others have its seats", run).await;
}
