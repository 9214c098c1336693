//! Which process works on the database.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseConnection, EntityTrait as _, ExprTrait as _, QueryFilter as _, Set,
    sea_query::{Expr, OnConflict},
};
use tokio::time::{Instant, sleep};

use super::{
    connect::{bounded, is_exclusive},
    entities::process::{self, Column},
    error::Error,
};

/// The id of the row.
const ROW: i32 = 1;
/// A process whose beat did not grow for this long is taken for dead.
const ABANDONED: Duration = Duration::from_secs(10);
/// How often a process that waits looks.
const LOOK: Duration = Duration::from_millis(500);

/// Waits until no other process works on the database, and returns the fence of this one.
pub(super) async fn take(connection: &DatabaseConnection, owner: &str) -> Result<i64, Error> {
    let new = process::ActiveModel { id: Set(ROW), fence: Set(0), beat: Set(0), owner: Set(String::new()) };
    let ignored = OnConflict::column(Column::Id).do_nothing().to_owned();
    bounded(process::Entity::insert(new).on_conflict(ignored).exec_without_returning(connection)).await?;
    let mut seen: Option<(process::Model, Instant)> = None;
    loop {
        let row = bounded(process::Entity::find_by_id(ROW).one(connection)).await?.ok_or(Error::Fenced)?;
        let since = match &seen {
            Some((before, since)) if *before == row => *since,
            _ => Instant::now(),
        };
        if row.owner.is_empty() || is_exclusive(connection) || since.elapsed() >= ABANDONED {
            let taken = process::Entity::update_many()
                .col_expr(Column::Fence, Expr::col(Column::Fence).add(1))
                .col_expr(Column::Owner, Expr::value(owner))
                .filter(Column::Id.eq(ROW))
                .filter(Column::Fence.eq(row.fence))
                .filter(Column::Beat.eq(row.beat));
            match bounded(taken.exec(connection)).await {
                Ok(taken) if taken.rows_affected == 1 => return Ok(row.fence + 1),
                Ok(_) => {}
                // The other process may stand still with the row locked, until the server ends its transaction.
                Err(error) if error.passes() => {
                    tracing::debug!(%error, "the database of webhooks is not taken over yet");
                }
                Err(error) => return Err(error),
            }
        } else if seen.is_none() {
            tracing::info!("another process delivers webhooks from this database; this one waits until it has stopped");
        }
        seen = Some((row, since));
        sleep(LOOK).await;
    }
}

/// Lets the beat grow, in the transaction of each write. Fails if another process has taken over.
pub(super) async fn confirm(connection: &impl ConnectionTrait, fence: i64) -> Result<(), Error> {
    let confirmed = process::Entity::update_many()
        .col_expr(Column::Beat, Expr::col(Column::Beat).add(1))
        .filter(Column::Id.eq(ROW))
        .filter(Column::Fence.eq(fence));
    if confirmed.exec(connection).await?.rows_affected == 1 { Ok(()) } else { Err(Error::Fenced) }
}

/// Says that the process with this fence has stopped.
pub(super) async fn release(connection: &DatabaseConnection, fence: i64) -> Result<(), Error> {
    let released = process::Entity::update_many()
        .col_expr(Column::Owner, Expr::value(""))
        .filter(Column::Id.eq(ROW))
        .filter(Column::Fence.eq(fence));
    bounded(released.exec(connection)).await?;
    Ok(())
}
