//! What a refund gives back. All refunds of a payment that are done or may be are together at most the payment.

use super::Refund;
use crate::domain::{
    money::{Currency, Money},
    prices::{Line, Split},
    purchase::{Payment, PaymentState},
    reservation::Reservation,
    seat_index::{SeatIndex, SeatName},
};

/// What is asked to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundWish {
    /// All that is left, and all seats.
    All,
    /// What these seats cost.
    Seats(Vec<SeatName>),
    /// An amount. No seat is given up for it.
    Amount(Money),
}

/// What is given back, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The amount, more than zero.
    pub amount: Money,
    /// What the seats cost. It may differ from the amount.
    pub split: Split,
    /// The seats.
    pub seats: Vec<SeatName>,
}

/// Why nothing is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundRefusal {
    /// The payment is under way.
    Pending,
    /// No money was taken, all of it was given back or is about to be, or the seats are not among those that were paid for.
    Nothing,
    /// A seat is given up when its refund is done, so it is not exchanged before, and not released without the others of that refund.
    SeatsPending,
    /// Tickets of these seats were used.
    TicketUsed {
        /// The seats.
        seats: Vec<SeatName>,
    },
    /// It needs no operator.
    NotStuck,
    /// More is asked for than is left.
    Exceeds {
        /// What is left.
        left: Money,
    },
    /// The amount has another currency than the payment.
    OtherCurrency {
        /// The currency of the payment.
        currency: Currency,
    },
}

/// What is left of a payment: the amount without the refunds that are done or may be.
#[must_use]
pub fn left(payment: &Payment, refunds: &[Refund]) -> i64 {
    let counted = refunds.iter().filter(|refund| refund.counts());
    payment.amount.minor - counted.map(|refund| refund.facts.chosen.amount.minor).sum::<i64>()
}

/// What is given back for this wish. Without a reservation the payment has sold no seats, so that none are given back.
///
/// # Errors
/// Why nothing is given back.
pub fn choose(
    wish: &RefundWish,
    payment: &Payment,
    refunds: &[Refund],
    reservation: Option<&Reservation>,
    seat_index: &SeatIndex,
) -> Result<Chosen, RefundRefusal> {
    match payment.state {
        PaymentState::Pending | PaymentState::Processing | PaymentState::Authorized => {
            return Err(RefundRefusal::Pending);
        }
        PaymentState::Declined | PaymentState::Voided | PaymentState::Failed | PaymentState::Refunded => {
            return Err(RefundRefusal::Nothing);
        }
        PaymentState::Completed | PaymentState::PartiallyRefunded => {}
    }
    let money = |minor| Money { minor, ..payment.amount };
    let left = left(payment, refunds);
    if left <= 0 {
        return Err(RefundRefusal::Nothing);
    }
    let within = |chosen: Chosen| match chosen.amount.minor {
        minor if minor > left => Err(RefundRefusal::Exceeds { left: money(left) }),
        ..=0 => Err(RefundRefusal::Nothing),
        _ => Ok(chosen),
    };
    let pending: Vec<_> = blocked(refunds).collect();
    let live = reservation.into_iter().flat_map(Reservation::all_lines).filter(|(one, _)| !one.released);
    let live = live.map(|(one, line)| (seat_index.name(one.seat), line));
    let live: Vec<_> = live.filter(|(name, _)| !pending.contains(name)).collect();
    match wish {
        RefundWish::All => {
            let (seats, lines): (Vec<_>, Vec<_>) = live.into_iter().unzip();
            Ok(Chosen { amount: money(left), split: total(&lines), seats })
        }
        RefundWish::Amount(amount) if amount.currency != payment.amount.currency => {
            Err(RefundRefusal::OtherCurrency { currency: payment.amount.currency })
        }
        RefundWish::Amount(amount) => within(Chosen { amount: *amount, split: Split::default(), seats: Vec::new() }),
        RefundWish::Seats(names) => {
            if names.iter().any(|name| live.iter().all(|(own, _)| own != name)) {
                return Err(RefundRefusal::Nothing);
            }
            let wanted = live.into_iter().filter(|(own, _)| names.contains(own));
            let (seats, lines): (Vec<_>, Vec<_>) = wanted.unzip();
            let split = total(&lines);
            within(Chosen { amount: money(split.total()), split, seats })
        }
    }
}

/// What is given back for seats that were given up. `None`: nothing is left, or the seats cost nothing, or their refund began
/// before.
#[must_use]
pub fn choose_released(
    left: Option<i64>,
    refunds: &[Refund],
    currency: Currency,
    released: impl Iterator<Item = (SeatName, Line)>,
) -> Option<Chosen> {
    let pending: Vec<_> = blocked(refunds).collect();
    let (seats, lines): (Vec<_>, Vec<_>) = released.filter(|(name, _)| !pending.contains(name)).unzip();
    let split = total(&lines);
    let minor = left.map_or(split.total(), |left| left.min(split.total()));
    (minor > 0).then_some(Chosen { amount: Money { currency, minor }, split, seats })
}

/// The seats that are given up once their refund is done.
pub fn blocked(refunds: &[Refund]) -> impl Iterator<Item = SeatName> + '_ {
    releasing(refunds).flat_map(|refund| refund.facts.chosen.seats.iter().copied())
}

/// Whether one of the refunds is to give up some of these seats, and others.
#[must_use]
pub fn refunds_some_of(refunds: &[Refund], seats: &[SeatName]) -> bool {
    releasing(refunds).any(|refund| {
        let named = refund.facts.chosen.seats.iter().filter(|seat| seats.contains(seat)).count();
        (1..refund.facts.chosen.seats.len()).contains(&named)
    })
}

/// The refunds that are to give up their seats when they are done.
fn releasing(refunds: &[Refund]) -> impl Iterator<Item = &Refund> {
    refunds.iter().filter(|refund| refund.facts.releases && refund.is_open())
}

fn total(lines: &[Line]) -> Split {
    lines.iter().map(Line::split).sum()
}
