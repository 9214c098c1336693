//! Rows of other tables that commit with a change of the ledger, such as a purchase or a ticket: both are there afterwards,
//! or neither.
//!
//! The ledger knows nothing about these rows. The file of the store that the table belongs to makes the statement, with the
//! query builder.

use sea_orm::{
    ConnectionTrait as _, DbBackend, Statement,
    sea_query::{InsertStatement, UpdateStatement},
};

use crate::store::{deadline::bounded, errors::Error, purchase_rows::Row, transactions::Tx};

/// A statement that is executed in the ledger's transaction, before its commit.
#[derive(Clone, Debug)]
pub struct Companion {
    write: Write,
    /// The number of rows that the statement must concern. `None`: any.
    rows: Option<u64>,
}

#[derive(Clone, Debug)]
enum Write {
    Insert(Box<InsertStatement>),
    Update(Box<UpdateStatement>),
    Row(Row),
}

impl Companion {
    /// Inserts rows. If their number is another one, nothing is committed.
    #[must_use]
    pub fn insert(statement: InsertStatement, rows: u64) -> Self {
        Self { write: Write::Insert(Box::new(statement)), rows: Some(rows) }
    }

    /// Updates rows. If their number is another one, nothing is committed: a row that has changed meanwhile is best excluded
    /// by the statement's condition.
    #[must_use]
    pub fn update(statement: UpdateStatement, rows: u64) -> Self {
        Self { write: Write::Update(Box::new(statement)), rows: Some(rows) }
    }

    /// Updates whatever rows the statement's condition finds.
    #[must_use]
    pub fn update_any(statement: UpdateStatement) -> Self {
        Self { write: Write::Update(Box::new(statement)), rows: None }
    }

    /// Writes rows that Postgres writes together with others of their kind.
    pub(in crate::store) fn row(row: Row) -> Self {
        let rows = row.count();
        Self { write: Write::Row(row), rows }
    }

    /// The rows, if they can be written together with others.
    pub(super) fn as_row(&self) -> Option<&Row> {
        match &self.write {
            Write::Row(row) => Some(row),
            Write::Insert(_) | Write::Update(_) => None,
        }
    }

    pub(super) fn statement(&self, backend: DbBackend) -> Statement {
        match &self.write {
            Write::Insert(statement) => backend.build(&**statement),
            Write::Update(statement) => backend.build(&**statement),
            Write::Row(row) => row.statement(backend),
        }
    }

    /// Whether the statement has concerned as many rows as it must.
    pub(super) fn expects(&self, rows: u64) -> bool {
        self.rows.is_none_or(|expected| expected == rows)
    }

    /// Executes the statement in a transaction that is not the ledger's. Returns whether it concerned as many rows as it must.
    pub(in crate::store) async fn write(&self, tx: &Tx) -> Result<bool, Error> {
        let done = bounded(tx.limit, tx.inner.execute_raw(self.statement(tx.backend))).await?;
        Ok(self.expects(done.rows_affected()))
    }
}
