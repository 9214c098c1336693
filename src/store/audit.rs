//! What an audit reads of the books: purchases with their payments, money entries and reservations.
//!
//! Each page is read from one snapshot, so that what running instances commit together is seen together. Nothing is written.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, DbBackend, EntityTrait as _, PartialModelTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select, prelude::Uuid,
};

use super::{
    deadline::bounded,
    dialect,
    entities::{money_entry, payment, purchase, refund, reservation, showtime, ticket},
    errors::Error,
    handle::Store,
    rows::{
        purchase::{payment as read_payment, read_state},
        refund::refund as read_refund,
        reservation::ReservationRow,
        ticket::ticket as read_ticket,
    },
    timing::outcome,
};
use crate::{
    domain::{
        ids::{PaymentId, PurchaseId},
        purchase::{Payment, PurchaseState},
        refund::{Refund, RefundState},
        reservation::{Reservation, State},
        ticket::{Ticket, TicketState},
    },
    telemetry::metrics,
};

/// The statements of one snapshot, of which each may take the pool's timeout.
const STATEMENTS: u32 = 6;

/// A purchase with all that the books have of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedPurchase {
    /// The purchase.
    pub purchase_id: PurchaseId,
    /// Its state.
    pub state: PurchaseState,
    /// When it began.
    pub create_time: DateTime<Utc>,
    /// Its payments, in their order.
    pub payments: Vec<AuditedPayment>,
    /// Whether its reservation is sold, and sold under this purchase.
    pub is_sold: bool,
    /// Whether it was sold under this purchase, also if the seats were given up later.
    pub was_sold: bool,
    /// What the seats cost that it still has, in the smallest units of the currency.
    pub live_minor: i64,
    /// What the seats cost that were given up without giving their money back: the refund has failed, or has not ended.
    pub kept_minor: i64,
    /// The seats that it still has, in their order.
    pub live_seats: Vec<u16>,
    /// The seats of its live tickets, in their order. `None`: it never had a ticket.
    pub ticketed_seats: Option<Vec<u16>>,
    /// How many of its live tickets are not issued although the money was taken.
    pub unpaid_tickets: usize,
    /// The amounts without seats that are owed because seats were given up, and were not given back.
    pub owed_minor: i64,
}

/// A payment with its money entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedPayment {
    /// The payment.
    pub payment: Payment,
    /// The state of its purchase. `None`: there is no such purchase.
    pub purchase_state: Option<PurchaseState>,
    /// Its entries.
    pub entries: Vec<AuditedEntry>,
    /// Whether a refund of it has not ended, so that the gateway may have given back what is not in the books yet.
    pub is_refunding: bool,
}

/// A money entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedEntry {
    /// `capture`, or another operation.
    pub operation: String,
    /// The account.
    pub account: String,
    /// The code of the currency.
    pub currency: String,
    /// What the account is owed; negative: what it owes.
    pub minor: i64,
}

impl Store {
    /// A page of purchases in the order of their ids.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn audited_purchases(
        &self,
        after: Option<PurchaseId>,
        limit: u64,
    ) -> Result<Vec<AuditedPurchase>, Error> {
        self.snapshot("audit_purchases", async |tx, backend| {
            let purchases = audited_purchases(after, limit).all(tx).await?;
            let ids = purchases.iter().map(|row| row.purchase_id);
            let payments = payment::Entity::find().filter(dialect::is_among(backend, payment::Column::PurchaseId, ids));
            let mut payments = payments.all(tx).await?;
            payments.sort_unstable_by_key(|row| row.ordinal);
            let mut entries = entries(tx, backend, payments.iter().map(|row| row.payment_id)).await?;
            let booked: HashSet<_> = entries.keys().copied().collect();
            let sales = sales(tx, backend, purchases.iter().map(|row| row.reservation_id)).await?;
            let refunds = refunds(tx, backend, payments.iter().map(|row| row.payment_id)).await?;
            let refunding = open(&refunds);
            let tickets = tickets(tx, backend, purchases.iter().map(|row| row.purchase_id)).await?;
            let mut of_purchase: HashMap<_, Vec<_>> = HashMap::new();
            for row in payments {
                of_purchase.entry(row.purchase_id).or_default().push(row);
            }
            let read = |row: purchase::Model| {
                let state = read_state(&row)?;
                let payments = of_purchase.remove(&row.purchase_id).unwrap_or_default().into_iter();
                let payments = payments.map(|payment| audited(payment, Some(state), &mut entries, &refunding));
                let (purchase_id, sale) = (PurchaseId(row.purchase_id), sales.get(&row.purchase_id));
                // A payment that was not taken has no entries, and nothing of it is kept.
                let is_kept = |one: &&Refund| {
                    let is_booked = booked.contains(&one.facts.payment_id.0);
                    is_booked && one.facts.purchase_id == purchase_id && one.state() != RefundState::Done
                };
                let kept: Vec<_> = refunds.iter().filter(is_kept).collect();
                // What a later refund is to give back for the same seats counts once.
                let is_last = |one: &&&Refund| {
                    let seats = &one.facts.chosen.seats;
                    let again = |other: &Refund| seats.iter().any(|seat| other.facts.chosen.seats.contains(seat));
                    let is_later = |other: &Refund| other.facts.create_time > one.facts.create_time && again(other);
                    !refunds.iter().any(|other| other.facts.purchase_id == purchase_id && is_later(other))
                };
                let given_up = kept.iter().filter(|one| one.seats_are_given_up()).filter(is_last);
                let owed = kept.iter().filter(|one| one.facts.owed);
                let tickets = tickets.get(&row.purchase_id);
                let live_tickets = || tickets.into_iter().flatten().filter(|ticket| ticket.is_live());
                let live = sale.filter(|sale| matches!(sale.state(), State::Confirmed(_)));
                Ok(AuditedPurchase {
                    purchase_id,
                    state,
                    create_time: row.create_time,
                    payments: payments.collect::<Result<_, _>>()?,
                    is_sold: live.is_some(),
                    was_sold: sale.is_some(),
                    live_minor: live.map_or(0, |sale| sale.remaining_total().minor),
                    live_seats: sorted(live.into_iter().flat_map(Reservation::seats)),
                    ticketed_seats: tickets.map(|_| sorted(live_tickets().map(|ticket| ticket.seat))),
                    unpaid_tickets: live_tickets().filter(|ticket| ticket.state == TicketState::Unpaid).count(),
                    kept_minor: given_up.map(|one| one.facts.chosen.split.total()).sum(),
                    owed_minor: owed.map(|one| one.facts.chosen.amount.minor).sum(),
                })
            };
            purchases.into_iter().map(read).collect()
        })
        .await
    }

    /// These payments, as far as there are any.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn audited_payments(&self, ids: &[PaymentId]) -> Result<Vec<AuditedPayment>, Error> {
        self.snapshot("audit_payments", async |tx, backend| {
            let among = dialect::is_among(backend, payment::Column::PaymentId, ids.iter().map(|id| id.0));
            let payments = payment::Entity::find().filter(among).all(tx).await?;
            let mut entries = entries(tx, backend, payments.iter().map(|row| row.payment_id)).await?;
            let refunds = refunds(tx, backend, payments.iter().map(|row| row.payment_id)).await?;
            let refunding = open(&refunds);
            let of = payments.iter().map(|row| row.purchase_id);
            let among = dialect::is_among(backend, purchase::Column::PurchaseId, of);
            let purchases = purchase::Entity::find().filter(among).all(tx).await?;
            let states = purchases.iter().map(|row| Ok((row.purchase_id, read_state(row)?)));
            let states = states.collect::<Result<HashMap<_, _>, Error>>()?;
            payments
                .into_iter()
                .map(|row| {
                    let state = states.get(&row.purchase_id).copied();
                    audited(row, state, &mut entries, &refunding)
                })
                .collect()
        })
        .await
    }

    /// A page of the ids that money entries name, and which of them are those of payments.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn audited_entries(&self, after: Option<PaymentId>, limit: u64) -> Result<Vec<(PaymentId, bool)>, Error> {
        self.snapshot("audit_entries", async |tx, backend| {
            let named: Vec<Uuid> = audited_entries(after, limit).into_tuple().all(tx).await?;
            let among = dialect::is_among(backend, payment::Column::PaymentId, named.iter().copied());
            let known = payment::Entity::find().select_only().column(payment::Column::PaymentId).filter(among);
            let known: Vec<Uuid> = known.into_tuple().all(tx).await?;
            Ok(named.into_iter().map(|id| (PaymentId(id), known.contains(&id))).collect())
        })
        .await
    }

    /// A page of the purchases that tickets name, in the order of their ids, each with whether there is such a purchase.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn ticketed_purchases(
        &self,
        after: Option<PurchaseId>,
        limit: u64,
    ) -> Result<Vec<(PurchaseId, bool)>, Error> {
        self.snapshot("audit_tickets", async |tx, backend| {
            let named: Vec<Uuid> = ticketed_purchases(after, limit).into_tuple().all(tx).await?;
            let among = dialect::is_among(backend, purchase::Column::PurchaseId, named.iter().copied());
            let known = purchase::Entity::find().select_only().column(purchase::Column::PurchaseId).filter(among);
            let known: HashSet<Uuid> = known.into_tuple().all(tx).await?.into_iter().collect();
            Ok(named.into_iter().map(|id| (PurchaseId(id), known.contains(&id))).collect())
        })
        .await
    }

    /// Reads from one snapshot.
    async fn snapshot<T: Send>(
        &self,
        name: &'static str,
        read: impl AsyncFnOnce(&DatabaseTransaction, DbBackend) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (pool, start) = (&self.0.reads, Instant::now());
        let (tx, _permit) = pool.acquire().await?.begin_snapshot().await?;
        let done = bounded(pool.limit() * STATEMENTS, Box::pin(read(&tx, pool.backend()))).await;
        metrics::transaction(name, outcome(&done), start.elapsed());
        done
    }
}

async fn entries(
    tx: &DatabaseTransaction,
    backend: DbBackend,
    payments: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Vec<AuditedEntry>>, Error> {
    let among = dialect::is_among(backend, money_entry::Column::PaymentId, payments);
    let mut entries: HashMap<_, Vec<_>> = HashMap::new();
    for row in money_entry::Entity::find().filter(among).all(tx).await? {
        let money_entry::Model { payment_id, operation, account, currency, minor, .. } = row;
        entries.entry(payment_id).or_default().push(AuditedEntry { operation, account, currency, minor });
    }
    Ok(entries)
}

/// The sales among these reservations by their purchase, also those whose seats were given up later.
async fn sales(
    tx: &DatabaseTransaction,
    backend: DbBackend,
    reserved: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Reservation>, Error> {
    let found = reservation::Entity::find().inner_join(showtime::Entity).select_only();
    let found = ReservationRow::select_cols(found)
        .filter(dialect::is_among(backend, reservation::Column::ReservationId, reserved))
        .filter(reservation::Column::ConfirmTime.is_not_null())
        .into_model::<ReservationRow>();
    let rows = found.all(tx).await?.into_iter().filter_map(|row| Some((row.purchase_id?, row)));
    rows.map(|(id, row)| Ok((id, row.reservation()?))).collect()
}

/// The tickets of these purchases.
async fn tickets(
    tx: &DatabaseTransaction,
    backend: DbBackend,
    purchases: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Vec<Ticket>>, Error> {
    let query = ticket::Entity::find().filter(dialect::is_among(backend, ticket::Column::PurchaseId, purchases));
    let mut tickets: HashMap<_, Vec<_>> = HashMap::new();
    for row in query.all(tx).await? {
        tickets.entry(row.purchase_id).or_default().push(read_ticket(row)?);
    }
    Ok(tickets)
}

fn sorted(seats: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut seats: Vec<_> = seats.collect();
    seats.sort_unstable();
    seats
}

/// The refunds of these payments.
async fn refunds(
    tx: &DatabaseTransaction,
    backend: DbBackend,
    payments: impl Iterator<Item = Uuid>,
) -> Result<Vec<Refund>, Error> {
    let query = refund::Entity::find().filter(dialect::is_among(backend, refund::Column::PaymentId, payments));
    query.all(tx).await?.into_iter().map(read_refund).collect()
}

/// The payments that have a refund that has not ended.
fn open(refunds: &[Refund]) -> Vec<Uuid> {
    refunds.iter().filter(|refund| refund.is_open()).map(|refund| refund.facts.payment_id.0).collect()
}

fn audited(
    row: payment::Model,
    purchase_state: Option<PurchaseState>,
    entries: &mut HashMap<Uuid, Vec<AuditedEntry>>,
    refunding: &[Uuid],
) -> Result<AuditedPayment, Error> {
    let entries = entries.remove(&row.payment_id).unwrap_or_default();
    let is_refunding = refunding.contains(&row.payment_id);
    Ok(AuditedPayment { payment: read_payment(row)?, purchase_state, entries, is_refunding })
}

/// The query for a page of purchases.
pub(super) fn audited_purchases(after: Option<PurchaseId>, limit: u64) -> Select<purchase::Entity> {
    let after = after.map_or(Uuid::nil(), |after| after.0);
    purchase::Entity::find()
        .filter(purchase::Column::PurchaseId.gt(after))
        .order_by_asc(purchase::Column::PurchaseId)
        .limit(limit)
}

/// The query for a page of the purchases that tickets name.
pub(super) fn ticketed_purchases(after: Option<PurchaseId>, limit: u64) -> Select<ticket::Entity> {
    ticket::Entity::find()
        .select_only()
        .column(ticket::Column::PurchaseId)
        .distinct()
        .filter(ticket::Column::PurchaseId.gt(after.map_or(Uuid::nil(), |after| after.0)))
        .order_by_asc(ticket::Column::PurchaseId)
        .limit(limit)
}

/// The query for a page of the ids that money entries name.
pub(super) fn audited_entries(after: Option<PaymentId>, limit: u64) -> Select<money_entry::Entity> {
    let after = after.map_or(Uuid::nil(), |after| after.0);
    money_entry::Entity::find()
        .select_only()
        .column(money_entry::Column::PaymentId)
        .distinct()
        .filter(money_entry::Column::PaymentId.gt(after))
        .order_by_asc(money_entry::Column::PaymentId)
        .limit(limit)
}
