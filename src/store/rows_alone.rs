//! Rows that may commit with a change of the ledger, and are written without one.

use super::{errors::Error, handle::Store, ledger::Companion};

impl Store {
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
