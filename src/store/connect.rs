//! Checks of a database when the service starts, so that the error names the host or the file, and the cause.
//!
//! Deliberately absent: waiting for a database that is starting up. The pool does that, with its own timeout.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, postgres::PgConnectOptions};

use super::{
    errors::Error,
    recovery::{IN_RECOVERY, is_in_recovery},
};
use crate::telemetry::cause;

/// What every non-empty SQLite file begins with.
const SQLITE_HEADER: &[u8] = b"SQLite format 3\0";

/// Opens one connection to Postgres, outside any pool: a pool would try again until its timeout, and then report only that.
pub(super) async fn try_postgres(options: &PgConnectOptions, limit: Duration) -> Result<(), Error> {
    let trial = async {
        let mut connection = options.connect().await?;
        let in_recovery = is_in_recovery(&mut connection).await?;
        // If closing fails, the server closes the connection; it was only a trial.
        let _ = connection.close().await;
        Ok(in_recovery)
    };
    let cause = match tokio::time::timeout(limit, trial).await {
        Ok(Ok(true)) => IN_RECOVERY.to_owned(),
        Ok(Err(sqlx::Error::Io(error))) => cause::of_io(&error),
        Ok(Err(sqlx::Error::Tls(error))) => error.to_string(),
        Ok(Err(sqlx::Error::Database(refusal))) if !refusal.is_transient_in_connect_phase() => {
            refusal.message().to_owned()
        }
        // After an error the server is starting up, or has no connection left for the moment: the pool waits for that.
        Ok(Ok(false) | Err(_)) => return Ok(()),
        Err(_) => format!("no answer within {} ms", limit.as_millis()),
    };
    let address = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    Err(Error::Unusable { what: format!("Postgres at {address}"), cause })
}

/// Refuses a file that exists and cannot be opened, or is no SQLite database.
pub(super) fn check_sqlite_file(path: &Path) -> Result<(), Error> {
    let mut header = Vec::new();
    let read = OpenOptions::new().read(true).write(true).open(path);
    match read.and_then(|file| file.take(SQLITE_HEADER.len() as u64).read_to_end(&mut header)) {
        Ok(_) if header.is_empty() || header == SQLITE_HEADER => Ok(()),
        Ok(_) => Err(Error::Unusable {
            what: path.display().to_string(),
            cause: "it is not an SQLite database; name another file, or move this one away".to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The error for a file or a folder on which an operation failed.
pub(super) fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Unusable { what: path.display().to_string(), cause: cause::of_io(error) }
}
