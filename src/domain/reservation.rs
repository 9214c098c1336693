//! Reservations: seats held for a while by one customer, and what becomes of them.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    ids::{ReservationId, ShowtimeId},
    money::Money,
    seat_index::Block,
    violations::{Violations, printable},
};

/// The longest name of a customer.
pub const MAX_CUSTOMER: usize = 128;
/// The longest name of a method of paying.
pub const MAX_METHOD: usize = 64;
/// The longest name that a till gives to a payment.
pub const MAX_TRANSACTION: usize = 128;

/// A caller's own name for a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomerId(Arc<str>);

impl CustomerId {
    /// Checks a name.
    ///
    /// # Errors
    /// Says, under an empty path, what a name is.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        printable(text, MAX_CUSTOMER)?;
        Ok(Self(text.into()))
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a sale was paid for, as the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tender {
    /// "cash"
    pub method: String,
    /// The till's name for it; may be empty.
    pub transaction_id: String,
}

impl Tender {
    /// Checks a tender.
    ///
    /// # Errors
    /// Names every flaw under its field.
    pub fn check(method: String, transaction_id: String) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        violations.take("method", printable(&method, MAX_METHOD));
        if !transaction_id.is_empty() {
            violations.take("transaction_id", printable(&transaction_id, MAX_TRANSACTION));
        }
        for (field, text) in [("method", &method), ("transaction_id", &transaction_id)] {
            if like_a_card_number(text) {
                violations.add(field, "must not be a card number");
            }
        }
        if violations.is_empty() { Ok(Self { method, transaction_id }) } else { Err(violations) }
    }
}

/// Somewhere in it stand 13 to 19 digits, spaces and hyphens aside, whose check digit is right: nothing that anybody wants
/// to have stored.
fn like_a_card_number(text: &str) -> bool {
    let other = |character: char| !character.is_ascii_digit() && character != ' ' && character != '-';
    text.split(other).any(|part| {
        let digits: Vec<u32> = part.chars().filter_map(|character| character.to_digit(10)).collect();
        (13..=19).contains(&digits.len()) && checks_out(&digits)
    })
}

/// By Luhn's formula.
fn checks_out(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let worth = |(at, digit): (usize, &u32)| if at % 2 == 1 { doubled(*digit) } else { *digit };
    digits.iter().rev().enumerate().map(worth).sum::<u32>().is_multiple_of(10)
}

/// A sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// When the seats were sold,
    pub at: DateTime<Utc>,
    /// and how they were paid for, if anybody said.
    pub tender: Option<Tender>,
}

/// Where a reservation is in its life, as it was last written down. A hold may be over without anybody having written it:
/// see [`Reservation::phase`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Kept until `expire_time`.
    Held,
    /// Sold.
    Confirmed(Sale),
    /// Given up, or cancelled with its showtime.
    Cancelled {
        /// When,
        at: DateTime<Utc>,
        /// and the sale, if there had been one.
        sale: Option<Sale>,
    },
    /// Not confirmed in time.
    Expired,
}

/// Where a reservation is in its life at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It can be confirmed.
    Held,
    /// It is sold.
    Confirmed,
    /// It was given up.
    Cancelled,
    /// It is over.
    Expired,
}

/// Seats of a showtime, held or sold together.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// Its id.
    pub reservation_id: ReservationId,
    /// Of this showtime,
    pub showtime_id: ShowtimeId,
    /// for this person,
    pub customer_id: CustomerId,
    /// these seats,
    pub block: Block,
    /// for so much, whatever happens to prices.
    pub total: Money,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// When the hold was to end as it was made,
    pub first_expire_time: DateTime<Utc>,
    /// and as it stands.
    pub expire_time: DateTime<Utc>,
    /// What became of it.
    pub state: State,
    /// The showtime's revision that made it,
    pub first_revision: i64,
    /// and the one that last changed it.
    pub revision: i64,
}

impl Reservation {
    /// What it is at a moment: a hold is over at its `expire_time`, exactly, written down or not.
    #[must_use]
    pub fn phase(&self, now: DateTime<Utc>) -> Phase {
        match &self.state {
            State::Held if now < self.expire_time => Phase::Held,
            State::Held | State::Expired => Phase::Expired,
            State::Confirmed(_) => Phase::Confirmed,
            State::Cancelled { .. } => Phase::Cancelled,
        }
    }

    /// Whether its hold was prolonged.
    #[must_use]
    pub fn extended(&self) -> bool {
        self.expire_time != self.first_expire_time
    }

    /// The sale, whatever became of it.
    #[must_use]
    pub fn sale(&self) -> Option<&Sale> {
        match &self.state {
            State::Confirmed(sale) => Some(sale),
            State::Cancelled { sale, .. } => sale.as_ref(),
            State::Held | State::Expired => None,
        }
    }

    /// As it was when it was made: what its first answer said.
    #[must_use]
    pub fn as_made(&self) -> Self {
        Self { expire_time: self.first_expire_time, state: State::Held, revision: self.first_revision, ..self.clone() }
    }
}

/// Which reservations somebody asks for. What is `None` lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this customer.
    pub customer_id: Option<CustomerId>,
    /// For this showtime.
    pub showtime_id: Option<ShowtimeId>,
    /// That are this, as of now.
    pub phase: Option<Phase>,
}
