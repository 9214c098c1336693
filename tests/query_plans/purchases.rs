//! The queries for purchases, payments and refunds.

use boxoffice::{
    domain::{
        ids::{PaymentId, PurchaseId, RefundId, RequestId, ReservationId, ShowtimeId, TicketId},
        number::TicketNumber,
        purchase::{PurchaseNumber, PurchaseState},
        reservation::CustomerId,
        ticket::{CodeKind, TicketCode, TicketUse},
    },
    store::{PurchaseFilter, TicketFilter, statements},
};
use chrono::TimeDelta;
use sea_orm::{DbBackend, Statement};

use super::rows::{FIRST, beginning, id};

/// Lists of purchases and payments, and purchases that are due.
pub(super) fn purchase_lists(backend: DbBackend) -> Vec<(String, Statement)> {
    let customer = CustomerId::parse("customer 7").expect("a name");
    let (customer_id, showtime_id) = (Some(customer.clone()), Some(ShowtimeId(id(FIRST + 7))));
    let all = PurchaseFilter::default();
    let open = vec![PurchaseState::Running, PurchaseState::AwaitingCustomer];
    let filters = [
        ("everything", all.clone()),
        ("customer", PurchaseFilter { customer_id: customer_id.clone(), ..all.clone() }),
        ("showtime", PurchaseFilter { showtime_id, ..all.clone() }),
        ("stuck", PurchaseFilter { states: vec![PurchaseState::Stuck], ..all.clone() }),
        ("open", PurchaseFilter { states: open.clone(), ..all.clone() }),
        ("all of them", PurchaseFilter { customer_id, showtime_id, states: open }),
    ];
    let later = (beginning() + TimeDelta::hours(6), id(9));
    let mut found = vec![
        ("due purchases".to_owned(), statements::due_purchases(backend, beginning(), 256)),
        ("due refunds".to_owned(), statements::due_refunds(backend, beginning(), 64)),
        ("refunds of payments".to_owned(), statements::refunds_of(backend, &[PaymentId(id(7)), PaymentId(id(8))])),
        ("refund of a request".to_owned(), statements::refund_of_request(backend, RequestId(id(7)), "")),
        ("refunded payments".to_owned(), statements::refunded_payments(backend, ShowtimeId(id(FIRST + 7)))),
    ];
    found.push(("stuck purchases".to_owned(), statements::stuck_purchases(backend, 1_000)));
    found.extend(door_queries(backend));
    found.push(("refund notes".to_owned(), statements::refund_notes(backend, RefundId(id(7)), 20)));
    found.push(("purchase notes".to_owned(), statements::purchase_notes(backend, PurchaseId(id(7)), 20)));
    for (page, purchase, payment) in [("first", None, None), ("later", Some(PurchaseId(id(7))), Some(PaymentId(id(7))))]
    {
        let name = format!("purchases for an audit, {page} page");
        found.push((name, statements::audited_purchases(backend, purchase, 200)));
        let name = format!("entries for an audit, {page} page");
        found.push((name, statements::audited_entries(backend, payment, 200)));
        let name = format!("purchases of tickets for an audit, {page} page");
        found.push((name, statements::ticketed_purchases(backend, purchase, 200)));
        let name = format!("completed purchases, {page} page");
        found.push((name, statements::completed_purchases(backend, purchase, 500)));
    }
    for (page, after) in [("first", None), ("later", Some(later))] {
        for (name, filter) in [
            ("customer", TicketFilter { customer_id: Some(customer.clone()), ..TicketFilter::default() }),
            ("purchase", TicketFilter { purchase_id: Some(PurchaseId(id(7))), ..TicketFilter::default() }),
        ] {
            let statement = statements::tickets(backend, &filter, after, 51);
            found.push((format!("tickets by {name}, {page} page"), statement));
        }
        found.push((format!("stuck refunds, {page} page"), statements::stuck_refunds(backend, after, 51)));
        for (name, filter) in &filters {
            let statement = statements::purchases(backend, filter, after, 51);
            found.push((format!("purchases by {name}, {page} page"), statement));
        }
        for (name, of) in [
            ("everything", (None, None)),
            ("customer", (Some(&customer), None)),
            ("purchase", (None, Some(PurchaseId(id(7))))),
        ] {
            let statement = statements::payments(backend, of, after, 51);
            found.push((format!("payments by {name}, {page} page"), statement));
        }
    }
    let of_page: Vec<_> = (0..50).map(|number| ReservationId(id(FIRST + number))).collect();
    let statement = statements::reservations_of(backend, &of_page, beginning());
    found.push(("reservations of a page of purchases".to_owned(), statement));
    let today = beginning().date_naive();
    let named = |name: &str, statement| (name.to_owned(), statement);
    found.push(named("sales without a purchase", statements::sales_without_purchase(backend, None, 200)));
    found.push(named("those of a showtime", statements::sales_without_purchase(backend, showtime_id, 200)));
    found.push(named("taken at a till", statements::taken_at_till(backend, "till 17", today)));
    found.push(named("paid out at a till", statements::paid_out_at_till(backend, "till 17", today)));
    found
}

/// What is read by a number, and at a door.
fn door_queries(backend: DbBackend) -> Vec<(String, Statement)> {
    let named = |name: &str, statement| (name.to_owned(), statement);
    let tickets = [TicketId(id(7)), TicketId(id(8))];
    let code = TicketCode::unsigned(CodeKind::Seat(7), 1, [7; 8], id(FIRST + 7)).with_signature([7; 64]);
    let by = TicketUse { time: beginning(), device: "door 7".to_owned(), nonce: "7".to_owned() };
    vec![
        named("ticket by number", statements::ticket_by_number(backend, &TicketNumber::of([7; 8]))),
        named("purchase by number", statements::purchase_by_number(backend, &PurchaseNumber::of([7; 8]))),
        named("tickets by codes", statements::tickets_by_codes(backend, &[code.clone(), code.clone()])),
        named("uses of tickets", statements::uses_of_tickets(backend, &[(code.clone(), by.clone()), (code, by)])),
        named("live tickets", statements::live_tickets(backend, PurchaseId(id(7)))),
        named("tickets of a door", statements::door_tickets(backend, ShowtimeId(id(FIRST + 7)))),
        named("tickets by ids", statements::tickets_by_ids(backend, &tickets)),
        named("scans by ids", statements::scans(backend, &tickets.map(|ticket| ticket.0))),
        named("scans of tickets", statements::scans_of(backend, &tickets)),
        named("tickets used", statements::tickets_used(backend, "door 7", "7")),
    ]
}
