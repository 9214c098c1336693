//! What goes with seats that are given up or exchanged: which payment they were sold by, what is given back, and what becomes of refunds
//! that are open.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        ids::{PaymentId, PurchaseId},
        refund::{Chosen, Refund, blocked, choose_released, left, refunds_some_of},
        reservation::Reservation,
        seating::{Change, Command, ShowtimePlan},
    },
    store::{Companion, RefundVersion, StoredPayment, exclude_refunds, give_up_first},
};

/// The version that no payment has.
const NO_VERSION: i64 = -1;

/// The reservation that gives up seats with this change, and the payment and the purchase by which they were sold.
pub(super) fn given_up(change: &Change) -> Option<(&Reservation, PaymentId, PurchaseId)> {
    let (Change::Released { reservation, .. } | Change::Cancelled(reservation)) = change else { return None };
    let (payment_id, purchase_id) = sold_by(reservation)?;
    Some((reservation, payment_id, purchase_id))
}

/// The payment and the purchase by which seats were sold. A sale that was paid by the gateway names its payment as the transaction.
pub(super) fn sold_by(reservation: &Reservation) -> Option<(PaymentId, PurchaseId)> {
    let (sale, id) = (reservation.sale()?, reservation.reservation_id);
    // What has no purchase in memory was given the one of a sale at a till since then.
    match reservation.purchase_id() {
        Some(purchase_id) if !purchase_id.is_at_till(id) => {
            Some((PaymentId::parse(&sale.tender.as_ref()?.transaction_id).ok()?, purchase_id))
        }
        _ => Some((PaymentId::at_till(id), PurchaseId::at_till(id))),
    }
}

/// The row that goes with an exchange of seats that were paid for. While a refund of them is pending, no payment has such a row.
pub(super) fn exchanged(change: &Change, known: &HashMap<PaymentId, StoredPayment>) -> Option<Companion> {
    let Change::Exchanged { reservation, .. } = change else { return None };
    let (payment_id, _) = sold_by(reservation)?;
    let known = known.get(&payment_id);
    let is_pending = known.is_some_and(|stored| blocked(&stored.refunds).next().is_some());
    let version = if is_pending { RefundVersion::Exactly(NO_VERSION) } else { version_under_lock(known) };
    Some(exclude_refunds(payment_id, version))
}

/// The rows that go with seats that are given up while a refund is open: one that was to give them up only gives their money back from
/// then on, and the money of one that concerns no seats is owed. If a refund is to give up seats that are still sold as well, no
/// payment has such a row.
pub(super) fn given_up_first(
    plan: &ShowtimePlan,
    change: &Change,
    known: &HashMap<PaymentId, StoredPayment>,
    now: DateTime<Utc>,
) -> Vec<Companion> {
    let Some((reservation, payment_id, _)) = given_up(change) else { return Vec::new() };
    let Some(StoredPayment { refunds, .. }) = known.get(&payment_id) else { return Vec::new() };
    let name = |seat| plan.seat_index.name(seat);
    let (gone, left): (Vec<_>, Vec<_>) = match change {
        Change::Released { seats, .. } => {
            (seats.iter().map(|seat| name(*seat)).collect(), reservation.seats().map(name).collect())
        }
        _ => (reservation.seats().map(name).collect(), Vec::new()),
    };
    let row = |refund: &Refund| {
        let named = &refund.facts.chosen.seats;
        let is_about = named.is_empty() || named.iter().any(|seat| gone.contains(seat));
        let is_whole = !named.iter().any(|seat| left.contains(seat));
        let never = || exclude_refunds(payment_id, RefundVersion::Exactly(NO_VERSION));
        is_about.then(|| if is_whole { give_up_first(refund, now) } else { never() })
    };
    refunds.iter().filter(|refund| refund.is_open() && !refund.is_owed()).filter_map(row).collect()
}

/// Whether seats cannot be given up or exchanged because a refund that is to give them up has not ended.
pub(super) fn in_the_way(command: &Command, known: &[StoredPayment]) -> bool {
    known.iter().any(|StoredPayment { refunds, .. }| match command {
        Command::Exchange { .. } => blocked(refunds).next().is_some(),
        // Without seats, all that are left are given up.
        Command::Release { seats, .. } if !seats.is_empty() => refunds_some_of(refunds, seats),
        _ => false,
    })
}

/// The version that a payment must have if refunds of it begin under the lock of the showtime. If all refunds before were of seats that
/// were given up in the same way, further ones of these do not matter: what the seats that are left cost is left of the payment.
pub(super) fn version_under_lock(known: Option<&StoredPayment>) -> RefundVersion {
    let Some(StoredPayment { refunds, refund_version, .. }) = known else { return RefundVersion::LikeThis(0) };
    if refunds.iter().all(Refund::seats_are_given_up) {
        RefundVersion::LikeThis(*refund_version)
    } else {
        RefundVersion::Exactly(*refund_version)
    }
}

/// What is given back for the seats that are given up with a change.
pub(super) fn released(plan: &ShowtimePlan, change: &Change, known: Option<&StoredPayment>) -> Option<Chosen> {
    let name = |seat| plan.seat_index.name(seat);
    let refunds = known.map_or(&[][..], |stored| &stored.refunds);
    let left = known.map(|stored| left(&stored.payment, refunds));
    match change {
        Change::Released { reservation, seats, lines, .. } => {
            let seats = seats.iter().map(|seat| name(*seat)).zip(lines.iter().copied());
            choose_released(left, refunds, reservation.currency, seats)
        }
        Change::Cancelled(reservation) => {
            let live = reservation.all_lines().filter(|(one, _)| !one.released);
            choose_released(left, refunds, reservation.currency, live.map(|(one, line)| (name(one.seat), line)))
        }
        _ => None,
    }
}
