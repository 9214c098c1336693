//! Names of things: UUIDs that cannot be confused with each other.

use std::fmt;

use uuid::Uuid;

use super::violations::Violations;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads the id as a caller wrote it.
            ///
            /// # Errors
            /// Says, under an empty path, that it is not a UUID.
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
    /// Names an auditorium.
    AuditoriumId
);
id!(
    /// Names a showtime.
    ShowtimeId
);
id!(
    /// Names a reservation.
    ReservationId
);
id!(
    /// Makes a mutation's retry harmless: chosen by the caller, one for each intention.
    RequestId
);

/// The hyphenated form only: what the contract's `string.uuid` rule admits.
fn parse_uuid(text: &str) -> Result<Uuid, Violations> {
    let flaw = || Violations::one("", "must be a UUID");
    if text.len() != 36 {
        return Err(flaw());
    }
    Uuid::try_parse(text).map_err(|_| flaw())
}
