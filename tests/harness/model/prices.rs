//! The prices of the model, reckoned in the plainest way.

use boxoffice::domain::{
    layout::SeatKind,
    prices::{Line, Lines, PriceList, TicketCount},
    seat_index::BadKind,
};

/// The index of the ticket type of each seat.
pub(super) fn types(list: &PriceList, tickets: &[TicketCount], seats: usize) -> Result<Vec<usize>, BadKind> {
    let mut types = Vec::new();
    for ticket in tickets {
        let codes: Vec<_> = list.ticket_types.iter().map(|of| &of.code).collect();
        let index = codes.iter().position(|code| **code == ticket.code).ok_or(BadKind::TicketTypeUnknown)?;
        for _ in 0..ticket.count {
            types.push(index);
        }
    }
    if tickets.is_empty() {
        types = vec![0; seats];
    }
    if types.len() == seats { Ok(types) } else { Err(BadKind::TicketTypesDiffer) }
}

pub(super) fn lines(list: &PriceList, types: &[usize], kinds: impl Iterator<Item = SeatKind>) -> Lines {
    let mut lines = Vec::new();
    for (of, kind) in types.iter().zip(kinds) {
        let price = list.ticket_types[*of].minor;
        let supplement = list.supplements.iter().filter(|(other, _)| *other == kind).map(|(_, minor)| minor).sum();
        let total = price + supplement + list.fee;
        let ticket_type = u8::try_from(*of).expect("few types");
        lines.push(Line {
            ticket_type,
            price,
            supplement,
            fee: list.fee,
            tax: tax(total, list.tax_basis_points.into()),
        });
    }
    let is_plain =
        list.ticket_types.len() == 1 && list.supplements.is_empty() && list.fee == 0 && list.tax_basis_points == 0;
    if is_plain && list.ticket_types[0].code == "standard" {
        return Lines::Plain {
            count: u16::try_from(lines.len()).expect("few seats"),
            price: list.ticket_types[0].minor,
        };
    }
    Lines::Each(lines.into())
}

/// The whole amount that is nearest to the tax. Of two that are as near, the even one.
fn tax(total: i64, basis_points: i64) -> i64 {
    let whole = 10_000 + basis_points;
    let distance = |tax: &i64| (total * basis_points - tax * whole).abs();
    let guess = total * basis_points / whole;
    let candidates = [guess - 1, guess, guess + 1, guess + 2];
    *candidates.iter().min_by_key(|tax| (distance(tax), *tax % 2 != 0)).expect("there are some")
}
