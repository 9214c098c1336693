//! The keys that sign the codes of tickets, as this instance knows them, and the key of the secrets of purchases.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    clock::Clock,
    domain::ticket::TicketCode,
    store::{self, Store, StoredKey},
    tickets::{PurchaseKey, SigningKey, has_signed},
};

/// The setting that holds the key of the secrets of purchases, which all instances share.
const PURCHASES: &str = "purchase_key";
/// The first key's number.
const FIRST: u16 = 1;

/// The keys. Cheap to clone.
#[derive(Clone)]
pub(in crate::app) struct Keys {
    known: Arc<RwLock<Known>>,
    /// Held while the keys are read again, so that what was read later is also known later.
    refresh: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known {
    all: Arc<[StoredKey]>,
    signing: Arc<SigningKey>,
}

impl Keys {
    /// Reads the keys, and makes the first one if there is none.
    pub(in crate::app) async fn open(store: &Store, clock: &Clock) -> Result<Self, store::Error> {
        if store.signing_keys().await?.is_empty() {
            store.add_signing_key(&new_key(FIRST, clock)).await?;
        }
        Ok(Self { known: Arc::new(RwLock::new(known(store).await?)), refresh: Arc::default() })
    }

    /// Reads the keys again, since another instance may have added or retired one.
    pub(in crate::app) async fn refresh(&self, store: &Store) -> Result<(), store::Error> {
        let _in_order = self.refresh.lock().await;
        let known = known(store).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// The key that signs.
    pub(in crate::app) fn signing(&self) -> Arc<SigningKey> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner).signing)
    }

    /// All keys, the oldest first.
    pub(in crate::app) fn all(&self) -> Arc<[StoredKey]> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner).all)
    }

    /// Whether one of the keys has signed a code, perhaps before it was retired.
    pub(in crate::app) fn has_signed(&self, code: &TicketCode) -> bool {
        let all = self.all();
        let key = all.iter().find(|key| key.key_id == code.key_id());
        key.is_some_and(|key| has_signed(&key.public_key, code))
    }

    /// Whether this key is known here. One that another instance has just made is not.
    pub(in crate::app) fn knows(&self, key_id: u16) -> bool {
        self.all().iter().any(|key| key.key_id == key_id)
    }

    /// Whether codes of this key are accepted, if they are those of tickets or have the right signature. A key that is not known here yet is
    /// not retired.
    pub(in crate::app) fn accepts(&self, key_id: u16) -> bool {
        self.all().iter().find(|key| key.key_id == key_id).is_none_or(|key| key.retire_time.is_none())
    }
}

/// The key of the secrets and codes of purchases. The first start makes it.
pub(in crate::app) async fn open_purchase_key(store: &Store, clock: &Clock) -> Result<PurchaseKey, store::Error> {
    let secret = store.setting_or_insert(PURCHASES, &clock.secret()).await?;
    Ok(PurchaseKey::new(&secret))
}

/// A new key with this number.
pub(in crate::app) fn new_key(key_id: u16, clock: &Clock) -> StoredKey {
    let seed = clock.secret().to_vec();
    let public_key = SigningKey::from_seed(key_id, &seed).map(|key| key.public_key().to_vec()).unwrap_or_default();
    StoredKey { key_id, seed, public_key, create_time: clock.now(), retire_time: None }
}

async fn known(store: &Store) -> Result<Known, store::Error> {
    let all = store.signing_keys().await?;
    let unreadable = |why: &str| store::Error::Unreadable {
        table: "signing_keys",
        key: "the last one".to_owned(),
        why: why.to_owned(),
    };
    let last = all.iter().rev().find(|key| key.retire_time.is_none()).ok_or_else(|| unreadable("all are retired"))?;
    let signing = SigningKey::from_seed(last.key_id, &last.seed).map_err(|wrong| unreadable(&wrong.to_string()))?;
    let signing = Arc::new(signing);
    Ok(Known { all: all.into(), signing })
}
