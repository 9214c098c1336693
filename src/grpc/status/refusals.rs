//! Statuses of refusals about seats and reservations.
//!
//! Many callers can want the same seats at the same moment, and get the same refusal. It depends on the seats and the
//! revision, not on the caller, so each thread caches the statuses of its last refusals for seats.

use std::{cell::RefCell, collections::VecDeque, sync::Arc};

use chrono::{DateTime, Utc};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb as rpc};

use super::details::{BoundedMessage, ByteBudget, DOMAIN, MAX_DETAIL_BYTES, error_info, field_violations, rfc3339};
use crate::{
    app::Refused,
    domain::{
        ids::PurchaseId,
        reservation::Phase,
        seat_index::{BadChoice, BadKind, Block, SeatIndex},
        seating::{Obstacle, Refusal, Unavailable},
    },
    grpc::convert,
    pb::boxoffice::v1 as pb,
};

/// The status of a request that was refused like this.
pub(super) fn of(refused: &Refused) -> Status {
    match refused.why.as_ref() {
        Refusal::BadChoice(bad) => bad_choice(refused, bad),
        Refusal::Unavailable(unavailable) => cached(refused, || seats(refused, "SEATS_UNAVAILABLE", unavailable)),
        Refusal::LeavesOrphan(orphans) => cached(refused, || seats(refused, "SEAT_STRANDED", orphans)),
        Refusal::AccessibleOnly(kept) => cached(refused, || seats(refused, "ACCESSIBLE_ONLY", kept)),
        Refusal::CustomerLimit { has, most, until } => customer_limit(refused, *has, *most, *until),
        Refusal::ShowtimeCancelled { at } => {
            let at = rfc3339(*at);
            let message = format!("the showtime was cancelled at {at}");
            failed_precondition(refused, "SHOWTIME_CANCELLED", &message, [("cancel_time", at)])
        }
        Refusal::SalesClosed { at } => {
            let at = rfc3339(*at);
            let message = format!("sales for the showtime closed at {at}");
            failed_precondition(refused, "SALES_CLOSED", &message, [("close_time", at)])
        }
        // The app turns this into `Error::NotFound`, which names the reservation, before it gets here.
        Refusal::NoReservation => {
            failed_precondition(refused, "RESERVATION_NOT_FOUND", "there is no such reservation", [])
        }
        Refusal::Expired { at } => {
            let at = rfc3339(*at);
            let message = format!("the hold lapsed at {at}; reserve again");
            failed_precondition(refused, "RESERVATION_EXPIRED", &message, [("expire_time", at)])
        }
        Refusal::NotHeld { phase } => {
            let state = state_name(*phase);
            let message = format!("the reservation is {}, not held", state.to_lowercase());
            failed_precondition(refused, "RESERVATION_NOT_HELD", &message, [("state", state.to_owned())])
        }
        Refusal::PaymentPending { purchase_id, until } => payment_pending(refused, *purchase_id, *until),
        Refusal::NotPaying => not_paying(refused),
        Refusal::TenderDiffers => {
            let message = "the reservation was confirmed with another tender, or a refund is due for another one";
            failed_precondition(refused, "TENDER_DIFFERS", message, [])
        }
        Refusal::Released => {
            let message = "all seats of the reservation were given back";
            failed_precondition(refused, "RESERVATION_RELEASED", message, [])
        }
        Refusal::NotSold { seats, phase } => {
            let what = if *phase == Phase::Confirmed {
                "not among the seats that the reservation has".to_owned()
            } else {
                format!("not sold: the reservation is {}", state_name(*phase).to_lowercase())
            };
            other_seats(refused, "SEAT_NOT_SOLD", seats, &what, [("state", state_name(*phase).to_owned())])
        }
        Refusal::NotBlocked { seats } => other_seats(refused, "SEAT_NOT_BLOCKED", seats, "not blocked", []),
        Refusal::ShowtimeOver { end } => {
            let end = rfc3339(*end);
            let message = format!("the showtime ended at {end}");
            failed_precondition(refused, "SHOWTIME_OVER", &message, [("end_time", end)])
        }
        Refusal::RevisionDiffers { expected } => {
            let message =
                format!("revision {expected} was expected, the showtime is at {}; read it again", refused.revision);
            failed_precondition(refused, "REVISION_DIFFERS", &message, [("expected_revision", expected.to_string())])
        }
        Refusal::HasSales { count } => {
            let reservations = if *count == 1 { "reservation" } else { "reservations" };
            let message =
                format!("the showtime has {count} confirmed {reservations}; set force to cancel them as well");
            failed_precondition(refused, "SHOWTIME_HAS_SALES", &message, [("confirmed_count", count.to_string())])
        }
    }
}

/// An `ErrorInfo` with the showtime, the revision at which the refusal was decided, and the reservation if one was named.
fn refusal_info<const N: usize>(refused: &Refused, reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let decided_at =
        [("showtime_id", refused.plan.facts.showtime_id.to_string()), ("revision", refused.revision.to_string())];
    let reservation = refused.reservation_id.map(|id| ("reservation_id", id.to_string()));
    error_info(reason, decided_at.into_iter().chain(reservation).chain(metadata))
}

fn failed_precondition<const N: usize>(
    refused: &Refused,
    reason: &str,
    message: &str,
    metadata: [(&str, String); N],
) -> Status {
    Status::with_error_details(Code::FailedPrecondition, message, refusal_info(refused, reason, metadata))
}

fn payment_pending(refused: &Refused, purchase_id: PurchaseId, until: DateTime<Utc>) -> Status {
    let until = rfc3339(until);
    let message = format!("a payment for the reservation is under way, and is given time until {until}");
    let metadata = [("purchase_id", purchase_id.to_string()), ("pay_until", until)];
    failed_precondition(refused, "PAYMENT_PENDING", &message, metadata)
}

/// Purchases handle this refusal themselves, so no caller gets it.
fn not_paying(refused: &Refused) -> Status {
    failed_precondition(refused, "PAYMENT_NOT_BEGUN", "no payment for the reservation is under way", [])
}

/// Seats are not in the state that the request is about.
fn other_seats<const N: usize>(
    refused: &Refused,
    reason: &str,
    seats: &[u16],
    what: &str,
    metadata: [(&str, String); N],
) -> Status {
    let names: Vec<_> = seats.iter().map(|seat| refused.plan.seat_index.name(*seat).to_string()).collect();
    let mut message = BoundedMessage::new("many of the seats are in another state");
    let is = if names.len() == 1 { "is" } else { "are" };
    message.add("", &format!("{} {is} {what}", names.join(", ")));
    let mut budget = ByteBudget::new(MAX_DETAIL_BYTES);
    let mut details = refusal_info(refused, reason, metadata);
    for name in names.into_iter().take_while(|name| budget.take(name.len() + reason.len() + what.len() + 9)) {
        details.add_precondition_failure_violation(reason, name, what);
    }
    Status::with_error_details(Code::FailedPrecondition, message.into_text(), details)
}

fn state_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Held => "HELD",
        Phase::Paying => "PAYING",
        Phase::Confirmed => "CONFIRMED",
        Phase::Cancelled => "CANCELLED",
        Phase::Expired => "EXPIRED",
    }
}

fn bad_choice(refused: &Refused, bad: &BadChoice) -> Status {
    let reason = match bad.kind {
        BadKind::Unknown => "SEAT_UNKNOWN",
        BadKind::Repeated => "SEAT_REPEATED",
        BadKind::NotContiguous => "SEATS_NOT_CONTIGUOUS",
        BadKind::TooMany => "TOO_MANY_SEATS",
        BadKind::TicketTypeUnknown => "TICKET_TYPE_UNKNOWN",
        BadKind::TicketTypesDiffer => "TICKET_TYPES_DIFFER",
        BadKind::SeatsDiffer => "SEATS_DIFFER",
    };
    let mut message = BoundedMessage::new("the choice of seats has many violations");
    for one in bad.violations.list() {
        // Descriptions name their seats themselves, except those that begin with "must".
        let subject = if one.description.starts_with("must") { format!("{} ", one.field) } else { String::new() };
        if !message.add("; ", &format!("{subject}{}", one.description)) {
            break;
        }
    }
    let mut details = refusal_info(refused, reason, []);
    details.set_bad_request(field_violations(&bad.violations));
    Status::with_error_details(Code::InvalidArgument, message.into_text(), details)
}

fn customer_limit(refused: &Refused, has: u16, most: u16, until: Option<DateTime<Utc>>) -> Status {
    let message = format!("the customer already has {has} seats of the showtime; the limit is {most}");
    let mut details = refusal_info(refused, "HOLD_LIMIT", [("seats", has.to_string()), ("limit", most.to_string())]);
    details.add_quota_failure_violation("customer_id", message.clone());
    if let Some(until) = until {
        details.set_retry_info((until - refused.now).to_std().ok());
    }
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// What an accessible seat is that was not asked for, or a companion seat without it.
const KEPT: &str = "kept for those who ask for accessible seats";

struct CachedRefusal {
    refused: Refused,
    status: Status,
}

/// Most seats that a refusal lists: those of the largest reservation. More can be blocked at once.
const MAX_SEATS: usize = 100;
/// Most refusals that one thread caches.
const MAX_CACHED: usize = 8;

thread_local! {
    /// The newest refusal is in front.
    static CACHE: RefCell<VecDeque<CachedRefusal>> = const { RefCell::new(VecDeque::new()) };
}

/// The cached status of an equal refusal, or a new one.
fn cached(refused: &Refused, build: impl FnOnce() -> Status) -> Status {
    let equal = |cached: &&CachedRefusal| {
        cached.refused.revision == refused.revision
            && cached.refused.plan.facts.showtime_id == refused.plan.facts.showtime_id
            && (Arc::ptr_eq(&cached.refused.why, &refused.why) || cached.refused.why == refused.why)
    };
    CACHE.with_borrow_mut(|cache| {
        if let Some(cached) = cache.iter().find(equal) {
            return cached.status.clone();
        }
        let status = build();
        cache.truncate(MAX_CACHED - 1);
        cache.push_front(CachedRefusal { refused: refused.clone(), status: status.clone() });
        status
    })
}

fn seats(refused: &Refused, reason: &str, unavailable: &Unavailable) -> Status {
    let seat_index = &refused.plan.seat_index;
    let mut budget = ByteBudget::new(MAX_DETAIL_BYTES);
    let seats_unavailable = seats_unavailable(refused, unavailable, &mut budget);
    let precondition = precondition_failure(seat_index, unavailable, &mut budget);
    let info = rpc::ErrorInfo {
        reason: reason.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: [
            ("showtime_id".to_owned(), refused.plan.facts.showtime_id.to_string()),
            ("revision".to_owned(), refused.revision.to_string()),
        ]
        .into(),
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if !precondition.violations.is_empty() {
        details.push(any("google.rpc.PreconditionFailure", &precondition));
    }
    details.push(any("boxoffice.v1.SeatsUnavailable", &seats_unavailable));
    let code = Code::FailedPrecondition;
    let status = rpc::Status { code: code.into(), message: seats_message(seat_index, unavailable), details };
    let encoded = status.encode_to_vec();
    Status::with_details(code, status.message, encoded.into())
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// Whether the message fits into the budget as an element of a list.
fn fits(budget: &mut ByteBudget, message: &impl Message) -> bool {
    // 3 bytes for the tag and the length.
    budget.take(message.encoded_len() + 3)
}

/// Our own detail. It always lists every seat that a reservation could have; the blocks on offer are listed as far as the budget
/// reaches.
fn seats_unavailable(refused: &Refused, unavailable: &Unavailable, budget: &mut ByteBudget) -> pb::SeatsUnavailable {
    let seat_index = &refused.plan.seat_index;
    let seat = |(seat, obstacle): &(u16, Obstacle)| {
        let (state, held_until) = match obstacle {
            Obstacle::Held { until } => (pb::SeatState::Held, Some(convert::timestamp(*until))),
            Obstacle::Sold => (pb::SeatState::Sold, None),
            Obstacle::Blocked => (pb::SeatState::Blocked, None),
            Obstacle::AccessibleOnly | Obstacle::Orphan => (pb::SeatState::Free, None),
        };
        pb::UnavailableSeat { seat: Some(convert::seat(seat_index.name(*seat))), state: state.into(), held_until }
    };
    let seats: Vec<_> = unavailable.seats.iter().take(MAX_SEATS).map(seat).collect();
    for seat in &seats {
        fits(budget, seat);
    }
    let offers = unavailable.offers.iter().map(|block| convert::block(seat_index, *block));
    let offers = offers.take_while(|offer| fits(budget, offer)).collect();
    pb::SeatsUnavailable { seats, offers, revision: refused.revision }
}

/// The same seats in Google's standard detail, for callers that know no other, as far as the budget reaches.
fn precondition_failure(
    seat_index: &SeatIndex,
    unavailable: &Unavailable,
    budget: &mut ByteBudget,
) -> rpc::PreconditionFailure {
    let violation = |(seat, obstacle): &(u16, Obstacle)| {
        let (kind, description) = match obstacle {
            Obstacle::Held { until } => ("SEAT_HELD", format!("held until {}", rfc3339(*until))),
            Obstacle::Sold => ("SEAT_SOLD", "sold".to_owned()),
            Obstacle::Blocked => ("SEAT_BLOCKED", "kept back from sale".to_owned()),
            Obstacle::AccessibleOnly => ("SEAT_ACCESSIBLE_ONLY", KEPT.to_owned()),
            Obstacle::Orphan => ("SEAT_ALONE", "would be left as a single free seat".to_owned()),
        };
        rpc::precondition_failure::Violation {
            r#type: kind.to_owned(),
            subject: seat_index.name(*seat).to_string(),
            description,
        }
    };
    let violations = unavailable.seats.iter().map(violation);
    rpc::PreconditionFailure { violations: violations.take_while(|violation| fits(budget, violation)).collect() }
}

/// "F7, F8 are held until 2027-01-20T20:00:00Z, F9 is sold; free instead: G7-G9, E7-E9"
fn seats_message(seat_index: &SeatIndex, unavailable: &Unavailable) -> String {
    let mut message = BoundedMessage::new("many of the seats are not free");
    let same_obstacle = unavailable.seats.chunk_by(|(_, one), (_, other)| one == other);
    let complete = same_obstacle.into_iter().all(|seats| {
        let names: Vec<_> = seats.iter().map(|(seat, _)| seat_index.name(*seat).to_string()).collect();
        let is = if names.len() == 1 { "is" } else { "are" };
        let state = match seats[0].1 {
            Obstacle::Held { until } => format!("{is} held until {}", rfc3339(until)),
            Obstacle::Sold => format!("{is} sold"),
            Obstacle::Blocked => format!("{is} kept back from sale"),
            Obstacle::AccessibleOnly => format!("{is} {KEPT}"),
            Obstacle::Orphan if names.len() == 1 => "would be left as a single free seat".to_owned(),
            Obstacle::Orphan => "would be left as single free seats".to_owned(),
        };
        message.add(", ", &format!("{} {state}", names.join(", ")))
    });
    if unavailable.seats.is_empty() {
        message.add("", "there are not so many free seats side by side");
    }
    if complete && !unavailable.offers.is_empty() {
        let offers: Vec<_> = unavailable.offers.iter().map(|block| block_name(seat_index, *block)).collect();
        message.add("; ", &format!("free instead: {}", offers.join(", ")));
    }
    message.into_text()
}

/// "G7-G9"
fn block_name(seat_index: &SeatIndex, block: Block) -> String {
    let (first, last) = (seat_index.name(block.first), seat_index.name(block.first + block.count - 1));
    if block.count == 1 { first.to_string() } else { format!("{first}-{last}") }
}
