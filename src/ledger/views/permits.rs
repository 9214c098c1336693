//! WatchPermits for watchers: so many in all, and so many for one caller. Who a caller is, is told by where it calls from.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// How many may watch.
#[derive(Clone, Copy, Debug)]
pub struct WatchQuota {
    /// In all,
    pub all: usize,
    /// and from one place.
    pub caller: usize,
}

/// Why somebody has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuotaExceeded {
    /// All are taken.
    Full,
    /// The caller has as many as it may have.
    Enough,
}

pub(super) struct WatchPermits {
    room: WatchQuota,
    taken: watch::Sender<usize>,
    callers: Mutex<HashMap<IpAddr, usize>>,
}

/// A place for one watcher, given back when it is dropped.
pub(super) struct WatchPermit {
    places: Arc<WatchPermits>,
    caller: Option<IpAddr>,
}

impl WatchPermits {
    pub(super) fn new(room: WatchQuota) -> Self {
        Self { room, taken: watch::Sender::new(0), callers: Mutex::default() }
    }

    pub(super) fn room(&self) -> WatchQuota {
        self.room
    }

    /// A place for a caller from there. Where nobody knows from where, only the number in all counts.
    pub(super) fn take(self: &Arc<Self>, caller: Option<IpAddr>) -> Result<WatchPermit, QuotaExceeded> {
        let caller = caller.map(network);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let has = caller.and_then(|caller| callers.get(&caller).copied()).unwrap_or_default();
        if has >= self.room.caller {
            return Err(QuotaExceeded::Enough);
        }
        let room = |taken: &mut usize| {
            let room = *taken < self.room.all;
            *taken += usize::from(room);
            room
        };
        if !self.taken.send_if_modified(room) {
            return Err(QuotaExceeded::Full);
        }
        if let Some(caller) = caller {
            callers.insert(caller, has + 1);
        }
        Ok(WatchPermit { places: Arc::clone(self), caller })
    }

    /// Waits until no place is taken.
    pub(super) async fn empty(&self) {
        let mut taken = self.taken.subscribe();
        // The sender is ours.
        let _gone = taken.wait_for(|taken| *taken == 0).await;
    }
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        let mut callers = self.places.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Entry::Occupied(mut has)) = self.caller.map(|caller| callers.entry(caller)) {
            *has.get_mut() -= 1;
            if *has.get() == 0 {
                has.remove();
            }
        }
        self.places.taken.send_modify(|taken| *taken -= 1);
    }
}

/// Whoever has one IPv6 address has as many as fit into its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_caller_gets_no_more_than_its_share_and_gives_it_back() {
        let places = Arc::new(WatchPermits::new(WatchQuota { all: 4, caller: 2 }));
        let refused = |caller| places.take(Some(at(caller))).err();
        let first = places.take(Some(at("192.0.2.1"))).ok();
        let _second = places.take(Some(at("::ffff:192.0.2.1"))).ok();
        assert_eq!(refused("192.0.2.1"), Some(QuotaExceeded::Enough));
        let _third = places.take(Some(at("2001:db8::1"))).ok();
        let _fourth = places.take(Some(at("2001:db8::ffff:2"))).ok();
        assert_eq!(refused("2001:db8:0:0:1::3"), Some(QuotaExceeded::Enough));
        assert_eq!(refused("2001:db8:0:1::1"), Some(QuotaExceeded::Full));
        drop(first);
        assert!(places.take(Some(at("192.0.2.1"))).is_ok());
    }

    #[tokio::test]
    async fn the_last_to_leave_is_noticed() {
        let places = Arc::new(WatchPermits::new(WatchQuota { all: 2, caller: 1 }));
        let (one, other) = (places.take(None).ok(), places.take(None).ok());
        assert!(places.take(None).is_err());
        drop((one, other));
        places.empty().await;
        assert!(places.callers.lock().unwrap().is_empty());
    }
}
