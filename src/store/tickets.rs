//! Tickets: how they are found and used.

use std::{collections::HashSet, sync::Arc};

use sea_orm::{
    ColumnTrait as _, DbBackend, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select, prelude::Uuid, sea_query::Expr,
};

use super::{
    dialect,
    entities::{purchase, reservation, ticket},
    errors::Error,
    handle::Store,
    ledger::Companion,
    payments::TimedCursor,
    planted::{self, Bug},
    questions::Unanswered,
    rows::{
        purchase::state_name as purchase_state_name,
        ticket::{state_name, ticket as read},
    },
    ticket_uses::use_one,
    ticket_writes::{insert_tickets, issue_if_completed},
    timing::read_named,
};
use crate::domain::{
    ids::{PurchaseId, ReservationId, ShowtimeId, TicketId},
    number::TicketNumber,
    purchase::PurchaseState,
    reservation::{CustomerId, Reservation},
    ticket::{Ticket, TicketCode, TicketState, TicketUse},
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

    /// The ticket with this code, to the last bit, as it is after this was called. Callers who ask at the same time share a query.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn ticket_by_code(&self, code: &TicketCode) -> Result<Option<Ticket>, Arc<Error>> {
        self.0.ticket_reader.ask(code.clone()).await?
    }

    /// The tickets of a showtime that are not voided or refunded, in the order of their seats.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn door_tickets(&self, showtime_id: ShowtimeId) -> Result<Vec<Ticket>, Error> {
        let mut tickets = self.all_tickets("door_tickets", at_door(showtime_id)).await?;
        if planted::has(Bug::VoidedTicketsListed) {
            for ticket in &mut tickets {
                ticket.state = TicketState::Issued;
            }
        }
        Ok(tickets)
    }

    /// The tickets with these ids, as far as there are any.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn tickets_by_ids(&self, ids: &[TicketId]) -> Result<Vec<Ticket>, Error> {
        self.all_tickets("tickets_by_ids", by_ids(self.0.reads.backend(), ids)).await
    }

    /// The tickets that a device has used under this name.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn tickets_used(&self, device: &str, nonce: &str) -> Result<Vec<Ticket>, Error> {
        self.all_tickets("tickets_used", used_by(device, nonce)).await
    }

    /// The tickets of the seats of a purchase that are sold, in the order of the seats.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn live_tickets(&self, purchase_id: PurchaseId) -> Result<Vec<Ticket>, Error> {
        let mut tickets = self.all_tickets("live_tickets", live(purchase_id)).await?;
        tickets.sort_unstable_by_key(|ticket| ticket.seat);
        Ok(tickets)
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
        self.read_rows(name, query, read).await
    }
}

impl Store {
    /// Uses the ticket with this code, together with those of other callers, and returns it as it is then. `None`: it was not used. Either
    /// it is not issued, or it must be tried by itself: another transaction has its row, or one of the uses was refused.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn use_with_others(&self, code: TicketCode, by: TicketUse) -> Result<Option<Ticket>, Arc<Error>> {
        match self.0.ticket_user.ask((code, by)).await {
            Ok(used) => used,
            Err(Unanswered::Full) => Err(Arc::new(Error::overloaded("too many uses of tickets are waiting"))),
            Err(Unanswered::Lost) => Err(Arc::new(Error::unknown("a use of several tickets ended without an answer"))),
        }
    }

    /// Uses tickets under one name, all of them or none. Returns whether they were used: all of them were issued.
    ///
    /// # Errors
    /// The database cannot be used. `Constraint`: the device has used another ticket under this name.
    pub async fn use_tickets(&self, ids: &[TicketId], by: &TicketUse) -> Result<bool, Error> {
        let rows: Vec<_> = (0..).zip(ids).map(|(index, id)| use_one(*id, by, index)).collect();
        self.write_rows("use_tickets", &rows).await
    }
}

/// A page of purchases that are completed.
pub struct UnticketedPage {
    /// The reservations of those that have no tickets.
    pub reservations: Vec<ReservationId>,
    /// Those whose tickets still wait for the money.
    pub unpaid: Vec<PurchaseId>,
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
                .columns([ticket::Column::PurchaseId, ticket::Column::State])
                .distinct()
                .filter(dialect::is_among(pooled.backend(), ticket::Column::PurchaseId, ids))
                .into_tuple::<(Uuid, String)>();
            let found = pooled.read(ticketed.all(pooled.connection)).await?;
            let unpaid = found.iter().filter(|(_, state)| state == state_name(TicketState::Unpaid));
            let unpaid = unpaid.map(|(purchase, _)| PurchaseId(*purchase)).collect();
            let ticketed: HashSet<_> = found.iter().map(|(purchase, _)| *purchase).collect();
            let without = page.iter().filter(|(purchase, _)| !ticketed.contains(purchase));
            let reservations = without.map(|(_, reservation)| ReservationId(*reservation)).collect();
            let is_full = page.len() as u64 == limit;
            let next = page.last().filter(|_| is_full).map(|(purchase, _)| PurchaseId(*purchase));
            Ok(UnticketedPage { reservations, unpaid, next })
        })
        .await
    }

    /// Issues the tickets of a purchase whose money was taken by an instance of a release without tickets.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn issue_paid_tickets(&self, purchase_id: PurchaseId) -> Result<bool, Error> {
        self.write_rows("issue_tickets", &[issue_if_completed(purchase_id)]).await
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

/// The query for the tickets in the list of a door.
pub(super) fn at_door(showtime_id: ShowtimeId) -> Select<ticket::Entity> {
    let mut gone = TicketState::GONE.to_vec();
    if planted::has(Bug::VoidedTicketsListed) {
        gone.clear();
    }
    let gone = gone.into_iter().map(state_name);
    ticket::Entity::find()
        .filter(ticket::Column::ShowtimeId.eq(showtime_id.0))
        .filter(ticket::Column::State.is_not_in(gone))
        .order_by_asc(ticket::Column::Seat)
}

/// The query for tickets by their ids.
pub(super) fn by_ids(backend: DbBackend, ids: &[TicketId]) -> Select<ticket::Entity> {
    ticket::Entity::find().filter(dialect::is_among(backend, ticket::Column::TicketId, ids.iter().map(|id| id.0)))
}

/// The query for the tickets of a purchase that are neither voided nor refunded, in no order.
pub(super) fn live(purchase_id: PurchaseId) -> Select<ticket::Entity> {
    ticket::Entity::find()
        .filter(ticket::Column::PurchaseId.eq(purchase_id.0))
        .filter(ticket::Column::State.is_not_in(TicketState::GONE.map(state_name)))
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
    if let Some(last) = after {
        query = query.filter(dialect::is_before([ticket::Column::IssueTime, ticket::Column::TicketId], last));
    }
    query
}
