//! The answer to a commit: whether the change is as durable as it was asked to be.
//!
//! With synchronous replication COMMIT waits until a standby has the change. If that wait is cancelled, Postgres reports
//! success with a warning: the change is committed on this server only, and a failover may lose it. It is visible from then
//! on, as it is after a crash of the server during the wait. So a repeated request that finds the change adds a commit mark
//! (`dialect::commit_mark`) and commits it before it is answered: that commit waits for everything before it as well.

use super::errors::Error;
use crate::telemetry::notices;

/// Waits for the answer to a commit. With a warning the outcome is unknown, whatever the warning says: texts are translated.
pub(super) async fn confirmed(commit: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    match notices::with_warning(commit).await {
        (Ok(()), Some(warning)) => Err(Error::unknown(&format!("a commit was answered with a warning: {warning}"))),
        (done, _) => done,
    }
}
