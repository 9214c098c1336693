//! Stored answers of requests: each is committed together with the change that it answers, and is found again by its
//! request id.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, Set, prelude::Uuid, sea_query::OnConflict,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    entities::request::{ActiveModel, Column, Entity},
    errors::Error,
    handle::Store,
    request_key::RequestKey,
    timing::read_named,
    transactions::Tx,
};

/// A stored answer is deleted at this age. Callers are promised a day.
const ANSWER_AGE: TimeDelta = TimeDelta::hours(26);
/// The caller that makes the sample. Its stored answers are never deleted, since an interrupted start may be continued much
/// later. No other caller can have a name that begins with `!`.
pub const SAMPLE_CALLER: &str = "!sample";
/// Stored answers that one transaction deletes, so that it is short.
const DELETED_AT_ONCE: u64 = 1_000;

/// The result of claiming a request id.
pub(super) enum IdClaim<T> {
    /// The id was unused. It belongs to this request if the transaction commits.
    New,
    /// The same request was made before, and has this answer.
    Answered(T),
    /// Another request has the id.
    Reused,
}

/// Claims the request id inside the transaction. If another transaction has claimed it, this waits for that one's end.
pub(super) async fn claim_id<T: DeserializeOwned>(
    tx: &Tx,
    key: Option<&RequestKey>,
    now: DateTime<Utc>,
) -> Result<IdClaim<T>, Error> {
    let Some(key) = key else { return Ok(IdClaim::New) };
    let inserted = Entity::insert(ActiveModel {
        caller: Set(key.caller.clone()),
        method: Set(key.method.to_owned()),
        request_id: Set(key.request_id.0),
        fingerprint: Set(key.fingerprint.to_vec()),
        answer: Set(None),
        create_time: Set(now),
    })
    .on_conflict(OnConflict::columns([Column::Caller, Column::Method, Column::RequestId]).do_nothing().to_owned())
    .exec_without_returning(&tx.inner)
    .await?;
    if inserted == 1 {
        return Ok(IdClaim::New);
    }
    match find(&tx.inner, key).await? {
        // The answer was deleted between the two statements. The next attempt of the transaction can claim
        // the id.
        IdClaim::New => Err(Error::Busy(DbErr::RecordNotFound("a stored answer that was just deleted".to_owned()))),
        found => Ok(found),
    }
}

/// Stores the answer, in the transaction that claimed the id.
pub(super) async fn answer(tx: &Tx, key: Option<&RequestKey>, answer: &impl Serialize) -> Result<(), Error> {
    let Some(key) = key else { return Ok(()) };
    let json = serde_json::to_value(answer).map_err(|error| unreadable(key, &error))?;
    Entity::update_many()
        .set(ActiveModel { answer: Set(Some(json)), ..Default::default() })
        .filter(is(key))
        .exec(&tx.inner)
        .await?;
    Ok(())
}

async fn find<T: DeserializeOwned>(connection: &impl ConnectionTrait, key: &RequestKey) -> Result<IdClaim<T>, Error> {
    match Entity::find().filter(is(key)).one(connection).await? {
        None => Ok(IdClaim::New),
        Some(found) if found.fingerprint != key.fingerprint => Ok(IdClaim::Reused),
        Some(found) => {
            let json = found.answer.unwrap_or_default();
            serde_json::from_value(json).map(IdClaim::Answered).map_err(|error| unreadable(key, &error))
        }
    }
}

fn is(key: &RequestKey) -> Condition {
    Condition::all()
        .add(Column::Caller.eq(key.caller.as_str()))
        .add(Column::Method.eq(key.method))
        .add(Column::RequestId.eq(key.request_id.0))
}

fn unreadable(key: &RequestKey, error: &serde_json::Error) -> Error {
    Error::Unreadable { table: "requests", key: key.request_id.to_string(), why: error.to_string() }
}

impl Store {
    /// Looks a stored answer up outside any transaction, before work is done that a repeated request does not need.
    pub(super) async fn stored_answer<T: DeserializeOwned>(&self, key: &RequestKey) -> Result<IdClaim<T>, Error> {
        let find = async {
            let pooled = self.0.reads.acquire().await?;
            pooled.read(find(pooled.connection, key)).await
        };
        let found = read_named("find_answer", find).await?;
        // On SQLite what can be read is durable.
        if matches!(found, IdClaim::Answered(_)) && self.0.writes.backend() == DbBackend::Postgres {
            self.run_transaction("acknowledge", || async { self.begin().await?.acknowledge(()).await }).await?;
        }
        Ok(found)
    }

    /// Deletes stored answers older than 26 hours, at most 1,000 of them. Returns their number.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn delete_old_answers(&self, now: DateTime<Utc>) -> Result<u64, Error> {
        self.run_transaction("forget_answers", || async {
            let tx = self.begin().await?;
            let old: Vec<(String, String, Uuid)> = Entity::find()
                .select_only()
                .columns([Column::Caller, Column::Method, Column::RequestId])
                .filter(Column::CreateTime.lt(now - ANSWER_AGE))
                .filter(Column::Caller.ne(SAMPLE_CALLER))
                .limit(DELETED_AT_ONCE)
                .into_tuple()
                .all(&tx.inner)
                .await?;
            let count = old.len() as u64;
            for id in old {
                Entity::delete_by_id(id).exec(&tx.inner).await?;
            }
            tx.commit(count).await
        })
        .await
    }
}
