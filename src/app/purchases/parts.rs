//! What purchases need of an instance.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;
use tokio::sync::Semaphore;

use super::changes::Changes;
use crate::{
    domain::ids::{PaymentId, PurchaseId},
    payments::Gateway,
    telemetry::metrics,
};

/// The most purchases that one instance works on at once. A further one is refused.
const MAX_AT_WORK: usize = 16_384;
/// The most watchers of purchases of one instance.
const MAX_WATCHERS: usize = 1_000;
/// The most payments that are remembered because they wait for their customer or for the gateway. Others are found by asking the gateway.
const MAX_AWAITING: u64 = 20_000;
/// How much longer a lease is than two calls of the gateway may take.
const LEASE: Duration = Duration::from_secs(5);

/// Purchases that look up their request id first, after a request was repeated. Without that, a request that is repeated violates the
/// unique index of request ids, and the ledger's batch is repeated request by request.
const LOOKUPS: u32 = 256;

/// The ends of leases are multiples of so many seconds. Most writes of a purchase then leave `due_time` as it is, and with it all
/// indexes of its row.
const LEASE_STEP: i64 = 4;

/// How purchases are paid for.
#[derive(Clone)]
pub struct PaymentOptions {
    /// The gateway.
    pub gateway: Gateway,
    /// The deadline of a call of the gateway.
    pub gateway_timeout: Duration,
    /// How long a payment may take.
    pub pay_time: Duration,
    /// How long a payment may take that waits for its customer.
    pub action_time: Duration,
}

/// What purchases need of an instance.
pub(in crate::app) struct Purchases {
    pub(in crate::app) options: PaymentOptions,
    pub(in crate::app) changes: Changes,
    pub(in crate::app) at_work: Arc<Semaphore>,
    pub(in crate::app) watchers: Arc<Semaphore>,
    /// Payments that wait for their customer or for the gateway, as far as that was found here, so that a push of the gateway about any
    /// other one costs nothing.
    pub(in crate::app) awaiting: Cache<PaymentId, PurchaseId>,
    /// The least time after a write for which no other instance takes a purchase.
    lease: TimeDelta,
    /// Purchases left that look up their request id first.
    lookups: AtomicU32,
}

impl Purchases {
    pub(in crate::app) fn new(options: PaymentOptions) -> Self {
        let lease = TimeDelta::from_std(2 * options.gateway_timeout + LEASE).unwrap_or(TimeDelta::MAX);
        let awaiting = Cache::builder().max_capacity(MAX_AWAITING).time_to_live(options.action_time).build();
        Self {
            lease,
            awaiting,
            options,
            lookups: AtomicU32::new(0),
            changes: Changes::default(),
            at_work: Arc::new(Semaphore::new(MAX_AT_WORK)),
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
        }
    }

    /// Until when no other instance takes a purchase that is written now, unless the write names another time.
    pub(in crate::app) fn lease_end(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let end = now.checked_add_signed(self.lease).unwrap_or(DateTime::<Utc>::MAX_UTC);
        DateTime::from_timestamp((end.timestamp() / LEASE_STEP + 1) * LEASE_STEP, 0).unwrap_or(end)
    }

    /// Whether a new purchase looks up its request id before it asks the ledger.
    pub(super) fn looks_up_first(&self) -> bool {
        self.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Some of the next purchases look up their request ids first, since one was repeated.
    pub(super) fn look_up_first(&self) {
        self.lookups.store(LOOKUPS, Ordering::Relaxed);
    }

    /// Reports the purchases that are worked on here whenever metrics are read.
    pub(in crate::app) fn observe(&self) {
        let permits = Arc::clone(&self.at_work);
        metrics::observe_purchases_at_work(move || MAX_AT_WORK.saturating_sub(permits.available_permits()));
    }
}
