//! The only map from what can come of asking to what is said on the wire: code, reason, details.
//!
//! Internal text stays here. What nobody foresaw is logged once with the request's id, and the caller gets the id.

mod refusals;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use tonic::{
    Code, Extensions, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::layers::RequestContext;
use crate::{
    app::{Error, Kind},
    domain::{
        showtime::Showtime,
        violations::{Violation, Violations},
    },
};

/// Whose reasons they are.
pub(super) const DOMAIN: &str = "boxoffice";
/// When a store that failed may be asked again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// When a store that is busy may be.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// When there may be room for a watcher again.
const WATCH_RETRY: Duration = Duration::from_secs(5);

/// What an answer may say of a bad request. It all travels in trailers, in base64, the message twice; clients give up on
/// trailers over 8 KiB (grpc-java, grpc's C core) or 16 KiB (tonic), and then nobody reads anything.
const LISTED_BYTES: usize = 4_096;
const MESSAGE_BYTES: usize = 512;

/// The status that says this error.
pub(super) fn of(error: &Error, context: &Extensions) -> Status {
    match error {
        Error::Invalid(violations) => invalid("INVALID_REQUEST", violations),
        Error::RequestReused => {
            let what = "was used before with other content; a new request needs a new one";
            invalid("REQUEST_ID_REUSED", &Violations::one("request_id", what))
        }
        Error::NotFound { kind, id } => not_found(*kind, id),
        Error::Overlaps(other) => overlaps(other),
        Error::Refused(refused) => refusals::of(refused),
        Error::RevisionNotReached { asked, reached } => refused(
            "REVISION_NOT_REACHED",
            "the showtime has never been at that revision",
            [("at_least_revision", asked.to_string()), ("revision", reached.to_string())],
        ),
        Error::TooManyWatchers => {
            let mut details = reasoned("TOO_MANY_WATCHERS", []);
            details.set_retry_info(Some(WATCH_RETRY));
            let what = "this server has as many watchers as it takes";
            Status::with_error_details(Code::ResourceExhausted, what, details)
        }
        Error::WatchLimit { most } => {
            let mut details = reasoned("WATCH_LIMIT", [("limit", most.to_string())]);
            let what = format!("this server takes {most} watchers from one address");
            details.add_quota_failure_violation("address", what.clone());
            Status::with_error_details(Code::ResourceExhausted, what, details)
        }
        Error::ProviderUnavailable { retry_after } => unavailable(
            "PROVIDER_UNAVAILABLE",
            "the movie provider does not answer and nothing usable is cached",
            *retry_after,
        ),
        Error::StoreUnavailable(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "refused");
            unavailable("STORE_UNAVAILABLE", "the database is unavailable; nothing was changed", STORE_RETRY)
        }
        Error::StoreBusy(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "refused");
            unavailable("OVERLOADED", "too much is going on at once; nothing was changed", BUSY_RETRY)
        }
        Error::OutcomeUnknown(_) => {
            tracing::error!(error = error as &dyn std::error::Error, "not known to have been done");
            let what = "it is not known whether this took effect; ask again with the same request_id";
            let mut status = unavailable("OUTCOME_UNKNOWN", what, STORE_RETRY);
            // Clients' retry policies know nothing of request ids, and must not repeat this by themselves.
            status.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from_static("-1"));
            status
        }
        Error::Store(_) | Error::Lost(_) => internal(error, context),
    }
}

fn invalid(reason: &str, violations: &Violations) -> Status {
    let mut details = reasoned(reason, []);
    details.set_bad_request(listed(violations));
    Status::with_error_details(Code::InvalidArgument, headline(violations), details)
}

/// The flaws, as many as fit.
fn listed(violations: &Violations) -> Vec<FieldViolation> {
    let mut room = LISTED_BYTES;
    let fits = |flaw: &&Violation| {
        // Tags and lengths, too.
        let size = flaw.field.len() + flaw.description.len() + 8;
        let fits = size <= room;
        room -= size.min(room);
        fits
    };
    let all = violations.list();
    let listed = all.iter().take_while(fits);
    let mut listed: Vec<_> =
        listed.map(|flaw| FieldViolation::new(flaw.field.clone(), flaw.description.clone())).collect();
    if listed.len() < all.len() {
        listed.push(FieldViolation::new("", "has more violations than are listed here"));
    }
    listed
}

/// The flaws as one sentence, as far as they fit.
fn headline(violations: &Violations) -> String {
    let mut headline = String::new();
    for (index, flaw) in violations.list().iter().enumerate() {
        let next = format!("{}{} {}", if index == 0 { "" } else { "; " }, flaw.field, flaw.description);
        if headline.len() + next.len() > MESSAGE_BYTES {
            return headline + "; and more";
        }
        headline += &next;
    }
    headline
}

fn not_found(kind: Kind, id: &str) -> Status {
    let (reason, name, resource) = match kind {
        Kind::Auditorium => ("AUDITORIUM_NOT_FOUND", "auditorium", "boxoffice.v1.Auditorium"),
        Kind::Movie => ("MOVIE_NOT_FOUND", "movie", "boxoffice.v1.Movie"),
        Kind::Showtime => ("SHOWTIME_NOT_FOUND", "showtime", "boxoffice.v1.Showtime"),
        Kind::Reservation => ("RESERVATION_NOT_FOUND", "reservation", "boxoffice.v1.Reservation"),
    };
    let what = format!("there is no {name} {id}");
    let mut details = reasoned(reason, []);
    details.set_resource_info(resource, id, "", what.clone());
    Status::with_error_details(Code::NotFound, what, details)
}

fn overlaps(other: &Showtime) -> Status {
    let facts = &other.facts;
    let (id, start, end) = (facts.showtime_id.to_string(), shown(facts.start_time), shown(facts.end_time));
    let what = format!("the auditorium is taken by showtime {id} from {start} to {end}, and rests after it");
    let mut details =
        reasoned("SHOWTIME_OVERLAPS", [("showtime_id", id.clone()), ("start_time", start), ("end_time", end)]);
    details.set_resource_info("boxoffice.v1.Showtime", id, "", "the showtime in the way");
    Status::with_error_details(Code::FailedPrecondition, what, details)
}

fn refused<const N: usize>(reason: &str, what: &str, metadata: [(&str, String); N]) -> Status {
    Status::with_error_details(Code::FailedPrecondition, what, reasoned(reason, metadata))
}

/// A refusal that may be another one soon: both hints say when, the detail for people's code, the metadata for the
/// retry policies of gRPC clients.
fn unavailable(reason: &str, what: &str, retry_after: Duration) -> Status {
    let mut details = reasoned(reason, []);
    details.set_retry_info(Some(retry_after));
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", (retry_after.as_millis() as u64).into());
    Status::with_error_details_and_metadata(Code::Unavailable, what, details, metadata)
}

fn internal(error: &Error, context: &Extensions) -> Status {
    let id = context.get::<RequestContext>().map(RequestContext::request_name).unwrap_or_default();
    tracing::error!(error = error as &dyn std::error::Error, request_id = %id, "a request failed");
    let details = reasoned("INTERNAL", [("request_id", id)]);
    Status::with_error_details(Code::Internal, "something went wrong here; the log has more", details)
}

fn reasoned<'a>(reason: &str, metadata: impl IntoIterator<Item = (&'a str, String)>) -> ErrorDetails {
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
