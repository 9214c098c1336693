//! The statements that the store's queries send, so that a test can look at their plans.

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{DbBackend, QueryTrait as _, Statement, prelude::Uuid};

use super::{
    audit, auditoriums, blocked_seats, feed,
    payments::{self, TimedCursor},
    purchases::{self, PurchaseFilter},
    refunds,
    reservations::{self, ReservationCursor},
    rows::showtime::{ShowtimeRow, StandingRow},
    sales, sales_at_tills, scans, seat_maps,
    showtimes::{self, Cursor},
    stuck_purchases, stuck_refunds, sweep, ticket_reads, ticket_uses,
    tickets::{self, TicketFilter},
};
use crate::domain::{
    ids::{AuditoriumId, PaymentId, PurchaseId, RefundId, RequestId, ReservationId, ShowtimeId, TicketId},
    number::{PurchaseNumber, TicketNumber},
    reservation::{self, CustomerId},
    showtime::Filter,
    ticket::{TicketCode, TicketUse},
};

pub use super::ledger::since::statement as events_since;

/// Rows of the feed.
#[must_use]
pub fn feed(backend: DbBackend, after: i64, limit: u64) -> Statement {
    feed::after(backend, after, limit)
}

/// The oldest rows of the feed, which may be old enough to be deleted.
#[must_use]
pub fn oldest_events(backend: DbBackend, compacted: i64, limit: u64) -> Statement {
    feed::oldest(backend, compacted, limit)
}

/// The number of events after a position.
#[must_use]
pub fn events_after(backend: DbBackend, position: i64) -> Statement {
    feed::count_after(backend, position)
}

/// Whether a row of the outbox has no position. Only Postgres has such rows.
#[must_use]
pub fn unnumbered_events() -> Statement {
    super::ledger::positions::see()
}

/// What gives positions to rows of the outbox that have none, in a known epoch and in a new one.
#[must_use]
pub fn numbering() -> [Statement; 3] {
    super::ledger::positions::numbering()
}

/// What deletes the events up to a position.
#[must_use]
pub fn deletion(backend: DbBackend, to: i64) -> [Statement; 3] {
    feed::delete(backend, to)
}

/// A page of auditoriums.
#[must_use]
pub fn auditoriums(backend: DbBackend, cinema: Option<&str>, after: Option<AuditoriumId>, limit: u64) -> Statement {
    auditoriums::list(cinema, after, limit).build(backend)
}

/// A page of showtimes.
#[must_use]
pub fn showtimes(backend: DbBackend, filter: &Filter, after: Option<Cursor>, limit: u64) -> Statement {
    showtimes::list(filter, after, limit).build(backend)
}

/// Whole showtimes by id.
#[must_use]
pub fn showtimes_by_ids(backend: DbBackend, ids: &[ShowtimeId]) -> Statement {
    ShowtimeRow::select_by_ids(backend, ids).build(backend)
}

/// Standings by id of the showtime.
#[must_use]
pub fn standings_by_ids(backend: DbBackend, ids: &[ShowtimeId]) -> Statement {
    StandingRow::select_by_ids(backend, ids).build(backend)
}

/// Revisions by id of the showtime.
#[must_use]
pub fn revisions(backend: DbBackend, of: &[ShowtimeId]) -> Statement {
    seat_maps::revisions(backend, of).build(backend)
}

/// A seat map.
#[must_use]
pub fn seat_map(backend: DbBackend, id: ShowtimeId) -> Statement {
    seat_maps::seat_map(backend, id).build(backend)
}

/// The seats of a showtime that are blocked.
#[must_use]
pub fn blocked_seats(backend: DbBackend, id: ShowtimeId) -> Statement {
    blocked_seats::blocked_seats(id).build(backend)
}

/// What was sold of a showtime.
#[must_use]
pub fn sold(backend: DbBackend, id: ShowtimeId) -> Statement {
    sales::sold(id).build(backend)
}

/// A page of reservations.
#[must_use]
pub fn reservations(
    backend: DbBackend,
    filter: &reservation::Filter,
    after: Option<ReservationCursor>,
    limit: u64,
    now: DateTime<Utc>,
) -> Statement {
    reservations::list(backend, filter, after, limit, now).build(backend)
}

/// The reservations of these ids.
#[must_use]
pub fn reservations_of(backend: DbBackend, ids: &[ReservationId], now: DateTime<Utc>) -> Statement {
    reservations::of_ids(backend, ids, now).build(backend)
}

/// Sales that have no purchase.
#[must_use]
pub fn sales_without_purchase(backend: DbBackend, of: Option<ShowtimeId>, limit: u64) -> Statement {
    sales_at_tills::sales_without_purchase(of, limit).build(backend)
}

/// What a till has taken on a day.
#[must_use]
pub fn taken_at_till(backend: DbBackend, till: &str, local_date: NaiveDate) -> Statement {
    sales_at_tills::taken_at_till(till, local_date).build(backend)
}

/// What a till has paid out on a day.
#[must_use]
pub fn paid_out_at_till(backend: DbBackend, till: &str, local_date: NaiveDate) -> Statement {
    sales_at_tills::paid_out_at_till(till, local_date).build(backend)
}

/// A page of purchases.
#[must_use]
pub fn purchases(backend: DbBackend, filter: &PurchaseFilter, after: Option<TimedCursor>, limit: u64) -> Statement {
    purchases::purchases(backend, filter, after, limit).build(backend)
}

/// The id of the purchase with a number.
#[must_use]
pub fn purchase_by_number(backend: DbBackend, number: &PurchaseNumber) -> Statement {
    purchases::by_number(number).build(backend)
}

/// A page of payments.
#[must_use]
pub fn payments(
    backend: DbBackend,
    of: (Option<&CustomerId>, Option<PurchaseId>),
    after: Option<TimedCursor>,
    limit: u64,
) -> Statement {
    payments::payments(backend, of, after, limit).build(backend)
}

/// Purchases with which any instance may go on.
#[must_use]
pub fn due_purchases(backend: DbBackend, now: DateTime<Utc>, limit: u64) -> Statement {
    purchases::due_purchases(now, limit).build(backend)
}

/// Refunds with which any instance may go on.
#[must_use]
pub fn due_refunds(backend: DbBackend, now: DateTime<Utc>, limit: u64) -> Statement {
    refunds::due_refunds(now, limit).build(backend)
}

/// The refunds of payments.
#[must_use]
pub fn refunds_of(backend: DbBackend, payments: &[PaymentId]) -> Statement {
    refunds::of_payments(backend, payments.iter().map(|id| id.0)).build(backend)
}

/// The refund that a request has begun.
#[must_use]
pub fn refund_of_request(backend: DbBackend, request_id: RequestId, caller: &str) -> Statement {
    refunds::of_request(request_id, caller).build(backend)
}

/// The payments of a showtime of which a refund has begun.
#[must_use]
pub fn refunded_payments(backend: DbBackend, of: ShowtimeId) -> Statement {
    payments::refunded_payments(of).build(backend)
}

/// Showtimes in which a hold may have lapsed.
#[must_use]
pub fn lapsed(backend: DbBackend, now: Option<DateTime<Utc>>, limit: u64) -> Statement {
    sweep::lapsed(backend, now, limit).build(backend)
}

/// The last notes of a purchase.
#[must_use]
pub fn purchase_notes(backend: DbBackend, id: PurchaseId, limit: u64) -> Statement {
    stuck_purchases::purchase_notes(id, limit).build(backend)
}

/// Purchases that are stuck.
#[must_use]
pub fn stuck_purchases(backend: DbBackend, limit: u64) -> Statement {
    stuck_purchases::stuck_purchases(limit).build(backend)
}

/// The last notes of a refund.
#[must_use]
pub fn refund_notes(backend: DbBackend, id: RefundId, limit: u64) -> Statement {
    stuck_refunds::refund_notes(id, limit).build(backend)
}

/// Refunds that are stuck.
#[must_use]
pub fn stuck_refunds(backend: DbBackend, after: Option<TimedCursor>, limit: u64) -> Statement {
    stuck_refunds::stuck_refunds(after, limit).build(backend)
}

/// The ticket with a number.
#[must_use]
pub fn ticket_by_number(backend: DbBackend, number: &TicketNumber) -> Statement {
    tickets::by_number(number).build(backend)
}

/// The tickets with these codes.
#[must_use]
pub fn tickets_by_codes(backend: DbBackend, codes: &[TicketCode]) -> Statement {
    ticket_reads::by_codes(backend, codes).build(backend)
}

/// What uses tickets by their codes.
#[must_use]
pub fn uses_of_tickets(backend: DbBackend, uses: &[(TicketCode, TicketUse)]) -> Statement {
    backend.build(&ticket_uses::use_all(backend, uses))
}

/// The tickets of a purchase that are neither voided nor refunded.
#[must_use]
pub fn live_tickets(backend: DbBackend, purchase_id: PurchaseId) -> Statement {
    tickets::live(purchase_id).build(backend)
}

/// What a device has used under a name.
#[must_use]
pub fn tickets_used(backend: DbBackend, device: &str, nonce: &str) -> Statement {
    tickets::used_by(device, nonce).build(backend)
}

/// The tickets in the list of a door.
#[must_use]
pub fn door_tickets(backend: DbBackend, showtime_id: ShowtimeId) -> Statement {
    tickets::at_door(showtime_id).build(backend)
}

/// Tickets by their ids.
#[must_use]
pub fn tickets_by_ids(backend: DbBackend, ids: &[TicketId]) -> Statement {
    tickets::by_ids(backend, ids).build(backend)
}

/// Scans by their ids.
#[must_use]
pub fn scans(backend: DbBackend, ids: &[Uuid]) -> Statement {
    scans::scans(backend, ids).build(backend)
}

/// The scans of tickets.
#[must_use]
pub fn scans_of(backend: DbBackend, tickets: &[TicketId]) -> Statement {
    scans::scans_of(backend, tickets).build(backend)
}

/// A page of tickets.
#[must_use]
pub fn tickets(backend: DbBackend, filter: &TicketFilter, after: Option<TimedCursor>, limit: u64) -> Statement {
    tickets::tickets(backend, filter, after, limit).build(backend)
}

/// A page of completed purchases with their reservations.
#[must_use]
pub fn completed_purchases(backend: DbBackend, after: Option<PurchaseId>, limit: u64) -> Statement {
    tickets::completed_purchases(after, limit).build(backend)
}

/// A page of purchases, for an audit.
#[must_use]
pub fn audited_purchases(backend: DbBackend, after: Option<PurchaseId>, limit: u64) -> Statement {
    audit::audited_purchases(after, limit).build(backend)
}

/// A page of the payments that money entries name, for an audit.
#[must_use]
pub fn audited_entries(backend: DbBackend, after: Option<PaymentId>, limit: u64) -> Statement {
    audit::audited_entries(after, limit).build(backend)
}

/// A page of the purchases that tickets name.
#[must_use]
pub fn ticketed_purchases(backend: DbBackend, after: Option<PurchaseId>, limit: u64) -> Statement {
    audit::ticketed_purchases(after, limit).build(backend)
}
