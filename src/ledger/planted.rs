//! Bugs of decisions that are planted to show that the tests find them (see [`crate::store::planted`]).

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        reservation::{Phase, Reservation},
        seating::{BlockReason, Blockage, Change, Command, Decision, Obstacle, Refusal, Rules, Seating},
    },
    store::planted::{self, Bug},
};

/// What a refused exchange has changed already, if such a bug is planted: the seats that it was to give up are free.
pub(super) fn freed_first(
    seating: &Seating,
    command: &Command,
    refusal: &Refusal,
    now: DateTime<Utc>,
) -> Option<Vec<Change>> {
    let (Command::Exchange { reservation_id, .. }, Refusal::Unavailable(_)) = (command, refusal) else { return None };
    let reservation = seating.reservation(*reservation_id).filter(|_| planted::has(Bug::ExchangeFreesFirst))?;
    let freed = (**reservation).clone().cancel_with_showtime(now, seating.revision() + 1)?;
    Some(vec![Change::Cancelled(Arc::new(freed))])
}

/// What is freed before a command is decided, if such a bug is planted: seats that are being paid for, once the payment's time is over.
pub(super) fn freed_while_paying(seating: &Seating, now: DateTime<Utc>) -> Option<Vec<Change>> {
    if !planted::has(Bug::ReleaseWhilePaying) {
        return None;
    }
    let overdue = seating.live().filter(|one| one.phase(now) == Phase::Paying && one.pay_until() <= Some(now));
    let freed = overdue.filter_map(|one| (**one).clone().stop_payment(now, seating.revision() + 1));
    let freed: Vec<_> = freed.map(|freed| Change::Cancelled(Arc::new(freed))).collect();
    (!freed.is_empty()).then_some(freed)
}

/// The decision, or a sale instead of a refund, if a bug is planted that ignores what stands in its way.
pub(super) fn sold_anyway(
    seating: &Seating,
    decided: Decision,
    command: &Command,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Decision {
    match recovered(seating, &decided, command, rules, now).map(Arc::new) {
        None => decided,
        Some(sold) => {
            let Decision { mut changes, .. } = decided;
            changes.pop();
            changes.push(Change::Recovered(Arc::clone(&sold)));
            Decision { changes, reservation: Some(sold) }
        }
    }
}

/// Whether a recovered sale claims no seats, since others have claimed them already.
pub(super) fn claims_nothing() -> bool {
    planted::has(Bug::LateTakesBlocked) || planted::has(Bug::LateTakesSold)
}

fn recovered(
    seating: &Seating,
    decided: &Decision,
    command: &Command,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Option<Reservation> {
    let ignored = if planted::has(Bug::LateTakesBlocked) {
        Obstacle::Blocked
    } else if planted::has(Bug::LateTakesSold) {
        Obstacle::Sold
    } else {
        return None;
    };
    let (Command::Confirm { tender, .. }, Some(Change::RefundDue(owed))) = (command, decided.changes.last()) else {
        return None;
    };
    // Seats that are not free cannot be blocked, and the refusal says why.
    let seats = owed.seats().map(|seat| seating.plan().seat_index.name(seat)).collect();
    let block = Command::Block { seats, blockage: Blockage { reason: BlockReason::House, note: String::new() } };
    let Err(Refusal::Unavailable(taken)) = seating.decide(&block, rules, now) else { return None };
    let ignores_all = taken.seats.iter().all(|(_, obstacle)| *obstacle == ignored);
    let lapsed =
        seating.reservation(owed.reservation_id).filter(|it| ignores_all && it.phase(now) == Phase::Expired)?;
    let (lapsed, revision) = ((**lapsed).clone(), seating.revision() + 1);
    lapsed.clone().expire(now, revision).unwrap_or(lapsed).recover(tender.clone()?, now, revision)
}
