//! What is said when seats cannot be had, or a reservation cannot be changed.
//!
//! Many can want the same seats at the same time and are all refused alike: the last refusals for seats are remembered as
//! they were said. What they hold does not depend on who asked.

use std::{cell::RefCell, collections::VecDeque, fmt::Write as _, sync::Arc};

use chrono::{DateTime, Utc};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb as rpc};

use super::{DOMAIN, LISTED_BYTES, MESSAGE_BYTES, listed, reasoned, shown};
use crate::{
    app::Refused,
    domain::{
        reservation::Phase,
        seat_index::{BadChoice, BadKind, Block, SeatIndex},
        seating::{Obstacle, Refusal, Unavailable},
        violations::Violations,
    },
    grpc::convert,
    pb::boxoffice::v1 as pb,
};

/// The status that says this refusal.
pub(super) fn of(refused: &Refused) -> Status {
    match refused.why.as_ref() {
        Refusal::BadChoice(bad) => bad_choice(refused, bad),
        Refusal::Unavailable(unavailable) => remembered(refused, || seats(refused, "SEATS_UNAVAILABLE", unavailable)),
        Refusal::LeavesOrphan(orphans) => remembered(refused, || seats(refused, "SEAT_STRANDED", orphans)),
        Refusal::CustomerLimit { has, most, until } => customer_limit(refused, *has, *most, *until),
        Refusal::ShowtimeCancelled { at } => {
            told(refused, "SHOWTIME_CANCELLED", "the showtime is cancelled", [("cancel_time", shown(*at))])
        }
        Refusal::SalesClosed { at } => {
            told(refused, "SALES_CLOSED", "the showtime is no longer sold", [("close_time", shown(*at))])
        }
        // It is told as any other thing that is not there, by whoever knows what was asked for.
        Refusal::NoReservation => told(refused, "RESERVATION_NOT_FOUND", "there is no such reservation", []),
        Refusal::Expired { at } => {
            told(refused, "RESERVATION_EXPIRED", "the hold is over", [("expire_time", shown(*at))])
        }
        Refusal::NotHeld { phase } => {
            let state = word(*phase);
            let what = format!("the reservation is {}", state.to_lowercase());
            told(refused, "RESERVATION_NOT_HELD", &what, [("state", state.to_owned())])
        }
        Refusal::AlreadyExtended => told(refused, "ALREADY_EXTENDED", "the hold was prolonged before", []),
        Refusal::TenderDiffers => {
            told(refused, "TENDER_DIFFERS", "the reservation was confirmed with another tender", [])
        }
        Refusal::ShowtimeOver { end } => {
            told(refused, "SHOWTIME_OVER", "the showtime is over", [("end_time", shown(*end))])
        }
        Refusal::HasSales { count } => {
            let what = "seats of the showtime are sold; with force their reservations are cancelled, too";
            told(refused, "SHOWTIME_HAS_SALES", what, [("confirmed_count", count.to_string())])
        }
    }
}

/// Why, of what, at which revision.
fn reason<const N: usize>(refused: &Refused, reason: &str, more: [(&str, String); N]) -> ErrorDetails {
    let about =
        [("showtime_id", refused.plan.facts.showtime_id.to_string()), ("revision", refused.revision.to_string())];
    let named = refused.reservation_id.map(|id| ("reservation_id", id.to_string()));
    reasoned(reason, about.into_iter().chain(named).chain(more))
}

fn told<const N: usize>(refused: &Refused, name: &str, what: &str, more: [(&str, String); N]) -> Status {
    Status::with_error_details(Code::FailedPrecondition, what, reason(refused, name, more))
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Held => "HELD",
        Phase::Confirmed => "CONFIRMED",
        Phase::Cancelled => "CANCELLED",
        Phase::Expired => "EXPIRED",
    }
}

fn bad_choice(refused: &Refused, bad: &BadChoice) -> Status {
    let name = match bad.kind {
        BadKind::Unknown => "SEAT_UNKNOWN",
        BadKind::Repeated => "SEAT_REPEATED",
        BadKind::NotContiguous => "SEATS_NOT_CONTIGUOUS",
        BadKind::TooMany => "TOO_MANY_SEATS",
    };
    let mut details = reason(refused, name, []);
    details.set_bad_request(listed(&bad.violations));
    Status::with_error_details(Code::InvalidArgument, flaws(&bad.violations), details)
}

/// Flaws of a choice name their seats; only a bound needs to be told of what.
fn flaws(violations: &Violations) -> String {
    let mut sentence = Sentence::default();
    for flaw in violations.list() {
        let subject = if flaw.description.starts_with("must") { flaw.field.as_str() } else { "" };
        let joint = if subject.is_empty() { "" } else { " " };
        if !sentence.add("; ", &format!("{subject}{joint}{}", flaw.description)) {
            break;
        }
    }
    sentence.0
}

fn customer_limit(refused: &Refused, has: u16, most: u16, until: Option<DateTime<Utc>>) -> Status {
    let what = format!("the customer has {has} seats of the showtime, and may have {most}");
    let mut details = reason(refused, "HOLD_LIMIT", [("seats", has.to_string()), ("limit", most.to_string())]);
    details.add_quota_failure_violation("customer_id", what.clone());
    if let Some(until) = until {
        details.set_retry_info((until - refused.now).to_std().ok());
    }
    Status::with_error_details(Code::ResourceExhausted, what, details)
}

/// A refusal for seats, as it was said.
struct Said {
    refused: Refused,
    status: Status,
}

/// Refusals that are remembered, at most.
const REMEMBERED: usize = 8;

thread_local! {
    /// The latest first.
    static SAID: RefCell<VecDeque<Said>> = const { RefCell::new(VecDeque::new()) };
}

fn remembered(refused: &Refused, say: impl FnOnce() -> Status) -> Status {
    let same = |said: &&Said| {
        said.refused.revision == refused.revision
            && said.refused.plan.facts.showtime_id == refused.plan.facts.showtime_id
            && (Arc::ptr_eq(&said.refused.why, &refused.why) || said.refused.why == refused.why)
    };
    SAID.with_borrow_mut(|all| {
        if let Some(said) = all.iter().find(same) {
            return said.status.clone();
        }
        let status = say();
        all.truncate(REMEMBERED - 1);
        all.push_front(Said { refused: refused.clone(), status: status.clone() });
        status
    })
}

fn seats(refused: &Refused, name: &str, unavailable: &Unavailable) -> Status {
    let seat_index = &refused.plan.seat_index;
    let what = sentence(seat_index, unavailable);
    let mut room = Room(LISTED_BYTES);
    let ours = in_the_way(refused, unavailable, &mut room);
    let standard = precondition(seat_index, unavailable, &mut room);
    let info = rpc::ErrorInfo {
        reason: name.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: [
            ("showtime_id".to_owned(), refused.plan.facts.showtime_id.to_string()),
            ("revision".to_owned(), refused.revision.to_string()),
        ]
        .into(),
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if !standard.violations.is_empty() {
        details.push(any("google.rpc.PreconditionFailure", &standard));
    }
    details.push(any("boxoffice.v1.SeatsUnavailable", &ours));
    let code = Code::FailedPrecondition;
    let status = rpc::Status { code: code.into(), message: what, details };
    let encoded = status.encode_to_vec();
    Status::with_details(code, status.message, encoded.into())
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// Bytes of trailers that are left. Every seat in the way is told once; what does not fit besides is left out.
struct Room(usize);

impl Room {
    fn takes(&mut self, message: &impl Message) -> bool {
        // Tags and lengths, too.
        let size = message.encoded_len() + 3;
        let fits = size <= self.0;
        self.0 = self.0.saturating_sub(size);
        fits
    }
}

fn in_the_way(refused: &Refused, unavailable: &Unavailable, room: &mut Room) -> pb::SeatsUnavailable {
    let seat_index = &refused.plan.seat_index;
    let seat = |(seat, obstacle): &(u16, Obstacle)| {
        let (state, held_until) = match obstacle {
            Obstacle::Held { until } => (pb::SeatState::Held, Some(convert::timestamp(*until))),
            Obstacle::Sold => (pb::SeatState::Sold, None),
            Obstacle::Orphan => (pb::SeatState::Free, None),
        };
        pb::UnavailableSeat { seat: Some(convert::seat(seat_index.name(*seat))), state: state.into(), held_until }
    };
    let seats: Vec<_> = unavailable.seats.iter().map(seat).collect();
    for seat in &seats {
        room.takes(seat);
    }
    let offers = unavailable.offers.iter().map(|block| pb::SeatBlock { seats: convert::seats(seat_index, *block) });
    let offers = offers.take_while(|offer| room.takes(offer)).collect();
    pb::SeatsUnavailable { seats, offers, revision: refused.revision }
}

fn precondition(seat_index: &SeatIndex, unavailable: &Unavailable, room: &mut Room) -> rpc::PreconditionFailure {
    let violation = |(seat, obstacle): &(u16, Obstacle)| {
        let (kind, description) = match obstacle {
            Obstacle::Held { until } => ("SEAT_HELD", format!("held until {}", shown(*until))),
            Obstacle::Sold => ("SEAT_SOLD", "sold".to_owned()),
            Obstacle::Orphan => ("SEAT_ALONE", "would be left alone".to_owned()),
        };
        rpc::precondition_failure::Violation {
            r#type: kind.to_owned(),
            subject: seat_index.name(*seat).to_string(),
            description,
        }
    };
    let violations = unavailable.seats.iter().map(violation);
    rpc::PreconditionFailure { violations: violations.take_while(|violation| room.takes(violation)).collect() }
}

/// "F7, F8 are held until 2027-01-20T20:00:00Z, F9 is sold; free instead: G7-G9, E7-E9"
fn sentence(seat_index: &SeatIndex, unavailable: &Unavailable) -> String {
    let mut sentence = Sentence::default();
    let alike = unavailable.seats.chunk_by(|(_, one), (_, other)| one == other);
    let whole = alike.into_iter().all(|seats| {
        let names: Vec<_> = seats.iter().map(|(seat, _)| seat_index.name(*seat).to_string()).collect();
        let is = if names.len() == 1 { "is" } else { "are" };
        let how = match seats[0].1 {
            Obstacle::Held { until } => format!("{is} held until {}", shown(until)),
            Obstacle::Sold => format!("{is} sold"),
            Obstacle::Orphan => "would be left alone".to_owned(),
        };
        sentence.add(", ", &format!("{} {how}", names.join(", ")))
    });
    if unavailable.seats.is_empty() {
        sentence.add("", "so many neighbouring seats are not free");
    }
    if whole && !unavailable.offers.is_empty() {
        let offers: Vec<_> = unavailable.offers.iter().map(|block| label(seat_index, *block)).collect();
        sentence.add("; ", &format!("free instead: {}", offers.join(", ")));
    }
    sentence.0
}

/// "G7-G9"
fn label(seat_index: &SeatIndex, block: Block) -> String {
    let (first, last) = (seat_index.name(block.first), seat_index.name(block.first + block.count - 1));
    if block.count == 1 { first.to_string() } else { format!("{first}-{last}") }
}

/// A message, as far as it fits into trailers.
#[derive(Default)]
struct Sentence(String);

impl Sentence {
    /// Whether there was room for this.
    fn add(&mut self, joint: &str, words: &str) -> bool {
        let joint = if self.0.is_empty() { "" } else { joint };
        if self.0.len() + joint.len() + words.len() > MESSAGE_BYTES {
            self.0 += if self.0.is_empty() { "many seats cannot be had" } else { "; and more" };
            return false;
        }
        // Writing to a text does not fail.
        let _written = write!(self.0, "{joint}{words}");
        true
    }
}
