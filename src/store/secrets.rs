//! Secrets that all instances of one deployment share, by name.

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait as _, Set, sea_query::OnConflict};

use super::{entities::secret, errors::Error, handle::Store};

impl Store {
    /// The value of a secret, which becomes `proposal` if it has none yet. Where several instances propose at once, one proposal is
    /// stored, and all get that one.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn secret_or_insert(&self, name: &str, proposal: &[u8], now: DateTime<Utc>) -> Result<Vec<u8>, Error> {
        self.run_transaction("secret", || async {
            let tx = self.begin().await?;
            let row = secret::ActiveModel {
                name: Set(name.to_owned()),
                value: Set(proposal.to_vec()),
                create_time: Set(now),
            };
            secret::Entity::insert(row)
                .on_conflict(OnConflict::column(secret::Column::Name).do_nothing().to_owned())
                .exec_without_returning(&tx.inner)
                .await?;
            let stored = secret::Entity::find_by_id(name.to_owned()).one(&tx.inner).await?;
            tx.commit(stored.map(|row| row.value).unwrap_or_default()).await
        })
        .await
    }
}
