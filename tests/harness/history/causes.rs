//! Checks that every change in the events is the effect of a request that asks for it, and a change that can be made once, of one.

use std::collections::HashMap;

use boxoffice::pb::boxoffice::events::v1::{Event, SeatsReleasedReason, event::Payload};

use super::{Operation, answers::Effect, check::Timeline};

/// The requests whose effect a change can be.
struct Cause<'a> {
    /// Empty if seats were blocked or unblocked.
    reservation_id: &'a str,
    asks_for_it: Box<dyn Fn(&Operation) -> bool + 'a>,
    /// Whether a second request would not have found it as it wants it.
    only_one: bool,
}

impl<'a> Cause<'a> {
    fn one(reservation_id: &'a str, asks_for_it: impl Fn(&Operation) -> bool + 'a) -> Self {
        Self { reservation_id, asks_for_it: Box::new(asks_for_it), only_one: true }
    }

    fn any(reservation_id: &'a str, asks_for_it: impl Fn(&Operation) -> bool + 'a) -> Self {
        Self { only_one: false, ..Self::one(reservation_id, asks_for_it) }
    }
}

pub(super) fn check_causes(timeline: &Timeline, effects: &[(&str, Effect<'_>)]) -> Vec<String> {
    let mut causes: HashMap<(i64, &str), Vec<&Operation>> = HashMap::new();
    let mut anomalies = Vec::new();
    for (_, effect) in effects {
        causes.entry((effect.revision, &effect.reservation_id)).or_default().push(effect.operation);
    }
    for (revision, step) in &timeline.events {
        for event in step {
            let Some(cause) = cause_of(event, step) else { continue };
            let requests = causes.get(&(*revision, cause.reservation_id)).into_iter().flatten();
            let count = requests.filter(|operation| (cause.asks_for_it)(operation)).count();
            if count == 0 || cause.only_one && count > 1 {
                anomalies.push(format!("revision {revision} is the effect of {count} requests: {event:?}"));
            }
        }
    }
    anomalies
}

/// What must have caused the event. `None`: no request, or the showtime was cancelled.
fn cause_of<'a>(event: &'a Event, step: &'a [Event]) -> Option<Cause<'a>> {
    let has = |what: fn(&Payload) -> bool| step.iter().filter_map(|event| event.payload.as_ref()).any(what);
    Some(match event.payload.as_ref()? {
        Payload::ReservationCreated(event) => {
            let from_block = has(|payload| matches!(payload, Payload::SeatsUnblocked(_)));
            Cause::one(
                &event.reservation_id,
                move |operation| matches!(operation, Operation::Reserve(request) if request.from_block || !from_block),
            )
        }
        Payload::ReservationConfirmed(event) => Cause::any(
            &event.reservation_id,
            |operation| matches!(operation, Operation::Confirm(request) if request.late || !event.recovered),
        ),
        Payload::RefundDue(event) => Cause::any(
            &event.reservation_id,
            |operation| matches!(operation, Operation::Confirm(request) if request.late),
        ),
        Payload::ReservationExtended(event) => {
            Cause::any(&event.reservation_id, |operation| matches!(operation, Operation::Extend(_)))
        }
        Payload::SeatsExchanged(event) => {
            Cause::any(&event.reservation_id, |operation| matches!(operation, Operation::Exchange(_)))
        }
        Payload::SeatsReleased(event) if event.reason() == SeatsReleasedReason::GivenBack => Cause::one(
            &event.reservation_id,
            |operation| matches!(operation, Operation::Release(request) if request.reason == event.note),
        ),
        Payload::ReservationCancelled(_) if has(|payload| matches!(payload, Payload::ShowtimeCancelled(_))) => {
            return None;
        }
        Payload::ReservationCancelled(event) => Cause::any(&event.reservation_id, |operation| {
            matches!(operation, Operation::Cancel(_) | Operation::Release(_))
        }),
        Payload::SeatsBlocked(_) => Cause::one("", |operation| matches!(operation, Operation::Block(_))),
        // A reservation takes seats from a block; its cause is checked above.
        Payload::SeatsUnblocked(_) if has(|payload| matches!(payload, Payload::ReservationCreated(_))) => return None,
        Payload::SeatsUnblocked(_) => Cause::one("", |operation| matches!(operation, Operation::Unblock(_))),
        Payload::ShowtimeCreated(_)
        | Payload::ShowtimeCancelled(_)
        | Payload::ReservationExpired(_)
        | Payload::ReservationPaying(_)
        | Payload::SeatsReleased(_)
        // Those of other aggregates.
        | Payload::PurchaseStarted(_)
        | Payload::PurchaseStepCompleted(_)
        | Payload::PurchaseCompleted(_)
        | Payload::PurchaseCompensated(_)
        | Payload::PurchaseStuck(_)
        | Payload::PaymentAuthorized(_)
        | Payload::PaymentCompleted(_)
        | Payload::PaymentDeclined(_)
        | Payload::PaymentRefundStarted(_)
        | Payload::PaymentRefunded(_)
        | Payload::PaymentRefundFailed(_)
        | Payload::PaymentRefundStuck(_) => return None,
    })
}
