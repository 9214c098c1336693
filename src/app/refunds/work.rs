//! What refunds need of an instance.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::background::Nudge;

/// The refunds that one instance works on at once. The gateway is not asked for more at a time.
const MAX_AT_WORK: usize = 64;

/// The work on refunds of one instance.
pub(in crate::app) struct Refunds {
    /// Starts the search for refunds that are due.
    pub(in crate::app) begun: Nudge,
    /// One permit for each refund that is worked on.
    pub(super) at_work: Arc<Semaphore>,
}

impl Default for Refunds {
    fn default() -> Self {
        Self { begun: Nudge::default(), at_work: Arc::new(Semaphore::new(MAX_AT_WORK)) }
    }
}
