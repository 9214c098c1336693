//! How tickets are used at the doors.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryTrait as _, sea_query::Expr};

use super::{entities::ticket, errors::Error, handle::Store, ledger::Companion, rows::ticket::state_name};
use crate::domain::{
    ids::TicketId,
    ticket::{TicketState, TicketUse},
};

impl Store {
    /// Uses tickets under one name, all of them or none. Returns whether they were used: all of them were issued.
    ///
    /// # Errors
    /// The database cannot be used. `Constraint`: the device has used another ticket under this name.
    pub async fn use_tickets(&self, ids: &[TicketId], by: &TicketUse) -> Result<bool, Error> {
        let rows: Vec<_> = (0..).zip(ids).map(|(index, id)| use_one(*id, by, index)).collect();
        self.write_rows("use_tickets", &rows).await
    }
}

/// The ticket is used as one of several, of which it has this index.
fn use_one(id: TicketId, TicketUse { time, device, nonce }: &TicketUse, index: i16) -> Companion {
    let used = ticket::Entity::update_many()
        .filter(ticket::Column::TicketId.eq(id.0))
        .filter(ticket::Column::State.eq(state_name(TicketState::Issued)))
        .col_expr(ticket::Column::State, Expr::value(state_name(TicketState::Used)))
        .col_expr(ticket::Column::UseTime, Expr::value(Some::<DateTime<Utc>>(*time)))
        .col_expr(ticket::Column::UseDevice, Expr::value(device.as_str()))
        .col_expr(ticket::Column::UseNonce, Expr::value(nonce.as_str()))
        .col_expr(ticket::Column::UseIndex, Expr::value(index));
    Companion::update(used.into_query(), 1)
}
