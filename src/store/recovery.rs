//! Postgres servers in recovery, which are not used: a standby, or a server to which a backup is being restored.
//!
//! A name or an address may lead to such a server after a failover. What it shows may be older than what was acknowledged, and
//! its timeline is not the one that the revisions of this program belong to. So every new connection asks. That suffices: a
//! running server never goes back into recovery without ending its connections, so none in a pool becomes one to a standby
//! unnoticed. A connection that was idle asks as well, since it is tested before it is used, and this question costs no more
//! than another.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    DbErr, RuntimeErr,
    sea_query::PostgresQueryBuilder,
    sqlx::{self, AssertSqlSafe, Executor as _, PgConnection, Row as _},
};

use super::{dialect, errors::Error};

/// The pause before a new connection of a pool asks again whether its server was promoted.
const PAUSE: Duration = Duration::from_millis(100);

/// How long ago a server may have been found in recovery to be named as the cause of an error.
const RECENT: Duration = Duration::from_secs(1);

/// What an error says about a server in recovery.
pub(super) const IN_RECOVERY: &str = "the server is in recovery (a standby, or a restore that has not ended); promote it, or \
    lead the address to the primary";

/// When the last server that was asked was in recovery, if it was. The pools and the ledger's connections share one.
#[derive(Clone, Default)]
pub(super) struct Recovery(Arc<Mutex<Option<Instant>>>);

impl Recovery {
    /// Asks the server whether it is in recovery, and logs when the answer changes.
    pub(super) async fn is_in_recovery(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let answer = is_in_recovery(connection).await?;
        let now = answer.then(Instant::now);
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), now);
        match (before, now) {
            (None, Some(_)) => tracing::warn!("the database is not used: {IN_RECOVERY}"),
            (Some(_), None) => tracing::info!("the database is used again: its server is not in recovery any more"),
            _ => {}
        }
        Ok(answer)
    }

    /// Waits until the server is promoted. A pool does this with each new connection; its timeout ends the wait, and the next
    /// connection may lead to another server. An error instead would be logged by the driver at each of its attempts.
    pub(super) async fn wait_for_promotion(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        while self.is_in_recovery(connection).await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Names the recovery as the cause where a pool only reports that it had no connection in time.
    pub(super) fn explain(&self, error: Error) -> Error {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_recovery = last.is_some_and(|last| last.elapsed() < RECENT);
        let for_lack_of_a_connection = matches!(error, Error::Unavailable(_)) && !error.is_broken_connection();
        if for_lack_of_a_connection && in_recovery { Error::Unavailable(refusal()) } else { error }
    }
}

/// Asks the server whether it is in recovery.
pub(super) async fn is_in_recovery(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let question = dialect::is_in_recovery().to_string(PostgresQueryBuilder);
    connection.fetch_one(AssertSqlSafe(question)).await?.try_get(0)
}

/// The cause of an error where a connection is not used because its server is in recovery.
pub(super) fn refusal() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(IN_RECOVERY.to_owned()))
}
