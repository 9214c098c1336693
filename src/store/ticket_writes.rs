//! How tickets are written: issued, blocked and voided with the changes of their seats.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, ExprTrait, QueryFilter as _,
    QuerySelect as _, QueryTrait as _, UpdateMany,
    sea_query::{CaseStatement, Expr},
};

use super::{
    entities::{payment, purchase, ticket},
    ledger::Companion,
    planted::{self, Bug},
    purchase_rows::Row,
    rows::{
        purchase::state_name as purchase_state_name,
        ticket::{issued_or_used, row, state_name},
    },
};
use crate::domain::{
    ids::{PurchaseId, ReservationId, ShowtimeId},
    purchase::PurchaseState,
    refund::Refund,
    ticket::{Ticket, TicketState},
};

/// The rows of new tickets. `None`: there are none.
#[must_use]
pub fn insert_tickets(tickets: &[Ticket]) -> Option<Companion> {
    let rows = tickets.iter().map(row).collect();
    (!tickets.is_empty()).then(|| Companion::row(Row::NewTickets(rows)))
}

/// Replaces the tickets of a sale by new ones, of which each is paired with the seat whose ticket it replaces. A ticket that was used leaves
/// its use to the new one, so that its holder is not admitted again. A refund of a seat that is given up later does not concern those that
/// are replaced.
#[must_use]
pub fn replace_tickets(
    showtime_id: ShowtimeId,
    reservation_id: ReservationId,
    new: &[(u16, Ticket)],
) -> Vec<Companion> {
    let replaced: Vec<_> = new.iter().map(|(seat, _)| *seat).collect();
    let ids = || new.iter().map(|(_, ticket)| ticket.ticket_id.0);
    // No door can use one of them from here on.
    let lock = of_seats(live(showtime_id), reservation_id, &replaced)
        .col_expr(ticket::Column::State, Expr::col((ticket::Entity, ticket::Column::State)));
    let rows = new.iter().map(|(_, ticket)| ticket::ActiveModel::from(row(ticket)).reset_all());
    let insert = Companion::insert(ticket::Entity::insert_many(rows).into_query(), new.len() as u64);
    let uses = new.iter().map(|(seat, ticket)| leave_use(reservation_id, *seat, ticket));
    let replace = of_seats(to(TicketState::Exchanged, showtime_id), reservation_id, &replaced)
        .filter(ticket::Column::TicketId.is_not_in(ids()));
    let replace = (!planted::has(Bug::FirstTicketsKept)).then(|| Companion::update_any(replace.into_query()));
    let first = [Companion::update_any(lock.into_query()), insert];
    first.into_iter().chain(uses).chain(replace).collect()
}

/// Writes the use of the live ticket of a seat, if there is one, into the new ticket. The name for the use stays with the first one.
fn leave_use(reservation_id: ReservationId, seat: u16, new: &Ticket) -> Companion {
    let of_used = |column: ticket::Column| {
        let used = ticket::Entity::find()
            .select_only()
            .column(column)
            .filter(ticket::Column::ReservationId.eq(reservation_id.0))
            .filter(ticket::Column::ShowtimeId.eq(new.showtime_id.0))
            .filter(ticket::Column::Seat.eq(i32::from(seat)))
            .filter(ticket::Column::State.is_not_in(TicketState::GONE.map(state_name)))
            .filter(ticket::Column::UseTime.is_not_null())
            .filter(ticket::Column::TicketId.ne(new.ticket_id.0))
            .limit(1);
        used.into_query()
    };
    let state = Expr::col((ticket::Entity, ticket::Column::State));
    let used_if_issued = CaseStatement::new()
        .case(state.clone().eq(state_name(TicketState::Issued)), state_name(TicketState::Used))
        .finally(state);
    let update = ticket::Entity::update_many()
        .filter(ticket::Column::TicketId.eq(new.ticket_id.0))
        .filter(Expr::exists(of_used(ticket::Column::TicketId)))
        .col_expr(ticket::Column::State, used_if_issued.into())
        .col_expr(ticket::Column::UseTime, Expr::SubQuery(None, Box::new(of_used(ticket::Column::UseTime).into())))
        .col_expr(ticket::Column::UseDevice, Expr::SubQuery(None, Box::new(of_used(ticket::Column::UseDevice).into())));
    Companion::update_any(update.into_query())
}

/// Voids the tickets of seats that a reservation gives up.
#[must_use]
pub fn void_tickets(showtime_id: ShowtimeId, reservation_id: ReservationId, seats: &[u16]) -> Companion {
    Companion::update_any(of_seats(to(TicketState::Voided, showtime_id), reservation_id, seats).into_query())
}

fn of_seats(
    update: UpdateMany<ticket::Entity>,
    reservation_id: ReservationId,
    seats: &[u16],
) -> UpdateMany<ticket::Entity> {
    update
        .filter(ticket::Column::ReservationId.eq(reservation_id.0))
        .filter(ticket::Column::Seat.is_in(seats.iter().map(|seat| i32::from(*seat))))
}

/// Issues the tickets of a purchase if its money was taken. In an exchange it comes after a row of the payment, which excludes the
/// write that completes the purchase.
#[must_use]
pub fn issue_if_completed(purchase_id: PurchaseId) -> Companion {
    let completed = purchase::Entity::find()
        .select_only()
        .column(purchase::Column::PurchaseId)
        .filter(purchase::Column::PurchaseId.eq(purchase_id.0))
        .filter(purchase::Column::State.eq(purchase_state_name(PurchaseState::Completed)));
    let issue = ticket::Entity::update_many()
        .filter(ticket::Column::PurchaseId.in_subquery(completed.into_query()))
        .filter(ticket::Column::State.eq(state_name(TicketState::Unpaid)))
        .col_expr(ticket::Column::State, issued_or_used().into());
    Companion::update_any(issue.into_query())
}

/// Voids all tickets of a showtime.
#[must_use]
pub fn void_all_tickets(showtime_id: ShowtimeId) -> Companion {
    Companion::update_any(to(TicketState::Voided, showtime_id).into_query())
}

/// Changes the tickets of a showtime that are not voided or refunded.
fn to(state: TicketState, showtime_id: ShowtimeId) -> UpdateMany<ticket::Entity> {
    live(showtime_id).col_expr(ticket::Column::State, Expr::value(state_name(state)))
}

fn live(showtime_id: ShowtimeId) -> UpdateMany<ticket::Entity> {
    ticket::Entity::update_many()
        .filter(ticket::Column::ShowtimeId.eq(showtime_id.0))
        .filter(ticket::Column::State.is_not_in(TicketState::GONE.map(state_name)))
}

/// The tickets that a refund names.
fn of_refund(refund: &Refund) -> Condition {
    let facts = &refund.facts;
    let seats = facts.chosen.seats.iter().map(|seat| {
        Expr::col(ticket::Column::SeatRow)
            .eq(seat.row.as_str())
            .and(Expr::col(ticket::Column::SeatNumber).eq(seat.number))
    });
    let seats = seats.reduce(ExprTrait::or).unwrap_or_else(|| Expr::value(false));
    Condition::all()
        .add(ticket::Column::PurchaseId.eq(facts.purchase_id.0))
        .add(ticket::Column::ReservationId.eq(facts.reservation_id.0))
        .add(seats)
}

/// What a refund that begins or ends does to the tickets of its seats. `None`: nothing.
pub(super) fn tickets_of_refund(refund: &Refund) -> Option<Companion> {
    use crate::domain::refund::RefundState::{Done, Failed, Pending, Stuck};
    if refund.facts.chosen.seats.is_empty() {
        return None;
    }
    let name = state_name;
    let of_state = |states: &[TicketState]| {
        let states = states.iter().map(|state| name(*state));
        ticket::Entity::update_many().filter(of_refund(refund)).filter(ticket::Column::State.is_in(states))
    };
    let update = match refund.state() {
        Done => {
            // Seats that were given up before have no ticket of their own to block.
            let given_up = if refund.facts.releases { TicketState::Blocked } else { TicketState::Voided };
            of_state(&[given_up]).col_expr(ticket::Column::State, Expr::value(name(TicketState::Refunded)))
        }
        Failed if !refund.facts.releases => return None,
        Failed => of_state(&[TicketState::Blocked]).col_expr(ticket::Column::State, issued_or_used().into()),
        Pending | Stuck => return None,
    };
    Some(Companion::update_any(update.into_query()))
}

/// Blocks the tickets of the seats that a refund gives up when it is done. Unless that is by force, nothing is committed if one of them
/// was used meanwhile: the row of the payment is then not found.
pub(super) fn block_tickets(refund: &Refund, force: bool) -> Vec<Companion> {
    if !refund.facts.releases {
        return Vec::new();
    }
    let blockable: &[_] = if force { &["unpaid", "issued", "used"] } else { &["unpaid", "issued"] };
    let block = ticket::Entity::update_many()
        .filter(of_refund(refund))
        .filter(ticket::Column::State.is_in(blockable.iter().copied()))
        .col_expr(ticket::Column::State, Expr::value(state_name(TicketState::Blocked)));
    let used = ticket::Entity::find()
        .select_only()
        .column(ticket::Column::PaymentId)
        .filter(of_refund(refund))
        .filter(ticket::Column::State.eq(state_name(TicketState::Used)));
    let unused = payment::Entity::update_many()
        .filter(payment::Column::PaymentId.eq(refund.facts.payment_id.0))
        .filter(payment::Column::PaymentId.not_in_subquery(used.into_query()))
        .col_expr(payment::Column::RefundVersion, Expr::col(payment::Column::RefundVersion));
    let unused = (!force).then(|| Companion::update(unused.into_query(), 1));
    std::iter::once(Companion::update_any(block.into_query())).chain(unused).collect()
}
