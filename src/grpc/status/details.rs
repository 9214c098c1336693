//! The parts of which every status is made: its `ErrorInfo`, its retry hints, its list of violations, and the bounds on
//! their size.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::domain::violations::Violations;

/// The `domain` of every `ErrorInfo`: the service that defines the reasons.
pub(super) const DOMAIN: &str = "boxoffice";

// A status travels in HTTP trailers, encoded in base64, and its message twice. Clients refuse trailers over 8 KiB
// (grpc-java, gRPC's C core) or 16 KiB (tonic), and then read nothing of the status at all.

/// Most bytes that the lists in the details of one status may have.
pub(super) const MAX_DETAIL_BYTES: usize = 4_096;
/// Most bytes that the message of one status may have.
const MAX_MESSAGE_BYTES: usize = 512;

/// Details that consist of an `ErrorInfo` with this reason.
pub(super) fn error_info<'a>(reason: &str, metadata: impl IntoIterator<Item = (&'a str, String)>) -> ErrorDetails {
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// An UNAVAILABLE that says twice when to try again: `RetryInfo` is for the caller's own code,
/// `grpc-retry-pushback-ms` for the retry policies of gRPC clients.
pub(super) fn unavailable(reason: &str, message: &str, retry_after: Duration) -> Status {
    let mut details = error_info(reason, []);
    details.set_retry_info(Some(retry_after));
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", (retry_after.as_millis() as u64).into());
    Status::with_error_details_and_metadata(Code::Unavailable, message, details, metadata)
}

/// An INTERNAL that names the request by the id that the log has, and says nothing else about the cause.
pub(super) fn internal(request_id: Option<String>) -> Status {
    let message = match &request_id {
        Some(id) => format!("internal error; the server's log has the cause under request_id {id}"),
        None => "internal error; the server's log has the cause".to_owned(),
    };
    let details = error_info("INTERNAL", request_id.map(|id| ("request_id", id)));
    Status::with_error_details(Code::Internal, message, details)
}

/// The violations for a `BadRequest`, as many as fit.
pub(super) fn field_violations(violations: &Violations) -> Vec<FieldViolation> {
    let mut budget = ByteBudget::new(MAX_DETAIL_BYTES);
    let all = violations.list();
    // 8 bytes for tags and lengths.
    let fitting = all.iter().take_while(|one| budget.take(one.field.len() + one.description.len() + 8));
    let mut listed: Vec<_> =
        fitting.map(|one| FieldViolation::new(one.field.clone(), one.description.clone())).collect();
    if listed.len() < all.len() {
        listed.push(FieldViolation::new("", "has more violations than are listed here"));
    }
    listed
}

/// A time as all messages and metadata write it: `2027-01-20T20:00:00Z`.
pub(super) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Counts down the bytes that are left for details.
pub(super) struct ByteBudget(usize);

impl ByteBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes `bytes` out of the budget and says whether they fit. What does not fit uses up the budget.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.0;
        self.0 = self.0.saturating_sub(bytes);
        fits
    }
}

/// A status message under construction, which never grows beyond `MAX_MESSAGE_BYTES` by more than an ellipsis.
pub(super) struct BoundedMessage {
    text: String,
    too_long: &'static str,
}

impl BoundedMessage {
    /// An empty message. It becomes `too_long` if not even its first part fits.
    pub(super) fn new(too_long: &'static str) -> Self {
        Self { text: String::new(), too_long }
    }

    /// Appends a part, after the separator unless it is the first. If the part does not fit, the message ends with
    /// "; and more" instead, and `false` says that nothing may follow.
    pub(super) fn add(&mut self, separator: &str, part: &str) -> bool {
        let separator = if self.text.is_empty() { "" } else { separator };
        if self.text.len() + separator.len() + part.len() > MAX_MESSAGE_BYTES {
            self.text += if self.text.is_empty() { self.too_long } else { "; and more" };
            return false;
        }
        self.text += separator;
        self.text += part;
        true
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}
