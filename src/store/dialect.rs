//! What differs between Postgres and SQLite in a query.
//!
//! Each function answers an expression for the query builder, so that a query is written once for both stores. How
//! connections are opened differs, too: that is in `pools`. The ledger's own statements are written twice, in `ledger`.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, QuerySelect as _, Select, Value,
    prelude::Uuid,
    sea_query::{
        CaseStatement, Expr, ExprTrait as _, Func, Keyword, LockType, Query, SelectStatement,
        extension::postgres::PgFunc,
    },
};

/// The condition that a column has one of these ids. The statement's text is the same for any number of ids, so that it is
/// prepared once.
pub(super) fn is_among(backend: DbBackend, column: impl ColumnTrait, ids: impl Iterator<Item = Uuid>) -> Expr {
    let ids = id_list(backend, ids);
    let column = Expr::col(column.as_column_ref());
    if backend == DbBackend::Sqlite {
        let (list, id) = ("json_each", Func::cust("unhex").arg(Expr::col("value")));
        let mut listed = Query::select();
        listed.expr(id).from_function(Func::cust("json_each").arg(ids), list);
        return column.in_subquery(listed);
    }
    column.eq(PgFunc::any(ids))
}

/// Ids as one value: an array, and on SQLite, where binding an array panics, JSON.
pub(super) fn id_list(backend: DbBackend, ids: impl Iterator<Item = Uuid>) -> Value {
    if backend == DbBackend::Sqlite {
        let hex: Vec<_> = ids.map(|id| id.simple().to_string()).collect();
        return Value::from(serde_json::json!(hex).to_string());
    }
    ids.collect::<Vec<_>>().into()
}

/// Texts as one value: an array, and on SQLite JSON.
pub(super) fn text_list<'a>(backend: DbBackend, texts: impl IntoIterator<Item = &'a str>) -> Value {
    let texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
    if backend == DbBackend::Sqlite { Value::from(serde_json::json!(texts).to_string()) } else { texts.into() }
}

/// The database's time, the same for the whole statement; NULL on SQLite, which has no clock of its own.
///
/// It is not `clock_timestamp()`: no index can be searched for what may be another value for each row.
pub(super) fn statement_time(backend: DbBackend) -> Expr {
    if backend == DbBackend::Sqlite { Keyword::Null.into() } else { Func::cust("statement_timestamp").into() }
}

/// The time by which the holds of a showtime are judged: the database's, or on SQLite `now`, and no earlier than the
/// showtime's last decision.
pub(super) fn judging_time(backend: DbBackend, now: DateTime<Utc>, decide_time: impl ColumnTrait) -> Expr {
    let decide_time = Expr::col(decide_time.as_column_ref());
    if backend == DbBackend::Sqlite {
        // `max` of NULL and anything is NULL here.
        let decided = Func::coalesce([decide_time, Expr::value(now)]);
        return Func::cust("max").args([Expr::value(now), decided.into()]).into();
    }
    Func::greatest([statement_time(backend), decide_time]).into()
}

/// The condition that a column has this name. On Postgres the index is over a digest of the name.
pub(super) fn is_name_by_digest(backend: DbBackend, column: impl ColumnTrait, name: &str) -> Condition {
    let same = Condition::all().add(Expr::col(column.as_column_ref()).eq(name));
    if backend == DbBackend::Sqlite {
        return same;
    }
    // The seed is part of the index's expression, so it is written as it stands there and not bound.
    let digest = |of: Expr| Func::cust("hashtextextended").args([of, Expr::Constant(0.into())]);
    same.add(Expr::from(digest(Expr::col(column.as_column_ref()))).eq(digest(Expr::value(name))))
}

/// The condition that a row comes after the last one of a page, in the order of these two columns.
pub(super) fn is_after(columns: [impl ColumnTrait; 2], last: (DateTime<Utc>, Uuid)) -> Expr {
    columns_of(columns).gt(values_of(last))
}

/// The same for an order that descends.
pub(super) fn is_before(columns: [impl ColumnTrait; 2], last: (DateTime<Utc>, Uuid)) -> Expr {
    columns_of(columns).lt(values_of(last))
}

fn columns_of(columns: [impl ColumnTrait; 2]) -> Expr {
    Expr::tuple(columns.map(|column| Expr::col(column.as_column_ref())))
}

fn values_of((time, id): (DateTime<Utc>, Uuid)) -> Expr {
    Expr::tuple([Expr::value(time), Expr::value(id)])
}

/// Locks the rows that are read until the transaction ends. On SQLite a transaction that writes has the only lock there is.
pub(super) fn locked<E: EntityTrait>(backend: DbBackend, query: Select<E>) -> Select<E> {
    if backend == DbBackend::Sqlite { query } else { query.lock(LockType::NoKeyUpdate) }
}

/// The query whether a Postgres server is in recovery.
pub(super) fn is_in_recovery() -> SelectStatement {
    let mut query = Query::select();
    query.expr(Func::cust("pg_is_in_recovery"));
    query
}

/// The query that adds a commit mark to its transaction on Postgres: an empty record of the write-ahead log, for which COMMIT
/// waits until it is replicated. Without synchronous replication there is nothing to wait for, and nothing is added.
pub(super) fn commit_mark() -> SelectStatement {
    let standbys = Func::cust("current_setting").arg("synchronous_standby_names");
    let mark = Func::cust("pg_logical_emit_message").args([true.into(), Expr::value("boxoffice"), Expr::value("")]);
    let mut query = Query::select();
    query.expr(CaseStatement::new().case(Expr::from(standbys).ne(""), mark));
    query
}

/// The query for a value that differs between databases, and changes when a database is restored to an earlier time. `None` on
/// SQLite: the file belongs to this process, and a restore ends the process.
///
/// A restored or promoted server begins a new timeline, which is in the name of the log file at once and in the control file
/// with the next checkpoint. A dump that is read in makes a new database.
pub(super) fn epoch(backend: DbBackend) -> Option<SelectStatement> {
    if backend == DbBackend::Sqlite {
        return None;
    }
    let mut system = Query::select();
    system.column("system_identifier").from_function(Func::cust("pg_control_system"), "control");
    let log_file = Func::cust("pg_walfile_name").arg(Func::cust("pg_current_wal_lsn"));
    let timeline = Func::cust("left").args([log_file.into(), Expr::value(8)]);
    let recovering = Expr::from(Func::cust("pg_is_in_recovery"));
    let timeline = CaseStatement::new().case(recovering.not(), timeline);
    let mut database = Query::select();
    let this = Expr::col("datname").eq(Func::cust("current_database"));
    database.column("oid").from("pg_database").and_where(this);
    let parts = [Expr::value("/"), subquery(system), timeline.into(), subquery(database)];
    let mut epoch = Query::select();
    epoch.expr_as(Func::md5(Func::cust("concat_ws").args(parts)), "epoch");
    Some(epoch)
}

fn subquery(select: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(select.into()))
}
