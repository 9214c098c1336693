//! Statements for Postgres whose values are arrays, a column of the written rows each. Their texts are kept.

use std::{
    fmt::{self, Display, Write as _},
    sync::{Arc, OnceLock},
};

use sea_orm::{
    DbErr,
    sqlx::{Arguments as _, Encode, Postgres, Type, postgres::PgArguments},
};

use super::connection::PostgresTx;
use crate::store::errors::Error;

/// The text of a statement, put together when it is first used.
pub(super) type Text = OnceLock<Arc<str>>;

/// A statement and its values.
pub(super) struct Sql {
    /// Where the text is kept once it is complete.
    complete: &'static Text,
    /// The text so far. It stays empty where the complete one exists.
    text: String,
    values: PgArguments,
}

/// The number of a value that is bound.
#[derive(Clone, Copy)]
pub(super) struct Bound(usize);

/// An array that is bound: one column of the rows that are written.
#[derive(Clone, Copy)]
pub(super) struct Column(Bound);

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

/// In a select list, arrays of the same length unfold side by side. As a table of `FROM unnest(...)`, Postgres would write
/// each of them down before reading it.
impl Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unnest({})", self.0)
    }
}

impl Sql {
    pub(super) fn new(complete: &'static Text) -> Self {
        Self { complete, text: String::new(), values: PgArguments::default() }
    }

    pub(super) fn add(&mut self, text: fmt::Arguments<'_>) {
        if self.complete.get().is_none() {
            let _written = self.text.write_fmt(text);
        }
    }

    /// Adds a common table expression.
    pub(super) fn with(&mut self, part: fmt::Arguments<'_>) {
        self.add(format_args!("{}", if self.text.is_empty() { "WITH " } else { ", " }));
        self.add(part);
    }

    /// Binds a value.
    pub(super) fn bind<'v>(&mut self, value: impl Encode<'v, Postgres> + Type<Postgres>) -> Result<Bound, Error> {
        let unbound = |error: Box<dyn std::error::Error + Send + Sync>| DbErr::Custom(error.to_string());
        self.values.add(value).map_err(unbound)?;
        Ok(Bound(self.values.len()))
    }

    /// Binds a column of these rows.
    pub(super) fn column<'v, R, V>(&mut self, rows: &'v [R], value: impl FnMut(&'v R) -> V) -> Result<Column, Error>
    where
        Vec<V>: Encode<'v, Postgres> + Type<Postgres>,
    {
        Ok(Column(self.bind(rows.iter().map(value).collect::<Vec<V>>())?))
    }

    /// Executes the statement, and returns the number of rows that it affected.
    pub(super) async fn execute(self, tx: &mut PostgresTx) -> Result<u64, Error> {
        let text = self.complete.get_or_init(|| self.text.into());
        tx.execute_bound(Arc::clone(text), self.values).await
    }
}
