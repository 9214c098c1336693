//! Refunds: what was paid is given back once, with the seats, whatever happens in between.

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, GetPaymentRequest, Payment, PaymentState, Purchase, PurchaseState, Refund,
    RefundPaymentRequest, RefundState, ReleaseSeatsRequest, Reservation, ReservationState,
    payments_client::PaymentsClient,
};
use tonic::{Code, Status};

use crate::harness::{
    Server, Store, assert_not_found, assert_refused, assert_violates, eventually,
    money::minor,
    purchases::{books, buy, of_seats, receipt},
    refusals::reason,
    request_id,
    requests::{euros, money},
    seats::{confirm, get, names, reserve, seats, showtime, these},
    shop::Shop,
    staff::{exchange, release, to_release},
};

in_both_shops!(
    everything_is_given_back_and_the_books_are_even,
    seats_are_given_back_one_after_the_other,
    an_amount_is_given_back_for_no_seat,
    refunds_that_begin_at_once_give_no_more_back_than_was_paid,
    a_refund_that_fails_changes_nothing_and_says_why,
    a_repeated_request_gives_back_once,
    what_was_not_paid_is_not_given_back,
    seats_that_are_released_are_refunded,
    seats_that_are_released_while_their_refund_is_pending_are_refunded_once,
    a_cancelled_showtime_refunds_every_sale,
    a_refund_outlives_an_outage_of_the_gateway,
    invalid_requests_are_refused_for_every_flaw,
);

/// Buys these seats.
pub(crate) async fn bought(shop: &Shop, customer: &str, names: &str, token: &str) -> Purchase {
    let showtime = showtime(&shop.server).await;
    buy(&shop.server, of_seats(&showtime, customer, names, token)).await.expect("the seats are free")
}

pub(crate) fn reservation(purchase: &Purchase) -> &Reservation {
    purchase.reservation.as_ref().expect("a purchase has its reservation")
}

/// A request to give everything back.
pub(crate) fn all(purchase: &Purchase) -> RefundPaymentRequest {
    RefundPaymentRequest {
        payment_id: purchase.payments.last().expect("it has a payment").payment_id.clone(),
        reason: "the projector failed".to_owned(),
        request_id: request_id(),
        ..RefundPaymentRequest::default()
    }
}

pub(crate) fn of_these(purchase: &Purchase, names: &str) -> RefundPaymentRequest {
    RefundPaymentRequest { seats: seats(names), ..all(purchase) }
}

pub(crate) fn cents(purchase: &Purchase, minor: i64) -> RefundPaymentRequest {
    let amount = Some(euros(minor / 100, i32::try_from(minor % 100).expect("it is small") * 10_000_000));
    RefundPaymentRequest { amount, ..all(purchase) }
}

pub(crate) async fn refund(server: &Server, request: RefundPaymentRequest) -> Result<(Payment, Refund), Status> {
    let answer = PaymentsClient::new(server.channel()).refund_payment(request).await?.into_inner();
    let refund = answer.refund.expect("the answer has the refund");
    let payment = answer.payment.expect("the answer has the payment");
    assert!(payment.refunds.contains(&refund), "{payment:#?}");
    Ok((payment, refund))
}

pub(crate) async fn payment(server: &Server, purchase: &Purchase) -> Payment {
    let payment_id = all(purchase).payment_id;
    let request = GetPaymentRequest { payment_id, customer_id: String::new() };
    let answer = PaymentsClient::new(server.channel()).get_payment(request).await.expect("the payment exists");
    answer.into_inner().payment.expect("the answer has the payment")
}

/// Waits until the payment has so many refunds, and none of them is pending.
pub(crate) async fn until_ended(server: &Server, purchase: &Purchase, count: usize) -> Payment {
    eventually("the refunds have ended", async || {
        let found = payment(server, purchase).await;
        let pending = found.refunds.iter().any(|refund| refund.state() == RefundState::Pending);
        (found.refunds.len() == count && !pending).then_some(found)
    })
    .await
}

pub(crate) fn total(purchase: &Purchase) -> i64 {
    minor(purchase.total.as_ref())
}

async fn everything_is_given_back_and_the_books_are_even(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2", "tok_ok").await;
    let (before, begun) = refund(&shop.server, all(&bought)).await.expect("it was paid");
    assert_eq!(
        (begun.state(), &begun.amount, names(&begun.seats)),
        (RefundState::Pending, &bought.total, "A1 A2".into())
    );
    assert_eq!((before.state(), begun.reason.as_str()), (PaymentState::Completed, "the projector failed"));
    let after = until_ended(&shop.server, &bought, 1).await;
    assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &bought.total));
    let ended = &after.refunds[0];
    assert_eq!((ended.state(), &ended.refund_id, ended.message.as_str()), (RefundState::Done, &begun.refund_id, ""));
    assert!(ended.end_time.is_some() && ended.attempts > 0, "{ended:?}");
    let seats = get(&shop.server, reservation(&bought)).await.expect("it is found");
    assert_eq!((seats.state(), seats.seat_count), (ReservationState::Cancelled, 0));
    shop.assert_books(&[]).await;
    for request in [all(&bought), of_these(&bought, "A1"), cents(&bought, 1)] {
        let status = refund(&shop.server, request).await.expect_err("nothing is left");
        assert_refused(&status, Code::FailedPrecondition, "NOTHING_TO_REFUND");
    }
    // The purchase shows it, too.
    let shown = crate::harness::purchases::purchase(&shop.server, &bought).await;
    assert_eq!((shown.state(), &shown.payments), (PurchaseState::Completed, &vec![after]));
}

async fn seats_are_given_back_one_after_the_other(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2 A3", "tok_ok").await;
    let each = total(&bought) / 3;
    let (_, begun) = refund(&shop.server, of_these(&bought, "A2")).await.expect("it was paid");
    assert_eq!((minor(begun.amount.as_ref()), names(&begun.seats)), (each, "A2".to_owned()));
    let status = refund(&shop.server, of_these(&bought, "A2")).await.expect_err("its refund has begun");
    assert_refused(&status, Code::FailedPrecondition, "NOTHING_TO_REFUND");
    let after = until_ended(&shop.server, &bought, 1).await;
    assert_eq!((after.state(), minor(after.refunded_amount.as_ref())), (PaymentState::PartiallyRefunded, each));
    let rest = get(&shop.server, reservation(&bought)).await.expect("it is found");
    assert_eq!((names(&rest.seats), rest.state()), ("A1 A3".to_owned(), ReservationState::Confirmed));
    for others in ["A2", "B1", "A1 A2", "Z99"] {
        let status = refund(&shop.server, of_these(&bought, others)).await.expect_err("it has not all of them");
        assert_refused(&status, Code::FailedPrecondition, "NOTHING_TO_REFUND");
    }
    shop.assert_books(&[("gateway", 2 * each), ("sales", -2 * each)]).await;
    let (_, begun) = refund(&shop.server, all(&bought)).await.expect("two are left");
    assert_eq!((minor(begun.amount.as_ref()), names(&begun.seats)), (2 * each, "A1 A3".to_owned()));
    assert_eq!(until_ended(&shop.server, &bought, 2).await.state(), PaymentState::Refunded);
    shop.assert_books(&[]).await;
}

async fn an_amount_is_given_back_for_no_seat(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2", "tok_ok").await;
    let whole = total(&bought);
    let (_, begun) = refund(&shop.server, cents(&bought, 150)).await.expect("it was paid");
    assert!(begun.seats.is_empty(), "{begun:?}");
    let status = refund(&shop.server, cents(&bought, whole)).await.expect_err("a part of it is being given back");
    let about = assert_refused(&status, Code::FailedPrecondition, "REFUND_EXCEEDS");
    assert_eq!(about["left"], format!("{}.{:02} EUR", (whole - 150) / 100, (whole - 150) % 100));
    assert_eq!(until_ended(&shop.server, &bought, 1).await.state(), PaymentState::PartiallyRefunded);
    let receipt = receipt(&shop.server, &bought).await.expect("it is completed");
    assert_eq!((receipt.refunded.as_ref(), receipt.total), (Some(&euros(1, 500_000_000)), bought.total.clone()));
    let kept = get(&shop.server, reservation(&bought)).await.expect("it is found");
    assert_eq!((kept.state(), kept.seat_count), (ReservationState::Confirmed, 2));
    shop.assert_books(&[("gateway", whole - 150), ("refunds", 150), ("sales", -whole)]).await;
    // What the seats cost together is not left any more, and everything that is left is.
    let status = refund(&shop.server, of_these(&bought, "A1 A2")).await.expect_err("less is left");
    assert_refused(&status, Code::FailedPrecondition, "REFUND_EXCEEDS");
    refund(&shop.server, all(&bought)).await.expect("the rest is left");
    let after = until_ended(&shop.server, &bought, 2).await;
    assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &bought.total));
    shop.assert_books(&[]).await;
}

async fn refunds_that_begin_at_once_give_no_more_back_than_was_paid(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2 A3 A4", "tok_ok").await;
    let part = total(&bought) * 3 / 10;
    let requests = [all(&bought), of_these(&bought, "A1"), of_these(&bought, "A1 A2"), release_all(&bought)];
    let requests = (0..6).map(|_| cents(&bought, part)).chain(requests);
    let answers = futures_util::future::join_all(requests.map(|request| refund(&shop.server, request))).await;
    let begun = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(begun > 0, "{answers:#?}");
    // Together they ask for more than twice of what was paid.
    assert!(begun < answers.len(), "{answers:#?}");
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let reason = reason(status);
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert!(["REFUND_EXCEEDS", "NOTHING_TO_REFUND"].contains(&reason.as_str()), "{status:?}");
    }
    let after = until_ended(&shop.server, &bought, begun).await;
    assert!(after.refunds.iter().all(|refund| refund.state() == RefundState::Done), "{after:#?}");
    let sum: i64 = after.refunds.iter().map(|refund| minor(refund.amount.as_ref())).sum();
    assert!(sum <= total(&bought) && sum == minor(after.refunded_amount.as_ref()), "{after:#?}");
    let found = books(&shop.storage.connect().await).await;
    assert_eq!(found.iter().map(|(_, minor)| minor).sum::<i64>(), 0, "{found:?}");
    let report = &shop.gateway.payments().await[0];
    assert_eq!(minor(report.refunded_amount.as_ref()), sum);
}

/// Another request to give everything back.
fn release_all(purchase: &Purchase) -> RefundPaymentRequest {
    RefundPaymentRequest { reason: "once more".to_owned(), ..all(purchase) }
}

async fn a_refund_that_fails_changes_nothing_and_says_why(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2", "tok_refund_fails").await;
    refund(&shop.server, of_these(&bought, "A1")).await.expect("it was paid");
    let after = until_ended(&shop.server, &bought, 1).await;
    let failed = &after.refunds[0];
    assert_eq!((failed.state(), failed.message.as_str()), (RefundState::Failed, "refund_refused"));
    assert_eq!((after.state(), minor(after.refunded_amount.as_ref())), (PaymentState::Completed, 0));
    let kept = get(&shop.server, reservation(&bought)).await.expect("it is found");
    assert_eq!((names(&kept.seats), kept.state()), ("A1 A2".to_owned(), ReservationState::Confirmed));
    shop.assert_books(&[("gateway", total(&bought)), ("sales", -total(&bought))]).await;
    // What has failed is not given back, so another refund may try it.
    let (_, second) = refund(&shop.server, all(&bought)).await.expect("everything is left");
    let after = until_ended(&shop.server, &bought, 2).await;
    let ended = after.refunds.iter().find(|ended| ended.refund_id == second.refund_id).expect("it is listed");
    assert_eq!((&ended.amount, ended.message.as_str()), (&bought.total, "refund_refused"));
    assert_eq!((ended.state(), after.state()), (RefundState::Failed, PaymentState::Completed));
}

async fn a_repeated_request_gives_back_once(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2", "tok_ok").await;
    let request = of_these(&bought, "A1");
    let calls = (0..6).map(|_| refund(&shop.server, request.clone()));
    let answers = futures_util::future::join_all(calls).await;
    let mut ids: Vec<_> = answers.into_iter().map(|answer| answer.expect("it was paid").1.refund_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let after = until_ended(&shop.server, &bought, 1).await;
    let (payment, again) = refund(&shop.server, request.clone()).await.expect("it is known");
    assert_eq!((&again, &payment), (&after.refunds[0], &after));
    let other = RefundPaymentRequest { request_id: request.request_id, ..all(&bought) };
    let status = refund(&shop.server, other).await.expect_err("the id was used");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

async fn what_was_not_paid_is_not_given_back(shop: Shop) {
    let waits = bought(&shop, "ada", "A1", "tok_action_required").await;
    let status = refund(&shop.server, all(&waits)).await.expect_err("it is not paid yet");
    assert_refused(&status, Code::FailedPrecondition, "PAYMENT_PENDING");
    let declined = bought(&shop, "bob", "A1", "tok_declined_expired_card").await;
    let status = refund(&shop.server, all(&declined)).await.expect_err("it is declined");
    assert_refused(&status, Code::FailedPrecondition, "NOTHING_TO_REFUND");
    let unknown = RefundPaymentRequest { payment_id: request_id(), ..all(&waits) };
    let status = refund(&shop.server, unknown.clone()).await.expect_err("there is no such payment");
    assert_not_found(&status, "PAYMENT_NOT_FOUND", &unknown.payment_id);
}

async fn seats_that_are_released_are_refunded(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2 A3", "tok_ok").await;
    let each = total(&bought) / 3;
    let request = ReleaseSeatsRequest { request_id: request_id(), ..to_release(reservation(&bought), "A2") };
    let mut reservations = shop.server.reservations();
    let first = reservations.release_seats(request.clone()).await.expect("it is sold").into_inner();
    let begun = payment(&shop.server, &bought).await;
    assert_eq!((begun.refunds.len(), minor(begun.refunds[0].amount.as_ref())), (1, each), "{begun:#?}");
    assert_eq!(
        (names(&begun.refunds[0].seats), begun.refunds[0].reason.as_str()),
        ("A2".into(), "the projector failed")
    );
    reserve(&shop.server, these_of(&bought, "bob", "A2")).await.expect("the seat is free at once");
    let again = reservations.release_seats(request).await.expect("it is known").into_inner();
    assert_eq!(again, first);
    let after = until_ended(&shop.server, &bought, 1).await;
    assert_eq!((after.state(), minor(after.refunded_amount.as_ref())), (PaymentState::PartiallyRefunded, each));
    release(&shop.server, reservation(&bought), "").await.expect("two are left");
    let after = until_ended(&shop.server, &bought, 2).await;
    assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &bought.total));
    shop.assert_books(&[]).await;
}

/// A request to hold seats of the same showtime.
fn these_of(bought: &Purchase, customer: &str, names: &str) -> boxoffice::pb::boxoffice::v1::ReserveSeatsRequest {
    let showtime_id = reservation(bought).showtime_id.clone();
    let showtime = boxoffice::pb::boxoffice::v1::Showtime { showtime_id, ..Default::default() };
    these(&showtime, customer, names)
}

async fn seats_that_are_released_while_their_refund_is_pending_are_refunded_once(shop: Shop) {
    let bought = bought(&shop, "ada", "A1 A2", "tok_ok").await;
    shop.gateway.pause().await;
    refund(&shop.server, of_these(&bought, "A1")).await.expect("it was paid");
    let status = exchange(&shop.server, reservation(&bought), "B1 B2").await.expect_err("a seat is being refunded");
    assert_refused(&status, Code::FailedPrecondition, "REFUND_PENDING");
    release(&shop.server, reservation(&bought), "").await.expect("both are sold");
    let begun = payment(&shop.server, &bought).await;
    let of: Vec<_> = begun.refunds.iter().map(|refund| names(&refund.seats)).collect();
    assert_eq!(of, ["A1", "A2"]);
    shop.gateway.resume();
    let after = until_ended(&shop.server, &bought, 2).await;
    assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &bought.total));
    shop.assert_books(&[]).await;
}

async fn a_cancelled_showtime_refunds_every_sale(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let mut sales = Vec::new();
    for (customer, names) in [("ada", "A1 A2"), ("bob", "B1"), ("cid", "D1 D2 D3")] {
        sales.push(buy(&shop.server, of_seats(&showtime, customer, names, "tok_ok")).await.expect("they are free"));
    }
    let till = reserve(&shop.server, these(&showtime, "dan", "C1")).await.expect("the seat is free");
    confirm(&shop.server, &till).await.expect("it is held");
    refund(&shop.server, of_these(&sales[2], "D1")).await.expect("it was paid");
    until_ended(&shop.server, &sales[2], 1).await;
    refund(&shop.server, cents(&sales[0], 100)).await.expect("it was paid");
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    shop.server.showtimes().cancel_showtime(cancel).await.expect("it is forced");
    for (sale, refunds) in sales.iter().zip([2, 1, 2]) {
        let begun = payment(&shop.server, sale).await;
        assert_eq!(begun.refunds.len(), refunds, "the refund has begun with the cancellation: {begun:#?}");
        assert_eq!(begun.refunds[refunds - 1].reason, "the showtime was cancelled");
        let after = until_ended(&shop.server, sale, refunds).await;
        assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &sale.total), "{after:#?}");
    }
    // What the till took is paid out when its customer comes.
    let taken = minor(till.total_price.as_ref());
    shop.assert_books(&[("sales", -taken), ("till", taken)]).await;
}

async fn a_refund_outlives_an_outage_of_the_gateway(mut shop: Shop) {
    let bought = bought(&shop, "ada", "A1", "tok_ok").await;
    shop.gateway.kill();
    refund(&shop.server, all(&bought)).await.expect("it was paid");
    let tried = eventually("the gateway was asked in vain", async || {
        Some(payment(&shop.server, &bought).await).filter(|found| found.refunds[0].attempts > 1)
    })
    .await;
    assert_eq!(tried.refunds[0].state(), RefundState::Pending);
    assert!(!tried.refunds[0].message.is_empty(), "{tried:?}");
    shop.gateway.restart().await;
    assert_eq!(until_ended(&shop.server, &bought, 1).await.state(), PaymentState::Refunded);
    shop.assert_books(&[]).await;
}

async fn invalid_requests_are_refused_for_every_flaw(shop: Shop) {
    let bought = bought(&shop, "ada", "A1", "tok_ok").await;
    let refused = async |request| refund(&shop.server, request).await.expect_err("it is not valid");
    let without = RefundPaymentRequest { request_id: String::new(), ..all(&bought) };
    assert_violates(&refused(without).await, &["request_id"]);
    let flawed = RefundPaymentRequest {
        payment_id: "7".to_owned(),
        seats: seats("A1"),
        amount: Some(euros(0, 0)),
        reason: " ".to_owned(),
        request_id: request_id(),
        till: "t".repeat(65),
        force: false,
    };
    assert_violates(&refused(flawed).await, &["payment_id", "amount", "reason", "till"]);
    let yen = RefundPaymentRequest { amount: Some(money("JPY", 1, 0)), ..all(&bought) };
    assert_violates(&refused(yen).await, &["amount.currency_code"]);
    let negative = RefundPaymentRequest { amount: Some(euros(-1, 5)), ..all(&bought) };
    assert_violates(&refused(negative).await, &["amount.units", "amount.nanos"]);
    assert!(payment(&shop.server, &bought).await.refunds.is_empty());
}

/// Refunds that are pending at an instance that dies are finished by another one, once.
#[tokio::test]
async fn another_instance_finishes_refunds_of_one_that_died() {
    let mut shop = Shop::open(Store::Postgres).await;
    let showtime = showtime(&shop.server).await;
    let mut sales = Vec::new();
    for seat in ["A1", "A3", "A5", "B1"] {
        sales.push(buy(&shop.server, of_seats(&showtime, seat, seat, "tok_ok")).await.expect("the seat is free"));
    }
    shop.gateway.pause().await;
    for sale in &sales {
        refund(&shop.server, all(sale)).await.expect("it was paid");
    }
    eventually("a refund is under way", async || {
        let tried = payment(&shop.server, &sales[0]).await.refunds[0].attempts > 0;
        tried.then_some(())
    })
    .await;
    shop.server.kill();
    shop.gateway.kill();
    shop.gateway.restart().await;
    let other = shop.server.setup().clone().start().await;
    for sale in &sales {
        let after = until_ended(&other, sale, 1).await;
        assert_eq!((after.state(), &after.refunded_amount), (PaymentState::Refunded, &sale.total), "{after:#?}");
    }
    shop.assert_books(&[]).await;
    let asked: Vec<_> = shop.gateway.payments().await.iter().map(|payment| payment.operations.len()).collect();
    assert_eq!(asked, [3; 4], "each was authorised, captured and refunded once");
}
