//! The ledger's connections to Postgres. Each writer keeps one for itself: a pool's would be asked for, given back and asked
//! after again with every batch. And it speaks to it by the driver beneath SeaORM, which can send several statements in one
//! go, and takes arrays as they lie in memory.

use std::{
    borrow::Cow,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    DbErr, FromQueryResult, QueryResult, RuntimeErr, Statement,
    sqlx::{
        self, AssertSqlSafe, Connection as _, Either, PgConnection, Postgres,
        error::DatabaseError,
        postgres::{PgArguments, PgConnectOptions, PgRow},
    },
};
use sea_query_sqlx::SqlxValues;
use uuid::Uuid;

use crate::store::{Error, pools::bounded};

/// A connection that lay idle for so long is asked whether it still lives before it is used.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(10);
/// A connection is not kept for longer than this, so that what is behind its address may move.
const LIFE: Duration = Duration::from_mins(30);

/// How to connect.
#[derive(Clone)]
pub(in crate::store) struct LedgerConnector {
    pub(in crate::store) options: PgConnectOptions,
    /// What one round trip may take.
    pub(in crate::store) limit: Duration,
    /// Statements that every connection prepares for itself, by their names in SQL.
    pub(in crate::store) prepare: &'static str,
}

/// One writer's connection, while nobody uses it.
#[derive(Clone, Default)]
pub(super) struct ConnectionSlot(Arc<Mutex<Option<OpenConnection>>>);

struct OpenConnection {
    connection: PgConnection,
    made: Instant,
    used: Instant,
    /// Transactions so far.
    begun: u64,
}

/// A transaction. Dropped before its end, it takes the connection with it, and the server rolls it back.
pub(super) struct PostgresTx {
    wire: OpenConnection,
    home: ConnectionSlot,
    limit: Duration,
}

impl ConnectionSlot {
    fn take(&self) -> Option<OpenConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, wire: OpenConnection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire);
    }
}

impl LedgerConnector {
    /// Begins a transaction with these statements, and answers with the rows of each of them.
    pub(super) async fn begin(
        &self,
        slot: &ConnectionSlot,
        statements: &[&str],
    ) -> Result<(PostgresTx, Vec<Vec<PgRow>>), Error> {
        if let Some(mut wire) = slot.take()
            && wire.made.elapsed() < LIFE
            && (wire.used.elapsed() < DOUBTFUL_AFTER || self.lives(&mut wire).await)
        {
            match self.open(wire, slot, statements).await {
                // That it broke while it lay idle is found out only here, and nothing was done over it.
                Err(error) if error.is_broken_connection() => {}
                done => return done,
            }
        }
        let wire = bounded(self.limit, self.connect()).await?;
        self.open(wire, slot, statements).await
    }

    async fn connect(&self) -> Result<OpenConnection, DbErr> {
        let connect = PgConnection::connect_with(&self.options);
        let mut connection = connect.await.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        sqlx::raw_sql(self.prepare).execute(&mut connection).await.map_err(query_error)?;
        let now = Instant::now();
        Ok(OpenConnection { connection, made: now, used: now, begun: 0 })
    }

    async fn lives(&self, wire: &mut OpenConnection) -> bool {
        let asked = async { wire.connection.ping().await.map_err(query_error) };
        bounded(self.limit.mul_f64(0.4), asked).await.is_ok()
    }

    async fn open(
        &self,
        mut wire: OpenConnection,
        slot: &ConnectionSlot,
        statements: &[&str],
    ) -> Result<(PostgresTx, Vec<Vec<PgRow>>), Error> {
        let mut sql = String::new();
        if plans_are_old(wire.begun) {
            sql.push_str("DISCARD PLANS; ");
        }
        sql.push_str("BEGIN");
        for statement in statements {
            let _written = write!(sql, "; {statement}");
        }
        wire.begun += 1;
        let mut open = PostgresTx { wire, home: slot.clone(), limit: self.limit };
        let answers = match bounded(self.limit, answers(&mut open.wire.connection, sql)).await {
            Ok(answers) => answers,
            Err(error) => {
                open.give_up(&error).await;
                return Err(error);
            }
        };
        let answers = answers.into_iter().rev().take(statements.len()).rev().collect();
        Ok((open, answers))
    }
}

impl PostgresTx {
    /// Reads.
    pub(super) async fn all<R: FromQueryResult>(&mut self, statement: Statement) -> Result<Vec<R>, Error> {
        let values = SqlxValues(statement.values.unwrap_or(sea_orm::Values(Vec::new())));
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
        let rows = async { query.fetch_all(&mut self.wire.connection).await.map_err(query_error) };
        bounded(self.limit, rows).await?.into_iter().map(read).collect()
    }

    /// Runs a statement, and answers how many rows it concerned.
    pub(super) async fn run(&mut self, sql: impl Into<Arc<str>>, values: PgArguments) -> Result<u64, Error> {
        let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(sql.into()), values);
        let done = async { query.execute(&mut self.wire.connection).await.map_err(query_error) };
        Ok(bounded(self.limit, done).await?.rows_affected())
    }

    /// Says what ends with COMMIT. If the answer does not come, nobody knows.
    pub(super) async fn commit(self, text: String) -> Result<(), Error> {
        match self.end(text).await {
            Err(Error::Unavailable(error)) if !is_refusal(&error) => Err(Error::Unknown(error)),
            done => done,
        }
    }

    /// Ends the transaction by this text. After an error it is rolled back, unless it is the connection that failed.
    pub(super) async fn end(mut self, text: impl Into<Cow<'static, str>>) -> Result<(), Error> {
        let done = self.say(text.into()).await;
        match &done {
            Ok(()) => self.put_back(),
            Err(error) => self.give_up(error).await,
        }
        done
    }

    /// Rolls back after an error, unless it is the connection that failed.
    pub(super) async fn give_up(mut self, error: &Error) {
        if !matches!(error, Error::Unavailable(_)) && self.say("ROLLBACK".into()).await.is_ok() {
            self.put_back();
        }
    }

    async fn say(&mut self, text: Cow<'static, str>) -> Result<(), Error> {
        let text = AssertSqlSafe(text.into_owned());
        let said = async { sqlx::raw_sql(text).execute(&mut self.wire.connection).await.map_err(query_error) };
        bounded(self.limit, said).await.map(drop)
    }

    fn put_back(mut self) {
        self.wire.used = Instant::now();
        self.home.put(self.wire);
    }
}

/// The rows of each statement of a text.
async fn answers(connection: &mut PgConnection, sql: String) -> Result<Vec<Vec<PgRow>>, DbErr> {
    use futures_util::TryStreamExt as _;

    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    let (mut answers, mut rows) = (Vec::new(), Vec::new());
    while let Some(next) = stream.try_next().await.map_err(query_error)? {
        match next {
            Either::Left(_) => answers.push(std::mem::take(&mut rows)),
            Either::Right(row) => rows.push(row),
        }
    }
    Ok(answers)
}

fn read<R: FromQueryResult>(row: PgRow) -> Result<R, Error> {
    Ok(R::from_query_result(&QueryResult::from(row), "")?)
}

/// Ids as a literal: digits and hyphens, nothing that would have to be quoted.
pub(super) fn literal(ids: impl Iterator<Item = Uuid>) -> String {
    let mut literal = String::from("'{");
    for (at, id) in ids.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _written = write!(literal, "{comma}{id}");
    }
    literal.push_str("}'");
    literal
}

/// Whether the server says that it did not do it. Only when it ends the connection, it may have done it.
fn is_refusal(error: &DbErr) -> bool {
    let DbErr::Query(RuntimeErr::SqlxError(error)) = error else { return false };
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| !code.starts_with("57P") && !code.starts_with("08"))
}

pub(super) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Whether to have a connection's statements planned anew. A plan is kept for as long as its connection, and one that was made
/// while a table was nearly empty reads all of it for ever after. So plans are made anew whenever the tables may have
/// doubled, and now and then.
fn plans_are_old(transactions: u64) -> bool {
    const NOW_AND_THEN: u64 = 4_096;
    transactions > 0 && (transactions.is_power_of_two() || transactions.is_multiple_of(NOW_AND_THEN))
}
