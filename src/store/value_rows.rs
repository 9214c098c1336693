//! Rows of values as a table that a statement joins. Its text is the same for any number of rows, so that it is prepared once.

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{
    DbBackend, Value,
    prelude::Uuid,
    sea_query::{Expr, Func, Query, SelectStatement},
};
use serde_json::{Value as Json, json};

use super::ledger::hex;

/// The values of a column, one for each row.
pub(super) enum Values {
    Ids(Vec<Uuid>),
    Numbers(Vec<i32>),
    Bytes(Vec<Vec<u8>>),
    Texts(Vec<String>),
    Times(Vec<DateTime<Utc>>),
}

/// A table with these columns: arrays that unfold side by side, or on SQLite, where an array cannot be bound, JSON.
pub(super) fn table<const N: usize>(backend: DbBackend, columns: [(&'static str, Values); N]) -> SelectStatement {
    let mut table = Query::select();
    if backend != DbBackend::Sqlite {
        for (name, values) in columns {
            let (values, of) = values.array();
            table.expr_as(Func::cust("unnest").arg(Func::cast_as(values, of)), name);
        }
        return table;
    }
    let mut rows: Vec<Vec<Json>> = Vec::new();
    for (at, (name, values)) in columns.into_iter().enumerate() {
        let value = Expr::from(Func::cust("json_extract").args([Expr::col("value"), Expr::value(format!("$[{at}]"))]));
        let is_bytes = matches!(values, Values::Ids(_) | Values::Bytes(_));
        table.expr_as(if is_bytes { Func::cust("unhex").arg(value).into() } else { value }, name);
        let values = values.json();
        rows.resize_with(values.len(), Vec::new);
        rows.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
    }
    table.from_function(Func::cust("json_each").arg(json!(rows).to_string()), "json_each");
    table
}

impl Values {
    /// An array, and its type.
    fn array(self) -> (Value, &'static str) {
        match self {
            Self::Ids(ids) => (ids.into(), "uuid[]"),
            Self::Numbers(numbers) => (numbers.into(), "integer[]"),
            Self::Bytes(bytes) => (bytes.into(), "bytea[]"),
            Self::Texts(texts) => (texts.into(), "text[]"),
            Self::Times(times) => (times.into(), "timestamptz[]"),
        }
    }

    /// Bytes are hexadecimal digits, and times have the form of their columns.
    fn json(self) -> Vec<Json> {
        match self {
            Self::Ids(ids) => ids.iter().map(|id| json!(id.simple().to_string())).collect(),
            Self::Numbers(numbers) => numbers.into_iter().map(Json::from).collect(),
            Self::Bytes(bytes) => bytes.iter().map(|bytes| json!(hex(bytes))).collect(),
            Self::Texts(texts) => texts.into_iter().map(Json::from).collect(),
            Self::Times(times) => {
                times.iter().map(|time| json!(time.to_rfc3339_opts(SecondsFormat::AutoSi, false))).collect()
            }
        }
    }
}
