//! Purchases: money is taken once and seats are sold for it, or everything is undone.

use boxoffice::pb::{
    boxoffice::v1::{
        CancelPurchaseRequest, ContinuePurchaseRequest, GetPaymentRequest, ListPaymentsRequest, ListPurchasesRequest,
        Payment, PaymentState, Purchase, PurchaseFailureReason, PurchaseState, PurchaseStepName,
        PurchaseTicketsRequest, RefundPaymentRequest, ReleaseSeatsRequest, ReservationState, WatchPurchaseRequest,
        payments_client::PaymentsClient,
    },
    payments::v1::PaymentState as GatewayState,
};
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::harness::{
    assert_not_found, assert_refused, assert_violates,
    money::minor,
    purchases::{
        buy, card, client, continue_with,
        ends::{FAILED, PENDING, UNDONE, assert_compensated, assert_completed},
        give_up, of_hold, of_seats, purchase, receipt, step, steps, until_state,
    },
    refusals::violations,
    request_id,
    seats::{assert_unavailable, cancel, confirm, extend, get, names, reserve, showtime, state, these},
    shop::Shop,
};

in_both_shops!(
    a_hold_is_bought_and_the_books_balance,
    seats_are_held_and_bought_in_one_call,
    after_a_decline_another_token_may_be_tried,
    a_decline_for_good_gives_the_seats_up,
    a_customer_acts_and_the_purchase_goes_on,
    a_customer_who_gives_up_gets_nothing_and_pays_nothing,
    answers_that_are_lost_or_late_charge_once,
    a_capture_that_fails_undoes_the_sale,
    a_repeated_request_buys_once,
    while_a_payment_may_succeed_its_seats_belong_to_nobody_else,
    a_purchase_is_watched_until_it_has_ended,
    purchases_and_payments_are_listed_for_their_customer,
    invalid_requests_are_refused_for_every_flaw,
    card_numbers_are_refused_where_money_is_given_back,
    a_purchase_is_changed_by_its_customer_only,
);

async fn a_hold_is_bought_and_the_books_balance(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let held = reserve(&shop.server, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let bought = buy(&shop.server, of_hold(&held, "tok_ok")).await.expect("the purchase begins");
    assert_completed(&bought);
    assert_eq!(bought.total, held.total_price);
    let sold = bought.reservation.clone().expect("it has its reservation");
    assert_eq!((names(&sold.seats), sold.reservation_id.as_str()), ("A1 A2".to_owned(), held.reservation_id.as_str()));
    let tender = sold.tender.expect("it was paid for");
    assert_eq!((tender.method.as_str(), &tender.transaction_id), ("credit_card", &bought.payments[0].payment_id));
    assert_eq!(shop.charged().await, [GatewayState::Captured]);
    let charged = shop.gateway.payments().await.remove(0);
    assert_eq!((&charged.captured_amount, &charged.payment_key), (&bought.total, &bought.payments[0].payment_id));
    let minor = minor(bought.total.as_ref());
    shop.assert_books(&[("gateway", minor), ("sales", -minor)]).await;
    let receipt = receipt(&shop.server, &bought).await.expect("it is completed");
    assert_eq!((&receipt.number, &receipt.total), (&bought.number, &bought.total));
    let lines: Vec<_> = receipt.lines.iter().map(|line| (line.text.as_str(), line.released)).collect();
    assert_eq!(lines, [("A1 Standard", false), ("A2 Standard", false)]);
    assert!(receipt.text.contains(&bought.number) && receipt.html.contains("<td>Total</td>"), "{receipt:?}");
    // The seats are taken for good.
    let status = buy(&shop.server, of_hold(&held, "tok_ok")).await.expect_err("it is sold");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_NOT_HELD");
    assert_eq!(shop.charged().await, [GatewayState::Captured]);
}

async fn seats_are_held_and_bought_in_one_call(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let bought = buy(&shop.server, of_seats(&showtime, "ada", "B1 B2 B3", "tok_ok")).await.expect("they are free");
    assert_completed(&bought);
    let best = PurchaseTicketsRequest { seat_count: 2, ..of_seats(&showtime, "bob", "", "tok_ok") };
    assert_completed(&buy(&shop.server, best).await.expect("there are two"));
    let status = buy(&shop.server, of_seats(&showtime, "bob", "B3 B4", "tok_ok")).await.expect_err("one is sold");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    assert_eq!(shop.charged().await, [GatewayState::Captured; 2]);
}

async fn after_a_decline_another_token_may_be_tried(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let held = reserve(&shop.server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let request = of_hold(&held, "tok_declined_insufficient_funds");
    let declined = buy(&shop.server, request.clone()).await.expect("a decline is an answer");
    assert_eq!(declined.state(), PurchaseState::AwaitingCustomer, "{declined:#?}");
    let failure = declined.failure.clone().expect("it says why");
    assert_eq!(failure.reason(), PurchaseFailureReason::PaymentDeclined);
    assert_eq!((failure.decline_code.as_str(), failure.retryable), ("insufficient_funds", true));
    assert!(declined.pay_until.is_some(), "{declined:?}");
    assert_eq!(state(&shop.server, &held).await, ReservationState::Paying);
    let again =
        continue_with(&shop.server, &declined, Some(card("tok_declined_expired_card"))).await.expect("it is tried");
    assert_eq!((again.state(), again.payments.len()), (PurchaseState::AwaitingCustomer, 2));
    let bought = continue_with(&shop.server, &declined, Some(card("tok_ok"))).await.expect("it is tried");
    assert_completed(&bought);
    let paid: Vec<_> = bought.payments.iter().map(Payment::state).collect();
    assert_eq!(paid, [PaymentState::Declined, PaymentState::Declined, PaymentState::Completed]);
    // A replay answers with the purchase as it has become.
    assert_completed(&buy(&shop.server, request).await.expect("it is known"));
    let status = continue_with(&shop.server, &bought, Some(card("tok_ok"))).await.expect_err("it has ended");
    assert_refused(&status, Code::FailedPrecondition, "PURCHASE_ENDED");
    let captured = shop.charged().await.into_iter().filter(|state| *state == GatewayState::Captured).count();
    assert_eq!(captured, 1);
}

async fn a_decline_for_good_gives_the_seats_up(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let held = reserve(&shop.server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let declined = buy(&shop.server, of_hold(&held, "tok_nobody_knows")).await.expect("a decline is an answer");
    let declined = until_state(&shop.server, &declined, PurchaseState::Compensated).await;
    assert_compensated(&declined, PurchaseFailureReason::PaymentDeclined);
    assert_eq!(declined.failure.expect("it says why").decline_code, "unknown_token");
    reserve(&shop.server, these(&showtime, "bob", "A1")).await.expect("the seat is free again");
    shop.assert_books(&[]).await;
}

async fn a_customer_acts_and_the_purchase_goes_on(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let waits = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    assert_eq!(waits.state(), PurchaseState::AwaitingCustomer, "{waits:#?}");
    assert!(waits.redirect_uri.starts_with("http"), "{waits:?}");
    assert_eq!(waits.payments[0].state(), PaymentState::Processing);
    let status = continue_with(&shop.server, &waits, Some(card("tok_ok"))).await.expect_err("the first may succeed");
    assert_refused(&status, Code::FailedPrecondition, "PAYMENT_PENDING");
    // A customer who comes back without having done anything waits on.
    let waits = continue_with(&shop.server, &waits, None).await.expect("it is asked");
    let waits = until_state(&shop.server, &waits, PurchaseState::AwaitingCustomer).await;
    shop.gateway.complete_action(&waits.payments[0].payment_id, true).await;
    let bought = continue_with(&shop.server, &waits, None).await.expect("it is asked");
    assert_completed(&until_state(&shop.server, &bought, PurchaseState::Completed).await);
    // A customer who does not come back gets the seats all the same.
    let waits = buy(&shop.server, of_seats(&showtime, "bob", "A2", "tok_action_required")).await.expect("it begins");
    shop.gateway.complete_action(&waits.payments[0].payment_id, true).await;
    assert_completed(&until_state(&shop.server, &waits, PurchaseState::Completed).await);
}

async fn a_customer_who_gives_up_gets_nothing_and_pays_nothing(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let waits = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    give_up(&shop.server, &waits).await.expect("it waits");
    let ended = until_state(&shop.server, &waits, PurchaseState::Compensated).await;
    assert_compensated(&ended, PurchaseFailureReason::Cancelled);
    assert_eq!(shop.charged().await, [GatewayState::Voided]);
    // The void is a tombstone: what comes late changes nothing.
    let charged = shop.gateway.payments().await.remove(0);
    assert_eq!(shop.gateway.authorize_late(&charged, "tok_action_required").await, GatewayState::Voided);
    let again = give_up(&shop.server, &waits).await.expect("it has ended");
    assert_eq!(again.state(), PurchaseState::Compensated);
    let declined = buy(&shop.server, of_seats(&showtime, "bob", "A1", "tok_declined_expired_card")).await;
    let declined = declined.expect("the seat is free again");
    assert_eq!(declined.state(), PurchaseState::AwaitingCustomer);
    give_up(&shop.server, &declined).await.expect("it waits");
    let ended = until_state(&shop.server, &declined, PurchaseState::Compensated).await;
    assert_compensated(&ended, PurchaseFailureReason::Cancelled);
    let bought = buy(&shop.server, of_seats(&showtime, "cid", "A1", "tok_ok")).await.expect("the seat is free again");
    let status = give_up(&shop.server, &bought).await.expect_err("it is sold");
    assert_refused(&status, Code::FailedPrecondition, "PURCHASE_ENDED");
}

async fn answers_that_are_lost_or_late_charge_once(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let tokens = ["tok_lost_reply", "tok_timeout_after_charge", "tok_timeout_before_charge", "tok_duplicate_push"];
    for (at, token) in tokens.into_iter().enumerate() {
        let seat = format!("D{}", at + 1);
        let begun = buy(&shop.server, of_seats(&showtime, "ada", &seat, token)).await.expect("it begins");
        let bought = until_state(&shop.server, &begun, PurchaseState::Completed).await;
        assert_completed(&bought);
        let repeats = token != "tok_duplicate_push";
        assert_eq!(step(&bought, PurchaseStepName::Pay).attempts > 1, repeats, "{token}: {bought:#?}");
        assert_eq!(shop.charged().await, vec![GatewayState::Captured; at + 1], "{token}");
    }
}

async fn a_capture_that_fails_undoes_the_sale(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1 A2", "tok_capture_fails")).await.expect("it begins");
    let undone = until_state(&shop.server, &begun, PurchaseState::Compensated).await;
    assert_compensated(&undone, PurchaseFailureReason::CaptureFailed);
    assert_eq!(steps(&undone), [UNDONE, UNDONE, UNDONE, FAILED, PENDING]);
    assert_eq!(shop.charged().await, [GatewayState::Voided]);
    reserve(&shop.server, these(&showtime, "bob", "A1 A2")).await.expect("the seats are free again");
    shop.assert_books(&[]).await;
    let status = receipt(&shop.server, &undone).await.expect_err("nothing was paid");
    assert_refused(&status, Code::FailedPrecondition, "PURCHASE_NOT_COMPLETED");
}

async fn a_repeated_request_buys_once(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let request = of_seats(&showtime, "ada", "A1", "tok_ok");
    let calls = (0..8).map(|_| buy(&shop.server, request.clone()));
    let answers = join_all(calls).await;
    let mut ids: Vec<_> = answers.into_iter().map(|answer| answer.expect("it is bought").purchase_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let other = PurchaseTicketsRequest { request_id: request.request_id, ..of_seats(&showtime, "ada", "A2", "tok_ok") };
    let status = buy(&shop.server, other).await.expect_err("the id was used");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(shop.charged().await, [GatewayState::Captured]);
}

async fn while_a_payment_may_succeed_its_seats_belong_to_nobody_else(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let held = reserve(&shop.server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let waits = buy(&shop.server, of_hold(&held, "tok_action_required")).await.expect("it begins");
    assert_eq!(waits.state(), PurchaseState::AwaitingCustomer);
    for refused in
        [confirm(&shop.server, &held).await, cancel(&shop.server, &held).await, extend(&shop.server, &held).await]
    {
        assert_refused(&refused.expect_err("it is being paid for"), Code::FailedPrecondition, "PAYMENT_PENDING");
    }
    let status = buy(&shop.server, of_hold(&held, "tok_ok")).await.expect_err("it is being paid for");
    assert_refused(&status, Code::FailedPrecondition, "PAYMENT_PENDING");
    let status = reserve(&shop.server, these(&showtime, "bob", "A1")).await.expect_err("it is being paid for");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    assert_eq!(get(&shop.server, &held).await.expect("it is found").purchase_id, waits.purchase_id);
}

async fn a_purchase_is_watched_until_it_has_ended(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let waits = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    let request = WatchPurchaseRequest { purchase_id: waits.purchase_id.clone(), customer_id: "ada".to_owned() };
    let mut watch = client(&shop.server).watch_purchase(request).await.expect("it is found").into_inner();
    let first = watch.message().await.expect("a message").expect("a purchase").purchase.expect("a purchase");
    assert_eq!(first.state(), PurchaseState::AwaitingCustomer);
    shop.gateway.complete_action(&waits.payments[0].payment_id, true).await;
    continue_with(&shop.server, &waits, None).await.expect("it is asked");
    let mut last = first;
    while let Some(next) = watch.message().await.expect("the stream goes on") {
        last = next.purchase.expect("a purchase");
    }
    assert_completed(&last);
    let other = WatchPurchaseRequest { purchase_id: waits.purchase_id.clone(), customer_id: "bob".to_owned() };
    let status = client(&shop.server).watch_purchase(other).await.expect_err("it is another customer's");
    assert_not_found(&status, "PURCHASE_NOT_FOUND", &waits.purchase_id);
}

async fn purchases_and_payments_are_listed_for_their_customer(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let mut bought = Vec::new();
    for seat in ["A1", "A3", "A5"] {
        bought.push(buy(&shop.server, of_seats(&showtime, "ada", seat, "tok_ok")).await.expect("it is bought"));
    }
    let waits =
        buy(&shop.server, of_seats(&showtime, "bob", "B1", "tok_declined_expired_card")).await.expect("declined");
    let list = async |request: ListPurchasesRequest| {
        client(&shop.server).list_purchases(request).await.expect("the filter is valid").into_inner()
    };
    let of_ada = ListPurchasesRequest { customer_id: "ada".to_owned(), page_size: 2, ..Default::default() };
    let first = list(of_ada.clone()).await;
    let second = list(ListPurchasesRequest { page_token: first.next_page_token, ..of_ada }).await;
    let listed: Vec<_> = [first.purchases, second.purchases].concat();
    let (mut listed, ids): (Vec<_>, Vec<_>) = (
        listed.into_iter().map(|one| one.purchase_id).collect(),
        bought.iter().map(|one| one.purchase_id.clone()).collect(),
    );
    listed.reverse();
    assert_eq!((listed, second.next_page_token.as_str()), (ids, ""));
    let waiting = ListPurchasesRequest { states: vec![PurchaseState::AwaitingCustomer.into()], ..Default::default() };
    let found: Vec<_> = list(waiting).await.purchases.into_iter().map(|one| one.purchase_id).collect();
    assert_eq!(found, [waits.purchase_id.as_str()]);
    let stuck = ListPurchasesRequest { states: vec![PurchaseState::Stuck.into()], ..Default::default() };
    assert!(list(stuck).await.purchases.is_empty());
    let mut payments = PaymentsClient::new(shop.server.channel());
    let of_bob = ListPaymentsRequest { customer_id: "bob".to_owned(), ..Default::default() };
    let found = payments.list_payments(of_bob).await.expect("the filter is valid").into_inner().payments;
    assert_eq!(found, waits.payments);
    let of_first = ListPaymentsRequest { purchase_id: bought[0].purchase_id.clone(), ..Default::default() };
    let found = payments.list_payments(of_first).await.expect("the filter is valid").into_inner().payments;
    assert_eq!(found, bought[0].payments);
    let one = GetPaymentRequest { payment_id: found[0].payment_id.clone(), customer_id: "ada".to_owned() };
    let read = payments.get_payment(one.clone()).await.expect("it is found").into_inner().payment;
    assert_eq!(read.as_ref(), found.first());
    let status = payments.get_payment(GetPaymentRequest { customer_id: "bob".to_owned(), ..one.clone() }).await;
    assert_not_found(&status.expect_err("it is another customer's"), "PAYMENT_NOT_FOUND", &one.payment_id);
}

const CARD_NUMBER: &str = "4111111111111111";

fn assert_card_number_refused(status: &Status, field: &str) {
    assert_refused(status, Code::InvalidArgument, "CARD_NUMBER_REFUSED");
    assert_eq!(violations(status)[0].0, field);
}

/// What staff write down when money is given back is kept for years.
async fn card_numbers_are_refused_where_money_is_given_back(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let bought = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it is bought");
    let refund = RefundPaymentRequest {
        payment_id: bought.payments[0].payment_id.clone(),
        reason: "fell ill".to_owned(),
        request_id: request_id(),
        ..RefundPaymentRequest::default()
    };
    let release = ReleaseSeatsRequest {
        reservation_id: bought.reservation.as_ref().expect("it has its reservation").reservation_id.clone(),
        reason: "fell ill".to_owned(),
        request_id: request_id(),
        ..ReleaseSeatsRequest::default()
    };
    let number = || format!("card {CARD_NUMBER}");
    for (field, refund, release) in [
        (
            "reason",
            RefundPaymentRequest { reason: number(), ..refund.clone() },
            ReleaseSeatsRequest { reason: number(), ..release.clone() },
        ),
        (
            "till",
            RefundPaymentRequest { till: number(), ..refund.clone() },
            ReleaseSeatsRequest { till: number(), ..release.clone() },
        ),
    ] {
        let status =
            PaymentsClient::new(shop.server.channel()).refund_payment(refund).await.expect_err("a card number");
        assert_card_number_refused(&status, field);
        let status = shop.server.reservations().release_seats(release).await.expect_err("a card number");
        assert_card_number_refused(&status, field);
    }
    assert_eq!(state_of(&shop, &bought).await, ReservationState::Confirmed);
}

/// Somebody else comes back from the bank in the customer's place, or gives the purchase up.
async fn a_purchase_is_changed_by_its_customer_only(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let asks = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    let declined = buy(&shop.server, of_seats(&showtime, "ada", "A3", "tok_declined_expired_card")).await;
    let declined = declined.expect("it begins");
    for (waits, payment) in [(&asks, None), (&declined, Some(card("tok_ok")))] {
        let (purchase_id, customer_id) = (waits.purchase_id.clone(), "bob".to_owned());
        let back = ContinuePurchaseRequest {
            purchase_id: purchase_id.clone(),
            customer_id: customer_id.clone(),
            payment: payment.clone(),
        };
        let status = client(&shop.server).continue_purchase(back.clone()).await.expect_err("it is not his");
        assert_not_found(&status, "PURCHASE_NOT_FOUND", &purchase_id);
        let up = CancelPurchaseRequest { purchase_id: purchase_id.clone(), customer_id };
        let status = client(&shop.server).cancel_purchase(up).await.expect_err("it is not his");
        assert_not_found(&status, "PURCHASE_NOT_FOUND", &purchase_id);
        let forged = ContinuePurchaseRequest { purchase_id: request_id(), customer_id: "ada".to_owned(), payment };
        let status = client(&shop.server).continue_purchase(forged.clone()).await.expect_err("there is none");
        assert_not_found(&status, "PURCHASE_NOT_FOUND", &forged.purchase_id);
        assert_eq!(&purchase(&shop.server, waits).await, waits);
    }
    assert_eq!(shop.charged().await, [GatewayState::ActionRequired, GatewayState::Declined]);
}

async fn state_of(shop: &Shop, bought: &Purchase) -> ReservationState {
    state(&shop.server, bought.reservation.as_ref().expect("it has its reservation")).await
}

async fn invalid_requests_are_refused_for_every_flaw(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let good = of_seats(&showtime, "ada", "A1", "tok_ok");
    let refused = async |request| buy(&shop.server, request).await.expect_err("it is not valid");
    let without = PurchaseTicketsRequest { request_id: String::new(), ..good.clone() };
    assert_violates(&refused(without).await, &["request_id"]);
    let nothing = PurchaseTicketsRequest {
        payment: None,
        return_uri: "javascript:alert(1)".to_owned(),
        customer_id: String::new(),
        ..good.clone()
    };
    assert_violates(&refused(nothing).await, &["customer_id", "payment", "return_uri"]);
    let both = PurchaseTicketsRequest { reservation_id: request_id(), ..good.clone() };
    assert_violates(&refused(both).await, &["reservation_id", "showtime_id", "seats"]);
    let numbers = [
        ("payment.token", PurchaseTicketsRequest { payment: Some(card(CARD_NUMBER)), ..good.clone() }),
        (
            "return_uri",
            PurchaseTicketsRequest { return_uri: format!("https://x.example/?c={CARD_NUMBER}"), ..good.clone() },
        ),
    ];
    for (field, number) in numbers {
        assert_card_number_refused(&refused(number).await, field);
    }
    let unknown =
        PurchaseTicketsRequest { reservation_id: request_id(), showtime_id: String::new(), seats: Vec::new(), ..good };
    assert_not_found(&refused(unknown.clone()).await, "RESERVATION_NOT_FOUND", &unknown.reservation_id);
    assert!(shop.gateway.payments().await.is_empty());
}
