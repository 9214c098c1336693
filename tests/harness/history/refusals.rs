//! Reads refusals, and checks each against the state at the revision that it names.
//!
//! A refusal names the revision at which it was decided, but not the time. The time lies within the call, not before its
//! revision was made, and not after the next one was. Each hold that the refusal reports as live or as lapsed narrows this
//! interval. The refusal is right if the interval is not empty.

use std::collections::HashMap;

use boxoffice::pb::boxoffice::v1::{ReservationState, SeatsUnavailable};
use chrono::{DateTime, TimeDelta, Utc};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Call, Operation,
    answers::requested_seats,
    replay::{MOST_SEATS, ReplayedReservation, ReplayedShowtime, SeatName, is_live},
    unavailable::Asking,
};

/// An answer that says that the request had no effect, and why.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// The revision of the showtime at which the refusal was decided.
    pub(crate) revision: Option<i64>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) unavailable: Option<SeatsUnavailable>,
    /// The subjects of the violations of a precondition, such as "F7".
    pub(crate) subjects: Vec<String>,
}

/// The reasons that depend on the state of a showtime. Such a refusal must name the revision.
const REASONS_WITH_REVISION: [&str; 12] = [
    "SEATS_UNAVAILABLE",
    "SEAT_STRANDED",
    "HOLD_LIMIT",
    "SHOWTIME_CANCELLED",
    "SALES_CLOSED",
    "RESERVATION_EXPIRED",
    "RESERVATION_NOT_HELD",
    "TENDER_DIFFERS",
    "RESERVATION_RELEASED",
    "SEAT_NOT_SOLD",
    "SEAT_NOT_BLOCKED",
    "SEATS_DIFFER",
];

/// The reasons that do not depend on the state. The same request may succeed later.
const TEMPORARY_REASONS: [&str; 3] = ["STORE_UNAVAILABLE", "OVERLOADED", "DRAINING"];

/// The earliest and the latest time at which a call can have been decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Interval {
    /// Ends the interval before this time.
    pub(super) fn end_before(&mut self, time: DateTime<Utc>) {
        self.to = self.to.min(time - TimeDelta::microseconds(1));
    }

    /// Ends the interval before the reservation's hold lapses, if it is one.
    fn end_before_lapse(&mut self, reservation: &ReplayedReservation) {
        if reservation.state == ReservationState::Held {
            self.end_before(reservation.expire_time);
        }
    }
}

impl Refusal {
    /// Returns `None` if the outcome is unknown after this status.
    pub(super) fn from_status(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|info| info.reason != "OUTCOME_UNKNOWN")?;
        let details = tonic_types::pb::Status::decode(status.details()).ok()?.details;
        let unavailable = details.iter().find(|detail| detail.type_url.ends_with("/boxoffice.v1.SeatsUnavailable"));
        let unavailable = unavailable.map(|detail| SeatsUnavailable::decode(&*detail.value));
        let unavailable = unavailable.transpose().expect("the detail has the type that it names");
        let named = info.metadata.get("revision").map(|revision| revision.parse().expect("a revision is a number"));
        let failed = status.get_details_precondition_failure().into_iter().flat_map(|failure| failure.violations);
        Some(Self {
            code: status.code(),
            reason: info.reason,
            revision: named.or(unavailable.as_ref().map(|detail| detail.revision)),
            metadata: info.metadata,
            unavailable,
            subjects: failed.map(|violation| violation.subject).collect(),
        })
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        TEMPORARY_REASONS.contains(&&*self.reason)
    }

    /// Checks what needs no state: the reason is known, and the revision is named, once.
    pub(super) fn check_form(&self) -> Option<String> {
        let needs_revision = REASONS_WITH_REVISION.contains(&&*self.reason);
        let differs = self.unavailable.as_ref().is_some_and(|detail| Some(detail.revision) != self.revision);
        if needs_revision && (self.revision.is_none() || differs) {
            return Some(format!("the refusal names no revision, or two: {self:?}"));
        }
        let known = needs_revision || self.is_temporary() || self.reason == "RESERVATION_NOT_FOUND";
        (!known).then(|| format!("the reason of the refusal is unknown: {self:?}"))
    }

    /// Checks that the state at the refusal's revision is a reason for it at some time in the interval.
    pub(super) fn check(&self, call: &Call, showtime: &ReplayedShowtime, interval: Interval) -> Result<(), String> {
        let requested = requested_seats(&call.operation);
        if let Some(id) = call.operation.reservation_id() {
            let reservation = showtime.reservations.get(id).ok_or_else(|| format!("there is no reservation {id}"))?;
            return self.check_about(reservation, call, showtime, interval);
        }
        let right = match (&call.operation, &*self.reason) {
            (_, "SHOWTIME_CANCELLED") => showtime.cancelled,
            (Operation::Reserve(request), "SEATS_UNAVAILABLE") => {
                let blocked = |seat: &&SeatName| request.from_block && showtime.blocked.contains_key(*seat);
                let own = requested.iter().filter(blocked).cloned().collect();
                let size = requested.len() + usize::try_from(request.seat_count).expect("a count");
                return Asking { requested, size, own }.check(showtime, self.unavailable.as_ref(), interval);
            }
            (Operation::Block(_), "SEATS_UNAVAILABLE") => {
                let (size, own) = (requested.len(), Vec::new());
                return Asking { requested, size, own }.check(showtime, self.unavailable.as_ref(), interval);
            }
            (Operation::Reserve(request), "HOLD_LIMIT") => {
                let size = requested.len() + usize::try_from(request.seat_count).expect("a count");
                showtime.customer_seats(&request.customer_id, interval.from) + size > MOST_SEATS
            }
            (Operation::Unblock(_), "SEAT_NOT_BLOCKED") => {
                self.names(requested.into_iter().filter(|seat| !showtime.blocked.contains_key(seat)), showtime)
            }
            _ => false,
        };
        if right { Ok(()) } else { Err("the state has no reason for it".to_owned()) }
    }

    /// Checks a refusal of a request about this reservation.
    fn check_about(
        &self,
        reservation: &ReplayedReservation,
        call: &Call,
        showtime: &ReplayedShowtime,
        mut interval: Interval,
    ) -> Result<(), String> {
        let (operation, requested) = (&call.operation, requested_seats(&call.operation));
        let is_late = matches!(operation, Operation::Confirm(request) if request.late);
        let is_held = reservation.state == ReservationState::Held;
        let right = match (operation, &*self.reason) {
            (Operation::Confirm(request), "TENDER_DIFFERS") => {
                let method = request.tender.as_ref().map_or("", |tender| &tender.method);
                let was_paid = reservation.state == ReservationState::Confirmed
                    || is_late && (!reservation.tender_method.is_empty() || reservation.refund_due.is_some());
                was_paid && reservation.paid_by() != method
            }
            (Operation::Confirm(_), "RESERVATION_RELEASED") => is_late && reservation.is_released(),
            (Operation::Release(_) | Operation::Exchange(_), "RESERVATION_RELEASED") => reservation.is_released(),
            (Operation::Release(_), "SEAT_NOT_SOLD") => self.is_not_sold(reservation, requested, showtime, interval),
            (Operation::Exchange(_), "SEATS_DIFFER") => {
                interval.end_before_lapse(reservation);
                interval.from <= interval.to && requested.len() != reservation.seats.len()
            }
            (Operation::Exchange(_), "SEATS_UNAVAILABLE") if is_live(reservation.state) => {
                interval.end_before_lapse(reservation);
                let (size, own) = (requested.len(), reservation.seats.clone());
                if size != own.len() || interval.from > interval.to {
                    return Err(format!("but the reservation is {reservation:?}"));
                }
                return Asking { requested, size, own }.check(showtime, self.unavailable.as_ref(), interval);
            }
            (_, "RESERVATION_EXPIRED") if !is_late => {
                reservation.state == ReservationState::Expired || is_held && reservation.expire_time <= interval.to
            }
            (_, "RESERVATION_NOT_HELD") if !is_late => {
                let named = self.metadata.get("state").map(String::as_str).unwrap_or_default();
                let may_be = match operation {
                    Operation::Exchange(_) => reservation.state == ReservationState::Cancelled,
                    _ => matches!(reservation.state, ReservationState::Confirmed | ReservationState::Cancelled),
                };
                may_be && is_named(named, reservation.state)
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("but the reservation is {reservation:?}")) }
    }

    /// Whether the reservation was not sold, or exactly the seats are named that it does not have.
    fn is_not_sold(
        &self,
        reservation: &ReplayedReservation,
        requested: Vec<SeatName>,
        showtime: &ReplayedShowtime,
        interval: Interval,
    ) -> bool {
        let named = self.metadata.get("state").map(String::as_str).unwrap_or_default();
        let (lapse, has_lapsed) = (reservation.expire_time, named == "EXPIRED");
        let all = if requested.is_empty() { reservation.seats.clone() } else { requested.clone() };
        match reservation.state {
            ReservationState::Confirmed => {
                let others = requested.into_iter().filter(|seat| !reservation.seats.contains(seat));
                named == "CONFIRMED" && !self.subjects.is_empty() && self.names(others, showtime)
            }
            ReservationState::Held if has_lapsed => lapse <= interval.to && self.names(all.into_iter(), showtime),
            ReservationState::Held => named == "HELD" && interval.from < lapse && self.names(all.into_iter(), showtime),
            state => is_named(named, state) && !reservation.is_released() && self.names(all.into_iter(), showtime),
        }
    }

    /// Whether exactly these seats are named, in the order of the layout.
    fn names(&self, seats: impl Iterator<Item = SeatName>, showtime: &ReplayedShowtime) -> bool {
        let seats = showtime.seats.sorted(seats.collect());
        seats.iter().map(|(row, number)| format!("{row}{number}")).eq(self.subjects.iter().cloned())
    }
}

/// Whether this is the name of the state, such as "CONFIRMED".
fn is_named(name: &str, state: ReservationState) -> bool {
    state.as_str_name().strip_prefix("RESERVATION_STATE_") == Some(name)
}
