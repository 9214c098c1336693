//! The views of this process by showtime.

use std::{
    collections::HashMap,
    ptr::from_ref,
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use super::{evict::to_evict, view::View};
use crate::{domain::ids::ShowtimeId, store::Error};

/// Holds one view, which may still be loading.
#[derive(Default)]
pub(super) struct ViewSlot {
    pub(super) view: OnceLock<Arc<View>>,
    /// Held while the view is loaded. The value is when the last attempt that failed began, and its error, for the requests
    /// that waited meanwhile.
    pub(super) loading: tokio::sync::Mutex<Option<(Instant, Arc<Error>)>>,
    /// The view's floor: the highest revision that this process has acknowledged. A view below it is not shown.
    acknowledged: AtomicI64,
    /// The highest revision that other instances have published. If a loaded view is below it, it missed a message and is read
    /// again.
    published: AtomicI64,
}

impl ViewSlot {
    pub(super) fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(super) fn acknowledge(&self, revision: i64) {
        self.acknowledged.fetch_max(revision, Ordering::SeqCst);
    }

    /// Resets the floor, because the database is another one or was restored.
    pub(super) fn reset_acknowledged(&self) {
        self.acknowledged.store(0, Ordering::SeqCst);
    }

    pub(super) fn published(&self) -> i64 {
        self.published.load(Ordering::SeqCst)
    }

    pub(super) fn publish(&self, revision: i64) {
        self.published.fetch_max(revision, Ordering::SeqCst);
    }
}

/// The slots of all views.
#[derive(Default)]
pub(super) struct Slots(RwLock<HashMap<ShowtimeId, Arc<ViewSlot>>>);

impl Slots {
    pub(super) fn get(&self, id: ShowtimeId) -> Option<Arc<ViewSlot>> {
        self.read().get(&id).cloned()
    }

    pub(super) fn get_or_insert(&self, id: ShowtimeId) -> Arc<ViewSlot> {
        Arc::clone(self.write().entry(id).or_default())
    }

    /// All views that are loaded.
    pub(super) fn views(&self) -> HashMap<ShowtimeId, Arc<View>> {
        let slots = self.read();
        slots.iter().filter_map(|(id, slot)| Some((*id, Arc::clone(slot.view.get()?)))).collect()
    }

    /// Adds a watcher to a view, unless the view was evicted; from then on it is not. Returns whether the view's announcing
    /// task is to be started.
    pub(super) fn add_watcher(&self, id: ShowtimeId, view: &Arc<View>) -> Option<bool> {
        // Under the lock, so that the view is not evicted in between.
        let slots = self.read();
        let current = slots.get(&id)?.view.get()?;
        Arc::ptr_eq(current, view).then(|| view.add_watcher())
    }

    /// Removes a view, unless another view is in its slot by now.
    pub(super) fn remove(&self, id: ShowtimeId, view: &View) {
        let mut slots = self.write();
        let current = slots.get(&id).and_then(|slot| slot.view.get());
        if current.is_some_and(|current| Arc::as_ptr(current) == from_ref(view)) {
            slots.remove(&id);
        }
    }

    /// Removes views that are unused, and slots whose view could not be loaded.
    pub(super) fn evict(&self) {
        let mut slots = self.write();
        // A slot whose view is being loaded is shared with the request that loads it.
        slots.retain(|_, slot| slot.view.get().is_some() || Arc::strong_count(slot) > 1);
        let idle = slots.iter().filter_map(|(id, slot)| Some((slot.view.get()?.idle()?, *id)));
        for id in to_evict(idle.collect(), slots.len()) {
            slots.remove(&id);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<ShowtimeId, Arc<ViewSlot>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ShowtimeId, Arc<ViewSlot>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
