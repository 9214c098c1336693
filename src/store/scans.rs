//! Whom devices have admitted without a network.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, DbBackend, EntityTrait as _, ExprTrait, QueryFilter as _, QueryOrder as _,
    QueryTrait as _, Select,
    prelude::Uuid,
    sea_query::{CaseStatement, Expr},
};

use super::{
    dialect,
    entities::{scan, ticket},
    errors::Error,
    handle::Store,
    ledger::Companion,
    rows::{
        scan::{row, scan as read},
        ticket::state_name,
    },
    ticket_uses::with_use,
};
use crate::domain::{
    ids::TicketId,
    ticket::{RecordedScan, TicketState, TicketUse},
};

impl Store {
    /// The scans with these ids that are recorded.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn scans(&self, ids: &[Uuid]) -> Result<Vec<RecordedScan>, Error> {
        self.all_scans("get_scans", scans(self.0.reads.backend(), ids)).await
    }

    /// All scans of these tickets, in no order.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn scans_of(&self, tickets: &[TicketId]) -> Result<Vec<RecordedScan>, Error> {
        self.all_scans("scans_of_tickets", scans_of(self.0.reads.backend(), tickets)).await
    }

    async fn all_scans(&self, name: &'static str, query: Select<scan::Entity>) -> Result<Vec<RecordedScan>, Error> {
        self.read_rows(name, query, read).await
    }

    /// Records the parts of a scan, and uses the tickets of those that have a use. Returns whether that was done: if one of these tickets was
    /// used meanwhile, nothing is.
    ///
    /// # Errors
    /// The database cannot be used. `Constraint`: the scan is recorded already, or the device has used the nonce for another ticket.
    pub async fn record_scan(&self, parts: &[(RecordedScan, Option<TicketUse>)]) -> Result<bool, Error> {
        let uses = parts.iter();
        let uses = uses.filter_map(|(scan, by)| Some(used_in_any_state(scan.ticket_id?, by.as_ref()?, scan.part)));
        let rows = parts.iter().map(|(scan, _)| scan::ActiveModel::from(row(scan)).reset_all());
        let insert = Companion::insert(scan::Entity::insert_many(rows).into_query(), parts.len() as u64);
        self.write_rows("record_scan", &uses.chain([insert]).collect::<Vec<_>>()).await
    }
}

/// Writes down the use of a ticket that was not used before. Only one that is issued becomes USED: the others stay invalid.
fn used_in_any_state(id: TicketId, by: &TicketUse, part: i16) -> Companion {
    let state = CaseStatement::new()
        .case(Expr::col(ticket::Column::State).eq(state_name(TicketState::Issued)), state_name(TicketState::Used))
        .finally(Expr::col(ticket::Column::State));
    let used =
        with_use(id, by, part).filter(ticket::Column::UseTime.is_null()).col_expr(ticket::Column::State, state.into());
    Companion::update(used.into_query(), 1)
}

/// The query for scans by their ids.
pub(super) fn scans(backend: DbBackend, ids: &[Uuid]) -> Select<scan::Entity> {
    scan::Entity::find()
        .filter(dialect::is_among(backend, scan::Column::ScanId, ids.iter().copied()))
        .order_by_asc(scan::Column::ScanId)
        .order_by_asc(scan::Column::Part)
}

/// The query for the scans of tickets, in no order.
pub(super) fn scans_of(backend: DbBackend, tickets: &[TicketId]) -> Select<scan::Entity> {
    scan::Entity::find().filter(dialect::is_among(backend, scan::Column::TicketId, tickets.iter().map(|id| id.0)))
}
