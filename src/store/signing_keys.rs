//! The keys that sign the codes of tickets.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Select, Set,
    sea_query::{Expr, Func, OnConflict},
};

use super::{
    entities::{purchase, showtime, signing_key, ticket},
    errors::Error,
    handle::Store,
    ledger::Companion,
    rows::ticket::state_name,
    timing::read_named,
};
use crate::domain::{showtime::MAX_SPAN, ticket::TicketState};

/// A key that signs the codes of tickets, as it is stored.
#[derive(Clone)]
pub struct StoredKey {
    /// Its number.
    pub key_id: u16,
    /// What the key is made of. Secret.
    pub seed: Vec<u8>,
    /// What signatures are checked with.
    pub public_key: Vec<u8>,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// From then on tickets of this key are refused. `None`: it is not retired.
    pub retire_time: Option<DateTime<Utc>>,
}

impl Store {
    /// All keys, the oldest first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, Error> {
        let query = signing_key::Entity::find().order_by_asc(signing_key::Column::KeyId);
        self.read_rows("signing_keys", query, read).await
    }

    /// Adds a key, unless there is one with this number. Returns whether it was added.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn add_signing_key(&self, key: &StoredKey) -> Result<bool, Error> {
        let row = signing_key::ActiveModel {
            key_id: Set(i32::from(key.key_id)),
            seed: Set(key.seed.clone()),
            public_key: Set(key.public_key.clone()),
            create_time: Set(key.create_time),
            retire_time: Set(None),
        };
        let insert = signing_key::Entity::insert(row)
            .on_conflict(OnConflict::column(signing_key::Column::KeyId).do_nothing().to_owned());
        self.write_rows("add_signing_key", &[Companion::insert(insert.into_query(), 1)]).await
    }

    /// Retires a key that is not retired. Returns whether this has retired it.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn retire_signing_key(&self, key_id: u16, now: DateTime<Utc>) -> Result<bool, Error> {
        let retire = signing_key::Entity::update_many()
            .filter(signing_key::Column::KeyId.eq(i32::from(key_id)))
            .filter(signing_key::Column::RetireTime.is_null())
            .col_expr(signing_key::Column::RetireTime, Expr::value(Some(now)));
        self.write_rows("retire_signing_key", &[Companion::update(retire.into_query(), 1)]).await
    }

    /// The number of tickets that can be used yet, since their showtimes are not over, and whose codes one of these keys has signed, or a key
    /// after that one, if their purchases began before that time.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn usable_tickets_of(
        &self,
        keys: &[u16],
        began: (u16, DateTime<Utc>),
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        read_named("usable_tickets_of_keys", async {
            let pooled = self.0.reads.acquire().await?;
            pooled.read(usable_tickets(keys, began, now).count(pooled.connection)).await
        })
        .await
    }
}

fn read(row: signing_key::Model) -> Result<StoredKey, Error> {
    let unreadable = || {
        let why = "the number is too large".to_owned();
        Error::Unreadable { table: "signing_keys", key: row.key_id.to_string(), why }
    };
    let key_id = u16::try_from(row.key_id).map_err(|_| unreadable())?;
    let signing_key::Model { seed, public_key, create_time, retire_time, .. } = row;
    Ok(StoredKey { key_id, seed, public_key, create_time, retire_time })
}

/// The query for the tickets that can be used yet with codes of these keys, or of purchases that began before a time with codes of later keys.
fn usable_tickets(keys: &[u16], (last, time): (u16, DateTime<Utc>), now: DateTime<Utc>) -> Select<ticket::Entity> {
    let to_come = showtime::Entity::find()
        .select_only()
        .column(showtime::Column::ShowtimeId)
        .filter(showtime::Column::StartTime.gt(now - MAX_SPAN))
        .filter(showtime::Column::EndTime.gt(now));
    let usable = [TicketState::Unpaid, TicketState::Issued, TicketState::Blocked].map(state_name);
    // The number of the key is at the second and third byte of a code.
    let key =
        || Expr::expr(Func::cust("substr").args([Expr::col(ticket::Column::Code), Expr::value(2), Expr::value(2)]));
    let earlier = purchase::Entity::find()
        .select_only()
        .column(purchase::Column::PurchaseId)
        .filter(purchase::Column::CreateTime.lt(time));
    let of_earlier =
        ticket::Column::PurchaseId.in_subquery(earlier.into_query()).and(key().gt(last.to_be_bytes().to_vec()));
    ticket::Entity::find()
        .filter(ticket::Column::ShowtimeId.in_subquery(to_come.into_query()))
        .filter(ticket::Column::State.is_in(usable))
        .filter(key().is_in(keys.iter().map(|key| key.to_be_bytes().to_vec())).or(of_earlier))
}
