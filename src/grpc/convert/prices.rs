//! Price lists, tickets and lines.

use super::{
    common::finish,
    seats::seat,
    values::{money, price, required},
};
use crate::{
    app::SoldLines,
    domain::{
        layout::SeatKind,
        money::{Currency, Money},
        prices::{
            Line, MAX_TICKET_TYPES, PriceList, TicketCount, TicketType, TicketTypeSales, by_ticket_type, check_code,
        },
        reservation::{Reservation, ReservedSeat},
        seating::ShowtimePlan,
        violations::Violations,
    },
    pb::{boxoffice::v1 as pb, google::r#type::Money as PbMoney},
};

/// The most supplements of a list: one for each kind of seat.
const MAX_SUPPLEMENTS: usize = 4;
/// The most tickets of one type that the contract accepts, and the most entries.
const MAX_TICKETS: usize = 100;

/// Reads what the seats of a new showtime cost: one price, or a list.
pub(super) fn prices(one: Option<&PbMoney>, list: Option<&pb::PriceList>) -> Result<PriceList, Violations> {
    let mut violations = Violations::new();
    let prices = match (one, list) {
        (Some(one), None) => violations.take("price", price(one)).map(PriceList::plain),
        (None, Some(list)) => violations.take("price_list", price_list(list)),
        (None, None) => {
            violations.add("price", "is required, unless price_list is given");
            violations.add("price_list", "is required, unless price is given");
            None
        }
        (Some(_), Some(_)) => {
            violations.add("price", "must be left out if price_list is given");
            violations.add("price_list", "must be left out if price is given");
            None
        }
    };
    finish(violations, prices)
}

fn price_list(list: &pb::PriceList) -> Result<PriceList, Violations> {
    let mut violations = Violations::new();
    let mut amounts = Amounts::default();
    let mut ticket_types = Vec::new();
    for (at, pb::TicketType { code, name, price }) in list.ticket_types.iter().enumerate().take(MAX_TICKET_TYPES + 1) {
        let minor = amounts.read(&mut violations, &format!("ticket_types[{at}].price"), price.as_ref());
        ticket_types.push(TicketType { code: code.clone(), name: name.clone(), minor });
    }
    let mut supplements = Vec::new();
    if list.supplements.len() > MAX_SUPPLEMENTS {
        violations.add("supplements", format!("must be at most {MAX_SUPPLEMENTS} supplements"));
    }
    for (at, pb::Supplement { kind: of, amount }) in list.supplements.iter().enumerate().take(MAX_SUPPLEMENTS) {
        let minor = amounts.read(&mut violations, &format!("supplements[{at}].amount"), amount.as_ref());
        match kind(*of) {
            Some(kind) if supplements.iter().any(|(before, _)| *before == kind) => {
                violations.add(format!("supplements[{at}].kind"), "must be unique in the list");
            }
            Some(kind) => supplements.push((kind, minor)),
            None => violations.add(format!("supplements[{at}].kind"), "must be a known kind"),
        }
    }
    let fee = list.fee.as_ref().map_or(0, |fee| amounts.read(&mut violations, "fee", Some(fee)));
    // A list without ticket types is refused below, and has no other amounts that matter.
    let currency = amounts.currency.or_else(|| Currency::all().next());
    let list = currency.map(|currency| PriceList {
        currency,
        ticket_types,
        supplements,
        fee,
        tax_basis_points: list.tax_basis_points,
    });
    if let Some(Err(flaws)) = list.as_ref().map(PriceList::check) {
        violations.absorb("", flaws);
    }
    finish(violations, list)
}

/// The amounts of a list, which are in one currency.
#[derive(Default)]
struct Amounts {
    currency: Option<Currency>,
}

impl Amounts {
    /// Reads an amount, and notes what is wrong with it.
    fn read(&mut self, violations: &mut Violations, path: &str, amount: Option<&PbMoney>) -> i64 {
        let Some(Money { currency, minor }) = violations.take(path, required(amount).and_then(price)) else { return 0 };
        let first = *self.currency.get_or_insert(currency);
        if currency != first {
            violations.add(
                format!("{path}.currency_code"),
                format!("must be {}, as the first amount of the list is", first.code()),
            );
        }
        minor
    }
}

fn kind(kind: i32) -> Option<SeatKind> {
    Some(match pb::SeatKind::try_from(kind).ok()? {
        pb::SeatKind::Unspecified => return None,
        pb::SeatKind::Standard => SeatKind::Standard,
        pb::SeatKind::Accessible => SeatKind::Accessible,
        pb::SeatKind::Companion => SeatKind::Companion,
        pb::SeatKind::Premium => SeatKind::Premium,
    })
}

/// Reads the tickets of a request.
pub(super) fn tickets(counts: &[pb::TicketCount]) -> Result<Vec<TicketCount>, Violations> {
    let (mut violations, mut tickets) = (Violations::new(), Vec::new());
    if counts.len() > MAX_TICKETS {
        violations.add("", format!("must have at most {MAX_TICKETS} entries"));
    }
    for (at, pb::TicketCount { code, count }) in counts.iter().enumerate().take(MAX_TICKETS) {
        if let Err(why) = check_code(code) {
            violations.add(format!("[{at}].code"), why);
        }
        match u16::try_from(*count) {
            Ok(count) if (1..=MAX_TICKETS).contains(&usize::from(count)) => {
                tickets.push(TicketCount { code: code.clone(), count });
            }
            _ => violations.add(format!("[{at}].count"), format!("must be from 1 to {MAX_TICKETS}")),
        }
    }
    finish(violations, Some(tickets))
}

pub(super) fn encoded_list(list: &PriceList) -> pb::PriceList {
    let PriceList { ticket_types, supplements, fee, tax_basis_points, .. } = list;
    let ticket_type = |TicketType { code, name, minor }: &TicketType| pb::TicketType {
        code: code.clone(),
        name: name.clone(),
        price: Some(money(list.money(*minor))),
    };
    let supplement = |(of, minor): &(SeatKind, i64)| {
        let kind = match of {
            SeatKind::Standard => pb::SeatKind::Standard,
            SeatKind::Accessible => pb::SeatKind::Accessible,
            SeatKind::Companion => pb::SeatKind::Companion,
            SeatKind::Premium => pb::SeatKind::Premium,
        };
        pb::Supplement { kind: kind.into(), amount: Some(money(list.money(*minor))) }
    };
    pb::PriceList {
        ticket_types: ticket_types.iter().map(ticket_type).collect(),
        supplements: supplements.iter().map(supplement).collect(),
        fee: amount(list, *fee),
        tax_basis_points: *tax_basis_points,
    }
}

/// What each seat of a reservation costs.
pub(super) fn lines(plan: &ShowtimePlan, reservation: &Reservation) -> Vec<pb::Line> {
    let list = &plan.facts.prices;
    let line = |(one, line): (ReservedSeat, Line)| pb::Line {
        seat: Some(seat(plan.seat_index.name(one.seat))),
        ticket_type: list.code(line.ticket_type).to_owned(),
        price: Some(money(list.money(line.price))),
        supplement: amount(list, line.supplement),
        fee: amount(list, line.fee),
        tax: amount(list, line.tax),
        total: Some(money(list.money(line.total()))),
        released: one.released,
    };
    reservation.all_lines().map(line).collect()
}

/// What was sold, by a showtime's list.
pub(crate) fn showtime_sales(list: &PriceList, sold: &SoldLines) -> pb::ShowtimeSales {
    let by_type = by_ticket_type(&sold.lines);
    let ticket_type = |of: &TicketTypeSales| pb::TicketTypeSales {
        code: list.code(of.ticket_type).to_owned(),
        seat_count: of.seat_count,
        total: Some(money(list.money(of.total))),
        tax: amount(list, of.tax),
    };
    let total = by_type.iter().map(|of| of.total).sum();
    pb::ShowtimeSales {
        seat_count: by_type.iter().map(|of| of.seat_count).sum(),
        total: (!by_type.is_empty()).then(|| money(list.money(total))),
        ticket_types: by_type.iter().map(ticket_type).collect(),
        revision: sold.revision,
    }
}

/// An amount that is left out if it is nothing.
fn amount(list: &PriceList, minor: i64) -> Option<PbMoney> {
    (minor != 0).then(|| money(list.money(minor)))
}
