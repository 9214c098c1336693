//! What seats cost, by the price list in the answer that scheduled the showtime.

use boxoffice::pb::{
    boxoffice::{events::v1::Line, v1::Showtime},
    google::r#type::Money,
};

use super::{SeatList, SeatName, event_seat_name, nanos};

/// Amounts are in billionths of the currency unit.
const MINOR: i128 = 10_000_000;

/// The prices of a showtime.
pub(in super::super) struct Prices {
    /// The code and the price of each ticket type.
    types: Vec<(String, i128)>,
    /// The supplement for a premium seat.
    premium: i128,
    fee: i128,
    tax_basis_points: i128,
    /// Whether sales have lines. Those of the release before have none.
    pub(in super::super) has_lines: bool,
}

impl Prices {
    pub(in super::super) fn of(showtime: &Showtime) -> Self {
        let amount = |money: Option<&Money>| money.map(nanos).unwrap_or_default();
        let Some(list) = &showtime.price_list else {
            let types = vec![(String::new(), amount(showtime.price.as_ref()))];
            return Self { types, premium: 0, fee: 0, tax_basis_points: 0, has_lines: false };
        };
        let types = list.ticket_types.iter().map(|of| (of.code.clone(), amount(of.price.as_ref())));
        Self {
            types: types.collect(),
            premium: list.supplements.iter().map(|of| amount(of.amount.as_ref())).sum(),
            fee: amount(list.fee.as_ref()),
            tax_basis_points: list.tax_basis_points.into(),
            has_lines: true,
        }
    }

    /// The ticket type of a seat for which none was asked.
    pub(in super::super) fn first_type(&self) -> &str {
        &self.types[0].0
    }

    fn supplement(&self, list: &SeatList, seat: &SeatName) -> i128 {
        if list.is_premium(seat) { self.premium } else { 0 }
    }

    /// Whether these seats may have this price, each being of one of the ticket types, of which there are at most two.
    pub(in super::super) fn may_cost(&self, list: &SeatList, seats: &[SeatName], total: &Money) -> bool {
        let count = seats.len() as i128;
        let (first, second) = (self.types[0].1, self.types[self.types.len() - 1].1);
        let further: i128 = seats.iter().map(|seat| self.supplement(list, seat) + self.fee).sum();
        (0..=count).any(|of_first| first * of_first + second * (count - of_first) + further == nanos(total))
    }

    /// Whether the line is what such a seat costs.
    pub(in super::super) fn is_right(&self, list: &SeatList, line: &Line) -> bool {
        let Some(seat) = line.seat.as_ref().map(event_seat_name) else { return false };
        let price = self.types.iter().find(|(code, _)| *code == line.ticket_type).map(|(_, price)| *price);
        let amount = |money: &Option<Money>| money.as_ref().map(nanos).unwrap_or_default();
        let (total, tax, whole) = (amount(&line.total), amount(&line.tax), 10_000 + self.tax_basis_points);
        price == Some(amount(&line.price))
            && amount(&line.supplement) == self.supplement(list, &seat)
            && amount(&line.fee) == self.fee
            && total == amount(&line.price) + amount(&line.supplement) + amount(&line.fee)
            // The tax is rounded to the nearest minor unit.
            && 2 * (tax * whole - total * self.tax_basis_points).abs() <= MINOR * whole
    }
}

/// The sum of the totals of these lines.
pub(in super::super) fn sum<'a>(lines: impl IntoIterator<Item = &'a Line>) -> i128 {
    lines.into_iter().filter_map(|line| line.total.as_ref()).map(nanos).sum()
}

/// The line without its seat: what an exchange of a sale keeps.
pub(in super::super) fn without_seat(line: &Line) -> Line {
    Line { seat: None, ..line.clone() }
}
