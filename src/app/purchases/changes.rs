//! Waiters for changes of purchases. Whoever waits in the process that works on a purchase gets it from there, and reads nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time};

use super::drive::{Held, Sold};
use crate::domain::{
    ids::PurchaseId,
    purchase::{Purchase, PurchaseState},
};

/// A change that another instance has made is found after this long.
const POLL: Duration = Duration::from_millis(500);

/// The purchases that have waiters, each with what was stored of it in this process.
#[derive(Clone, Default)]
pub(in crate::app) struct Changes(Arc<Mutex<HashMap<PurchaseId, watch::Sender<Stored>>>>);

/// A purchase as it was stored last by the holder of a fence. Of two holders the one with the higher fence is right.
#[derive(Clone, Default)]
struct Stored {
    fence: i64,
    /// `None` while it is running: nobody needs to see it then.
    settled: Option<Settled>,
    /// Whether it may have changed since.
    is_old: bool,
}

/// A purchase that was stored and is not running any more.
#[derive(Clone)]
pub(super) struct Settled {
    pub(super) purchase: Arc<Purchase>,
    pub(super) sold: Option<Sold>,
}

/// Waits for changes of one purchase.
pub(in crate::app) struct Waiter {
    id: PurchaseId,
    changes: Changes,
    receiver: Option<watch::Receiver<Stored>>,
}

/// What a waiter has learnt.
pub(super) enum Change {
    /// The purchase is running, as it was stored in this process.
    Runs,
    /// It is not running any more.
    Settled(Settled),
    /// It may have changed, and has to be read.
    Unknown,
}

impl Changes {
    /// Waits for the changes that come from now on.
    pub(super) fn subscribe(&self, id: PurchaseId) -> Waiter {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = all.entry(id).or_default().subscribe();
        Waiter { id, changes: self.clone(), receiver: Some(receiver) }
    }

    /// Says that a purchase may have changed.
    pub(super) fn note(&self, id: PurchaseId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(&id) {
            sender.send_modify(|stored| stored.is_old = true);
        }
    }

    /// Says how a purchase was stored by the holder of its fence.
    pub(super) fn note_stored(&self, held: &Held) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = all.get(&held.purchase.facts.purchase_id) else { return };
        let runs = held.purchase.state() == PurchaseState::Running;
        let settled = (!runs).then(|| Settled { purchase: Arc::new(held.purchase.clone()), sold: held.sold.clone() });
        sender.send_modify(|stored| {
            if stored.fence <= held.fence {
                *stored = Stored { fence: held.fence, settled, is_old: false };
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

    /// Waits for what [`Self::changed`] waits for, and says what it was to those who have seen the purchase with this fence.
    pub(super) async fn next(&mut self, fence: i64) -> Change {
        let Some(receiver) = &mut self.receiver else { return Change::Unknown };
        let Ok(Ok(())) = time::timeout(POLL, receiver.changed()).await else { return Change::Unknown };
        let stored = receiver.borrow_and_update();
        match &stored.settled {
            _ if stored.is_old || stored.fence < fence => Change::Unknown,
            Some(settled) => Change::Settled(settled.clone()),
            None => Change::Runs,
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
