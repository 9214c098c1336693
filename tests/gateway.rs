//! The demo payment gateway as a process of its own, and inside the service: what it knows survives a kill.

use boxoffice::{
    domain::money::{Currency, Money},
    payments::{Authorize, GatewayState, Operation, OperationState, Trouble},
    pb::boxoffice::demo::v1::GatewayFaultSettings,
};

use crate::harness::{eventually, gateway::Gateway, postgres::Database, server::Setup, supervisor};

fn euros(minor: i64) -> Money {
    Money { currency: Currency::parse("EUR").expect("a currency"), minor }
}

fn by(token: &str, key: &str) -> Authorize {
    Authorize {
        payment_key: key.to_owned(),
        operation_key: format!("{key}/authorize"),
        amount: euros(2_500),
        method: "CREDIT_CARD".to_owned(),
        token: token.to_owned(),
        return_uri: String::new(),
    }
}

fn step(key: &str, step: &str) -> Operation {
    Operation { payment_key: key.to_owned(), operation_key: format!("{key}/{step}"), amount: euros(2_500) }
}

#[tokio::test]
async fn a_payment_whose_reply_was_lost_is_found_after_a_kill() {
    let folder = supervisor::folder("gateway-");
    let mut gateway = Gateway::with(folder.path(), &[]).await;
    let client = gateway.client();
    let lost = client.authorize(&by("tok_lost_reply", "p")).await;
    assert!(matches!(lost, Err(Trouble::Unknown { .. })), "{lost:?}");
    gateway.restart().await;

    let found = gateway.client().payment("p").await.expect("the payment is known");
    assert!(matches!(found.state, GatewayState::Authorized { .. }), "{found:?}");
    let again = gateway.client().authorize(&by("tok_lost_reply", "p")).await.expect("it is answered");
    assert_eq!(again, found, "the repeated call has no effect");
}

#[tokio::test]
async fn refunds_and_actions_go_on_after_a_kill() {
    let folder = supervisor::folder("gateway-");
    let mut gateway = Gateway::with(folder.path(), &["--refund-delay", "1h", "--action-timeout", "1h"]).await;
    let client = gateway.client();
    client.authorize(&by("tok_action_required", "p")).await.expect("the customer is asked");
    client.authorize(&by("tok_ok", "q")).await.expect("it is authorised");
    client.capture(&step("q", "capture")).await.expect("it is captured");
    gateway.set_faults(GatewayFaultSettings::default()).await;
    client.refund(&step("q", "refund")).await.expect("the refund begins");
    gateway.restart().await;

    assert_eq!(gateway.complete_action("p", true).await, "PAYMENT_STATE_AUTHORIZED");
    let client = gateway.client();
    eventually("the refund is done", async || {
        let refunded = client.payment("q").await.ok()?;
        (refunded.operation("q/refund")?.state == OperationState::Done).then_some(())
    })
    .await;
}

#[tokio::test]
async fn instances_in_one_folder_do_not_fight_for_the_file() {
    let folder = supervisor::folder("gateway-");
    let database = Database::create().await;
    let setup = Setup::new(folder.path()).with("--database-url", database.url());
    let first = setup.clone().start().await;
    assert!(folder.path().join("data/demo-gateway.log").is_file());
    let second = setup.clone().start().await;
    second.console().line(&["in memory only", "--payment-gateway-url"]).await;
    second.stop().await;
    first.stop().await;

    // With a gateway of their own neither starts one.
    let gateway = Gateway::with(folder.path(), &[]).await;
    let third = setup.with("--payment-gateway-url", gateway.url()).start().await;
    third.console().line(&["payments by http://"]).await;
    third.stop().await;
}
