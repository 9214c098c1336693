//! Ids: UUIDs of different types, so that one cannot be passed for another.

use std::fmt;

use uuid::Uuid;

use super::violations::Violations;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads an id that a caller wrote.
            ///
            /// # Errors
            /// The text is not a UUID in its hyphenated form. The path of the violation is empty.
            pub fn parse(text: &str) -> Result<Self, Violations> {
                parse_uuid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Identifies an auditorium.
    AuditoriumId
);
id!(
    /// Identifies a showtime.
    ShowtimeId
);
id!(
    /// Identifies a reservation.
    ReservationId
);
id!(
    /// Identifies a purchase: the sale of a reservation's seats for money.
    PurchaseId
);
id!(
    /// Identifies a payment.
    PaymentId
);
id!(
    /// Identifies a refund.
    RefundId
);
id!(
    /// Identifies a ticket.
    TicketId
);
id!(
    /// Identifies a request that changes something, so that it can be repeated. Callers choose one for each change.
    RequestId
);

/// A sale at a till is one purchase with one payment, and each has the id of its reservation. So all three are known from any one
/// of them.
impl PurchaseId {
    /// The purchase of a reservation whose seats are paid for at a till.
    #[must_use]
    pub fn at_till(reservation_id: ReservationId) -> Self {
        Self(reservation_id.0)
    }

    /// Whether the seats of the reservation are paid for at a till, if this is its purchase.
    #[must_use]
    pub fn is_at_till(self, reservation_id: ReservationId) -> bool {
        self == Self::at_till(reservation_id)
    }
}

impl PaymentId {
    /// The payment of a reservation whose seats are paid for at a till.
    #[must_use]
    pub fn at_till(reservation_id: ReservationId) -> Self {
        Self(reservation_id.0)
    }
}

/// Takes the hyphenated form only, as the contract's `string.uuid` rule does.
fn parse_uuid(text: &str) -> Result<Uuid, Violations> {
    let flaw = || Violations::one("", "must be a UUID");
    if text.len() != 36 {
        return Err(flaw());
    }
    Uuid::try_parse(text).map_err(|_| flaw())
}
