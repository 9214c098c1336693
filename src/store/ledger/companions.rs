//! Rows of other tables that commit with a change of the ledger, such as a purchase or a ticket: both are there afterwards,
//! or neither.
//!
//! The ledger knows nothing about these rows. The file of the store that the table belongs to makes the statement, with the
//! query builder.

use sea_orm::{
    ConnectionTrait as _, DbBackend, EntityTrait as _, QueryTrait as _, Statement,
    sea_query::{InsertStatement, UpdateStatement},
};

use crate::store::{
    deadline::bounded,
    entities::{money_entry, outbox, payment, purchase},
    errors::Error,
    transactions::Tx,
};

/// The most rows of one statement: their values must be fewer than a database can bind.
const CHUNK: usize = 1_000;

/// A statement that is executed in the ledger's transaction, before its commit.
#[derive(Clone, Debug)]
pub struct Companion {
    write: Write,
    /// The number of rows that the statement must concern.
    rows: u64,
}

#[derive(Clone, Debug)]
enum Write {
    Insert(Box<InsertStatement>),
    Update(Box<UpdateStatement>),
    /// Those of several changes are inserted by one statement.
    Rows(NewRows),
}

/// New rows of one table.
#[derive(Clone, Debug)]
pub(in crate::store) enum NewRows {
    Purchases(Vec<purchase::ActiveModel>),
    Payments(Vec<payment::ActiveModel>),
    Money(Vec<money_entry::ActiveModel>),
    Outbox(Vec<outbox::ActiveModel>),
}

impl NewRows {
    fn len(&self) -> usize {
        match self {
            Self::Purchases(rows) => rows.len(),
            Self::Payments(rows) => rows.len(),
            Self::Money(rows) => rows.len(),
            Self::Outbox(rows) => rows.len(),
        }
    }

    /// Takes these in, if they are of the same table and there is room for them.
    fn take(&mut self, others: &Self) -> bool {
        if self.len() + others.len() > CHUNK {
            return false;
        }
        match (self, others) {
            (Self::Purchases(rows), Self::Purchases(more)) => rows.extend_from_slice(more),
            (Self::Payments(rows), Self::Payments(more)) => rows.extend_from_slice(more),
            (Self::Money(rows), Self::Money(more)) => rows.extend_from_slice(more),
            (Self::Outbox(rows), Self::Outbox(more)) => rows.extend_from_slice(more),
            _ => return false,
        }
        true
    }

    fn statement(&self, backend: DbBackend) -> Statement {
        match self.clone() {
            Self::Purchases(rows) => backend.build(&purchase::Entity::insert_many(rows).into_query()),
            Self::Payments(rows) => backend.build(&payment::Entity::insert_many(rows).into_query()),
            Self::Money(rows) => backend.build(&money_entry::Entity::insert_many(rows).into_query()),
            Self::Outbox(rows) => backend.build(&outbox::Entity::insert_many(rows).into_query()),
        }
    }
}

impl Companion {
    /// Inserts rows. If their number is another one, nothing is committed.
    #[must_use]
    pub fn insert(statement: InsertStatement, rows: u64) -> Self {
        Self { write: Write::Insert(Box::new(statement)), rows }
    }

    /// Inserts these rows, together with those of other changes that commit at once.
    pub(in crate::store) fn rows_of(rows: NewRows) -> Self {
        Self { rows: rows.len() as u64, write: Write::Rows(rows) }
    }

    /// The same rows in fewer statements. Rows that are inserted together come first.
    pub(super) fn joined(companions: &[Self]) -> Vec<Self> {
        let mut joined: Vec<NewRows> = Vec::new();
        let mut others = Vec::new();
        for companion in companions {
            match &companion.write {
                Write::Rows(rows) => {
                    if !joined.iter_mut().any(|joined| joined.take(rows)) {
                        joined.push(rows.clone());
                    }
                }
                _ => others.push(companion.clone()),
            }
        }
        joined.into_iter().map(Self::rows_of).chain(others).collect()
    }

    /// Updates rows. If their number is another one, nothing is committed: a row that has changed meanwhile is best excluded
    /// by the statement's condition.
    #[must_use]
    pub fn update(statement: UpdateStatement, rows: u64) -> Self {
        Self { write: Write::Update(Box::new(statement)), rows }
    }

    pub(super) fn statement(&self, backend: DbBackend) -> Statement {
        match &self.write {
            Write::Insert(statement) => backend.build(&**statement),
            Write::Update(statement) => backend.build(&**statement),
            Write::Rows(rows) => rows.statement(backend),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Executes the statement in a transaction that is not the ledger's. Returns whether it concerned as many rows as it must.
    pub(in crate::store) async fn write(&self, tx: &Tx) -> Result<bool, Error> {
        let done = bounded(tx.limit, tx.inner.execute_raw(self.statement(tx.backend))).await?;
        Ok(done.rows_affected() == self.rows)
    }
}
