//! Purchases whose gateway does not answer, and whose instance dies.

use std::time::Duration;

use boxoffice::pb::{
    boxoffice::v1::{ListPurchasesRequest, PurchaseFailureReason, PurchaseState},
    payments::v1::PaymentState as GatewayState,
};
use futures_util::future::join_all;

use crate::harness::{
    Store, eventually,
    money::assert_balanced,
    purchases::{
        buy, client,
        ends::{PENDING, assert_compensated, assert_completed},
        latency, of_seats, purchase, steps, until_state,
    },
    seats::{assert_unavailable, reserve, showtime, these},
    shop::Shop,
};

/// The time of a payment passes while the gateway does not answer: nothing is charged, and the seats are free only after that is
/// certain.
#[tokio::test]
async fn a_payment_that_is_not_decided_in_time_is_voided_before_its_seats_are_free() {
    let shop = Shop::with(Store::Postgres, &[("--pay-time", "1s")]).await;
    let showtime = showtime(&shop.server).await;
    shop.gateway.pause().await;
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    assert_eq!(begun.state(), PurchaseState::Running, "{begun:#?}");
    eventually("the time has passed", async || {
        let now = purchase(&shop.server, &begun).await;
        (now.failure.is_some()).then_some(())
    })
    .await;
    let status = reserve(&shop.server, these(&showtime, "bob", "A1")).await.expect_err("the payment may succeed");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    shop.gateway.resume();
    let ended = until_state(&shop.server, &begun, PurchaseState::Compensated).await;
    assert_compensated(&ended, PurchaseFailureReason::PaymentExpired);
    assert_eq!(steps(&ended)[2..], [PENDING, PENDING, PENDING]);
    reserve(&shop.server, these(&showtime, "bob", "A1")).await.expect("the seat is free again");
    assert_eq!(shop.charged().await, [GatewayState::Voided]);
}

/// Purchases that were begun by an instance that dies are finished by another one, and nobody is charged twice.
#[tokio::test]
async fn another_instance_finishes_what_one_that_died_has_begun() {
    let mut shop = Shop::open(Store::Postgres).await;
    let showtime = showtime(&shop.server).await;
    shop.gateway.set_faults(latency(Duration::from_millis(400))).await;
    let other = shop.server.setup().clone().start().await;
    let requests: Vec<_> = ["A1", "A3", "A5", "B1", "B3", "B5"]
        .map(|seat| of_seats(&showtime, seat, seat, "tok_ok"))
        .into_iter()
        .collect();
    let calls = requests.iter().map(|request| buy(&shop.server, request.clone()));
    let calls = join_all(calls);
    let begun = eventually("some purchases are under way", async || {
        let list = client(&other).list_purchases(ListPurchasesRequest::default()).await;
        Some(list.expect("a list").into_inner().purchases).filter(|all| !all.is_empty())
    });
    tokio::select! {
        _ = begun => {}
        answers = calls => panic!("every purchase has ended before one was listed: {answers:#?}"),
    }
    shop.server.kill();
    shop.gateway.kill();
    shop.gateway.restart().await;
    for request in requests {
        let bought = buy(&other, request).await.expect("it is bought");
        assert_completed(&until_state(&other, &bought, PurchaseState::Completed).await);
    }
    assert_eq!(shop.charged().await, [GatewayState::Captured; 6]);
    assert_balanced(&shop.storage.connect().await, &shop.gateway).await;
}
