//! Refusals: what they say, and whether it was true.
//!
//! A refusal names the revision at which it was decided, and not the time. That lies between the call's beginning and its
//! end, after the time of that revision and before that of the next; and within this span, what the refusal says of holds
//! that end narrows it further. It is right if some time is left.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::boxoffice::v1::{ReservationState, SeatState, SeatsUnavailable};
use chrono::{DateTime, Utc};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Call, Deed,
    replay::{Booking, Name, Seating, moment, seat},
};

/// A definite no.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// The showtime's, at which it was decided.
    pub(crate) revision: Option<i64>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) unavailable: Option<SeatsUnavailable>,
}

/// What is decided on a showtime's state, and so names its revision.
const DECIDED: [&str; 8] = [
    "SEATS_UNAVAILABLE",
    "SEAT_STRANDED",
    "HOLD_LIMIT",
    "SHOWTIME_CANCELLED",
    "SALES_CLOSED",
    "RESERVATION_EXPIRED",
    "RESERVATION_NOT_HELD",
    "TENDER_DIFFERS",
];

/// What says nothing about the state, and may be said at any time.
const ANY_TIME: [&str; 3] = ["STORE_UNAVAILABLE", "OVERLOADED", "DRAINING"];

/// Between which times something was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Refused {
    /// `None`: this status leaves open what happened.
    pub(super) fn read(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|info| info.reason != "OUTCOME_UNKNOWN")?;
        let details = tonic_types::pb::Status::decode(status.details()).ok()?.details;
        let unavailable = details.iter().find(|detail| detail.type_url.ends_with("/boxoffice.v1.SeatsUnavailable"));
        let unavailable = unavailable.map(|detail| SeatsUnavailable::decode(&*detail.value));
        let unavailable = unavailable.transpose().expect("a detail is what it says it is");
        let named = info.metadata.get("revision").map(|revision| revision.parse().expect("a revision is a number"));
        Some(Self {
            code: status.code(),
            reason: info.reason,
            revision: named.or(unavailable.as_ref().map(|detail| detail.revision)),
            metadata: info.metadata,
            unavailable,
        })
    }

    /// Whether the same may be asked again soon.
    pub(super) fn is_for_now(&self) -> bool {
        ANY_TIME.contains(&&*self.reason)
    }

    /// What is wrong with it before one knows any state.
    pub(super) fn flaw(&self) -> Option<String> {
        let decided = DECIDED.contains(&&*self.reason);
        let twice = self.unavailable.as_ref().is_some_and(|detail| Some(detail.revision) != self.revision);
        if decided && (self.revision.is_none() || twice) {
            return Some(format!("a refusal does not say as of which revision: {self:?}"));
        }
        let known = decided || self.is_for_now() || self.reason == "RESERVATION_NOT_FOUND";
        (!known).then(|| format!("refused for no good reason: {self:?}"))
    }

    /// Whether the state of its revision, at some time in the span, gave reason for it.
    pub(super) fn judge(&self, call: &Call, seating: &Seating, span: Span) -> Result<(), String> {
        let named = |id: &String| seating.bookings.get(id).ok_or_else(|| format!("{id} is not there"));
        match &call.deed {
            Deed::Reserve(request) if self.reason == "SEATS_UNAVAILABLE" => {
                let told = self.unavailable.as_ref().ok_or("it does not say which seats")?;
                let wanted: Vec<Name> = request.seats.iter().map(seat).collect();
                let (span, size) = if wanted.is_empty() {
                    no_block_is_free(seating, usize::try_from(request.seat_count).expect("a count"), span)?
                } else {
                    (in_the_way(seating, &wanted, told, span)?, wanted.len())
                };
                offers_are_free(seating, told, size, span)
            }
            Deed::Reserve(request) if self.reason == "HOLD_LIMIT" => {
                let theirs =
                    |booking: &&Booking| booking.customer_id == request.customer_id && !booking.is_over(span.from);
                let has: usize = seating.bookings.values().filter(theirs).map(|booking| booking.seats.len()).sum();
                let wanted = request.seats.len() + usize::try_from(request.seat_count).expect("a count");
                // The default.
                if has + wanted > 10 { Ok(()) } else { Err(format!("the customer has {has} seats")) }
            }
            Deed::Confirm(request) if self.reason == "TENDER_DIFFERS" => {
                let booking = named(&request.reservation_id)?;
                let asked = request.tender.as_ref().map_or("", |tender| &tender.method);
                let differs = booking.state == ReservationState::Confirmed && booking.tender_method != asked;
                if differs { Ok(()) } else { Err(format!("but it is {booking:?}")) }
            }
            Deed::Confirm(request) => self.judge_reservation(named(&request.reservation_id)?, span),
            Deed::Cancel(request) => self.judge_reservation(named(&request.reservation_id)?, span),
            Deed::Extend(request) => self.judge_reservation(named(&request.reservation_id)?, span),
            _ if self.reason == "SHOWTIME_CANCELLED" && seating.cancelled => Ok(()),
            _ => Err("nothing in that state says so".to_owned()),
        }
    }

    fn judge_reservation(&self, booking: &Booking, span: Span) -> Result<(), String> {
        let state = booking.state;
        let right = match &*self.reason {
            "RESERVATION_EXPIRED" => match state {
                ReservationState::Held => booking.expire_time <= span.to,
                state => state == ReservationState::Expired,
            },
            "RESERVATION_NOT_HELD" => {
                let told = self.metadata.get("state").map(String::as_str).unwrap_or_default();
                let ended = matches!(state, ReservationState::Confirmed | ReservationState::Cancelled);
                ended && state.as_str_name().ends_with(told) && !told.is_empty()
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("but it is {booking:?}")) }
    }
}

/// Exactly the seats that were taken are named, each as it was. Answers when that can have been.
fn in_the_way(seating: &Seating, wanted: &[Name], told: &SeatsUnavailable, mut span: Span) -> Result<Span, String> {
    let mut named = BTreeMap::new();
    for unavailable in &told.seats {
        let until = unavailable.held_until.as_ref().and_then(moment);
        named.insert(seat(unavailable.seat.as_ref().ok_or("which seat?")?), (unavailable.state(), until));
    }
    if named.is_empty() || named.keys().any(|seat| !wanted.contains(seat)) || named.len() != told.seats.len() {
        return Err(format!("not the seats that were wanted: {wanted:?}"));
    }
    for seat in wanted {
        let owner = seating.owner(seat);
        let state = owner.map_or(ReservationState::Unspecified, |owner| owner.state);
        let until = owner.map(|owner| owner.expire_time);
        match (named.get(seat), state) {
            (None, ReservationState::Unspecified) | (Some((SeatState::Sold, None)), ReservationState::Confirmed) => {}
            // It was over.
            (None, ReservationState::Held) => span.from = span.from.max(until.unwrap_or(span.from)),
            // It was not.
            (Some((SeatState::Held, told)), ReservationState::Held) if *told == until => {
                let last = until.unwrap_or(span.to) - chrono::TimeDelta::microseconds(1);
                span.to = span.to.min(last);
            }
            (told, _) => return Err(format!("{seat:?} is told as {told:?}, but {owner:?}")),
        }
    }
    if span.from <= span.to { Ok(span) } else { Err(format!("at no time was it so: {span:?}")) }
}

/// No block of this size was free at the end of the span, when the most seats were.
fn no_block_is_free(seating: &Seating, size: usize, span: Span) -> Result<(Span, usize), String> {
    let taken = |seat: &Name| seating.owner(seat).is_some_and(|owner| !owner.is_over(span.from));
    match seating.house.blocks(size).find(|block| !block.iter().any(taken)) {
        None => Ok((span, size)),
        Some(block) => Err(format!("{block:?} was free")),
    }
}

fn offers_are_free(seating: &Seating, told: &SeatsUnavailable, size: usize, span: Span) -> Result<(), String> {
    for offer in &told.offers {
        let block: Vec<Name> = offer.seats.iter().map(seat).collect();
        let taken = |seat: &Name| seating.owner(seat).is_some_and(|owner| !owner.is_over(span.to));
        if block.len() != size || !seating.house.is_block(&block) || block.iter().any(taken) {
            return Err(format!("{block:?} is offered"));
        }
    }
    Ok(())
}
