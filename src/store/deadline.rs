//! The deadline of each piece of work with the database, set by this process.
//!
//! It is the second one. The server has its own for a statement, a little shorter, so that in the common case the connection
//! stays usable. This one ends the wait where the network loses the answer.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

use super::errors::Error;

/// Runs the work, and answers `Unavailable` when it takes longer than `limit`.
pub(super) async fn bounded<T, E: Into<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Error::Unavailable(timed_out("the database did not answer in time"))),
    }
}

/// The cause that an error names when a deadline has passed.
pub(super) fn timed_out(what: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(what.to_owned()))
}
