//! What is owed for seats that are given up while a refund is open, whatever becomes of that refund.

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, PaymentState, PurchaseState, RefundOutcome, RefundState, ReservationState,
    SettleRefundRequest,
};
use tonic::Code;

use crate::{
    harness::{
        assert_refused,
        money::minor,
        purchases::{buy, of_seats, until_state},
        seats::{get, names, showtime},
        shop::Shop,
        staff::release,
    },
    refunds::{all, bought, cents, of_these, payment, refund, reservation, total, until_ended},
};

in_both_shops!(
    a_refund_of_several_seats_is_not_overtaken_in_part,
    seats_are_released_when_nothing_is_left_to_give_back,
    what_is_owed_for_seats_that_were_given_up_before_their_refund_failed_is_not_forgotten,
    what_was_not_given_back_for_a_cancelled_showtime_is_refunded_later,
);

async fn a_refund_of_several_seats_is_not_overtaken_in_part(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2 A3", "tok_ok").await;
    shop.gateway.pause().await;
    refund(&shop.server, of_these(&bought, "A1 A2")).await.expect("it was paid");
    for names in ["A1", "A2 A3"] {
        let status =
            release(&shop.server, reservation(&bought), names).await.expect_err("A1 and A2 are refunded together");
        assert_refused(&status, Code::FailedPrecondition, "REFUND_PENDING");
    }
    release(&shop.server, reservation(&bought), "A1 A2 A3").await.expect("all are sold");
    let begun = payment(&shop.server, &bought).await;
    let of: Vec<_> = begun.refunds.iter().map(|refund| names(&refund.seats)).collect();
    assert_eq!(of, ["A1 A2", "A3"]);
    shop.gateway.resume();
    let after = until_ended(&shop.server, &bought, 2).await;
    assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &bought.total));
    shop.assert_books(&[]).await;
}

async fn seats_are_released_when_nothing_is_left_to_give_back(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2", "tok_ok").await;
    let whole = total(&bought);
    refund(&shop.server, cents(&bought, whole)).await.expect("it was paid");
    until_ended(&shop.server, &bought, 1).await;
    release(&shop.server, reservation(&bought), "A1").await.expect("it is sold");
    let after = until_ended(&shop.server, &bought, 1).await;
    assert_eq!((after.state(), minor(after.refunded_amount.as_ref())), (PaymentState::Refunded, whole));
    let kept = get(&shop.server, reservation(&bought)).await.expect("it is found");
    assert_eq!((names(&kept.seats), kept.state()), ("A2".to_owned(), ReservationState::Confirmed));
    shop.assert_audit().await;
}

async fn what_is_owed_for_seats_that_were_given_up_before_their_refund_failed_is_not_forgotten(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let mut sales = Vec::new();
    for (customer, names) in [("ada", "A1 A2"), ("bob", "B1 B2"), ("cid", "C1 C2")] {
        let bought = buy(&shop.server, of_seats(&showtime, customer, names, "tok_refund_fails")).await;
        sales.push(until_state(&shop.server, &bought.expect("they are free"), PurchaseState::Completed).await);
    }
    shop.gateway.pause().await;
    for (sale, seat) in sales.iter().zip(["A1", "B1"]) {
        refund(&shop.server, of_these(sale, seat)).await.expect("it was paid");
    }
    // Nothing is left of it for the seats that are given up later.
    refund(&shop.server, cents(&sales[2], total(&sales[2]))).await.expect("it was paid");
    release(&shop.server, reservation(&sales[0]), "A1").await.expect("it is sold");
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    shop.server.showtimes().cancel_showtime(cancel).await.expect("it is forced");
    shop.gateway.resume();
    for (sale, count) in sales.iter().zip([2, 2, 1]) {
        let after = until_ended(&shop.server, sale, count).await;
        assert!(after.refunds.iter().all(|refund| refund.state() == RefundState::Stuck), "{after:#?}");
    }
    shop.assert_audit().await;
}

async fn what_was_not_given_back_for_a_cancelled_showtime_is_refunded_later(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let begun = buy(server, of_seats(&showtime, "ada", "A1 A2", "tok_refund_fails")).await.expect("they are free");
    let bought = until_state(server, &begun, PurchaseState::Completed).await;
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    server.showtimes().cancel_showtime(cancel).await.expect("it is forced");
    let stuck = until_ended(server, &bought, 1).await.refunds.remove(0);
    assert_eq!(stuck.state(), RefundState::Stuck);
    let (refund_id, note) = (stuck.refund_id, "they do not give it back".to_owned());
    let settle = SettleRefundRequest { refund_id, outcome: RefundOutcome::Failed.into(), note, till: String::new() };
    server.operations().settle_refund(settle).await.expect("it is stuck");
    // The seats are given up already, so the money is owed, and the gateway refuses it again.
    refund(server, all(&bought)).await.expect("all is left");
    let after = until_ended(server, &bought, 2).await;
    assert_eq!(after.refunds[1].state(), RefundState::Stuck);
    shop.assert_audit().await;
}
