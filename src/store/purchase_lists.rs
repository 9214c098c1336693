//! The queries behind lists of purchases and payments, and the one for purchases that are due.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select, sea_query::Expr,
};

use super::{
    dialect,
    entities::{payment, purchase},
    rows::purchase::state_name,
};
use crate::domain::{
    ids::{PurchaseId, ShowtimeId},
    purchase::PurchaseState,
    reservation::CustomerId,
};

/// Which purchases a list contains. A criterion that is `None` or empty excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurchaseFilter {
    /// Only purchases of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only purchases for this showtime.
    pub showtime_id: Option<ShowtimeId>,
    /// Only purchases in one of these states.
    pub states: Vec<PurchaseState>,
}

/// A place in a list: just after the item with this time and id.
pub type TimedCursor = (DateTime<Utc>, sea_orm::prelude::Uuid);

/// The query for purchases that are due.
pub(super) fn due_purchases(now: DateTime<Utc>, limit: u64) -> Select<purchase::Entity> {
    purchase::Entity::find()
        .select_only()
        .columns([purchase::Column::PurchaseId, purchase::Column::Fence])
        .filter(purchase::Column::DueTime.is_not_null())
        .filter(purchase::Column::DueTime.lte(now))
        .order_by_asc(purchase::Column::DueTime)
        .order_by_asc(purchase::Column::PurchaseId)
        .limit(limit)
}

/// The query behind the list of purchases.
pub(super) fn purchases(
    backend: sea_orm::DbBackend,
    filter: &PurchaseFilter,
    after: Option<TimedCursor>,
    limit: u64,
) -> Select<purchase::Entity> {
    let mut query = purchase::Entity::find()
        .order_by_desc(purchase::Column::CreateTime)
        .order_by_desc(purchase::Column::PurchaseId)
        .limit(limit);
    if let Some(id) = &filter.customer_id {
        query = query.filter(dialect::is_name_by_digest(backend, purchase::Column::CustomerId, id.as_str()));
    }
    if let Some(id) = filter.showtime_id {
        query = query.filter(purchase::Column::ShowtimeId.eq(id.0));
    }
    match filter.states[..] {
        [] => {}
        // Those that are stuck have an index of their own, whose condition is written as it stands there.
        [PurchaseState::Stuck] => {
            let stuck = Expr::Constant(state_name(PurchaseState::Stuck).into());
            query = query.filter(Expr::col(purchase::Column::State).eq(stuck));
        }
        _ => {
            let states = filter.states.iter().map(|state| purchase::Column::State.eq(state_name(*state)));
            query = query.filter(states.fold(Condition::any(), Condition::add));
        }
    }
    if let Some((time, id)) = after {
        let last = Expr::tuple([Expr::value(time), Expr::value(id)]);
        let this = [purchase::Column::CreateTime, purchase::Column::PurchaseId];
        query = query.filter(Expr::tuple(this.map(|column| Expr::col((purchase::Entity, column)))).lt(last));
    }
    query
}

/// The query behind the list of payments.
pub(super) fn payments(
    backend: sea_orm::DbBackend,
    (customer, purchase): (Option<&CustomerId>, Option<PurchaseId>),
    after: Option<TimedCursor>,
    limit: u64,
) -> Select<payment::Entity> {
    let mut query = payment::Entity::find()
        .order_by_desc(payment::Column::CreateTime)
        .order_by_desc(payment::Column::PaymentId)
        .limit(limit);
    if let Some(id) = customer {
        query = query.filter(dialect::is_name_by_digest(backend, payment::Column::CustomerId, id.as_str()));
    }
    if let Some(id) = purchase {
        query = query.filter(payment::Column::PurchaseId.eq(id.0));
    }
    if let Some((time, id)) = after {
        let last = Expr::tuple([Expr::value(time), Expr::value(id)]);
        let this = [payment::Column::CreateTime, payment::Column::PaymentId];
        query = query.filter(Expr::tuple(this.map(|column| Expr::col((payment::Entity, column)))).lt(last));
    }
    query
}
