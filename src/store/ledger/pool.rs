//! What the ledger's writers connect through.

use std::sync::Arc;

use sea_orm::sqlx::postgres::PgConnectOptions;

use super::{connection::LedgerConnector, postgres::PREPARE};
use crate::store::{pools::Pool, recovery::Recovery};

/// What the ledger's writers connect through, cheap to clone.
#[derive(Clone)]
pub(in crate::store) enum LedgerPool {
    /// The one connection to SQLite that writes.
    Sqlite(Pool),
    /// Postgres, with a connection for each writer.
    Postgres(Arc<LedgerConnector>),
}

impl LedgerPool {
    /// Connects by these options, if they are given, and otherwise shares the pool of SQLite.
    pub(in crate::store) fn new(postgres: Option<(PgConnectOptions, Recovery)>, writes: &Pool) -> Self {
        match postgres {
            Some((options, recovery)) => Self::Postgres(Arc::new(LedgerConnector {
                options,
                limit: writes.limit(),
                prepare: &PREPARE,
                recovery,
            })),
            None => Self::Sqlite(writes.clone()),
        }
    }
}
