//! Waiters for changes of purchases.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time};

use crate::domain::ids::PurchaseId;

/// A change that another instance has made is found after this long.
const POLL: Duration = Duration::from_millis(500);

/// The purchases that have waiters, with the number of their changes in this process.
#[derive(Clone, Default)]
pub(in crate::app) struct Changes(Arc<Mutex<HashMap<PurchaseId, watch::Sender<u64>>>>);

/// Waits for changes of one purchase.
pub(in crate::app) struct Waiter {
    id: PurchaseId,
    changes: Changes,
    receiver: Option<watch::Receiver<u64>>,
}

impl Changes {
    /// Waits for the changes that come from now on.
    pub(super) fn subscribe(&self, id: PurchaseId) -> Waiter {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = all.entry(id).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Waiter { id, changes: self.clone(), receiver: Some(receiver) }
    }

    /// Says that a purchase has changed.
    pub(super) fn note(&self, id: PurchaseId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(&id) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

impl Waiter {
    /// Waits for a change, or so long that another instance may have made one.
    pub(in crate::app) async fn changed(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            let _late = time::timeout(POLL, receiver.changed()).await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.receiver = None;
        let mut all = self.changes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
            all.remove(&self.id);
        }
    }
}
