//! The only place that maps what went wrong to a gRPC status: code, reason and details.
//!
//! [`of`] maps errors of the app. `status/refusals.rs` has those about seats and reservations, `status/transport.rs` has
//! what the layers and the codec refuse. Internal text never reaches a caller: an unforeseen error is logged once, under
//! the request's id, and the caller gets the id.

mod details;
mod refusals;
pub(super) mod transport;

use std::{error::Error as StdError, time::Duration};

use tonic::{Code, Extensions, Status, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use self::details::{BoundedMessage, error_info, field_violations, rfc3339, unavailable};
use super::request_context::RequestContext;
use crate::{
    app::{Error, FeedRefusal, KeyRefusal, Kind, PurchaseRefusal, ReportsRefusal, TicketRefusal},
    domain::{refund::RefundRefusal, showtime::Showtime, ticket::WhyNot, violations::Violations},
};

/// When to try again after the database was unavailable.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);
/// When to try again after the database was overloaded.
const BUSY_RETRY: Duration = Duration::from_millis(100);
/// When to try again after the reporting database was unavailable.
const REPORTS_RETRY: Duration = Duration::from_secs(5);
/// When to try again after the limit of watchers was reached.
const WATCH_RETRY: Duration = Duration::from_secs(5);

/// The status of a request for events that was refused like this.
fn of_feed(refusal: &FeedRefusal) -> Status {
    match refusal {
        FeedRefusal::TooManySubscribers => {
            let mut details = error_info("TOO_MANY_SUBSCRIBERS", []);
            details.set_retry_info(Some(WATCH_RETRY));
            let message = format!(
                "this server has as many subscribers as it allows; try another instance, or this one in {WATCH_RETRY:?}"
            );
            Status::with_error_details(Code::ResourceExhausted, message, details)
        }
        FeedRefusal::TokenMalformed => {
            let message = "resume_token must come from SubscribeEvents or GetEventFeed";
            Status::with_error_details(Code::InvalidArgument, message, error_info("TOKEN_MALFORMED", []))
        }
        FeedRefusal::Compacted { oldest } => {
            let message =
                "events after the resume_token were deleted; read again what you need, and go on from the oldest_token";
            out_of_range("EVENTS_COMPACTED", message, oldest)
        }
        FeedRefusal::Unknown { oldest } => {
            let message =
                "the resume_token is of another database, or of events that were undone; read from the oldest_token";
            out_of_range("EVENTS_UNKNOWN", message, oldest)
        }
    }
}

/// The status of a request for a report that was refused like this.
fn of_reports(refusal: &ReportsRefusal) -> Status {
    match refusal {
        ReportsRefusal::NotConfigured => {
            let message = "this server has no reporting database; --reports-url names one";
            Status::with_error_details(Code::FailedPrecondition, message, error_info("REPORTS_NOT_CONFIGURED", []))
        }
        ReportsRefusal::Unavailable(error) => {
            tracing::warn!(error = error as &dyn StdError, "report refused: the reporting database cannot be used");
            let message = "the reporting database cannot be used; try again later";
            unavailable("REPORTS_UNAVAILABLE", message, REPORTS_RETRY)
        }
    }
}

fn card_number(field: &str) -> Status {
    let description = "must not contain a card number; it was not stored";
    invalid("CARD_NUMBER_REFUSED", &Violations::one(field, description))
}

/// The status of a request about a purchase that was refused like this.
fn of_purchase(refusal: PurchaseRefusal) -> Status {
    let (reason, message) = match refusal {
        PurchaseRefusal::Pending => {
            ("PAYMENT_PENDING", "the payment of the purchase is under way and may still succeed; wait for its outcome")
        }
        PurchaseRefusal::Ended => ("PURCHASE_ENDED", "the purchase has ended; begin another one"),
        PurchaseRefusal::NotCompleted => {
            ("PURCHASE_NOT_COMPLETED", "the purchase is not completed, so there is no receipt of it")
        }
        PurchaseRefusal::Stuck => {
            ("PURCHASE_STUCK", "the purchase cannot go on by itself; the cinema has to look at it")
        }
        PurchaseRefusal::NotStuck => ("PURCHASE_NOT_STUCK", "the purchase is not stuck; read what has become of it"),
        PurchaseRefusal::NotSold => (
            "PURCHASE_NOT_SOLD",
            "the seats of the purchase were never sold, so it cannot be completed; give the money back at the gateway, and \
             settle the purchase as COMPENSATED",
        ),
    };
    Status::with_error_details(Code::FailedPrecondition, message, error_info(reason, []))
}

/// The status of a request for a refund that was refused like this.
fn of_refund(refusal: &RefundRefusal) -> Status {
    let (reason, message, left) = match refusal {
        RefundRefusal::Pending => return of_purchase(PurchaseRefusal::Pending),
        RefundRefusal::Nothing | RefundRefusal::OtherCurrency { .. } => (
            "NOTHING_TO_REFUND",
            "nothing is left of the payment that can be given back for this; read the payment".to_owned(),
            None,
        ),
        RefundRefusal::SeatsPending => {
            let message = "a seat of the reservation is given up when its refund is done, perhaps with others; wait for that, and read the payment";
            ("REFUND_PENDING", message.to_owned(), None)
        }
        RefundRefusal::TicketUsed { seats } => {
            let seats = seats.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let message = format!("the tickets of {seats} were used; set force to give the money back in any case");
            ("TICKET_USED", message, Some(("seats", seats)))
        }
        RefundRefusal::NotStuck => {
            ("REFUND_NOT_STUCK", "the refund is not stuck; read what has become of it".to_owned(), None)
        }
        RefundRefusal::Exceeds { left } => {
            let message = format!("{left} are left of the payment, and more is asked for");
            ("REFUND_EXCEEDS", message, Some(("left", left.to_string())))
        }
    };
    Status::with_error_details(Code::FailedPrecondition, message, error_info(reason, left))
}

/// The status of a ticket that does not admit its holder.
fn of_ticket(TicketRefusal { why, number, used }: &TicketRefusal) -> Status {
    let (reason, message) = match why.first() {
        Some(WhyNot::WrongShowtime) => ("TICKET_WRONG_SHOWTIME", "the ticket is for another showtime"),
        Some(WhyNot::Voided) => ("TICKET_VOIDED", "the seat of the ticket was given up or exchanged"),
        Some(WhyNot::Refunded) => ("TICKET_REFUNDED", "the money for the ticket was given back"),
        Some(WhyNot::Blocked) => {
            ("TICKET_BLOCKED", "the money for the ticket was not taken yet, or is being given back")
        }
        Some(WhyNot::TooEarly) => ("TICKET_TOO_EARLY", "the doors are not open yet"),
        Some(WhyNot::TooLate) => ("TICKET_TOO_LATE", "the showtime is over"),
        Some(WhyNot::Used) => ("TICKET_USED", "the ticket was used before"),
        Some(WhyNot::NotGenuine) | None => ("TICKET_NOT_GENUINE", "this is the code of no ticket"),
    };
    let mut about: Vec<_> = number.iter().map(|number| ("number", number.to_string())).collect();
    if let Some(used) = used {
        about.extend([("use_time", rfc3339(used.time)), ("use_device", used.device.clone())]);
    }
    Status::with_error_details(Code::FailedPrecondition, message, error_info(reason, about))
}

/// The status of a key that is not retired.
fn of_key(refusal: KeyRefusal) -> Status {
    let (reason, message, tickets) = match refusal {
        KeyRefusal::Signs => {
            let message =
                "the key signs, or did until a moment ago; make a new one with RotateSigningKey, and wait ten seconds";
            ("SIGNING_KEY_SIGNS", message.to_owned(), None)
        }
        KeyRefusal::InUse { tickets } => {
            let message = format!(
                "{tickets} tickets that can be used yet have codes of the key; retire it when their showtimes are over, or set force"
            );
            ("SIGNING_KEY_IN_USE", message, Some(("tickets", tickets.to_string())))
        }
    };
    Status::with_error_details(Code::FailedPrecondition, message, error_info(reason, tickets))
}

/// The status of a purchase that has fewer tickets left than are to be used.
fn of_ticket_count(left: usize) -> Status {
    let message = match left {
        1 => "1 ticket of the purchase is left".to_owned(),
        _ => format!("{left} tickets of the purchase are left"),
    };
    let about = [("left", left.to_string())];
    Status::with_error_details(Code::FailedPrecondition, message, error_info("TICKET_COUNT_EXCEEDS", about))
}

fn out_of_range(reason: &str, message: &str, oldest: &str) -> Status {
    Status::with_error_details(Code::OutOfRange, message, error_info(reason, [("oldest_token", oldest.to_owned())]))
}

/// The status of a request that failed with this error. `context` are the extensions of the request.
pub(super) fn of(error: &Error, context: &Extensions) -> Status {
    match error {
        Error::Invalid(violations) => invalid("INVALID_REQUEST", violations),
        Error::RequestReused => {
            let description = "was used before for a request with other content; a new request needs a new request_id";
            invalid("REQUEST_ID_REUSED", &Violations::one("request_id", description))
        }
        Error::CardNumber { field } => card_number(field),
        Error::NotFound { kind, id } => not_found(*kind, id),
        Error::Overlaps { other, turnaround } => overlaps(other, *turnaround),
        Error::Refused(refused) => refusals::of(refused),
        Error::RevisionNotReached { asked, reached } => {
            let message = format!("the showtime has not reached revision {asked}; its newest revision is {reached}");
            let details = error_info(
                "REVISION_NOT_REACHED",
                [("at_least_revision", asked.to_string()), ("revision", reached.to_string())],
            );
            Status::with_error_details(Code::FailedPrecondition, message, details)
        }
        Error::TooManyWatchers => {
            let mut details = error_info("TOO_MANY_WATCHERS", []);
            details.set_retry_info(Some(WATCH_RETRY));
            let message = format!(
                "this server has as many watchers as it allows; try another instance, or this one in {WATCH_RETRY:?}"
            );
            Status::with_error_details(Code::ResourceExhausted, message, details)
        }
        Error::Feed(refusal) => of_feed(refusal),
        Error::Reports(refusal) => of_reports(refusal),
        Error::Purchase(refusal) => of_purchase(*refusal),
        Error::Refund(refusal) => of_refund(refusal),
        Error::Ticket(refusal) => of_ticket(refusal),
        Error::Key(refusal) => of_key(*refusal),
        Error::TicketCount { left } => of_ticket_count(*left),
        Error::WatchLimit { most } => {
            let mut details = error_info("WATCH_LIMIT", [("limit", most.to_string())]);
            let message = format!("this server allows {most} watchers from one address; end one, or share one");
            details.add_quota_failure_violation("address", message.clone());
            Status::with_error_details(Code::ResourceExhausted, message, details)
        }
        Error::ProviderUnavailable { retry_after } => unavailable(
            "PROVIDER_UNAVAILABLE",
            "the movie provider is unavailable and no usable answer is cached; try again later",
            *retry_after,
        ),
        Error::StoreUnavailable(_) => {
            tracing::warn!(error = error as &dyn StdError, "request refused: the database is unavailable");
            let message = "the database is unavailable; nothing was changed, so the request can be repeated";
            unavailable("STORE_UNAVAILABLE", message, UNAVAILABLE_RETRY)
        }
        Error::StoreBusy(_) => {
            tracing::warn!(error = error as &dyn StdError, "request refused: the database is overloaded");
            let message = "the server is overloaded; nothing was changed, so the request can be repeated";
            unavailable("OVERLOADED", message, BUSY_RETRY)
        }
        Error::OutcomeUnknown(_) => {
            tracing::error!(error = error as &dyn StdError, "commit not confirmed: the outcome of a change is unknown");
            let message = "the change was not confirmed and may or may not have taken effect; \
                           repeat the request with the same request_id";
            let mut status = unavailable("OUTCOME_UNKNOWN", message, UNAVAILABLE_RETRY);
            // A negative value forbids the retry policies of gRPC clients to repeat the call, because they cannot tell
            // whether it has a request_id.
            status.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from_static("-1"));
            status
        }
        Error::Store(_) | Error::Lost(_) => internal(error, context),
    }
}

fn invalid(reason: &str, violations: &Violations) -> Status {
    let mut message = BoundedMessage::new("the request has many violations");
    for one in violations.list() {
        let space = if one.field.is_empty() { "" } else { " " };
        if !message.add("; ", &format!("{}{space}{}", one.field, one.description)) {
            break;
        }
    }
    let mut details = error_info(reason, []);
    details.set_bad_request(field_violations(violations));
    Status::with_error_details(Code::InvalidArgument, message.into_text(), details)
}

fn not_found(kind: Kind, id: &str) -> Status {
    let (reason, name, resource) = match kind {
        Kind::Auditorium => ("AUDITORIUM_NOT_FOUND", "auditorium", "boxoffice.v1.Auditorium"),
        Kind::Movie => ("MOVIE_NOT_FOUND", "movie", "boxoffice.v1.Movie"),
        Kind::Showtime => ("SHOWTIME_NOT_FOUND", "showtime", "boxoffice.v1.Showtime"),
        Kind::Reservation => ("RESERVATION_NOT_FOUND", "reservation", "boxoffice.v1.Reservation"),
        Kind::Purchase => ("PURCHASE_NOT_FOUND", "purchase", "boxoffice.v1.Purchase"),
        Kind::Payment => ("PAYMENT_NOT_FOUND", "payment", "boxoffice.v1.Payment"),
        Kind::SigningKey => ("SIGNING_KEY_NOT_FOUND", "signing key", "boxoffice.v1.SigningKey"),
        Kind::Ticket => ("TICKET_NOT_FOUND", "ticket", "boxoffice.v1.Ticket"),
        Kind::Refund => ("REFUND_NOT_FOUND", "refund", "boxoffice.v1.Refund"),
        Kind::DeadLetter => ("DEAD_LETTER_NOT_FOUND", "dead letter", "boxoffice.v1.DeadLetter"),
    };
    let message = format!("there is no {name} {id}");
    let mut details = error_info(reason, []);
    details.set_resource_info(resource, id, "", message.clone());
    Status::with_error_details(Code::NotFound, message, details)
}

fn overlaps(other: &Showtime, turnaround: Duration) -> Status {
    let facts = &other.facts;
    let (id, start, end) = (facts.showtime_id.to_string(), rfc3339(facts.start_time), rfc3339(facts.end_time));
    let turnaround = match turnaround.as_secs() {
        0 => String::new(),
        seconds => format!(", and must stay empty for {} after each showtime", in_minutes(seconds)),
    };
    let message = format!("the auditorium is taken by showtime {id} from {start} to {end}{turnaround}");
    let mut details =
        error_info("SHOWTIME_OVERLAPS", [("showtime_id", id.clone()), ("start_time", start), ("end_time", end)]);
    details.set_resource_info("boxoffice.v1.Showtime", id, "", "the showtime that has the auditorium at that time");
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// "15 minutes", or "90 seconds" if the minutes are not whole.
fn in_minutes(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (1, 0) => "1 minute".to_owned(),
        (minutes, 0) => format!("{minutes} minutes"),
        _ => format!("{seconds} seconds"),
    }
}

fn internal(error: &Error, context: &Extensions) -> Status {
    let request_id = context.get::<RequestContext>().map(RequestContext::request_id_hex);
    tracing::error!(
        error = error as &dyn StdError,
        request_id = %request_id.as_deref().unwrap_or_default(),
        "a request failed"
    );
    details::internal(request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turnaround_is_written_in_whole_minutes_or_in_seconds() {
        assert_eq!([60, 90, 900].map(in_minutes), ["1 minute", "90 seconds", "15 minutes"]);
    }
}
