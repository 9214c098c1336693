//! Changes of a showtime, which are what a command that is not refused leads to.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Blockage;
use crate::domain::{prices::Line, reservation::Reservation};

/// One change of a showtime. It has the reservation as it is after the change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Seats were held.
    Reserved(Arc<Reservation>),
    /// The payment of a hold began, or was given another time.
    Paying(Arc<Reservation>),
    /// The seats of a hold, or of a reservation that was being paid for, were sold.
    Confirmed(Arc<Reservation>),
    /// The seats of a hold that had expired were sold after all.
    Recovered(Arc<Reservation>),
    /// A hold was extended.
    Extended(Arc<Reservation>),
    /// A reservation was cancelled or its payment given up, and its seats are free.
    Cancelled(Arc<Reservation>),
    /// The lapse of a hold was recorded, and its seats are free.
    Expired(Arc<Reservation>),
    /// All seats of a reservation were exchanged for others.
    Exchanged {
        /// The reservation with the other seats.
        reservation: Arc<Reservation>,
        /// The seats that it had before.
        before: Vec<u16>,
    },
    /// Seats of a sale were given back.
    Released {
        /// The reservation.
        reservation: Arc<Reservation>,
        /// The seats that became free.
        seats: Vec<u16>,
        /// What each of them was sold for.
        lines: Vec<Line>,
        /// Why.
        reason: String,
    },
    /// Money was taken for a reservation that had ended.
    RefundDue(Arc<Reservation>),
    /// Seats were kept back from sale.
    Blocked {
        /// The seats.
        seats: Vec<u16>,
        /// Why.
        blockage: Blockage,
    },
    /// Blocked seats were given back to sale, or taken from there for a reservation.
    Unblocked {
        /// The seats.
        seats: Vec<u16>,
    },
    /// The showtime was cancelled.
    ShowtimeCancelled {
        /// When it was cancelled.
        at: DateTime<Utc>,
        /// The number of cancelled reservations that were confirmed.
        confirmed_count: i32,
    },
}

/// The result of a command that is not refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The changes, which together raise the revision by one. Empty: the command has had its effect before.
    pub changes: Vec<Change>,
    /// The reservation that the command is about, as it is after the changes.
    pub reservation: Option<Arc<Reservation>>,
}

impl Decision {
    /// The decision on a command whose effect the reservation already has.
    pub(super) fn unchanged(reservation: &Arc<Reservation>) -> Self {
        Self { changes: Vec::new(), reservation: Some(Arc::clone(reservation)) }
    }

    /// A decision that changes one reservation.
    pub(super) fn changed(reservation: Reservation, change: impl FnOnce(Arc<Reservation>) -> Change) -> Self {
        Self::also(Vec::new(), reservation, change)
    }

    /// A decision that changes one reservation after other changes.
    pub(super) fn also(
        mut changes: Vec<Change>,
        reservation: Reservation,
        change: impl FnOnce(Arc<Reservation>) -> Change,
    ) -> Self {
        let reservation = Arc::new(reservation);
        changes.push(change(Arc::clone(&reservation)));
        Self { changes, reservation: Some(reservation) }
    }
}
