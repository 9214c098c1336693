//! Names under which reads and transactions are timed and traced.

use std::{borrow::Borrow, time::Instant};

use tracing::Instrument as _;

use super::errors::Error;
use crate::telemetry::metrics;

/// Runs a read under a name, in a span and in the metrics. It is not repeated: the caller decides whether to ask again.
pub(super) fn read_named<T>(
    name: &'static str,
    read: impl Future<Output = Result<T, Error>> + Send,
) -> impl Future<Output = Result<T, Error>> + Send {
    timed(name, read.instrument(tracing::info_span!("read", otel.kind = "client", name)))
}

/// Runs a read under a name in the metrics only, for a read that several callers share and so belongs to no trace.
pub(super) async fn timed<T>(
    name: &'static str,
    read: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let start = Instant::now();
    let done = read.await;
    metrics::transaction(name, outcome(&done), start.elapsed());
    done
}

/// The label of the metrics for how a transaction ended.
pub(super) fn outcome<T, E: Borrow<Error>>(done: &Result<T, E>) -> &'static str {
    match done.as_ref().map_err(Borrow::borrow) {
        Ok(_) => "done",
        Err(Error::Unknown(_)) => "unknown",
        Err(Error::Busy(_)) => "busy",
        Err(_) => "failed",
    }
}
