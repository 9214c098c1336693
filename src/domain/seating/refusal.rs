//! Why a command is refused.

use chrono::{DateTime, Utc};

use crate::domain::{
    ids::PurchaseId,
    reservation::Phase,
    seat_index::{BadChoice, Block},
};

/// Why a command is refused. Seats are given by their numbers in the auditorium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The choice is invalid, whether or not the seats are free.
    BadChoice(BadChoice),
    /// Seats are held, sold or blocked, or there is no free block.
    Unavailable(Unavailable),
    /// The choice would leave orphans, and another block would not.
    LeavesOrphan(Unavailable),
    /// The choice has accessible seats that were not asked for, or companion seats without the seat that they are for.
    AccessibleOnly(Unavailable),
    /// The customer would have too many seats of the showtime.
    CustomerLimit {
        /// The number of seats that the customer holds or has bought.
        has: u16,
        /// The most seats that a customer may have.
        most: u16,
        /// When the first hold of the customer lapses. `None`: all seats are sold or being paid for.
        until: Option<DateTime<Utc>>,
    },
    /// The showtime was cancelled.
    ShowtimeCancelled {
        /// When it was cancelled.
        at: DateTime<Utc>,
    },
    /// The sale of the showtime has closed, or the hold cannot last longer.
    SalesClosed {
        /// When the sale closes.
        at: DateTime<Utc>,
    },
    /// There is no such reservation, or it belongs to another customer.
    NoReservation,
    /// The hold has lapsed.
    Expired {
        /// When it lapsed.
        at: DateTime<Utc>,
    },
    /// The reservation is no longer a hold.
    NotHeld {
        /// `Confirmed` or `Cancelled`.
        phase: Phase,
    },
    /// The reservation is being paid for.
    PaymentPending {
        /// The purchase that is paid for.
        purchase_id: PurchaseId,
        /// Until when the payment is given time. It may be in the past.
        until: DateTime<Utc>,
    },
    /// The reservation is a hold, and its payment has not begun.
    NotPaying,
    /// The reservation was confirmed with another tender, or money is due for another one.
    TenderDiffers,
    /// All seats of the reservation were given back.
    Released,
    /// Seats are not sold by the reservation.
    NotSold {
        /// The seats.
        seats: Vec<u16>,
        /// The state of the reservation. `Confirmed`: the seats are not among its own.
        phase: Phase,
    },
    /// Seats are not blocked.
    NotBlocked {
        /// The seats.
        seats: Vec<u16>,
    },
    /// The showtime has ended.
    ShowtimeOver {
        /// When it ended.
        end: DateTime<Utc>,
    },
    /// The showtime has another revision than the command expects.
    RevisionDiffers {
        /// The revision that was expected.
        expected: i64,
    },
    /// Seats of the showtime are sold.
    HasSales {
        /// The number of confirmed reservations.
        count: i32,
    },
}

/// The seats that are not available, and blocks to choose instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Every seat that is not available. Empty if the best seats were asked for.
    pub seats: Vec<(u16, Obstacle)>,
    /// Free blocks of the same size, the nearest first.
    pub offers: Vec<Block>,
}

/// Why a seat is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The seat is held, or being paid for.
    Held {
        /// When the hold lapses, or until when the payment is given time. Only the latter may be in the past.
        until: DateTime<Utc>,
    },
    /// The seat is sold.
    Sold,
    /// The seat is kept back from sale.
    Blocked,
    /// The seat is free, and for those who ask for accessible seats.
    AccessibleOnly,
    /// The seat is free and would be left as an orphan.
    Orphan,
}
