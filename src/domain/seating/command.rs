//! Commands, which are all that can change the seats of a showtime.

use std::time::Duration;

use super::Blockage;
use crate::domain::{
    ids::{PurchaseId, ReservationId},
    prices::TicketCount,
    reservation::{CustomerId, Tender},
    seat_index::SeatName,
};

/// A command that may change the seats of a showtime.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Holds seats for a customer.
    Reserve {
        /// The id of the new reservation. It was never used before.
        reservation_id: ReservationId,
        /// The customer.
        customer_id: CustomerId,
        /// What is to be held.
        wish: Wish,
    },
    /// Begins the payment of a hold, or gives the payment of the same purchase another time.
    Pay {
        /// The reservation.
        reservation_id: ReservationId,
        /// The customer to whom the reservation must belong. `None` accepts any.
        customer_id: Option<CustomerId>,
        /// The purchase that is paid for.
        purchase_id: PurchaseId,
        /// How long the payment is given time from now on, at the longest until the sale closes.
        span: Duration,
    },
    /// Gives up the payment of a purchase, and the seats with it.
    StopPayment {
        /// The reservation.
        reservation_id: ReservationId,
        /// The purchase that is given up.
        purchase_id: PurchaseId,
    },
    /// Sells the seats of a hold, or of a reservation that is being paid for.
    Confirm {
        /// The reservation.
        reservation_id: ReservationId,
        /// The customer to whom the reservation must belong. `None` accepts any.
        customer_id: Option<CustomerId>,
        /// How the sale was paid for.
        tender: Option<Tender>,
        /// The purchase that is paid for, whose payment must be under way. `None`: the reservation must be a hold.
        purchase_id: Option<PurchaseId>,
        /// Whether money was taken in any case, so that a hold that has ended gets a verdict. With it there is a tender.
        late: bool,
    },
    /// Cancels a hold.
    Cancel {
        /// The reservation.
        reservation_id: ReservationId,
        /// The customer to whom the reservation must belong. `None` accepts any.
        customer_id: Option<CustomerId>,
    },
    /// Extends a hold.
    Extend {
        /// The reservation.
        reservation_id: ReservationId,
        /// The customer to whom the reservation must belong. `None` accepts any.
        customer_id: Option<CustomerId>,
    },
    /// Gives back seats of a sale.
    Release {
        /// The reservation.
        reservation_id: ReservationId,
        /// The seats. Empty: all that were not given back.
        seats: Vec<SeatName>,
        /// Why.
        reason: String,
    },
    /// Exchanges all seats of a reservation for others.
    Exchange {
        /// The reservation.
        reservation_id: ReservationId,
        /// The customer to whom the reservation must belong. `None` accepts any.
        customer_id: Option<CustomerId>,
        /// The other seats.
        seats: Vec<SeatName>,
    },
    /// Keeps seats back from sale.
    Block {
        /// The seats.
        seats: Vec<SeatName>,
        /// Why.
        blockage: Blockage,
    },
    /// Gives blocked seats back to sale.
    Unblock {
        /// The seats.
        seats: Vec<SeatName>,
    },
    /// Records holds that have lapsed.
    Expire,
    /// Cancels the showtime with all its reservations.
    CancelShowtime {
        /// Whether sales are cancelled too. Without it, a showtime with sales is not cancelled.
        force: bool,
        /// The revision that the showtime must have. `None` accepts any.
        expected_revision: Option<i64>,
    },
}

/// What a customer wants to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// The seats.
    pub choice: Choice,
    /// The tickets, from left to right. Empty: all seats are of the first ticket type.
    pub tickets: Vec<TicketCount>,
    /// Whether accessible seats are asked for.
    pub accessible: bool,
    /// Whether seats that are blocked may be taken too. The seats are then named.
    pub from_block: bool,
}

/// The seats that a customer chooses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// These seats, in any order.
    Seats(Vec<SeatName>),
    /// This many of the best seats, at least one.
    Best(u16),
}

impl Choice {
    /// The number of seats.
    #[must_use]
    pub fn count(&self) -> u16 {
        match self {
            Self::Seats(names) => names.len() as u16,
            Self::Best(count) => *count,
        }
    }
}
