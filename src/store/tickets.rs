//! Tickets: how they are issued, blocked and voided with the changes of their seats, and how they are found and used.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, DbBackend, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select, UpdateMany,
    prelude::Uuid,
    sea_query::{CaseStatement, Expr},
};

use super::{
    dialect,
    entities::{purchase, reservation, ticket},
    errors::Error,
    handle::Store,
    ledger::Companion,
    payments::TimedCursor,
    purchase_rows::Row,
    rows::{
        purchase::state_name as purchase_state_name,
        ticket::{row, state_name, ticket as read},
    },
    timing::read_named,
};
use crate::domain::{
    ids::{PurchaseId, ReservationId, ShowtimeId, TicketId},
    number::TicketNumber,
    purchase::PurchaseState,
    refund::Refund,
    reservation::{CustomerId, Reservation},
    ticket::{Ticket, TicketState, TicketUse},
};

/// Which tickets a list has. At least one of these is named.
#[derive(Clone, Debug, Default)]
pub struct TicketFilter {
    /// Only those of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only those of this purchase.
    pub purchase_id: Option<PurchaseId>,
    /// Only those for this showtime.
    pub showtime_id: Option<ShowtimeId>,
}

/// The rows of new tickets. `None`: there are none.
#[must_use]
pub fn insert_tickets(tickets: &[Ticket]) -> Option<Companion> {
    let rows = tickets.iter().map(row).collect();
    (!tickets.is_empty()).then(|| Companion::row(Row::NewTickets(rows)))
}

/// Voids the tickets of seats that a reservation gives up, but not these, which are new.
#[must_use]
pub fn void_tickets(
    showtime_id: ShowtimeId,
    reservation_id: ReservationId,
    seats: &[u16],
    new: &[Ticket],
) -> Companion {
    let void = to_void(showtime_id)
        .filter(ticket::Column::ReservationId.eq(reservation_id.0))
        .filter(ticket::Column::Seat.is_in(seats.iter().map(|seat| i32::from(*seat))));
    let new = new.iter().map(|ticket| ticket.ticket_id.0);
    let void = if new.len() == 0 { void } else { void.filter(ticket::Column::TicketId.is_not_in(new)) };
    Companion::update_any(void.into_query())
}

/// Issues the tickets of a purchase if its money was taken. It comes after a row that excludes the write of that.
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
        .col_expr(ticket::Column::State, Expr::value(state_name(TicketState::Issued)));
    Companion::update_any(issue.into_query())
}

/// Voids all tickets of a showtime.
#[must_use]
pub fn void_all_tickets(showtime_id: ShowtimeId) -> Companion {
    Companion::update_any(to_void(showtime_id).into_query())
}

fn to_void(showtime_id: ShowtimeId) -> UpdateMany<ticket::Entity> {
    let voided = state_name(TicketState::Voided);
    ticket::Entity::update_many()
        .filter(ticket::Column::ShowtimeId.eq(showtime_id.0))
        .filter(ticket::Column::State.is_not_in([voided, state_name(TicketState::Refunded)]))
        .col_expr(ticket::Column::State, Expr::value(voided))
}

/// The tickets that a refund names.
fn of_refund(refund: &Refund) -> UpdateMany<ticket::Entity> {
    let facts = &refund.facts;
    let seats = facts.chosen.seats.iter().map(|seat| {
        Expr::col(ticket::Column::SeatRow)
            .eq(seat.row.as_str())
            .and(Expr::col(ticket::Column::SeatNumber).eq(seat.number))
    });
    let seats = seats.reduce(|one, other| one.or(other)).unwrap_or_else(|| Expr::value(false));
    ticket::Entity::update_many()
        .filter(ticket::Column::ShowtimeId.eq(facts.showtime_id.0))
        .filter(ticket::Column::ReservationId.eq(facts.reservation_id.0))
        .filter(seats)
}

/// What a refund that begins or ends does to the tickets of its seats. `None`: nothing.
pub(super) fn tickets_of_refund(refund: &Refund) -> Option<Companion> {
    use crate::domain::refund::RefundState::{Done, Failed, Pending, Stuck};
    if refund.facts.chosen.seats.is_empty() {
        return None;
    }
    let name = state_name;
    let of_state = |states: &[TicketState]| {
        of_refund(refund).filter(ticket::Column::State.is_in(states.iter().map(|state| name(*state))))
    };
    let update = match refund.state() {
        Done => {
            let given_up = of_state(&[TicketState::Blocked, TicketState::Voided]);
            given_up.col_expr(ticket::Column::State, Expr::value(name(TicketState::Refunded)))
        }
        // One that was used before it was blocked is used again.
        Failed => {
            let restored = CaseStatement::new()
                .case(Expr::col(ticket::Column::UseTime).is_null(), name(TicketState::Issued))
                .finally(name(TicketState::Used));
            of_state(&[TicketState::Blocked]).col_expr(ticket::Column::State, restored.into())
        }
        Pending | Stuck => return None,
    };
    Some(Companion::update_any(update.into_query()))
}

/// Blocks the tickets of the seats that a refund gives up when it is done. They must be as many as the seats: one that was used meanwhile
/// is only blocked by force.
#[must_use]
pub fn block_tickets(refund: &Refund, force: bool) -> Option<Companion> {
    if !refund.facts.releases {
        return None;
    }
    let blockable: &[_] = if force { &["issued", "used"] } else { &["issued"] };
    let block = of_refund(refund)
        .filter(ticket::Column::State.is_in(blockable.iter().copied()))
        .col_expr(ticket::Column::State, Expr::value(state_name(TicketState::Blocked)));
    Some(Companion::update(block.into_query(), refund.facts.chosen.seats.len() as u64))
}

impl Store {
    /// A ticket, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn ticket(&self, id: TicketId) -> Result<Option<Ticket>, Error> {
        Ok(self.all_tickets("get_ticket", ticket::Entity::find_by_id(id.0)).await?.pop())
    }

    /// The ticket with this number, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn ticket_by_number(&self, number: &TicketNumber) -> Result<Option<Ticket>, Error> {
        Ok(self.all_tickets("get_ticket_by_number", by_number(number)).await?.pop())
    }

    /// All tickets that were ever made for a seat.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn tickets_at(&self, showtime_id: ShowtimeId, seat: u16) -> Result<Vec<Ticket>, Error> {
        self.all_tickets("tickets_at_seat", at_seat(showtime_id, seat)).await
    }

    /// The tickets that a device has used under this name.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn tickets_used(&self, device: &str, nonce: &str) -> Result<Vec<Ticket>, Error> {
        self.all_tickets("tickets_used", used_by(device, nonce)).await
    }

    /// A page of tickets, the newest first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn tickets(
        &self,
        filter: &TicketFilter,
        after: Option<TimedCursor>,
        limit: u64,
    ) -> Result<Vec<Ticket>, Error> {
        self.all_tickets("list_tickets", tickets(self.0.reads.backend(), filter, after, limit)).await
    }

    async fn all_tickets(&self, name: &'static str, query: Select<ticket::Entity>) -> Result<Vec<Ticket>, Error> {
        read_named(name, async {
            let pooled = self.0.reads.acquire().await?;
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(read).collect()
        })
        .await
    }

    /// Uses a ticket, unless it is not issued any more. Returns whether this has used it.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn use_ticket(&self, id: TicketId, by: &TicketUse) -> Result<bool, Error> {
        let TicketUse { time, device, nonce } = by;
        let used = ticket::Entity::update_many()
            .filter(ticket::Column::TicketId.eq(id.0))
            .filter(ticket::Column::State.eq(state_name(TicketState::Issued)))
            .col_expr(ticket::Column::State, Expr::value(state_name(TicketState::Used)))
            .col_expr(ticket::Column::UseTime, Expr::value(Some::<DateTime<Utc>>(*time)))
            .col_expr(ticket::Column::UseDevice, Expr::value(device.as_str()))
            .col_expr(ticket::Column::UseNonce, Expr::value(nonce.as_str()));
        self.write_rows("use_ticket", &[Companion::update(used.into_query(), 1)]).await
    }
}

/// A page of purchases that are completed.
pub struct UnticketedPage {
    /// The reservations of those that have no tickets.
    pub reservations: Vec<ReservationId>,
    /// The last purchase of the page. `None`: no other follows.
    pub next: Option<PurchaseId>,
}

impl Store {
    /// Of a page of completed purchases, those that have no tickets.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn sales_without_tickets(&self, after: Option<PurchaseId>, limit: u64) -> Result<UnticketedPage, Error> {
        read_named("sales_without_tickets", async {
            let pooled = self.0.reads.acquire().await?;
            let page = completed_purchases(after, limit).into_tuple::<(Uuid, Uuid)>();
            let page = pooled.read(page.all(pooled.connection)).await?;
            let ids = page.iter().map(|(purchase, _)| *purchase);
            let ticketed = ticket::Entity::find()
                .select_only()
                .column(ticket::Column::PurchaseId)
                .distinct()
                .filter(dialect::is_among(pooled.backend(), ticket::Column::PurchaseId, ids))
                .into_tuple::<Uuid>();
            let ticketed: HashSet<_> = pooled.read(ticketed.all(pooled.connection)).await?.into_iter().collect();
            let without = page.iter().filter(|(purchase, _)| !ticketed.contains(purchase));
            let reservations = without.map(|(_, reservation)| ReservationId(*reservation)).collect();
            let is_full = page.len() as u64 == limit;
            let next = page.last().filter(|_| is_full).map(|(purchase, _)| PurchaseId(*purchase));
            Ok(UnticketedPage { reservations, next })
        })
        .await
    }

    /// Writes the tickets of a sale that has none. Returns whether they were written: the sale is as it was read.
    ///
    /// # Errors
    /// The database cannot be used. `Constraint`: another instance has written them.
    pub async fn complete_tickets(&self, sale: &Reservation, tickets: &[Ticket]) -> Result<bool, Error> {
        let unchanged = reservation::Entity::update_many()
            .filter(reservation::Column::ReservationId.eq(sale.reservation_id.0))
            .filter(reservation::Column::Revision.eq(sale.revision()))
            .col_expr(reservation::Column::Revision, Expr::value(sale.revision()));
        let rows = std::iter::once(Companion::update(unchanged.into_query(), 1)).chain(insert_tickets(tickets));
        let issued = sale.purchase_id().map(issue_if_completed);
        self.write_rows("complete_tickets", &rows.chain(issued).collect::<Vec<_>>()).await
    }
}

/// The query for a page of completed purchases with their reservations.
pub(super) fn completed_purchases(after: Option<PurchaseId>, limit: u64) -> Select<purchase::Entity> {
    purchase::Entity::find()
        .select_only()
        .columns([purchase::Column::PurchaseId, purchase::Column::ReservationId])
        .filter(purchase::Column::PurchaseId.gt(after.map_or(Uuid::nil(), |after| after.0)))
        .filter(purchase::Column::State.eq(purchase_state_name(PurchaseState::Completed)))
        .order_by_asc(purchase::Column::PurchaseId)
        .limit(limit)
}

/// The query for the ticket with a number.
pub(super) fn by_number(number: &TicketNumber) -> Select<ticket::Entity> {
    ticket::Entity::find().filter(ticket::Column::Number.eq(number.as_str()))
}

/// The query for the tickets of a seat.
pub(super) fn at_seat(showtime_id: ShowtimeId, seat: u16) -> Select<ticket::Entity> {
    ticket::Entity::find()
        .filter(ticket::Column::ShowtimeId.eq(showtime_id.0))
        .filter(ticket::Column::Seat.eq(i32::from(seat)))
}

/// The query for what a device has used under a name.
pub(super) fn used_by(device: &str, nonce: &str) -> Select<ticket::Entity> {
    ticket::Entity::find()
        .filter(ticket::Column::UseNonce.is_not_null())
        .filter(ticket::Column::UseDevice.eq(device))
        .filter(ticket::Column::UseNonce.eq(nonce))
}

/// The query behind the list of tickets.
pub(super) fn tickets(
    backend: DbBackend,
    filter: &TicketFilter,
    after: Option<TimedCursor>,
    limit: u64,
) -> Select<ticket::Entity> {
    let mut query = ticket::Entity::find()
        .order_by_desc(ticket::Column::IssueTime)
        .order_by_desc(ticket::Column::TicketId)
        .limit(limit);
    if let Some(id) = &filter.customer_id {
        query = query.filter(dialect::is_name_by_digest(backend, ticket::Column::CustomerId, id.as_str()));
    }
    if let Some(id) = filter.purchase_id {
        query = query.filter(ticket::Column::PurchaseId.eq(id.0));
    }
    if let Some(id) = filter.showtime_id {
        query = query.filter(ticket::Column::ShowtimeId.eq(id.0));
    }
    if let Some((time, id)) = after {
        let last = Expr::tuple([Expr::value(time), Expr::value(id)]);
        let this = [ticket::Column::IssueTime, ticket::Column::TicketId];
        query = query.filter(Expr::tuple(this.map(|column| Expr::col((ticket::Entity, column)))).lt(last));
    }
    query
}
