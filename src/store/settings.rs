//! What all instances of one deployment share, by name: written once, never changed.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::OnConflict};

use super::{Error, Store, entities::setting, transactions::Verdict::Commit};

impl Store {
    /// The value of a setting, which is `proposal` if it had none: of several instances that propose at once, one wins
    /// and all hear the same.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn settle(&self, name: &str, proposal: &[u8]) -> Result<Vec<u8>, Error> {
        self.transact("settle", || async {
            let tx = self.begin().await?;
            setting::Entity::insert(setting::ActiveModel {
                name: sea_orm::Set(name.to_owned()),
                value: sea_orm::Set(proposal.to_vec()),
            })
            .on_conflict(OnConflict::column(setting::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&tx.inner)
            .await?;
            let settled = read(&tx.inner, name).await?;
            tx.end(Commit(settled.unwrap_or_default())).await
        })
        .await
    }

    /// The value of a setting, if it has one.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let held = self.0.reads.acquire().await?;
        held.read(read(held.connection, name)).await
    }
}

async fn read(connection: &impl sea_orm::ConnectionTrait, name: &str) -> Result<Option<Vec<u8>>, sea_orm::DbErr> {
    let found = setting::Entity::find().filter(setting::Column::Name.eq(name)).one(connection).await?;
    Ok(found.map(|setting| setting.value))
}
