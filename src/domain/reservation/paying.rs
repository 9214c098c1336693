//! The payment of a reservation that is under way.

use chrono::{DateTime, Utc};

use crate::domain::ids::PurchaseId;

/// A payment that is, or was, under way for a reservation.
///
/// While it is under way it may still succeed, so the seats belong to nobody else, whatever the time is. The ledger ends it: by the
/// sale, or by giving the seats up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paying {
    /// The purchase that is paid for.
    pub purchase_id: PurchaseId,
    /// Until when the payment is given time. Nothing ends at this time by itself.
    pub pay_until: DateTime<Utc>,
}
