//! Why a command is refused.

use chrono::{DateTime, Utc};

use crate::domain::{
    reservation::Phase,
    seat_index::{BadChoice, Block},
};

/// Why not. Seats are counted through the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No house could give this.
    BadChoice(BadChoice),
    /// Others are in the way.
    Unavailable(Unavailable),
    /// It would leave these seats alone, and another choice would not.
    LeavesOrphan(Unavailable),
    /// The customer would have too many seats.
    CustomerLimit {
        /// Seats that they have,
        has: u16,
        /// may have,
        most: u16,
        /// and when the first of those that are held is free again.
        until: Option<DateTime<Utc>>,
    },
    /// The showtime will not play.
    ShowtimeCancelled {
        /// Since when.
        at: DateTime<Utc>,
    },
    /// It is too late.
    SalesClosed {
        /// When it was not.
        at: DateTime<Utc>,
    },
    /// There is no such reservation, or it is somebody else's.
    NoReservation,
    /// The hold is over.
    Expired {
        /// Since when.
        at: DateTime<Utc>,
    },
    /// It is not a hold any more.
    NotHeld {
        /// But this.
        phase: Phase,
    },
    /// It was sold, and paid for in another way.
    TenderDiffers,
    /// The showtime has been played.
    ShowtimeOver {
        /// When it ended.
        end: DateTime<Utc>,
    },
    /// The showtime has another revision than the command expects.
    RevisionDiffers {
        /// The revision that was expected.
        expected: i64,
    },
    /// Seats were sold.
    HasSales {
        /// In so many reservations.
        count: i32,
    },
}

/// What is in the way, and what could be had instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Every seat in the way. Empty if no particular seats were asked for.
    pub seats: Vec<(u16, Obstacle)>,
    /// Blocks of the same size, the nearest first.
    pub offers: Vec<Block>,
}

/// What stands in the way of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody may still buy it.
    Held {
        /// Until then.
        until: DateTime<Utc>,
    },
    /// Somebody bought it.
    Sold,
    /// Nothing, but it would be left alone.
    Orphan,
}
