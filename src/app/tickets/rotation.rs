//! How the keys that sign the codes of tickets come and go.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::keys::new_key;
use crate::{
    app::{App, Error, KeyRefusal, Kind, Origin},
    background::Task,
    domain::violations::Violations,
    store::StoredKey,
};

/// How often the keys are read again.
const KEYS_PERIOD: Duration = Duration::from_secs(2);
/// How long after a new key was made another instance may still sign with the one before.
const MAY_SIGN: TimeDelta = TimeDelta::seconds(10);

impl App {
    /// The keys that sign the codes of tickets, the oldest first.
    #[must_use]
    pub fn signing_keys(&self, _origin: &Origin) -> Arc<[StoredKey]> {
        self.0.keys.all()
    }

    /// Reads the keys now and then, since other instances may have changed them, until the shutdown.
    pub async fn refresh_signing_keys(self, shutdown: CancellationToken) {
        let task = Task::new("refresh of signing keys", KEYS_PERIOD).shutdown(shutdown);
        task.run(async move || {
            let app = self.clone();
            app.0.keys.refresh(&app.0.store).await
        })
        .await;
    }

    /// Makes a new key, which signs from now on.
    ///
    /// # Errors
    /// There cannot be more keys, or the store fails.
    pub async fn rotate_signing_key(&self, _origin: &Origin) -> Result<StoredKey, Error> {
        let app = self.clone();
        self.detached(async move { app.add_signing_key().await }).await
    }

    async fn add_signing_key(&self) -> Result<StoredKey, Error> {
        loop {
            let last = self.0.store.signing_keys().await?.last().map_or(0, |key| key.key_id);
            let full = || Violations::one("", "there are as many keys as codes can name");
            let key = new_key(last.checked_add(1).ok_or_else(full)?, &self.0.clock);
            if self.0.store.add_signing_key(&key).await? {
                self.0.keys.refresh(&self.0.store).await?;
                tracing::info!(key_id = key.key_id, "a new key signs the codes of tickets");
                return Ok(key);
            }
            // Another call has made the key with this number.
        }
    }

    /// Retires a key. With `force` also one that tickets which can be used yet have codes of.
    ///
    /// # Errors
    /// There is no such key, it signs, it is in use, or the store fails.
    pub async fn retire_signing_key(&self, _origin: &Origin, key_id: u16, force: bool) -> Result<StoredKey, Error> {
        let app = self.clone();
        self.detached(async move { app.retire_key(key_id, force).await }).await
    }

    async fn retire_key(&self, key_id: u16, force: bool) -> Result<StoredKey, Error> {
        let now = self.0.clock.now();
        let all = self.0.store.signing_keys().await?;
        let found = all.iter().find(|key| key.key_id == key_id);
        let key = found.ok_or_else(|| Error::NotFound { kind: Kind::SigningKey, id: key_id.to_string() })?;
        if key.retire_time.is_some() {
            return Ok(key.clone());
        }
        let newer = all.iter().find(|key| key.key_id > key_id).filter(|newer| now >= newer.create_time + MAY_SIGN);
        let Some(newer) = newer else { return Err(Error::Key(KeyRefusal::Signs)) };
        // The code of a purchase is signed when it is shown. So this key may have signed it for tickets of an earlier key, and for tickets of a
        // later one, if the purchase began before that.
        let earlier = all.iter().filter(|key| key.key_id <= key_id && key.retire_time.is_none()).map(|key| key.key_id);
        let (earlier, until) = (earlier.collect::<Vec<_>>(), newer.create_time + MAY_SIGN);
        let tickets = if force { 0 } else { self.0.store.usable_tickets_of(&earlier, (key_id, until), now).await? };
        if tickets > 0 {
            return Err(Error::Key(KeyRefusal::InUse { tickets }));
        }
        self.0.store.retire_signing_key(key_id, now).await?;
        self.0.keys.refresh(&self.0.store).await?;
        tracing::warn!(key_id, force, "a key is retired: tickets with codes of it admit nobody");
        let all = self.0.keys.all();
        let found = all.iter().find(|key| key.key_id == key_id);
        found.cloned().ok_or_else(|| Error::Lost("a key that was retired is gone".to_owned()))
    }
}
