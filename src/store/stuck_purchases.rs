//! Purchases that are stuck: how an operator lets them go on or settles them, and the notes that are kept of it.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select, Set, sea_query::Expr,
};

use super::{
    entities::{purchase, purchase_note},
    errors::Error,
    handle::Store,
    ledger::Companion,
    outbox::PurchaseEvents,
    purchase_writes::{PurchaseWrite, changed, with_payment},
    rows::purchase::{note as read_note, note_action_name, state_name},
    timing::read_named,
};
use crate::domain::{
    ids::PurchaseId,
    purchase::{Purchase, PurchaseNote, PurchaseState},
};

/// What an operator does with a purchase that is stuck. The purchase gets another fence with it, so that of two operators one is first.
#[derive(Clone, Debug)]
pub struct StuckWrite<'a> {
    /// The purchase as it is after it.
    pub purchase: &'a Purchase,
    /// The fence that it had when it was read.
    pub fence: i64,
    /// From when on another instance may go on with it. `None`: no instance has to.
    pub due: Option<DateTime<Utc>>,
    /// What is kept of it.
    pub note: &'a PurchaseNote,
    /// The events that lead to the purchase as it is after it.
    pub events: PurchaseEvents,
}

/// The rows of what an operator does, for the transaction of a change of seats.
#[must_use]
pub fn settle_purchase(write: &StuckWrite<'_>) -> Vec<Companion> {
    let StuckWrite { purchase, fence, due, note, .. } = *write;
    let events = write.events.clone();
    let of_purchase = PurchaseWrite { purchase, fence, due, new_payment: false, events };
    let mut update = changed(&of_purchase).update();
    update
        .value(purchase::Column::Fence, fence + 1)
        .and_where(Expr::col(purchase::Column::State).eq(state_name(PurchaseState::Stuck)));
    let row = purchase_note::ActiveModel {
        purchase_id: Set(purchase.facts.purchase_id.0),
        note_id: Set(note.note_id),
        create_time: Set(note.time),
        caller: Set(note.caller.clone()),
        action: Set(note_action_name(note.action).to_owned()),
        note: Set(note.text.clone()),
    };
    let mut rows = with_payment(Companion::update(update, 1), &of_purchase);
    rows.push(Companion::insert(purchase_note::Entity::insert(row).into_query(), 1));
    rows
}

impl Store {
    /// Writes what an operator does with a purchase, and the rows beside it. Returns whether the purchase was still stuck and as
    /// it was read; if not, nothing was written.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn write_stuck_purchase(&self, write: &StuckWrite<'_>, beside: Vec<Companion>) -> Result<bool, Error> {
        let mut rows = settle_purchase(write);
        rows.extend(beside);
        let written = self.write_rows("write_stuck_purchase", &rows).await?;
        if written && !write.events.is_empty() {
            self.events_written().send();
        }
        Ok(written)
    }

    /// The last notes of a purchase, the oldest of them first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn purchase_notes(&self, id: PurchaseId, limit: u64) -> Result<Vec<PurchaseNote>, Error> {
        read_named("purchase_notes", async {
            let pooled = self.0.reads.acquire().await?;
            let rows = pooled.read(purchase_notes(id, limit).all(pooled.connection)).await?;
            rows.into_iter().rev().map(read_note).collect()
        })
        .await
    }

    /// The number of purchases that are stuck, counted up to this limit.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn count_stuck_purchases(&self, limit: u64) -> Result<u64, Error> {
        read_named("count_stuck_purchases", async {
            let pooled = self.0.reads.acquire().await?;
            let stuck = stuck_purchases(limit).into_tuple::<sea_orm::prelude::Uuid>();
            Ok(pooled.read(stuck.all(pooled.connection)).await?.len() as u64)
        })
        .await
    }
}

/// The query for the last notes of a purchase, the newest first: their ids begin with the time.
pub(super) fn purchase_notes(id: PurchaseId, limit: u64) -> Select<purchase_note::Entity> {
    purchase_note::Entity::find()
        .filter(purchase_note::Column::PurchaseId.eq(id.0))
        .order_by_desc(purchase_note::Column::NoteId)
        .limit(limit)
}

/// The query for purchases that are stuck. The condition is written as it stands in the index.
pub(super) fn stuck_purchases(limit: u64) -> Select<purchase::Entity> {
    let stuck = Expr::Constant(state_name(PurchaseState::Stuck).into());
    purchase::Entity::find()
        .select_only()
        .column(purchase::Column::PurchaseId)
        .filter(Expr::col(purchase::Column::State).eq(stuck))
        .order_by_asc(purchase::Column::CreateTime)
        .limit(limit)
}
