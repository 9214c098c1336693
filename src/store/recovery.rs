//! Postgres servers in recovery, which are not used: a standby, or a server to which a backup is being restored.
//!
//! A name or an address may lead to such a server after a failover. What it shows may be older than what was acknowledged, and
//! its timeline is not the one that the revisions of this program belong to. So every new connection asks. That suffices: a
//! running server never goes back into recovery without ending its connections, so none in a pool becomes one to a standby
//! unnoticed. A connection that was idle asks as well, since it is tested before it is used, and this question costs no more
//! than another.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// The pause between two lines of the log. A name may lead to the primary and to a standby in turn.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// What servers have answered. The pools and the ledger's connections share one.
#[derive(Clone, Default)]
pub(super) struct Recovery(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    /// When the last server that was asked was in recovery, if it was.
    found: Option<Instant>,
    /// The last answer that was logged, and when. Without one, servers are taken for primaries.
    logged: Option<(bool, Instant)>,
}

impl Answers {
    /// Notes an answer. Returns whether it is to be logged: it differs from the one that was logged last, and that was not just
    /// before.
    fn note(&mut self, in_recovery: bool, now: Instant) -> bool {
        self.found = in_recovery.then_some(now);
        let news = match self.logged {
            Some((logged, at)) => logged != in_recovery && now.duration_since(at) >= LOG_PAUSE,
            None => in_recovery,
        };
        if news {
            self.logged = Some((in_recovery, now));
        }
        news
    }
}

impl Recovery {
    /// Asks the server whether it is in recovery, and logs when the answer changes, at most once a second.
    pub(super) async fn is_in_recovery(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let answer = is_in_recovery(connection).await?;
        if self.lock().note(answer, Instant::now()) {
            if answer {
                tracing::warn!("the database is not used: {IN_RECOVERY}");
            } else {
                tracing::info!("the database is used again: its server is not in recovery any more");
            }
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
        let in_recovery = self.lock().found.is_some_and(|found| found.elapsed() < RECENT);
        let for_lack_of_a_connection = matches!(error, Error::Unavailable(_)) && !error.is_broken_connection();
        if for_lack_of_a_connection && in_recovery { Error::Unavailable(refusal()) } else { error }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_a_primary_and_a_standby_in_turn_is_logged_at_most_once_a_second() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let mut ask = |at: u64| answers.note(at % 20 == 10, start + Duration::from_millis(at));
        let logged: Vec<u64> = (0..=3_500).step_by(10).filter(|at| ask(*at)).collect();
        assert_eq!(logged, [10, 1_020, 2_030, 3_040]);
    }

    #[test]
    fn a_change_that_was_not_logged_at_once_is_logged_when_a_server_is_asked_again() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let mut ask = |in_recovery, at| answers.note(in_recovery, start + Duration::from_millis(at));
        assert!(!ask(false, 0), "a primary is nothing new");
        assert!(ask(true, 100));
        assert!(!ask(false, 200));
        assert!(ask(false, 1_100));
        assert!(!ask(false, 5_000));
    }
}
