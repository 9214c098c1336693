//! How tickets are used at the doors: uses that arrive together are one statement, and a use may be tried by itself.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DbBackend, EntityTrait as _, FromQueryResult as _,
    Iterable as _, QueryFilter as _, QueryTrait as _, UpdateMany,
    sea_query::{
        Expr, ExprTrait as _, IntoIden as _, JoinType, LockBehavior, LockType, Query, TableRef, UpdateStatement,
    },
};

use super::{
    deadline::bounded,
    entities::ticket,
    errors::Error,
    ledger::Companion,
    planted::{self, Bug},
    pools::Pool,
    questions::{Questions, Workers},
    rows::ticket::{state_name, ticket as read},
    ticket_reads::{code_columns, is_of_code},
    transactions::{self, Tx},
    value_rows::{self, Values},
};
use crate::domain::{
    ids::TicketId,
    ticket::{Ticket, TicketCode, TicketState, TicketUse},
};

type Used = Result<Option<Ticket>, Arc<Error>>;

/// Uses tickets by their codes.
pub(super) type TicketUser = Questions<(TicketCode, TicketUse), Used>;

/// One statement at a time, with as many uses as there are: its commit costs as much as the uses of many tickets. It waits for no lock of a
/// ticket, so it keeps the next one waiting for a moment only.
const WORKERS: Workers = Workers { count: 1, yields: 2 };

pub(super) fn start(pool: &Pool) -> TicketUser {
    let pool = pool.clone();
    Questions::start("a user of tickets", WORKERS, move |uses| use_together(pool.clone(), uses))
}

/// The ticket is used as one of several, of which it has this index.
pub(super) fn use_one(id: TicketId, by: &TicketUse, index: i16) -> Companion {
    let used = with_use(id, by, index)
        .filter(is_issued())
        .col_expr(ticket::Column::State, Expr::value(state_name(TicketState::Used)));
    Companion::update(used.into_query(), 1)
}

/// Writes a use into the row of a ticket.
pub(super) fn with_use(id: TicketId, by: &TicketUse, index: i16) -> UpdateMany<ticket::Entity> {
    let TicketUse { time, device, nonce } = by;
    ticket::Entity::update_many()
        .filter(ticket::Column::TicketId.eq(id.0))
        .col_expr(ticket::Column::UseTime, Expr::value(Some::<DateTime<Utc>>(*time)))
        .col_expr(ticket::Column::UseDevice, Expr::value(device.as_str()))
        .col_expr(ticket::Column::UseNonce, Expr::value(nonce.as_str()))
        .col_expr(ticket::Column::UseIndex, Expr::value(index))
}

/// Uses these tickets in one transaction, and answers in their order.
async fn use_together(pool: Pool, uses: Vec<(TicketCode, TicketUse)>) -> Vec<Used> {
    let done = transactions::run(pool.limit(), "use_tickets_together", async || {
        let tx = Tx::begin(&pool).await?;
        let rows = bounded(tx.limit, tx.inner.query_all(&use_all(tx.backend, &uses))).await?;
        let rows = rows.iter().map(|row| ticket::Model::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
        tx.commit(rows).await
    });
    match done.await {
        Ok(rows) => {
            let found: HashMap<_, _> = rows.into_iter().map(|row| (row.code.clone(), row)).collect();
            let ticket = |(code, by): &(TicketCode, TicketUse)| used_by(found.get(&code.to_bytes()[..])?, by);
            uses.iter().map(|one| ticket(one).unwrap_or(Ok(None))).collect()
        }
        // Each of them is then tried by itself, so that only the one suffers that is the cause.
        Err(error) if error.is_about_one() || error.is_conflict() => {
            tracing::debug!(%error, uses = uses.len(), "uses of tickets are repeated one by one");
            uses.iter().map(|_| Ok(None)).collect()
        }
        Err(error) => {
            let error = Arc::new(error);
            uses.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
}

/// The condition of every use.
fn is_issued() -> Condition {
    let state = Expr::col((ticket::Entity, ticket::Column::State)).eq(state_name(TicketState::Issued));
    Condition::all().add_option((!planted::has(Bug::UseWithoutCondition)).then_some(state))
}

/// The ticket, if it was used by this one: of several uses of a ticket in a statement the row has one.
fn used_by(row: &ticket::Model, by: &TicketUse) -> Option<Used> {
    let is_by = row.use_device.as_ref() == Some(&by.device) && row.use_nonce.as_ref() == Some(&by.nonce);
    is_by.then(|| read(row.clone()).map(Some).map_err(Arc::new))
}

/// The statement that uses those of these tickets that are issued, except for those whose row another transaction has. Waiting for that
/// would keep all of them waiting.
pub(super) fn use_all(backend: DbBackend, uses: &[(TicketCode, TicketUse)]) -> UpdateStatement {
    let [showtime, seat, code] = code_columns(uses.iter().map(|(code, _)| code));
    let time = Values::Times(uses.iter().map(|(_, by)| by.time).collect());
    let [device, nonce] = [|by: &TicketUse| by.device.clone(), |by: &TicketUse| by.nonce.clone()]
        .map(|text| Values::Texts(uses.iter().map(|(_, by)| text(by)).collect()));
    let columns = [showtime, seat, code, ("at_time", time), ("by_device", device), ("by_nonce", nonce)];
    // Postgres finds the row that it has locked by its place.
    let id = || match backend {
        DbBackend::Postgres => Expr::col((ticket::Entity, "ctid")),
        _ => Expr::col((ticket::Entity, ticket::Column::TicketId)),
    };
    let mut free = Query::select();
    free.expr_as(id(), "of_ticket")
        .columns([("wanted", "at_time"), ("wanted", "by_device"), ("wanted", "by_nonce")])
        .from(ticket::Entity)
        .join_subquery(JoinType::InnerJoin, value_rows::table(backend, columns), "wanted", is_of_code("wanted"))
        .cond_where(is_issued())
        // SQLite, which has no locks of rows, leaves it out.
        .lock_with_tables_behavior(LockType::NoKeyUpdate, [ticket::Entity], LockBehavior::SkipLocked);
    let of_free = |name: &'static str| Expr::col(("free", name));
    let mut update = Query::update();
    update
        .table(ticket::Entity)
        .values([
            (ticket::Column::State, Expr::value(state_name(TicketState::Used))),
            (ticket::Column::UseTime, of_free("at_time")),
            (ticket::Column::UseDevice, of_free("by_device")),
            (ticket::Column::UseNonce, of_free("by_nonce")),
            (ticket::Column::UseIndex, Expr::value(0)),
        ])
        .from(TableRef::SubQuery(Box::new(free), "free".into_iden()))
        .and_where(id().eq(of_free("of_ticket")))
        .cond_where(is_issued())
        .returning(Query::returning().columns(ticket::Column::iter()));
    update
}
