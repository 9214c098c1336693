//! Rows of purchases, payments and the books, for Postgres as arrays with those of others (`ledger/together.rs`), and for SQLite as a
//! statement each.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, DbBackend, EntityTrait as _, ExprTrait as _, QueryFilter as _,
    QueryTrait as _, Statement,
    prelude::Uuid,
    sea_query::{Expr, InsertStatement, UpdateStatement},
};

use super::{
    entities::{self, money_entry, payment, purchase, ticket},
    outbox::{self, LastRevision},
    planted::{self, Bug},
    rows::ticket::issued_or_used,
};

/// Rows of one kind. Copies share them.
#[derive(Clone, Debug)]
pub(super) enum Row {
    NewPurchase(Arc<purchase::Model>),
    Purchase(Arc<PurchaseRow>),
    NewPayment(Arc<payment::Model>),
    Payment(Arc<PaymentRow>),
    Entries(Arc<[money_entry::Model]>),
    Events(Arc<EventRow>),
    NewTickets(Arc<[ticket::Model]>),
    /// The money of this purchase was taken, so that its tickets are issued.
    TicketsPaid(Uuid),
}

/// The row of the outbox with the events of a purchase.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) aggregate: Uuid,
    pub(super) revision: i64,
    pub(super) events: Vec<u8>,
    pub(super) create_time: DateTime<Utc>,
    pub(super) event_count: i32,
}

/// What changes of a purchase.
#[derive(Debug)]
pub(super) struct PurchaseRow {
    pub(super) purchase_id: Uuid,
    /// The fence that it must have.
    pub(super) fence: i64,
    pub(super) total_minor: i64,
    pub(super) state: &'static str,
    pub(super) due_time: Option<DateTime<Utc>>,
    pub(super) detail: Vec<u8>,
    /// The last revision of its events. `None`: it stays.
    pub(super) last_events: Option<LastRevision>,
}

/// What changes of a payment.
#[derive(Debug)]
pub(super) struct PaymentRow {
    pub(super) payment_id: Uuid,
    pub(super) amount_minor: i64,
    pub(super) refunded_minor: i64,
    pub(super) state: &'static str,
    pub(super) token: String,
    pub(super) decline_code: String,
    pub(super) process_time: Option<DateTime<Utc>>,
}

impl Row {
    /// How many rows there are. `None`: as many as are found.
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Entries(entries) => Some(entries.len() as u64),
            Self::NewTickets(tickets) => Some(tickets.len() as u64),
            Self::TicketsPaid(_) => None,
            Self::NewPurchase(_) | Self::Purchase(_) | Self::NewPayment(_) | Self::Payment(_) | Self::Events(_) => {
                Some(1)
            }
        }
    }

    /// The statement that writes them alone.
    pub(super) fn statement(&self, backend: DbBackend) -> Statement {
        match self {
            Self::NewPurchase(row) => {
                let row = purchase::ActiveModel::from((**row).clone()).reset_all();
                backend.build(purchase::Entity::insert(row).as_query())
            }
            Self::Purchase(row) => backend.build(&row.update()),
            Self::NewPayment(row) => backend.build(&insert_payment(row)),
            Self::Payment(row) => backend.build(&row.update()),
            Self::Entries(rows) => {
                let rows = rows.iter().map(|row| money_entry::ActiveModel::from(row.clone()).reset_all());
                backend.build(money_entry::Entity::insert_many(rows).as_query())
            }
            Self::NewTickets(rows) => {
                let rows = rows.iter().map(|row| ticket::ActiveModel::from(row.clone()).reset_all());
                backend.build(ticket::Entity::insert_many(rows).as_query())
            }
            Self::TicketsPaid(purchase_id) => backend.build(&tickets_paid(*purchase_id)),
            Self::Events(row) => {
                let EventRow { aggregate, revision, events, create_time, event_count } = &**row;
                let row = outbox::row(*aggregate, *revision, *create_time, (events.clone(), *event_count));
                backend.build(entities::outbox::Entity::insert(row).as_query())
            }
        }
    }
}

/// Issues the tickets of a purchase whose money was taken. Seats that were given up meanwhile have none any more.
fn tickets_paid(purchase_id: Uuid) -> UpdateStatement {
    ticket::Entity::update_many()
        .filter(ticket::Column::PurchaseId.eq(purchase_id))
        .filter(ticket::Column::State.eq("unpaid"))
        .col_expr(ticket::Column::State, issued_or_used().into())
        .into_query()
}

impl PurchaseRow {
    pub(super) fn update(&self) -> UpdateStatement {
        let fenced = (!planted::has(Bug::NoFence)).then(|| purchase::Column::Fence.eq(self.fence));
        let mut update = purchase::Entity::update_many()
            .filter(purchase::Column::PurchaseId.eq(self.purchase_id))
            .filter(Condition::all().add_option(fenced))
            .col_expr(purchase::Column::TotalMinor, Expr::value(self.total_minor))
            .col_expr(purchase::Column::State, Expr::value(self.state))
            .col_expr(purchase::Column::Version, Expr::col(purchase::Column::Version).add(1))
            .col_expr(purchase::Column::DueTime, Expr::value(self.due_time))
            .col_expr(purchase::Column::Detail, Expr::value(self.detail.clone()));
        if let Some(LastRevision { number, time }) = self.last_events {
            update = update
                .col_expr(purchase::Column::EventRevision, Expr::value(number))
                .col_expr(purchase::Column::EventTime, Expr::value(time));
        }
        update.into_query()
    }
}

impl PaymentRow {
    pub(super) fn update(&self) -> UpdateStatement {
        let update = payment::Entity::update_many()
            .filter(payment::Column::PaymentId.eq(self.payment_id))
            .col_expr(payment::Column::AmountMinor, Expr::value(self.amount_minor))
            .col_expr(payment::Column::RefundedMinor, Expr::value(self.refunded_minor))
            .col_expr(payment::Column::State, Expr::value(self.state))
            .col_expr(payment::Column::Token, Expr::value(self.token.as_str()))
            .col_expr(payment::Column::DeclineCode, Expr::value(self.decline_code.as_str()))
            .col_expr(payment::Column::ProcessTime, Expr::value(self.process_time));
        update.into_query()
    }
}

pub(super) fn insert_payment(row: &payment::Model) -> InsertStatement {
    payment::Entity::insert(payment::ActiveModel::from(row.clone()).reset_all()).into_query()
}
