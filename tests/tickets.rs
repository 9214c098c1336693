//! Tickets: made with the sale, voided with the seat, used once.

use boxoffice::{
    clock::Clock,
    domain::ticket::TicketCode,
    pb::boxoffice::v1::{
        CancelShowtimeRequest, CodeFormat, GetTicketByNumberRequest, GetTicketCodeRequest, GetTicketRequest,
        ListSigningKeysRequest, ListTicketsRequest, Purchase, PurchaseState, RefundPaymentRequest, RefundState,
        Reservation, Showtime, Ticket, TicketFlaw, TicketState, UseTicketRequest, ValidateTicketRequest,
        ValidateTicketResponse,
    },
};
use chrono::{SubsecRound as _, TimeDelta};
use futures_util::future::join_all;
use tonic::{Code, Status};

pub(crate) use crate::harness::door::client;
use crate::{
    harness::{
        Server, assert_not_found, assert_refused, assert_violates,
        purchases::{buy, of_seats, until_state},
        request_id,
        seats::{confirm, instant, name, reserve, showtime, showtime_with, these},
        shop::Shop,
        staff::{exchange, release},
    },
    refunds::{all, of_these, refund, until_ended},
};

in_both_shops!(
    every_seat_that_is_sold_has_a_ticket,
    a_ticket_is_blocked_until_its_money_is_taken,
    seats_that_are_given_up_or_exchanged_void_their_tickets,
    a_refund_blocks_a_ticket_and_gives_it_back_if_it_fails,
    a_ticket_that_was_used_is_refunded_by_force_only,
    a_seat_is_used_or_refunded_and_never_both,
    one_of_many_doors_admits_the_holder,
    a_door_is_told_everything_that_is_in_the_way,
    codes_are_drawn_and_no_changed_code_is_accepted,
    a_cancelled_showtime_voids_its_tickets,
    sales_from_before_get_their_tickets,
    invalid_requests_are_refused_for_every_flaw,
);

/// A showtime whose doors are open.
pub(crate) async fn open_doors(server: &Server) -> Showtime {
    let soon = Clock::System.now().trunc_subsecs(0) + TimeDelta::minutes(30);
    showtime_with(server, &[("A", "ssssssss"), ("B", "ssssssss"), ("C", "ssssssss")], soon, |request| request).await
}

pub(crate) async fn bought(server: &Server, showtime: &Showtime, names: &str, token: &str) -> Purchase {
    let begun = buy(server, of_seats(showtime, "ada", names, token)).await.expect("the seats are free");
    until_state(server, &begun, PurchaseState::Completed).await
}

pub(crate) fn reservation(purchase: &Purchase) -> &Reservation {
    purchase.reservation.as_ref().expect("a purchase has its reservation")
}

/// The tickets of a purchase, in the order of their seats.
pub(crate) async fn tickets(server: &Server, purchase_id: &str) -> Vec<Ticket> {
    let request = ListTicketsRequest { purchase_id: purchase_id.to_owned(), ..ListTicketsRequest::default() };
    let mut found = client(server).list_tickets(request).await.expect("a list").into_inner().tickets;
    found.sort_by_key(|ticket| (seat(ticket), instant(ticket.issue_time)));
    found
}

pub(crate) fn seat(ticket: &Ticket) -> String {
    name(ticket.seat.as_ref().expect("a ticket has its seat"))
}

/// Each ticket's seat with its state.
fn states(tickets: &[Ticket]) -> Vec<(String, TicketState)> {
    tickets.iter().map(|ticket| (seat(ticket), ticket.state())).collect()
}

pub(crate) fn at_door(ticket: &Ticket, showtime: &Showtime, nonce: &str) -> UseTicketRequest {
    UseTicketRequest {
        code: ticket.code.clone(),
        showtime_id: showtime.showtime_id.clone(),
        device: "door 1".to_owned(),
        nonce: nonce.to_owned(),
        ..UseTicketRequest::default()
    }
}

pub(crate) async fn use_ticket(server: &Server, request: UseTicketRequest) -> Result<Ticket, Status> {
    let of_purchase = is_of_purchase(&request.code);
    let answer = client(server).use_ticket(request).await?.into_inner();
    assert!(answer.admitted && of_purchase != answer.tickets.is_empty(), "{answer:#?}");
    Ok(answer.ticket.expect("the answer has the ticket"))
}

fn is_of_purchase(code: &str) -> bool {
    TicketCode::parse(code).is_ok_and(|code| code.purchase().is_some())
}

pub(crate) async fn validate(server: &Server, code: &str, showtime: &Showtime) -> ValidateTicketResponse {
    let (shown, showtime_id, device) = (code.to_owned(), showtime.showtime_id.clone(), "door 1".to_owned());
    let request = ValidateTicketRequest { code: shown, showtime_id, device, ..ValidateTicketRequest::default() };
    let answer = client(server).validate_ticket(request).await.expect("the showtime exists").into_inner();
    assert_eq!(answer.valid, answer.why.is_empty(), "{answer:#?}");
    assert_eq!(answer.valid && is_of_purchase(code), !answer.tickets.is_empty(), "{answer:#?}");
    answer
}

pub(crate) async fn flaws(server: &Server, code: &str, showtime: &Showtime) -> Vec<TicketFlaw> {
    validate(server, code, showtime).await.why().collect()
}

async fn every_seat_that_is_sold_has_a_ticket(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let by_gateway = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let held = reserve(server, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    let at_till = confirm(server, &held).await.expect("it is held");
    let made = tickets(server, &by_gateway.purchase_id).await;
    let issued = |seat: &str| (seat.to_owned(), TicketState::Issued);
    assert_eq!(states(&made), [issued("A1"), issued("A2")]);
    assert_eq!(states(&tickets(server, &at_till.purchase_id).await), [issued("B1")]);
    let [first, second] = &made[..] else { panic!("{made:#?}") };
    assert!(first.number != second.number && first.code != second.code && first.ticket_id != second.ticket_id);
    assert!(first.number.starts_with("TKT-") && first.number.len() == 15, "{first:#?}");
    assert_eq!(first.payment_id, by_gateway.payments[0].payment_id);
    assert_eq!(first.reservation_id, reservation(&by_gateway).reservation_id);
    assert_eq!((first.price.as_ref(), first.ticket_type.as_str()), (showtime.price.as_ref(), "standard"));
    assert_eq!(first.showtime.as_ref().map(|one| &one.showtime_id), Some(&showtime.showtime_id));
    // It is found by its id, and by its number as somebody writes it.
    let request = GetTicketRequest { ticket_id: first.ticket_id.clone(), customer_id: "ada".to_owned() };
    assert_eq!(
        client(server).get_ticket(request.clone()).await.expect("it is hers").into_inner().ticket,
        made.first().cloned()
    );
    let others = GetTicketRequest { customer_id: "bob".to_owned(), ..request };
    let status = client(server).get_ticket(others).await.expect_err("it is not his");
    assert_not_found(&status, "TICKET_NOT_FOUND", &first.ticket_id);
    let spoken = first.number.to_lowercase().replace('-', " ");
    let by_number = client(server).get_ticket_by_number(GetTicketByNumberRequest { number: spoken }).await;
    assert_eq!(by_number.expect("it is a number").into_inner().ticket, made.first().cloned());
    for (customer_id, showtime_id, count) in [("ada", "", 2), ("bob", "", 1), ("", &*showtime.showtime_id, 3)] {
        let (customer_id, showtime_id) = (customer_id.to_owned(), showtime_id.to_owned());
        let request = ListTicketsRequest { customer_id, showtime_id, ..ListTicketsRequest::default() };
        assert_eq!(client(server).list_tickets(request).await.expect("a list").into_inner().tickets.len(), count);
    }
    shop.assert_audit().await;
}

async fn a_ticket_is_blocked_until_its_money_is_taken(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let begun = buy(server, of_seats(&showtime, "ada", "A1", "tok_capture_fails")).await.expect("the seat is free");
    let undone = until_state(server, &begun, PurchaseState::Compensated).await;
    let made = tickets(server, &undone.purchase_id).await;
    assert_eq!(states(&made), [("A1".to_owned(), TicketState::Voided)]);
    let status = use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect_err("it was never paid");
    assert_refused(&status, Code::FailedPrecondition, "TICKET_VOIDED");
    shop.assert_audit().await;
}

async fn seats_that_are_given_up_or_exchanged_void_their_tickets(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let first = tickets(server, &bought.purchase_id).await;
    // A2 is among the seats before and after it, and has another ticket all the same.
    exchange(server, reservation(&bought), "A2 A3").await.expect("A3 is free");
    let made = tickets(server, &bought.purchase_id).await;
    let (issued, voided) = (TicketState::Issued, TicketState::Voided);
    let of = |seat: &str, state| (seat.to_owned(), state);
    assert_eq!(states(&made), [of("A1", voided), of("A2", voided), of("A2", issued), of("A3", issued)]);
    for old in &first {
        assert_eq!(flaws(server, &old.code, &showtime).await, [TicketFlaw::Voided]);
        let status = use_ticket(server, at_door(old, &showtime, &old.number)).await.expect_err("it is voided");
        assert_refused(&status, Code::FailedPrecondition, "TICKET_VOIDED");
    }
    assert!(flaws(server, &made[2].code, &showtime).await.is_empty());
    release(server, reservation(&bought), "A3").await.expect("it is sold");
    until_ended(server, &bought, 1).await;
    let made = tickets(server, &bought.purchase_id).await;
    assert_eq!(made[3].state(), TicketState::Refunded);
    assert_eq!(made[2].state(), issued);
    shop.assert_audit().await;
}

async fn a_refund_blocks_a_ticket_and_gives_it_back_if_it_fails(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2", "tok_refund_fails").await;
    shop.gateway.pause().await;
    refund(server, of_these(&bought, "A1")).await.expect("it was paid");
    let made = tickets(server, &bought.purchase_id).await;
    assert_eq!(made[0].state(), TicketState::Blocked);
    let status = use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect_err("it is blocked");
    assert_refused(&status, Code::FailedPrecondition, "TICKET_BLOCKED");
    use_ticket(server, at_door(&made[1], &showtime, "2")).await.expect("the other one is not");
    shop.gateway.resume();
    let after = until_ended(server, &bought, 1).await;
    assert_eq!(after.refunds[0].state(), RefundState::Failed);
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it admits again");
    shop.assert_audit().await;
}

async fn a_ticket_that_was_used_is_refunded_by_force_only(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &bought.purchase_id).await;
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    for request in [of_these(&bought, "A1"), all(&bought)] {
        let status = refund(server, request).await.expect_err("it was used");
        let about = assert_refused(&status, Code::FailedPrecondition, "TICKET_USED");
        assert_eq!(about["seats"], "A1");
    }
    refund(server, RefundPaymentRequest { force: true, ..of_these(&bought, "A1") }).await.expect("by force");
    until_ended(server, &bought, 1).await;
    let after = tickets(server, &bought.purchase_id).await;
    assert_eq!((after[0].state(), after[0].use_device.as_str()), (TicketState::Refunded, "door 1"));
    assert_eq!(flaws(server, &made[0].code, &showtime).await, [TicketFlaw::Refunded, TicketFlaw::Used]);
    shop.assert_audit().await;
}

async fn a_seat_is_used_or_refunded_and_never_both(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    for row in ["A", "B", "C"] {
        let names: Vec<_> = (1..=8).map(|number| format!("{row}{number}")).collect();
        let begun = buy(server, of_seats(&showtime, row, &names.join(" "), "tok_ok")).await.expect("they are free");
        let bought = until_state(server, &begun, PurchaseState::Completed).await;
        let made = tickets(server, &bought.purchase_id).await;
        let both = made.iter().map(|ticket| async {
            let used = use_ticket(server, at_door(ticket, &showtime, &ticket.number));
            let (used, refunded) = tokio::join!(used, refund(server, of_these(&bought, &seat(ticket))));
            (used.is_ok(), refunded.is_ok())
        });
        let outcomes = join_all(both).await;
        assert!(outcomes.iter().all(|(used, refunded)| used != refunded), "{outcomes:?}");
    }
}

async fn one_of_many_doors_admits_the_holder(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3 A4 A5 A6", "tok_ok").await;
    let made = tickets(server, &bought.purchase_id).await;
    let mut used = None;
    for ticket in &made[..5] {
        let doors = (0..100).map(|door| UseTicketRequest {
            device: format!("door {door}"),
            ..at_door(ticket, &showtime, &ticket.number)
        });
        let answers = join_all(doors.map(|request| use_ticket(server, request))).await;
        let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((admitted.len(), refused.len()), (1, 99));
        let admitted = admitted[0].as_ref().expect("it was admitted").clone();
        for status in refused {
            let about = assert_refused(&status.expect_err("it was used"), Code::FailedPrecondition, "TICKET_USED");
            assert_eq!(about["use_device"], admitted.use_device);
        }
        used = Some(admitted);
    }
    let used = used.expect("there are tickets");
    // The same device with the same nonce gets the same answer, and no other ticket for it.
    let again = UseTicketRequest { device: used.use_device.clone(), ..at_door(&made[4], &showtime, &made[4].number) };
    assert_eq!(use_ticket(server, again.clone()).await.expect("it is repeated"), used);
    let other = UseTicketRequest { code: made[5].code.clone(), ..again.clone() };
    let status = use_ticket(server, other).await.expect_err("the nonce was used");
    assert_violates(&status, &["nonce"]);
    let (code, number) = (String::new(), made[5].number.clone());
    let by_number = UseTicketRequest { code, number, ..at_door(&made[5], &showtime, "2") };
    assert_eq!(use_ticket(server, by_number).await.expect("it is issued").state(), TicketState::Used);
}

async fn a_door_is_told_everything_that_is_in_the_way(shop: Shop) {
    let (server, open) = (&shop.server, open_doors(&shop.server).await);
    let later = showtime(server).await;
    let early = bought(server, &later, "A1", "tok_ok").await;
    let early = tickets(server, &early.purchase_id).await;
    assert_eq!(flaws(server, &early[0].code, &later).await, [TicketFlaw::TooEarly]);
    assert_eq!(flaws(server, &early[0].code, &open).await, [TicketFlaw::WrongShowtime]);
    let status = use_ticket(server, at_door(&early[0], &later, "1")).await.expect_err("the doors are closed");
    assert_refused(&status, Code::FailedPrecondition, "TICKET_TOO_EARLY");
    let here = bought(server, &open, "A1", "tok_ok").await;
    let here = tickets(server, &here.purchase_id).await;
    let answer = validate(server, &here[0].code, &open).await;
    assert_eq!((answer.valid, answer.ticket.as_ref()), (true, here.first()));
    use_ticket(server, at_door(&here[0], &open, "1")).await.expect("it is issued");
    assert_eq!(flaws(server, &here[0].code, &open).await, [TicketFlaw::Used]);
    // What makes it invalid comes before that it was used.
    let held = here[0].reservation_id.clone();
    release(server, &Reservation { reservation_id: held, ..Reservation::default() }, "").await.expect("it is sold");
    let found = flaws(server, &here[0].code, &open).await;
    assert!(
        [TicketFlaw::Voided, TicketFlaw::Refunded].contains(&found[0]) && found[1] == TicketFlaw::Used,
        "{found:?}"
    );
}

async fn codes_are_drawn_and_no_changed_code_is_accepted(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1", "tok_ok").await;
    let ticket = tickets(server, &bought.purchase_id).await.remove(0);
    for (format, content_type, start) in [
        (CodeFormat::Svg, "image/svg+xml", &b"<svg"[..]),
        (CodeFormat::Png, "image/png", b"\x89PNG"),
        (CodeFormat::Text, "text/plain; charset=utf-8", b""),
    ] {
        let (ticket_id, customer_id) = (ticket.ticket_id.clone(), String::new());
        let request = GetTicketCodeRequest { ticket_id, format: format.into(), customer_id };
        let drawn = client(server).get_ticket_code(request).await.expect("it is drawn").into_inner();
        assert_eq!(drawn.content_type, content_type);
        assert!(drawn.data.starts_with(start) && drawn.data.len() > 500, "{format:?}: {} bytes", drawn.data.len());
    }
    let keys = client(server).list_signing_keys(ListSigningKeysRequest {}).await.expect("a list").into_inner().keys;
    assert_eq!((keys.len(), keys[0].key_id, keys[0].public_key.len()), (1, 1, 32));
    assert_eq!(ticket.code.len(), 140);
    // Every other character of base45 in each place.
    for at in 0..ticket.code.len() {
        let mut changed = ticket.code.clone().into_bytes();
        changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
        let code = String::from_utf8(changed).expect("it is ASCII");
        let request = UseTicketRequest { code, ..at_door(&ticket, &showtime, "1") };
        let status = use_ticket(server, request).await.expect_err("it was changed");
        let is_right = [Code::InvalidArgument, Code::FailedPrecondition].contains(&status.code());
        assert!(is_right, "{at}: {status:?}");
    }
    use_ticket(server, at_door(&ticket, &showtime, "1")).await.expect("it was not used");
}

async fn a_cancelled_showtime_voids_its_tickets(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &bought.purchase_id).await;
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    server.showtimes().cancel_showtime(cancel).await.expect("it is forced");
    until_ended(server, &bought, 1).await;
    let after = tickets(server, &bought.purchase_id).await;
    assert!(after.iter().all(|ticket| ticket.state() == TicketState::Refunded), "{after:#?}");
    // Cancelled and used is cancelled.
    assert_eq!(flaws(server, &made[0].code, &showtime).await, [TicketFlaw::Refunded, TicketFlaw::Used]);
    shop.assert_audit().await;
}

async fn sales_from_before_get_their_tickets(mut shop: Shop) {
    let showtime = open_doors(&shop.server).await;
    let by_gateway = bought(&shop.server, &showtime, "A1 A2", "tok_ok").await;
    let held = reserve(&shop.server, these(&showtime, "bob", "B1 B2")).await.expect("the seats are free");
    let at_till = confirm(&shop.server, &held).await.expect("it is held");
    release(&shop.server, &at_till, "B1").await.expect("it is sold");
    let refunded = bought(&shop.server, &showtime, "C1", "tok_ok").await;
    shop.server.stop().await;
    shop.storage.sql("DELETE FROM tickets").await.expect("the statement is right");
    shop.server = shop.server.setup().clone().start().await;
    let server = &shop.server;
    // The refund does not wait for the task.
    refund(server, all(&refunded)).await.expect("it was paid");
    until_ended(server, &refunded, 1).await;
    let made = crate::harness::eventually("all sales have their tickets", async || {
        let (one, other) =
            (tickets(server, &by_gateway.purchase_id).await, tickets(server, &at_till.purchase_id).await);
        (!one.is_empty() && !other.is_empty()).then_some((one, other))
    })
    .await;
    let issued = |seat: &str| (seat.to_owned(), TicketState::Issued);
    assert_eq!((states(&made.0), states(&made.1)), (vec![issued("A1"), issued("A2")], vec![issued("B2")]));
    use_ticket(server, at_door(&made.0[0], &showtime, &request_id())).await.expect("it is issued");
    shop.assert_audit().await;
}

async fn invalid_requests_are_refused_for_every_flaw(shop: Shop) {
    let server = &shop.server;
    let mut tickets = client(server);
    let status =
        tickets.get_ticket(GetTicketRequest { ticket_id: "7".to_owned(), customer_id: "a\n".to_owned() }).await;
    assert_violates(&status.expect_err("it is not valid"), &["ticket_id", "customer_id"]);
    let unknown = request_id();
    let request = GetTicketRequest { ticket_id: unknown.clone(), customer_id: String::new() };
    assert_not_found(&tickets.get_ticket(request).await.expect_err("there is none"), "TICKET_NOT_FOUND", &unknown);
    let number = GetTicketByNumberRequest { number: "TKT-00000-00001".to_owned() };
    assert_violates(
        &tickets.get_ticket_by_number(number).await.expect_err("its check character is wrong"),
        &["number"],
    );
    let status = tickets.list_tickets(ListTicketsRequest::default()).await.expect_err("nothing is named");
    assert_violates(&status, &["customer_id"]);
    let (ticket_id, customer_id) = (unknown.clone(), String::new());
    let status = tickets.get_ticket_code(GetTicketCodeRequest { ticket_id, format: 0, customer_id }).await;
    assert_violates(&status.expect_err("there is no format"), &["format"]);
    let both =
        ValidateTicketRequest { code: "A".to_owned(), number: "B".to_owned(), ..ValidateTicketRequest::default() };
    let status = tickets.validate_ticket(both).await.expect_err("it is not valid");
    assert_violates(&status, &["code", "number", "showtime_id", "device"]);
    let long = UseTicketRequest { nonce: "n".repeat(65), device: "d".repeat(65), ..UseTicketRequest::default() };
    let status = tickets.use_ticket(long).await.expect_err("it is not valid");
    assert_violates(&status, &["code", "number", "showtime_id", "device", "nonce"]);
    let showtime = showtime(server).await;
    let no_code = UseTicketRequest {
        code: "HELLO".to_owned(),
        showtime_id: showtime.showtime_id,
        device: "door 1".to_owned(),
        nonce: "1".to_owned(),
        ..UseTicketRequest::default()
    };
    assert_violates(&tickets.use_ticket(no_code).await.expect_err("it is no code"), &["code"]);
}
