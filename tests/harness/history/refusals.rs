//! Reads refusals, and checks each against the state at the revision that it names.
//!
//! A refusal names the revision at which it was decided, but not the time. The time lies within the call, not before its
//! revision was made, and not after the next one was. Each hold that the refusal reports as live or as lapsed narrows this
//! interval. The refusal is right if the interval is not empty.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::boxoffice::v1::{ReservationState, SeatState, SeatsUnavailable};
use chrono::{DateTime, Utc};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Call, Operation,
    replay::{ReplayedReservation, ReplayedShowtime, SeatName, datetime, seat_name},
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
}

/// The reasons that depend on the state of a showtime. Such a refusal must name the revision.
const REASONS_WITH_REVISION: [&str; 8] = [
    "SEATS_UNAVAILABLE",
    "SEAT_STRANDED",
    "HOLD_LIMIT",
    "SHOWTIME_CANCELLED",
    "SALES_CLOSED",
    "RESERVATION_EXPIRED",
    "RESERVATION_NOT_HELD",
    "TENDER_DIFFERS",
];

/// The reasons that do not depend on the state. The same request may succeed later.
const TEMPORARY_REASONS: [&str; 3] = ["STORE_UNAVAILABLE", "OVERLOADED", "DRAINING"];

/// The earliest and the latest time at which a call can have been decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
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
        Some(Self {
            code: status.code(),
            reason: info.reason,
            revision: named.or(unavailable.as_ref().map(|detail| detail.revision)),
            metadata: info.metadata,
            unavailable,
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
        let named = |id: &String| showtime.reservations.get(id).ok_or_else(|| format!("there is no reservation {id}"));
        match &call.operation {
            Operation::Reserve(request) if self.reason == "SEATS_UNAVAILABLE" => {
                let unavailable = self.unavailable.as_ref().ok_or("it does not name the seats")?;
                let requested: Vec<SeatName> = request.seats.iter().map(seat_name).collect();
                let (interval, size) = if requested.is_empty() {
                    check_no_block_free(showtime, usize::try_from(request.seat_count).expect("a count"), interval)?
                } else {
                    (check_unavailable(showtime, &requested, unavailable, interval)?, requested.len())
                };
                check_offers(showtime, unavailable, size, interval)
            }
            Operation::Reserve(request) if self.reason == "HOLD_LIMIT" => {
                let is_live = |reservation: &&ReplayedReservation| {
                    reservation.customer_id == request.customer_id && !reservation.has_ended(interval.from)
                };
                let owned: usize =
                    showtime.reservations.values().filter(is_live).map(|reservation| reservation.seats.len()).sum();
                let requested = request.seats.len() + usize::try_from(request.seat_count).expect("a count");
                // 10 is the default of the limit.
                if owned + requested > 10 { Ok(()) } else { Err(format!("the customer has {owned} seats")) }
            }
            Operation::Confirm(request) if self.reason == "TENDER_DIFFERS" => {
                let reservation = named(&request.reservation_id)?;
                let method = request.tender.as_ref().map_or("", |tender| &tender.method);
                let differs = reservation.state == ReservationState::Confirmed && reservation.tender_method != method;
                if differs { Ok(()) } else { Err(format!("but the reservation is {reservation:?}")) }
            }
            Operation::Confirm(request) => self.check_reservation(named(&request.reservation_id)?, interval),
            Operation::Cancel(request) => self.check_reservation(named(&request.reservation_id)?, interval),
            Operation::Extend(request) => self.check_reservation(named(&request.reservation_id)?, interval),
            _ if self.reason == "SHOWTIME_CANCELLED" && showtime.cancelled => Ok(()),
            _ => Err("the state has no reason for it".to_owned()),
        }
    }

    fn check_reservation(&self, reservation: &ReplayedReservation, interval: Interval) -> Result<(), String> {
        let state = reservation.state;
        let right = match &*self.reason {
            "RESERVATION_EXPIRED" => match state {
                ReservationState::Held => reservation.expire_time <= interval.to,
                state => state == ReservationState::Expired,
            },
            "RESERVATION_NOT_HELD" => {
                let named = self.metadata.get("state").map(String::as_str).unwrap_or_default();
                let ended = matches!(state, ReservationState::Confirmed | ReservationState::Cancelled);
                ended && state.as_str_name().ends_with(named) && !named.is_empty()
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("but the reservation is {reservation:?}")) }
    }
}

/// Checks that exactly the taken seats are named, each with its state. Returns the interval in which that is so.
fn check_unavailable(
    showtime: &ReplayedShowtime,
    requested: &[SeatName],
    unavailable: &SeatsUnavailable,
    mut interval: Interval,
) -> Result<Interval, String> {
    let mut named = BTreeMap::new();
    for one in &unavailable.seats {
        let until = one.held_until.as_ref().and_then(datetime);
        named.insert(seat_name(one.seat.as_ref().ok_or("a seat has no name")?), (one.state(), until));
    }
    if named.is_empty() || named.keys().any(|seat| !requested.contains(seat)) || named.len() != unavailable.seats.len()
    {
        return Err(format!("the named seats are not among the requested ones: {requested:?}"));
    }
    for seat in requested {
        let owner = showtime.owner(seat);
        let state = owner.map_or(ReservationState::Unspecified, |owner| owner.state);
        let until = owner.map(|owner| owner.expire_time);
        match (named.get(seat), state) {
            (None, ReservationState::Unspecified) | (Some((SeatState::Sold, None)), ReservationState::Confirmed) => {}
            // The hold had lapsed.
            (None, ReservationState::Held) => interval.from = interval.from.max(until.unwrap_or(interval.from)),
            // The hold had not lapsed.
            (Some((SeatState::Held, held_until)), ReservationState::Held) if *held_until == until => {
                let last = until.unwrap_or(interval.to) - chrono::TimeDelta::microseconds(1);
                interval.to = interval.to.min(last);
            }
            (named, _) => return Err(format!("{seat:?} is named as {named:?}, but its owner is {owner:?}")),
        }
    }
    if interval.from <= interval.to { Ok(interval) } else { Err(format!("it was right at no time: {interval:?}")) }
}

/// Checks that no block of this size was free at the start of the interval, when the fewest holds had lapsed.
fn check_no_block_free(
    showtime: &ReplayedShowtime,
    size: usize,
    interval: Interval,
) -> Result<(Interval, usize), String> {
    let taken = |seat: &SeatName| showtime.owner(seat).is_some_and(|owner| !owner.has_ended(interval.from));
    match showtime.seats.blocks(size).find(|block| !block.iter().any(taken)) {
        None => Ok((interval, size)),
        Some(block) => Err(format!("{block:?} was free")),
    }
}

fn check_offers(
    showtime: &ReplayedShowtime,
    unavailable: &SeatsUnavailable,
    size: usize,
    interval: Interval,
) -> Result<(), String> {
    for offer in &unavailable.offers {
        let block: Vec<SeatName> = offer.seats.iter().map(seat_name).collect();
        let taken = |seat: &SeatName| showtime.owner(seat).is_some_and(|owner| !owner.has_ended(interval.to));
        if block.len() != size || !showtime.seats.is_block(&block) || block.iter().any(taken) {
            return Err(format!("{block:?} is offered, but not free"));
        }
    }
    Ok(())
}
