//! Sales at tills: each is a purchase with its money in the books, and what a till has taken, a till pays out.

use boxoffice::pb::boxoffice::v1::{
    CashUpLine, ConfirmReservationRequest, ContinuePurchaseRequest, GetCashUpRequest, ListPurchasesRequest, Payment,
    PaymentChoice, PaymentMethod, PaymentState, Purchase, PurchaseState, PurchaseTicketsRequest, RefundPaymentRequest,
    RefundState, ReleaseSeatsRequest, Reservation, ReservationState, Showtime, Tender, payments_client::PaymentsClient,
};
use tonic::{Code, Status};

use crate::harness::{
    Server, assert_refused, assert_violates, euros, eventually,
    money::minor,
    purchases::{buy, card, client, of_hold, of_seats, purchase, receipt, until_state},
    refusals::violations,
    request_id,
    sales::cancel_showtime,
    seats::{get, reserve, seats, showtime, these},
    shop::Shop,
    staff::{exchange, to_release},
};

in_both_shops!(
    a_confirmed_reservation_is_a_purchase,
    a_till_buys_seats_and_holds_without_the_gateway,
    released_seats_are_paid_out_at_the_till,
    a_refund_is_paid_out_at_the_till_at_once,
    a_cancelled_showtime_is_paid_out_when_the_customer_comes,
    money_that_came_too_late_is_a_purchase_that_is_paid_back,
    the_cash_up_has_what_a_till_has_taken_and_paid_out,
    sales_from_before_get_their_purchase,
    a_till_that_sells_what_was_cancelled_has_sold_nothing,
    invalid_requests_are_refused_for_every_flaw,
);

/// A request to confirm a hold that was paid for at this till.
fn to_confirm(held: &Reservation, method: &str, till: &str) -> ConfirmReservationRequest {
    ConfirmReservationRequest {
        reservation_id: held.reservation_id.clone(),
        request_id: request_id(),
        tender: Some(Tender { method: method.to_owned(), transaction_id: "slip 17".to_owned() }),
        till: till.to_owned(),
        ..ConfirmReservationRequest::default()
    }
}

async fn confirm(server: &Server, request: ConfirmReservationRequest) -> Result<Reservation, Status> {
    let answer = server.reservations().confirm_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

/// Seats that were sold at this till.
async fn sold(server: &Server, showtime: &Showtime, names: &str, method: &str, till: &str) -> Reservation {
    let held = reserve(server, these(showtime, "ada", names)).await.expect("the seats are free");
    confirm(server, to_confirm(&held, method, till)).await.expect("the seats are held")
}

/// The purchase of a sale.
async fn of_sale(server: &Server, sold: &Reservation) -> Purchase {
    let named = Purchase { purchase_id: sold.purchase_id.clone(), ..Purchase::default() };
    purchase(server, &named).await
}

fn only_payment(purchase: &Purchase) -> &Payment {
    let [payment] = &purchase.payments[..] else { panic!("one payment: {purchase:#?}") };
    payment
}

fn cash(till: &str) -> PaymentChoice {
    PaymentChoice { method: PaymentMethod::Cash.into(), till: till.to_owned(), ..PaymentChoice::default() }
}

async fn refund_all(server: &Server, payment: &Payment, till: &str) -> Result<RefundPaymentRequest, Status> {
    let request = RefundPaymentRequest {
        payment_id: payment.payment_id.clone(),
        reason: "the projector failed".to_owned(),
        request_id: request_id(),
        till: till.to_owned(),
        ..RefundPaymentRequest::default()
    };
    PaymentsClient::new(server.channel()).refund_payment(request.clone()).await?;
    Ok(request)
}

/// Waits until all that was begun of the refunds is done, and returns the purchase.
async fn until_refunded(server: &Server, sold: &Reservation, state: PaymentState) -> Purchase {
    eventually("the refund is done", async || {
        let found = of_sale(server, sold).await;
        (only_payment(&found).state() == state).then_some(found)
    })
    .await
}

async fn cash_up(server: &Server, till: &str, local_date: &str) -> Vec<CashUpLine> {
    let request = GetCashUpRequest { till: till.to_owned(), local_date: local_date.to_owned() };
    let answer = PaymentsClient::new(server.channel()).get_cash_up(request).await.expect("the till is known");
    answer.into_inner().lines
}

async fn a_confirmed_reservation_is_a_purchase(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let held = reserve(server, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let request = to_confirm(&held, "cash", "till 7");
    let sold = confirm(server, request.clone()).await.expect("the seats are held");
    assert_eq!((sold.state(), sold.purchase_id.as_str()), (ReservationState::Confirmed, held.reservation_id.as_str()));
    let found = of_sale(server, &sold).await;
    assert_eq!((found.state(), found.reservation.as_ref()), (PurchaseState::Completed, Some(&sold)));
    assert_eq!((&found.total, &found.complete_time), (&sold.total_price, &sold.confirm_time));
    let payment = only_payment(&found);
    assert_eq!((payment.state(), payment.method()), (PaymentState::Completed, PaymentMethod::Cash));
    assert_eq!((payment.transaction_id.as_str(), &payment.amount), ("slip 17", &sold.total_price));
    let till = payment.till.as_ref().expect("a till has taken it");
    assert_eq!((till.till.as_str(), till.tender.as_str()), ("till 7", "cash"));
    assert!(receipt(server, &found).await.expect("it is completed").text.contains("cash"));
    let taken = minor(sold.total_price.as_ref());
    shop.assert_books(&[("sales", -taken), ("till", taken)]).await;
    assert_eq!(confirm(server, request).await.expect("it is repeated"), sold);
    let all = ListPurchasesRequest { customer_id: "ada".to_owned(), ..ListPurchasesRequest::default() };
    let listed = client(server).list_purchases(all).await.expect("they are listed").into_inner().purchases;
    // A list has neither the secret nor the code.
    let listed_as = Purchase { secret: String::new(), code: String::new(), ..found };
    assert_eq!(listed, [listed_as], "a repeated request makes no second purchase");
    assert_eq!(shop.charged().await, [], "the gateway has never heard of it");
    shop.assert_audit().await;
}

async fn a_till_buys_seats_and_holds_without_the_gateway(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let held = reserve(server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let by_terminal = PaymentChoice {
        method: PaymentMethod::DebitCard.into(),
        // A terminal may call a payment by a UUID, as the gateway's payments are called here.
        transaction_id: request_id(),
        till: "till 7".to_owned(),
        ..PaymentChoice::default()
    };
    let of_hold = PurchaseTicketsRequest { payment: Some(by_terminal.clone()), ..of_hold(&held, "") };
    let of_seats = PurchaseTicketsRequest { payment: Some(cash("")), ..of_seats(&showtime, "bob", "B1 B2", "") };
    for (request, method, seats) in [(of_hold, PaymentMethod::DebitCard, 1), (of_seats, PaymentMethod::Cash, 2)] {
        let bought = buy(server, request.clone()).await.expect("the seats can be had");
        assert_eq!(bought.state(), PurchaseState::Completed, "{bought:#?}");
        let payment = only_payment(&bought);
        assert_eq!((payment.state(), payment.method()), (PaymentState::Completed, method));
        let reservation = bought.reservation.as_ref().expect("it has its reservation");
        assert_eq!((reservation.state(), reservation.seats.len()), (ReservationState::Confirmed, seats));
        assert_eq!(reservation.purchase_id, bought.purchase_id);
        assert_eq!(buy(server, request).await.expect("it is repeated"), bought);
        // Seats of each come back, and are paid out.
        let released = server.reservations().release_seats(to_release(reservation, "")).await.expect("it is sold");
        assert_eq!(released.into_inner().reservation.expect("it is there").state(), ReservationState::Cancelled);
        until_refunded(server, reservation, PaymentState::Refunded).await;
    }
    assert_eq!(shop.charged().await, []);
    shop.assert_books(&[]).await;
    shop.assert_audit().await;
}

async fn released_seats_are_paid_out_at_the_till(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let sold = sold(server, &showtime, "A1 A2 A3", "cash", "till 7").await;
    let each = minor(sold.total_price.as_ref()) / 3;
    let request = ReleaseSeatsRequest { till: "till 8".to_owned(), ..to_release(&sold, "A2") };
    server.reservations().release_seats(request).await.expect("the seat is sold");
    let found = until_refunded(server, &sold, PaymentState::PartiallyRefunded).await;
    let [refund] = &only_payment(&found).refunds[..] else { panic!("one refund: {found:#?}") };
    assert_eq!((refund.state(), refund.till.as_str(), &refund.seats), (RefundState::Done, "till 8", &seats("A2")));
    shop.assert_books(&[("sales", -2 * each), ("till", 2 * each)]).await;
    // An exchange moves no money.
    exchange(server, &get(server, &sold).await.expect("it is found"), "B1 B2").await.expect("the seats are free");
    shop.assert_books(&[("sales", -2 * each), ("till", 2 * each)]).await;
    server.reservations().release_seats(to_release(&sold, "")).await.expect("the others are sold");
    let found = until_refunded(server, &sold, PaymentState::Refunded).await;
    assert_eq!(only_payment(&found).refunds[1].till, "till 7", "the till that took the money");
    shop.assert_books(&[]).await;
    shop.assert_audit().await;
}

async fn a_refund_is_paid_out_at_the_till_at_once(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let sold = sold(server, &showtime, "A1 A2", "card", "").await;
    let found = of_sale(server, &sold).await;
    refund_all(server, only_payment(&found), "").await.expect("it was paid");
    let found = until_refunded(server, &sold, PaymentState::Refunded).await;
    assert_eq!(only_payment(&found).refunds[0].state(), RefundState::Done);
    let over = get(server, &sold).await.expect("it is found");
    assert_eq!((over.state(), over.seats.len()), (ReservationState::Cancelled, 0), "its seats are given up with it");
    shop.assert_books(&[]).await;
    let status = refund_all(server, only_payment(&found), "").await.expect_err("nothing is left");
    assert_refused(&status, Code::FailedPrecondition, "NOTHING_TO_REFUND");
}

async fn a_cancelled_showtime_is_paid_out_when_the_customer_comes(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let sold = sold(server, &showtime, "A1 A2", "cash", "till 7").await;
    cancel_showtime(server, &showtime).await;
    let found = of_sale(server, &sold).await;
    let payment = only_payment(&found);
    assert_eq!((payment.state(), payment.refunds[0].state()), (PaymentState::Completed, RefundState::Pending));
    assert_eq!(payment.refunds[0].message, "to be paid out at a till");
    let shop = shop.assert_audit().await;
    let server = &shop.server;
    let request = refund_all(server, payment, "till 8").await.expect("it is due");
    let found = until_refunded(server, &sold, PaymentState::Refunded).await;
    let [refund] = &only_payment(&found).refunds[..] else { panic!("one refund: {found:#?}") };
    assert_eq!((refund.state(), refund.till.as_str()), (RefundState::Done, "till 8"));
    let again = PaymentsClient::new(server.channel()).refund_payment(request).await.expect("it is repeated");
    assert_eq!(again.into_inner().refund.as_ref(), Some(refund));
    let status = refund_all(server, only_payment(&found), "").await.expect_err("nothing is left");
    assert_refused(&status, Code::FailedPrecondition, "NOTHING_TO_REFUND");
    shop.assert_books(&[]).await;
    shop.assert_audit().await;
}

async fn money_that_came_too_late_is_a_purchase_that_is_paid_back(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let held = reserve(server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let over = crate::harness::seats::cancel(server, &held).await.expect("it is held");
    let late = ConfirmReservationRequest { late: true, ..to_confirm(&over, "cash", "till 7") };
    confirm(server, late).await.expect("the money is noted");
    let all = ListPurchasesRequest { customer_id: "ada".to_owned(), ..ListPurchasesRequest::default() };
    let listed = client(server).list_purchases(all).await.expect("they are listed").into_inner().purchases;
    let [found] = &listed[..] else { panic!("one purchase: {listed:#?}") };
    assert_eq!(found.state(), PurchaseState::Compensated);
    let payment = only_payment(found);
    assert_eq!((payment.state(), payment.refunds[0].state()), (PaymentState::Completed, RefundState::Pending));
    let taken = minor(payment.amount.as_ref());
    shop.assert_books(&[("refunds", -taken), ("till", taken)]).await;
    let shop = shop.assert_audit().await;
    let server = &shop.server;
    refund_all(server, payment, "").await.expect("it is due");
    eventually("it is paid out", async || {
        let found = purchase(server, found).await;
        (only_payment(&found).state() == PaymentState::Refunded).then_some(())
    })
    .await;
    shop.assert_books(&[]).await;
    shop.assert_audit().await;
}

async fn the_cash_up_has_what_a_till_has_taken_and_paid_out(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let first = sold(server, &showtime, "A1 A2", "cash", "till 7").await;
    sold(server, &showtime, "A4", "cash", "till 7").await;
    sold(server, &showtime, "B1", "voucher", "till 7").await;
    sold(server, &showtime, "B3", "cash", "till 8").await;
    let by_gateway = buy(server, of_seats(&showtime, "bob", "C1", "tok_ok")).await.expect("the seat is free");
    until_state(server, &by_gateway, PurchaseState::Completed).await;
    server.reservations().release_seats(to_release(&first, "A1")).await.expect("the seat is sold");
    let found = until_refunded(server, &first, PaymentState::PartiallyRefunded).await;
    let date = only_payment(&found).till.as_ref().expect("a till has taken it").local_date.clone();
    let line = |tender: &str, method: PaymentMethod, sales: (i64, i64), refunds: (i64, i64)| CashUpLine {
        method: method.into(),
        tender: tender.to_owned(),
        sale_count: sales.0,
        sales: Some(euros(sales.1 / 100, i32::try_from(sales.1 % 100).expect("it is small") * 10_000_000)),
        refund_count: refunds.0,
        refunds: Some(euros(refunds.1 / 100, i32::try_from(refunds.1 % 100).expect("it is small") * 10_000_000)),
    };
    let each = minor(first.total_price.as_ref()) / 2;
    let expected = [
        line("cash", PaymentMethod::Cash, (2, 3 * each), (1, each)),
        line("voucher", PaymentMethod::Other, (1, each), (0, 0)),
    ];
    assert_eq!(cash_up(server, "till 7", &date).await, expected);
    assert_eq!(cash_up(server, "till 8", &date).await, [line("cash", PaymentMethod::Cash, (1, each), (0, 0))]);
    assert_eq!(cash_up(server, "till 7", "2020-01-01").await, []);
    assert_eq!(cash_up(server, "", &date).await, [], "what the gateway takes is in no till");
}

/// Sales that a release without purchases has made get a purchase, also those of which seats came back by then.
async fn sales_from_before_get_their_purchase(mut shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let kept = sold(server, &showtime, "A1 A2", "cash", "").await;
    let partly = sold(server, &showtime, "B1 B2", "cash", "").await;
    let gone = sold(server, &showtime, "C1", "card", "").await;
    let exchanged = sold(server, &showtime, "A4", "card", "").await;
    for (sale, names, state) in [(&partly, "B2", PaymentState::PartiallyRefunded), (&gone, "", PaymentState::Refunded)]
    {
        server.reservations().release_seats(to_release(sale, names)).await.expect("it is sold");
        until_refunded(server, sale, state).await;
    }
    shop.server.stop().await;
    // The release before wrote sales like this.
    let tables = ["purchases", "payments", "refunds", "money_entries"];
    let undo = tables.map(|table| format!("DELETE FROM {table}; ")).concat();
    shop.storage.sql(&format!("{undo} UPDATE reservations SET purchase_id = NULL")).await.expect("they are undone");
    shop.server = shop.server.setup().clone().start().await;
    let server = &shop.server;
    // A request about a sale does not wait for the task.
    exchange(server, &exchanged, "A5").await.expect("the seat is free");
    for (sale, state) in [
        (&kept, PaymentState::Completed),
        (&partly, PaymentState::PartiallyRefunded),
        (&gone, PaymentState::Refunded),
        (&exchanged, PaymentState::Completed),
    ] {
        let sale = eventually("the sale has its purchase", async || {
            Some(get(server, sale).await.expect("it is found")).filter(|found| !found.purchase_id.is_empty())
        })
        .await;
        let found = of_sale(server, &sale).await;
        assert_eq!((found.state(), only_payment(&found).state()), (PurchaseState::Completed, state));
        assert_eq!(found.complete_time, sale.confirm_time);
    }
    let each = minor(kept.total_price.as_ref()) / 2;
    shop.assert_books(&[("sales", -4 * each), ("till", 4 * each)]).await;
    // From then on they are like all others.
    server.reservations().release_seats(to_release(&partly, "B1")).await.expect("it is sold");
    until_refunded(server, &partly, PaymentState::Refunded).await;
    shop.assert_books(&[("sales", -3 * each), ("till", 3 * each)]).await;
    shop.assert_audit().await;
}

async fn a_till_that_sells_what_was_cancelled_has_sold_nothing(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let held = reserve(server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    cancel_showtime(server, &showtime).await;
    let request = PurchaseTicketsRequest { payment: Some(cash("till 7")), ..of_hold(&held, "") };
    buy(server, request).await.expect_err("it is not held");
    shop.assert_books(&[]).await;
    shop.assert_audit().await;
}

async fn invalid_requests_are_refused_for_every_flaw(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let buy_with = async |payment: PaymentChoice| {
        let request = PurchaseTicketsRequest { payment: Some(payment), ..of_seats(&showtime, "ada", "A1", "") };
        buy(server, request).await.expect_err("the payment is not valid")
    };
    let terminal = |transaction_id: &str| PaymentChoice {
        method: PaymentMethod::DebitCard.into(),
        transaction_id: transaction_id.to_owned(),
        ..PaymentChoice::default()
    };
    assert_violates(&buy_with(PaymentChoice { token: "tok_ok".to_owned(), ..cash("") }).await, &["payment.token"]);
    assert_violates(
        &buy_with(PaymentChoice { token: "tok_ok".to_owned(), ..terminal("17") }).await,
        &["payment.token"],
    );
    assert_violates(&buy_with(terminal("")).await, &["payment.token"]);
    assert_violates(&buy_with(PaymentChoice { till: "7".to_owned(), ..card("tok_ok") }).await, &["payment.till"]);
    let flaws = ["payment.transaction_id", "payment.till"];
    let flawed = PaymentChoice { till: "x".repeat(65), ..terminal(&"x".repeat(129)) };
    assert_violates(&buy_with(flawed).await, &flaws);
    let status = buy_with(terminal("4111 1111 1111 1111")).await;
    assert_refused(&status, Code::InvalidArgument, "CARD_NUMBER_REFUSED");
    assert_eq!(violations(&status)[0].0, "payment.transaction_id");
    let held = reserve(server, these(&showtime, "eve", "B9")).await.expect("the seat is free");
    let till = "4111 1111 1111 1111".to_owned();
    let status = confirm(server, to_confirm(&held, "card", &till)).await.expect_err("the till is a card number");
    assert_refused(&status, Code::InvalidArgument, "CARD_NUMBER_REFUSED");

    let declined = buy(server, of_seats(&showtime, "ada", "A1", "tok_declined_insufficient_funds")).await;
    let declined = declined.expect("a decline is an answer");
    let request = ContinuePurchaseRequest {
        purchase_id: declined.purchase_id.clone(),
        payment: Some(cash("")),
        ..ContinuePurchaseRequest::default()
    };
    let status = client(server).continue_purchase(request).await.expect_err("a till begins a purchase of its own");
    assert_violates(&status, &["payment"]);

    let held = reserve(server, these(&showtime, "bob", "C1")).await.expect("the seat is free");
    let request = to_confirm(&held, "cash", &"x".repeat(65));
    assert_violates(&confirm(server, request).await.expect_err("the till's name is long"), &["till"]);
    let request = GetCashUpRequest { till: "x".repeat(65), local_date: "today".to_owned() };
    let status = PaymentsClient::new(server.channel()).get_cash_up(request).await.expect_err("both are wrong");
    assert_violates(&status, &["till", "local_date"]);

    let bought = buy(server, of_seats(&showtime, "bob", "B1", "tok_ok")).await.expect("the seat is free");
    let bought = until_state(server, &bought, PurchaseState::Completed).await;
    let status = refund_all(server, only_payment(&bought), "till 7").await.expect_err("the gateway gives it back");
    assert_violates(&status, &["till"]);
}
