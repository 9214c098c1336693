//! A showtime is cancelled, or its sale closes, while purchases of it are in every state that lasts.

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        PaymentState, Purchase, PurchaseFailure, PurchaseFailureReason, PurchaseState, PurchaseStepName,
        PurchaseStepState, ResumePurchaseRequest, Showtime,
    },
};
use chrono::TimeDelta;

use crate::{
    harness::{
        Server, Store, eventually,
        money::assert_balanced,
        purchases::{buy, card, continue_with, give_up, of_seats, purchase, step, until_refunded, until_state},
        seats::{HALL, showtime, showtime_with},
        shop::audit,
        wrong_gateway::{Wrong, WrongGateway},
    },
    purchase_edges::{Edge, cancel_showtime},
};

/// A purchase in each state that lasts.
struct Lasting {
    /// Its first token was declined.
    awaits_token: Purchase,
    /// The customer is asked by the bank.
    awaits_action: Purchase,
    /// The authorisation was answered with another amount.
    stuck_in_pay: Purchase,
    /// The capture was answered with another amount.
    stuck_in_capture: Purchase,
    /// The money is being taken.
    captures: Purchase,
    /// The customer has given up, and the payment is being voided.
    voids: Purchase,
}

impl Lasting {
    /// Begins them all. The gateway neither takes money nor voids anything from then on.
    async fn begin(server: &Server, wrong: &WrongGateway, showtime: &Showtime) -> Self {
        let begin = async |seat, token| buy(server, of_seats(showtime, seat, seat, token)).await.expect("it begins");
        let awaits_token = begin("A1", "tok_declined_insufficient_funds").await;
        let awaits_action = begin("A3", "tok_action_required").await;
        let voids = begin("A5", "tok_action_required").await;
        wrong.set(Wrong::AuthorizedAmount);
        let stuck_in_pay = begin("B1", "tok_ok").await;
        wrong.set(Wrong::CapturedTotal);
        let stuck_in_capture = begin("B3", "tok_ok").await;
        wrong.set(Wrong::MovesNothing);
        let (captures, given_up) = tokio::join!(begin("B5", "tok_ok"), give_up(server, &voids));
        given_up.expect("it waits");
        let states = [&awaits_token, &awaits_action, &stuck_in_pay, &stuck_in_capture, &captures].map(Purchase::state);
        let (waits, stuck) = (PurchaseState::AwaitingCustomer, PurchaseState::Stuck);
        assert_eq!(states, [waits, waits, stuck, stuck, PurchaseState::Running]);
        assert_eq!(step(&captures, PurchaseStepName::Capture).state(), PurchaseStepState::Running);
        let voids = purchase(server, &voids).await;
        assert_eq!(voids.state(), PurchaseState::Running);
        Self { awaits_token, awaits_action, stuck_in_pay, stuck_in_capture, captures, voids }
    }
}

async fn resume(server: &Server, stuck: &Purchase) {
    let request = ResumePurchaseRequest { purchase_id: stuck.purchase_id.clone(), note: "repaired".to_owned() };
    server.operations().resume_purchase(request).await.expect("it is stuck");
}

async fn assert_undone(server: &Server, begun: &Purchase, why: PurchaseFailureReason) {
    let ended = until_state(server, begun, PurchaseState::Compensated).await;
    assert_eq!(ended.failure.as_ref().map(PurchaseFailure::reason), Some(why), "{ended:#?}");
    let last = ended.payments.last().expect("it has a payment").state();
    assert!([PaymentState::Voided, PaymentState::Declined].contains(&last), "{ended:#?}");
}

async fn assert_audit(server: Server, edge: &Edge) {
    assert_balanced(&edge.storage.connect().await, &edge.gateway).await;
    server.stop().await;
    let (code, printed) = audit(&edge.storage, &edge.gateway).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn a_showtime_that_is_cancelled_gives_back_what_was_taken_and_takes_nothing_more() {
    for store in [Store::Sqlite, Store::Postgres] {
        let (edge, wrong) = Edge::behind_a_wrong_gateway(store, "2s").await;
        let server = edge.start(&[]).await;
        let showtime = showtime(&server).await;
        let lasting = Lasting::begin(&server, &wrong, &showtime).await;
        cancel_showtime(&server, &showtime).await;
        wrong.set(Wrong::Nothing);
        continue_with(&server, &lasting.awaits_token, Some(card("tok_ok"))).await.expect("it waits for a token");
        edge.gateway.complete_action(&lasting.awaits_action.payments[0].payment_id, true).await;
        continue_with(&server, &lasting.awaits_action, None).await.expect("it waits for its customer");
        resume(&server, &lasting.stuck_in_pay).await;
        resume(&server, &lasting.stuck_in_capture).await;
        for begun in [&lasting.awaits_token, &lasting.awaits_action, &lasting.stuck_in_pay] {
            assert_undone(&server, begun, PurchaseFailureReason::NotSold).await;
        }
        assert_undone(&server, &lasting.voids, PurchaseFailureReason::Cancelled).await;
        // These were sold before.
        for begun in [&lasting.stuck_in_capture, &lasting.captures] {
            until_state(&server, begun, PurchaseState::Completed).await;
            assert_eq!(until_refunded(&server, begun).await.payments[0].refunds.len(), 1);
        }
        assert_audit(server, &edge).await;
    }
}

#[tokio::test]
async fn when_the_sale_closes_what_was_sold_is_paid_for_and_nothing_more_is_sold() {
    for store in [Store::Sqlite, Store::Postgres] {
        let (edge, wrong) = Edge::behind_a_wrong_gateway(store, "2s").await;
        let server = edge.start(&[("--sales-closing", "15m")]).await;
        let closes = Clock::System.now() + TimeDelta::seconds(9);
        let showtime = showtime_with(&server, &HALL, closes + TimeDelta::minutes(15), |request| request).await;
        let lasting = Lasting::begin(&server, &wrong, &showtime).await;
        eventually("the sale has closed", async || (Clock::System.now() > closes).then_some(())).await;
        wrong.set(Wrong::Nothing);
        resume(&server, &lasting.stuck_in_pay).await;
        resume(&server, &lasting.stuck_in_capture).await;
        assert_undone(&server, &lasting.awaits_token, PurchaseFailureReason::PaymentDeclined).await;
        for begun in [&lasting.awaits_action, &lasting.stuck_in_pay] {
            assert_undone(&server, begun, PurchaseFailureReason::PaymentExpired).await;
        }
        assert_undone(&server, &lasting.voids, PurchaseFailureReason::Cancelled).await;
        for begun in [&lasting.stuck_in_capture, &lasting.captures] {
            until_state(&server, begun, PurchaseState::Completed).await;
        }
        assert_audit(server, &edge).await;
    }
}
