//! Waiters for changes of purchases. Requests that wait in the process that works on a purchase get it from there, and read nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time};

use crate::domain::{ids::PurchaseId, purchase::Purchase, reservation::Reservation};

/// A change that another instance has made is found after this long.
const POLL: Duration = Duration::from_millis(500);

/// The purchases that have waiters, each with what was stored of it in this process.
#[derive(Clone, Default)]
pub(in crate::app) struct Changes(Arc<Mutex<HashMap<PurchaseId, watch::Sender<Stored>>>>);

/// A purchase as it was stored last by the holder of a fence. Of two holders the one with the higher fence is right.
#[derive(Clone, Default)]
struct Stored {
    fence: i64,
    seen: Option<Seen>,
    /// Whether it may have changed since.
    is_old: bool,
}

/// A purchase that was stored in this process, and its reservation as it was decided in this process, with the time of that.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) purchase: Arc<Purchase>,
    pub(super) reservation: Option<(Arc<Reservation>, DateTime<Utc>)>,
}

/// Waits for changes of one purchase.
pub(in crate::app) struct Waiter {
    id: PurchaseId,
    changes: Changes,
    receiver: Option<watch::Receiver<Stored>>,
    /// Whether this process works on the purchase, so that no other one changes it for longer than anybody waits.
    is_here: bool,
}

impl Changes {
    /// Waits for the changes that come from now on.
    pub(super) fn subscribe(&self, id: PurchaseId) -> Waiter {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = all.entry(id).or_default().subscribe();
        Waiter { id, changes: self.clone(), receiver: Some(receiver), is_here: false }
    }

    /// Says that a purchase may have changed.
    pub(super) fn note(&self, id: PurchaseId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(&id) {
            sender.send_modify(|stored| stored.is_old = true);
        }
    }

    /// Says how a purchase was stored by the holder of its fence.
    pub(super) fn note_stored(&self, fence: i64, seen: Seen) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = all.get(&seen.purchase.facts.purchase_id) else { return };
        sender.send_modify(|stored| {
            if stored.fence <= fence {
                *stored = Stored { fence, seen: Some(seen), is_old: false };
            }
        });
    }
}

impl Waiter {
    /// Waits for a change, or so long that another instance may have made one.
    pub(in crate::app) async fn changed(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            let _late = time::timeout(POLL, receiver.changed()).await;
        }
    }

    /// A waiter for a purchase that this process works on. It does not look for changes that others have made.
    pub(super) fn here(mut self) -> Self {
        self.is_here = true;
        self
    }

    /// Waits for what [`Self::changed`] waits for. Answers with the purchase if this process has stored it by this fence or a later
    /// one; otherwise it has to be read.
    pub(super) async fn next(&mut self, fence: i64) -> Option<Seen> {
        let receiver = self.receiver.as_mut()?;
        let changed = if self.is_here {
            receiver.changed().await.is_ok()
        } else {
            matches!(time::timeout(POLL, receiver.changed()).await, Ok(Ok(())))
        };
        let stored = receiver.borrow_and_update();
        let seen = stored.seen.clone().filter(|_| changed && !stored.is_old && stored.fence >= fence);
        self.is_here &= seen.is_some();
        seen
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
