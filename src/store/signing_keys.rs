//! The keys that sign the codes of tickets.

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait as _, QueryOrder as _, QueryTrait as _, Set, sea_query::OnConflict};

use super::{entities::signing_key, errors::Error, handle::Store, ledger::Companion, timing::read_named};

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
        read_named("signing_keys", async {
            let pooled = self.0.reads.acquire().await?;
            let query = signing_key::Entity::find().order_by_asc(signing_key::Column::KeyId);
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(read).collect()
        })
        .await
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
