//! Permits for watchers, of seat maps and of doors: a number in all, and a number for each caller. Callers are distinguished by their addresses.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::telemetry::network::network;

/// How many watchers there may be at once.
#[derive(Clone, Copy, Debug)]
pub struct WatchQuota {
    /// Watchers in all.
    pub total: usize,
    /// Watchers from one address.
    pub per_caller: usize,
}

/// Which part of the quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuotaExceeded {
    Total,
    Caller,
}

/// All permits of this process.
pub(super) struct WatchPermits {
    quota: WatchQuota,
    acquired: watch::Sender<usize>,
    by_caller: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of one watcher. It is released when it is dropped.
pub struct WatchPermit {
    permits: Arc<WatchPermits>,
    caller: Option<IpAddr>,
}

impl WatchPermits {
    pub(super) fn new(quota: WatchQuota) -> Self {
        Self { quota, acquired: watch::Sender::new(0), by_caller: Mutex::default() }
    }

    pub(super) fn quota(&self) -> WatchQuota {
        self.quota
    }

    /// A permit for a caller at this address. Without an address only the number in all counts.
    pub(super) fn acquire(self: &Arc<Self>, caller: Option<IpAddr>) -> Result<WatchPermit, QuotaExceeded> {
        let caller = caller.map(network);
        let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        let count = caller.and_then(|caller| by_caller.get(&caller).copied()).unwrap_or_default();
        if count >= self.quota.per_caller {
            return Err(QuotaExceeded::Caller);
        }
        let acquired = self.acquired.send_if_modified(|acquired| {
            let is_available = *acquired < self.quota.total;
            *acquired += usize::from(is_available);
            is_available
        });
        if !acquired {
            return Err(QuotaExceeded::Total);
        }
        if let Some(caller) = caller {
            by_caller.insert(caller, count + 1);
        }
        Ok(WatchPermit { permits: Arc::clone(self), caller })
    }

    /// Waits until every permit is released.
    pub(super) async fn wait_until_released(&self) {
        let mut acquired = self.acquired.subscribe();
        // It fails only if the sender is dropped, which lives as long as `self`.
        let _closed = acquired.wait_for(|acquired| *acquired == 0).await;
    }
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        let mut by_caller = self.permits.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Entry::Occupied(mut count)) = self.caller.map(|caller| by_caller.entry(caller)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.permits.acquired.send_modify(|acquired| *acquired -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_caller_gets_no_more_than_its_share_and_releases_it() {
        let permits = Arc::new(WatchPermits::new(WatchQuota { total: 4, per_caller: 2 }));
        let refused = |caller| permits.acquire(Some(at(caller))).err();
        let first = permits.acquire(Some(at("192.0.2.1"))).ok();
        let _second = permits.acquire(Some(at("::ffff:192.0.2.1"))).ok();
        assert_eq!(refused("192.0.2.1"), Some(QuotaExceeded::Caller));
        let _third = permits.acquire(Some(at("2001:db8::1"))).ok();
        let _fourth = permits.acquire(Some(at("2001:db8::ffff:2"))).ok();
        assert_eq!(refused("2001:db8:0:0:1::3"), Some(QuotaExceeded::Caller));
        assert_eq!(refused("2001:db8:0:1::1"), Some(QuotaExceeded::Total));
        drop(first);
        assert!(permits.acquire(Some(at("192.0.2.1"))).is_ok());
    }

    #[tokio::test]
    async fn the_last_release_is_noticed() {
        let permits = Arc::new(WatchPermits::new(WatchQuota { total: 2, per_caller: 1 }));
        let (one, other) = (permits.acquire(None).ok(), permits.acquire(None).ok());
        assert!(permits.acquire(None).is_err());
        drop((one, other));
        permits.wait_until_released().await;
        assert!(permits.by_caller.lock().unwrap().is_empty());
    }
}
