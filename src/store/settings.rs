//! Settings that all instances of one deployment share, by name. A setting is written once and never changed.

use sea_orm::{ConnectionTrait, DbErr, EntityTrait as _, Set, sea_query::OnConflict};

use super::{entities::setting, errors::Error, handle::Store};

impl Store {
    /// The value of a setting, which becomes `proposal` if it has none yet. Where several instances propose at once, one
    /// proposal is stored, and all get that one.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn setting_or_insert(&self, name: &str, proposal: &[u8]) -> Result<Vec<u8>, Error> {
        self.run_transaction("settle", || async {
            let tx = self.begin().await?;
            setting::Entity::insert(setting::ActiveModel { name: Set(name.to_owned()), value: Set(proposal.to_vec()) })
                .on_conflict(OnConflict::column(setting::Column::Name).do_nothing().to_owned())
                .exec_without_returning(&tx.inner)
                .await?;
            let stored = read(&tx.inner, name).await?;
            tx.commit(stored.unwrap_or_default()).await
        })
        .await
    }

    /// The value of a setting, if it has one.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let pooled = self.0.reads.acquire().await?;
        pooled.read(read(pooled.connection, name)).await
    }
}

async fn read(connection: &impl ConnectionTrait, name: &str) -> Result<Option<Vec<u8>>, DbErr> {
    let setting = setting::Entity::find_by_id(name.to_owned()).one(connection).await?;
    Ok(setting.map(|setting| setting.value))
}
