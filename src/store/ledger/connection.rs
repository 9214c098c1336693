//! The ledger's connections to Postgres.
//!
//! Each writer keeps a connection of its own: one of a pool would be acquired, given back and tested with every batch. It is
//! used through sqlx, the driver beneath SeaORM, which can send several statements in one message and binds arrays as they
//! are in memory.

use std::{
    borrow::Cow,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    DbErr, FromQueryResult, QueryResult, RuntimeErr, Statement, Values,
    sqlx::{
        self, AssertSqlSafe, Connection as _, Either, PgConnection, Postgres,
        error::DatabaseError,
        postgres::{PgArguments, PgConnectOptions, PgRow},
    },
};
use sea_query_sqlx::SqlxValues;
use uuid::Uuid;

use crate::store::{
    commit,
    deadline::bounded,
    errors::Error,
    recovery::{self, Recovery},
};

/// A connection that was idle for this long is tested before it is used.
const TEST_IDLE_AFTER: Duration = Duration::from_secs(10);
/// The part of the limit that a test may take.
const TEST_SHARE: f64 = 0.4;
/// A connection is replaced at this age, so that the server behind its address may change.
const MAX_AGE: Duration = Duration::from_mins(30);

/// Makes connections.
pub(in crate::store) struct LedgerConnector {
    pub(super) options: PgConnectOptions,
    /// The most that one round trip may take.
    pub(super) limit: Duration,
    /// What every new connection executes: it prepares statements, by names in SQL.
    pub(super) prepare: &'static str,
    pub(super) recovery: Recovery,
}

/// The connection of one writer while it is not in use.
#[derive(Clone, Default)]
pub(super) struct ConnectionSlot(Arc<Mutex<Option<OpenConnection>>>);

struct OpenConnection {
    connection: PgConnection,
    made: Instant,
    used: Instant,
    /// Transactions begun so far.
    transactions: u64,
}

/// A transaction. Dropped before its end, it closes the connection, and the server rolls it back.
pub(super) struct PostgresTx {
    open: OpenConnection,
    slot: ConnectionSlot,
    limit: Duration,
}

impl ConnectionSlot {
    fn take(&self) -> Option<OpenConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, open: OpenConnection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
    }
}

impl LedgerConnector {
    /// Begins a transaction with these statements, and answers with the rows of each of them.
    pub(super) async fn begin(
        &self,
        slot: &ConnectionSlot,
        statements: &[&str],
    ) -> Result<(PostgresTx, Vec<Vec<PgRow>>), Error> {
        if let Some(mut open) = slot.take()
            && open.made.elapsed() < MAX_AGE
            && (open.used.elapsed() < TEST_IDLE_AFTER || self.responds(&mut open).await)
        {
            match self.begin_on(open, slot, statements).await {
                // A connection that broke while it was idle is noticed only here, before anything was done on it.
                Err(error) if error.is_broken_connection() => {}
                done => return done,
            }
        }
        let open = bounded(self.limit, self.connect()).await?;
        self.begin_on(open, slot, statements).await
    }

    async fn connect(&self) -> Result<OpenConnection, DbErr> {
        let connect = PgConnection::connect_with(&self.options);
        let mut connection = connect.await.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        if self.recovery.is_in_recovery(&mut connection).await.map_err(query_error)? {
            return Err(recovery::refusal());
        }
        sqlx::raw_sql(self.prepare).execute(&mut connection).await.map_err(query_error)?;
        let now = Instant::now();
        Ok(OpenConnection { connection, made: now, used: now, transactions: 0 })
    }

    /// Whether the server answers and may be used.
    async fn responds(&self, open: &mut OpenConnection) -> bool {
        let question = async { self.recovery.is_in_recovery(&mut open.connection).await.map_err(query_error) };
        matches!(bounded(self.limit.mul_f64(TEST_SHARE), question).await, Ok(false))
    }

    async fn begin_on(
        &self,
        mut open: OpenConnection,
        slot: &ConnectionSlot,
        statements: &[&str],
    ) -> Result<(PostgresTx, Vec<Vec<PgRow>>), Error> {
        let mut sql = String::new();
        if plans_are_old(open.transactions) {
            sql.push_str("DISCARD PLANS; ");
        }
        sql.push_str("BEGIN");
        for statement in statements {
            let _written = write!(sql, "; {statement}");
        }
        open.transactions += 1;
        let mut tx = PostgresTx { open, slot: slot.clone(), limit: self.limit };
        let rows = match bounded(self.limit, rows_by_statement(&mut tx.open.connection, sql)).await {
            Ok(rows) => rows,
            Err(error) => {
                tx.abandon(&error).await;
                return Err(error);
            }
        };
        let rows = rows.into_iter().rev().take(statements.len()).rev().collect();
        Ok((tx, rows))
    }
}

impl PostgresTx {
    /// Reads rows.
    pub(super) async fn all<R: FromQueryResult>(&mut self, statement: Statement) -> Result<Vec<R>, Error> {
        let values = SqlxValues(statement.values.unwrap_or(Values(Vec::new())));
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
        let rows = async { query.fetch_all(&mut self.open.connection).await.map_err(query_error) };
        bounded(self.limit, rows).await?.into_iter().map(read).collect()
    }

    /// Executes a statement of the query builder, and returns the number of rows that it affected.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, Error> {
        let values = SqlxValues(statement.values.unwrap_or(Values(Vec::new())));
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
        let done = async { query.execute(&mut self.open.connection).await.map_err(query_error) };
        Ok(bounded(self.limit, done).await?.rows_affected())
    }

    /// Executes a statement with values that are bound as they are, and returns the number of rows that it affected.
    pub(super) async fn execute_bound(&mut self, sql: impl Into<Arc<str>>, values: PgArguments) -> Result<u64, Error> {
        let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(sql.into()), values);
        let done = async { query.execute(&mut self.open.connection).await.map_err(query_error) };
        Ok(bounded(self.limit, done).await?.rows_affected())
    }

    /// Sends a text that ends with COMMIT. If the answer does not come, or comes with a warning, the outcome is unknown.
    pub(super) async fn commit(self, text: impl Into<Cow<'static, str>>) -> Result<(), Error> {
        match commit::confirmed(self.end(text)).await {
            Err(Error::Unavailable(error)) if !is_refusal(&error) => Err(Error::Unknown(error)),
            done => done,
        }
    }

    /// Sends a text that ends the transaction. After an error it is rolled back, unless the connection failed.
    pub(super) async fn end(mut self, text: impl Into<Cow<'static, str>>) -> Result<(), Error> {
        let done = self.send(text.into()).await;
        match &done {
            Ok(()) => self.put_back(),
            Err(error) => self.abandon(error).await,
        }
        done
    }

    /// Rolls back after an error. If the connection failed, it is closed instead.
    pub(super) async fn abandon(mut self, error: &Error) {
        if !matches!(error, Error::Unavailable(_)) && self.send("ROLLBACK".into()).await.is_ok() {
            self.put_back();
        }
    }

    async fn send(&mut self, text: Cow<'static, str>) -> Result<(), Error> {
        let text = AssertSqlSafe(text.into_owned());
        let done = async { sqlx::raw_sql(text).execute(&mut self.open.connection).await.map_err(query_error) };
        bounded(self.limit, done).await.map(drop)
    }

    fn put_back(mut self) {
        self.open.used = Instant::now();
        self.slot.put(self.open);
    }
}

/// The rows of each statement of a text.
async fn rows_by_statement(connection: &mut PgConnection, sql: String) -> Result<Vec<Vec<PgRow>>, DbErr> {
    use futures_util::TryStreamExt as _;

    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    let (mut by_statement, mut rows) = (Vec::new(), Vec::new());
    while let Some(next) = stream.try_next().await.map_err(query_error)? {
        match next {
            Either::Left(_) => by_statement.push(std::mem::take(&mut rows)),
            Either::Right(row) => rows.push(row),
        }
    }
    Ok(by_statement)
}

fn read<R: FromQueryResult>(row: PgRow) -> Result<R, Error> {
    Ok(R::from_query_result(&QueryResult::from(row), "")?)
}

/// Ids as a literal. It consists of digits and hyphens, so nothing has to be quoted.
pub(super) fn literal(ids: impl Iterator<Item = Uuid>) -> String {
    let mut literal = String::from("'{");
    for (at, id) in ids.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _written = write!(literal, "{comma}{id}");
    }
    literal.push_str("}'");
    literal
}

/// Whether the server reported that it did not do what it was asked. Where it ends the connection instead, it may have done it.
fn is_refusal(error: &DbErr) -> bool {
    let DbErr::Query(RuntimeErr::SqlxError(error)) = error else { return false };
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| !code.starts_with("57P") && !code.starts_with("08"))
}

pub(super) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Whether a connection's statements are to be planned anew before its next transaction. Postgres reuses a plan for as long as
/// the connection lives, and one that was made while a table was nearly empty reads all of it ever after. So plans are made
/// anew whenever the tables may have doubled, and every 4,096 transactions.
fn plans_are_old(transactions: u64) -> bool {
    const REPLAN_EVERY: u64 = 4_096;
    transactions > 0 && (transactions.is_power_of_two() || transactions.is_multiple_of(REPLAN_EVERY))
}
