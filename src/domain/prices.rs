//! What the seats of a showtime cost: its price list, and the line that a reservation has for each seat.
//!
//! A showtime's list is settled when it is scheduled and never changes. A reservation keeps its lines, so that what was promised
//! with a hold is what is sold.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    layout::SeatKind,
    money::{Currency, Money},
    seat_index::{BadChoice, BadKind},
    violations::Violations,
};

/// The most ticket types of a list.
pub const MAX_TICKET_TYPES: usize = 20;
/// The most characters of a ticket type's code.
pub const MAX_CODE: usize = 20;
/// The most characters of a ticket type's name.
pub const MAX_NAME: usize = 50;
/// All of a price, in basis points.
pub const WHOLE: i32 = 10_000;

/// The code and the name of the ticket type of a showtime with one price.
const STANDARD: (&str, &str) = ("standard", "Standard");

/// A kind of ticket, such as one for a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketType {
    /// Identifies it in its list.
    pub code: String,
    /// The name that people read.
    pub name: String,
    /// The price of a seat, in the smallest units of the list's currency.
    pub minor: i64,
}

/// What seats cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceList {
    /// The currency of all amounts.
    pub currency: Currency,
    /// The ticket types, at least one. The first is what a seat is sold as if nothing else is asked for.
    pub ticket_types: Vec<TicketType>,
    /// What seats of a kind cost beyond the price of their ticket types.
    pub supplements: Vec<(SeatKind, i64)>,
    /// What each ticket costs beyond that.
    pub fee: i64,
    /// The tax that all of that contains, in basis points of what remains without the tax.
    pub tax_basis_points: i32,
}

/// Tickets of one type that a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TicketCount {
    /// The code of the ticket type.
    pub code: String,
    /// How many seats are sold as this type.
    pub count: u16,
}

/// What one seat of a reservation costs, in the smallest units of its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The index of the ticket type in the showtime's list.
    pub ticket_type: u8,
    /// The price of the ticket type.
    pub price: i64,
    /// The supplement for the kind of the seat.
    pub supplement: i64,
    /// The fee.
    pub fee: i64,
    /// The tax that is contained in the total.
    pub tax: i64,
}

/// What the seats of a reservation cost, from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Each seat costs the same, as the first ticket type, and nothing is added or contained.
    Plain {
        /// The number of seats.
        count: u16,
        /// The price of a seat.
        price: i64,
    },
    /// A line for each seat.
    Each(Arc<[Line]>),
}

/// What was sold as one ticket type, in the smallest units of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TicketTypeSales {
    /// The index of the ticket type in the showtime's list.
    pub ticket_type: u8,
    /// The number of seats.
    pub seat_count: i32,
    /// What they were sold for.
    pub total: i64,
    /// The tax that the total contains.
    pub tax: i64,
}

/// The sales of each ticket type that has any, in the order of the list.
#[must_use]
pub fn by_ticket_type(lines: &[Line]) -> Vec<TicketTypeSales> {
    let mut sales = BTreeMap::new();
    for line in lines {
        let of = TicketTypeSales { ticket_type: line.ticket_type, ..TicketTypeSales::default() };
        let of: &mut TicketTypeSales = sales.entry(line.ticket_type).or_insert(of);
        (of.seat_count, of.total, of.tax) = (of.seat_count + 1, of.total + line.total(), of.tax + line.tax);
    }
    sales.into_values().collect()
}

impl Line {
    /// The line of a seat that costs this and nothing else.
    #[must_use]
    pub fn plain(price: i64) -> Self {
        Self { price, ..Self::default() }
    }

    /// What the seat costs altogether.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.price + self.supplement + self.fee
    }
}

/// What lines come to together, divided by what it is for. Tax is in no other part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// For seats, without tax.
    pub sales: i64,
    /// For fees, without tax.
    pub fees: i64,
    /// Tax.
    pub tax: i64,
}

impl std::iter::Sum for Split {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            sales: sum.sales + one.sales,
            fees: sum.fees + one.fees,
            tax: sum.tax + one.tax,
        })
    }
}

impl Split {
    /// All parts together.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.sales + self.fees + self.tax
    }
}

impl Line {
    /// What the line is for. The fee has a share of the tax, rounded down.
    #[must_use]
    pub fn split(&self) -> Split {
        let total = self.total();
        let in_fee = i128::from(self.tax) * i128::from(self.fee) / i128::from(total.max(1));
        let in_fee = i64::try_from(in_fee).unwrap_or_default();
        Split { sales: total - self.fee - (self.tax - in_fee), fees: self.fee - in_fee, tax: self.tax }
    }
}

impl Lines {
    /// What the lines are for.
    #[must_use]
    pub fn split(&self) -> Split {
        self.iter().map(|line| line.split()).sum()
    }

    /// The lines of seats that cost this together, with nothing added or contained.
    #[must_use]
    pub fn plain(count: u16, total: i64) -> Self {
        Self::Plain { count, price: total / i64::from(count.max(1)) }
    }

    /// The lines, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = Line> + '_ {
        let (each, plain) = match self {
            Self::Plain { count, price } => {
                (&[][..], Some(std::iter::repeat_n(Line::plain(*price), usize::from(*count))))
            }
            Self::Each(lines) => (&lines[..], None),
        };
        each.iter().copied().chain(plain.into_iter().flatten())
    }

    /// The sum of the lines.
    #[must_use]
    pub fn total(&self) -> i64 {
        match self {
            Self::Plain { count, price } => price * i64::from(*count),
            Self::Each(lines) => lines.iter().map(Line::total).sum(),
        }
    }
}

impl PriceList {
    /// The list of a showtime whose seats all cost the same.
    #[must_use]
    pub fn plain(price: Money) -> Self {
        let (code, name) = STANDARD;
        let standard = TicketType { code: code.to_owned(), name: name.to_owned(), minor: price.minor };
        Self {
            currency: price.currency,
            ticket_types: vec![standard],
            supplements: Vec::new(),
            fee: 0,
            tax_basis_points: 0,
        }
    }

    /// Whether each seat costs the price of the only ticket type.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_standard = |only: &TicketType| (only.code.as_str(), only.name.as_str()) == STANDARD;
        let adds_nothing = self.supplements.is_empty() && self.fee == 0 && self.tax_basis_points == 0;
        adds_nothing && matches!(&self.ticket_types[..], [only] if is_standard(only))
    }

    /// The price of the first ticket type.
    #[must_use]
    pub fn price(&self) -> Money {
        Money { currency: self.currency, minor: self.ticket_types.first().map_or(0, |first| first.minor) }
    }

    /// An amount in the list's currency.
    #[must_use]
    pub fn money(&self, minor: i64) -> Money {
        Money { currency: self.currency, minor }
    }

    /// Checks what the types of the fields allow and a list does not, except that the kinds of supplements are unique: the
    /// conversion checks that.
    ///
    /// # Errors
    /// Names every flaw under the fields of `PriceList`.
    pub fn check(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        if self.ticket_types.is_empty() || self.ticket_types.len() > MAX_TICKET_TYPES {
            violations.add("ticket_types", format!("must be 1 to {MAX_TICKET_TYPES} ticket types"));
        }
        for (at, of) in self.ticket_types.iter().enumerate().take(MAX_TICKET_TYPES) {
            let path = format!("ticket_types[{at}]");
            if let Err(why) = check_code(&of.code) {
                violations.add(format!("{path}.code"), why);
            } else if self.ticket_types[..at].iter().any(|before| before.code == of.code) {
                violations.add(format!("{path}.code"), "must be unique in the list");
            }
            let length = of.name.chars().count();
            if length == 0 || length > MAX_NAME || of.name.trim() != of.name || of.name.chars().any(char::is_control) {
                violations.add(
                    format!("{path}.name"),
                    format!("must be 1 to {MAX_NAME} characters, without control characters and spaces around them"),
                );
            }
        }
        if !(0..=WHOLE).contains(&self.tax_basis_points) {
            violations.add("tax_basis_points", format!("must be from 0 to {WHOLE}"));
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Checks tickets for so many seats.
    ///
    /// # Errors
    /// A ticket type is not in the list, or there are not as many tickets as seats.
    pub fn check_tickets(&self, tickets: &[TicketCount], seats: u16) -> Result<(), BadChoice> {
        let mut violations = Violations::new();
        for (at, TicketCount { code, .. }) in tickets.iter().enumerate() {
            if self.index(code).is_none() {
                violations.add(
                    format!("ticket_types[{at}].code"),
                    format!("{code:?} is not a ticket type of this showtime; it has {}", self.codes()),
                );
            }
        }
        if !violations.is_empty() {
            return Err(BadChoice { kind: BadKind::TicketTypeUnknown, violations });
        }
        let count: u32 = tickets.iter().map(|ticket| u32::from(ticket.count)).sum();
        if !tickets.is_empty() && count != u32::from(seats) {
            let violations =
                Violations::one("ticket_types", format!("must be as many tickets as seats: {count} for {seats}"));
            return Err(BadChoice { kind: BadKind::TicketTypesDiffer, violations });
        }
        Ok(())
    }

    /// The lines of seats of these kinds, to which tickets that were checked are given from left to right. Without tickets each is of
    /// the first type.
    #[must_use]
    pub fn lines(&self, tickets: &[TicketCount], kinds: impl ExactSizeIterator<Item = SeatKind>) -> Lines {
        let types = tickets.iter().flat_map(|TicketCount { code, count }| {
            std::iter::repeat_n(self.index(code).unwrap_or_default(), usize::from(*count))
        });
        self.lines_as(types.chain(std::iter::repeat(0)), kinds)
    }

    /// The lines of seats of these kinds, as the ticket types of other lines.
    #[must_use]
    pub fn lines_like(&self, others: &Lines, kinds: impl ExactSizeIterator<Item = SeatKind>) -> Lines {
        self.lines_as(others.iter().map(|other| other.ticket_type), kinds)
    }

    fn lines_as(&self, types: impl Iterator<Item = u8>, kinds: impl ExactSizeIterator<Item = SeatKind>) -> Lines {
        if self.is_plain() {
            return Lines::Plain { count: kinds.len() as u16, price: self.price().minor };
        }
        Lines::Each(types.zip(kinds).map(|(ticket_type, kind)| self.line(ticket_type, kind)).collect())
    }

    /// The index of the ticket type with this code.
    fn index(&self, code: &str) -> Option<u8> {
        self.ticket_types.iter().position(|of| of.code == code).map(|index| index as u8)
    }

    /// The code of the ticket type with this index.
    #[must_use]
    pub fn code(&self, ticket_type: u8) -> &str {
        self.ticket_types.get(usize::from(ticket_type)).map_or("", |of| of.code.as_str())
    }

    fn codes(&self) -> String {
        self.ticket_types.iter().map(|of| of.code.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The tax that an amount contains.
    #[must_use]
    pub fn tax_in(&self, minor: i64) -> i64 {
        contained(minor, self.tax_basis_points)
    }

    /// What a seat of this kind costs as this ticket type.
    fn line(&self, ticket_type: u8, kind: SeatKind) -> Line {
        let price = self.ticket_types.get(usize::from(ticket_type)).map_or(0, |of| of.minor);
        let supplement = self.supplements.iter().find(|(of, _)| *of == kind).map_or(0, |(_, minor)| *minor);
        let line = Line { ticket_type, price, supplement, fee: self.fee, tax: 0 };
        Line { tax: contained(line.total(), self.tax_basis_points), ..line }
    }
}

/// The tax that an amount contains, rounded half to even.
fn contained(total: i64, basis_points: i32) -> i64 {
    let (tax, whole) = (i128::from(total) * i128::from(basis_points), i128::from(WHOLE + basis_points));
    let (quotient, twice) = (tax / whole, 2 * (tax % whole));
    let up = twice > whole || (twice == whole && quotient % 2 == 1);
    (quotient + i128::from(up)) as i64
}

/// Checks the code of a ticket type.
///
/// # Errors
/// Says what a code must be.
pub fn check_code(code: &str) -> Result<(), String> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if code.starts_with(|c: char| c.is_ascii_lowercase()) && code.len() <= MAX_CODE && code.chars().all(is_valid) {
        return Ok(());
    }
    Err(format!(
        "must be 1 to {MAX_CODE} lower-case letters, digits, hyphens and underscores, the first of them a letter"
    ))
}
