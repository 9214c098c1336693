//! Answers kept for retries: each commits with the effect it tells of, and is found again by its request id.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _, Set, Statement,
    sea_query::OnConflict,
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::{
    Error, Store,
    entities::request::{ActiveModel, Column, Entity},
    transactions::{Tx, Verdict::Commit, look},
};
use crate::domain::ids::RequestId;

/// Answers are kept for at least a day; these hours are on top of it.
const KEPT: TimeDelta = TimeDelta::hours(26);
/// The caller that makes the sample. Its stored answers are never deleted, since an interrupted start may be continued much
/// later. No other caller can have a name that begins with `!`.
pub const SAMPLE_CALLER: &str = "!sample";
/// Old answers are forgotten so many at a time, so that no transaction is long.
const FORGOTTEN_AT_ONCE: u64 = 1_000;

/// Whose request it is, what it asks for in short, and under which id.
#[derive(Clone, Debug)]
pub struct RequestKey {
    /// Who asks; ids of different callers do not meet.
    pub caller: String,
    /// What they ask for.
    pub method: &'static str,
    /// The caller's id for this intention.
    pub request_id: RequestId,
    /// A digest of the content.
    pub fingerprint: [u8; 32],
}

impl RequestKey {
    /// The id as it is kept with a reservation: itself for those without a name, and for each of the others another one. So
    /// ids of different callers do not meet, and a narrow index finds them.
    #[must_use]
    pub fn scoped_id(&self) -> Uuid {
        if self.caller.is_empty() {
            return self.request_id.0;
        }
        let digest = Sha256::new().chain_update(&self.caller).chain_update(self.request_id.0).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Builder::from_custom_bytes(id).into_uuid()
    }
}

/// A row of the answers.
#[derive(Debug, sea_orm::FromQueryResult)]
pub(super) struct AnswerRow {
    pub(super) caller: String,
    pub(super) method: String,
    pub(super) request_id: sea_orm::prelude::Uuid,
    pub(super) fingerprint: Vec<u8>,
    pub(super) answer: Option<sea_orm::JsonValue>,
}

/// What is known of a request id.
pub(super) enum Claim<T> {
    /// Nothing: it is ours now, until the transaction ends.
    Ours,
    /// The same request was answered so.
    Answered(T),
    /// Another request has it.
    Reused,
}

/// Takes the id inside the transaction. If another transaction holds it, this waits for that one's end.
pub(super) async fn claim<T: DeserializeOwned>(
    tx: &Tx,
    key: Option<&RequestKey>,
    now: DateTime<Utc>,
) -> Result<Claim<T>, Error> {
    let Some(key) = key else { return Ok(Claim::Ours) };
    let taken = Entity::insert(ActiveModel {
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
    if taken == 1 {
        return Ok(Claim::Ours);
    }
    match find(&tx.inner, key).await? {
        // It was forgotten this very moment; the next try can have it.
        Claim::Ours => Err(Error::Busy(sea_orm::DbErr::RecordNotFound("a request id, just forgotten".to_owned()))),
        found => Ok(found),
    }
}

/// Writes the answer down, in the transaction that claimed the id.
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

async fn find<T: DeserializeOwned>(
    connection: &impl sea_orm::ConnectionTrait,
    key: &RequestKey,
) -> Result<Claim<T>, Error> {
    match Entity::find().filter(is(key)).one(connection).await? {
        None => Ok(Claim::Ours),
        Some(found) if found.fingerprint != key.fingerprint => Ok(Claim::Reused),
        Some(found) => {
            let json = found.answer.unwrap_or_default();
            serde_json::from_value(json).map(Claim::Answered).map_err(|error| unreadable(key, &error))
        }
    }
}

fn is(key: &RequestKey) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::Caller.eq(key.caller.as_str()))
        .add(Column::Method.eq(key.method))
        .add(Column::RequestId.eq(key.request_id.0))
}

fn unreadable(key: &RequestKey, error: &serde_json::Error) -> Error {
    Error::Unreadable { table: "requests", key: key.request_id.to_string(), why: error.to_string() }
}

impl Store {
    /// Looks for an answer outside any transaction, before work is done that a retry does not need.
    pub(super) async fn answered<T: DeserializeOwned>(&self, key: &RequestKey) -> Result<Claim<T>, Error> {
        look("find_answer", async {
            let held = self.0.reads.acquire().await?;
            held.read(find(held.connection, key)).await
        })
        .await
    }

    /// Forgets answers that are older than a retry may be. Answers how many; when there are none left, 0.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn forget_answers(&self, now: DateTime<Utc>) -> Result<u64, Error> {
        self.transact("forget_answers", || async {
            let tx = self.begin().await?;
            let old: Vec<(String, String, sea_orm::prelude::Uuid)> = Entity::find()
                .select_only()
                .columns([Column::Caller, Column::Method, Column::RequestId])
                .filter(Column::CreateTime.lt(now - KEPT))
                .filter(Column::Caller.ne(SAMPLE_CALLER))
                .limit(FORGOTTEN_AT_ONCE)
                .into_tuple()
                .all(&tx.inner)
                .await?;
            for (caller, method, request_id) in &old {
                let delete = Statement::from_sql_and_values(
                    tx.backend,
                    "DELETE FROM requests WHERE caller = $1 AND method = $2 AND request_id = $3",
                    [caller.as_str().into(), method.as_str().into(), (*request_id).into()],
                );
                tx.inner.execute_raw(delete).await?;
            }
            tx.end(Commit(old.len() as u64)).await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_different_callers_do_not_meet() {
        let id = RequestId(Uuid::from_u128(7));
        let key = |caller: &str| RequestKey {
            caller: caller.to_owned(),
            method: "ReserveSeats",
            request_id: id,
            fingerprint: [0; 32],
        };
        let kept = ["", "ada", "bob", "adab"].map(|caller| key(caller).scoped_id());
        assert_eq!(kept[0], id.0, "nobody's are kept as they are");
        for (at, one) in kept.iter().enumerate() {
            assert!(!kept[..at].contains(one), "{kept:?}");
            assert_eq!(*one, key(["", "ada", "bob", "adab"][at]).scoped_id(), "and always the same");
        }
    }
}
