//! Rows that may commit with a change of the ledger, and are read and written without one.

use sea_orm::{EntityTrait, FromQueryResult, Select};

use super::{errors::Error, handle::Store, ledger::Companion, timing::read_named};

impl Store {
    /// Reads rows, each of which becomes a thing of the domain.
    pub(super) async fn read_rows<E, M, T>(
        &self,
        name: &'static str,
        query: Select<E>,
        read: impl Fn(M) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error>
    where
        E: EntityTrait<Model = M>,
        M: FromQueryResult + Send + Sync,
    {
        read_named(name, async {
            let pooled = self.0.reads.acquire().await?;
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(read).collect()
        })
        .await
    }

    /// Writes rows in a transaction of their own. Returns whether each statement concerned as many rows as it must; if not, nothing was
    /// written.
    pub(super) async fn write_rows(&self, name: &'static str, rows: &[Companion]) -> Result<bool, Error> {
        self.run_transaction(name, async || {
            let tx = self.begin().await?;
            for row in rows {
                if !row.write(&tx).await? {
                    return tx.rollback(false).await;
                }
            }
            tx.commit(true).await
        })
        .await
    }
}
