//! A purchase while a task works on it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::{
    domain::{purchase::Purchase, reservation::Reservation},
    store::StoredPurchase,
    telemetry::trace_parent::TraceParent,
};

/// A purchase that is worked on here.
pub(super) struct Held {
    pub(super) purchase: Purchase,
    pub(super) fence: i64,
    /// Whether the last payment was not stored yet.
    pub(super) new_payment: bool,
    /// Whether another task began, and may have been interrupted anywhere.
    pub(super) taken_over: bool,
    /// The reservation as it was decided here last, so that it is not read.
    pub(super) reservation: Option<Decided>,
    pub(super) trace: Option<TraceParent>,
}

/// A reservation as the ledger has decided it, and when that was.
pub(super) type Decided = (Arc<Reservation>, DateTime<Utc>);

impl Held {
    pub(super) fn new(stored: &StoredPurchase, trace: Option<TraceParent>) -> Self {
        let (purchase, fence) = (stored.purchase.clone(), stored.fence);
        Self { purchase, fence, new_payment: false, taken_over: false, reservation: None, trace }
    }
}
