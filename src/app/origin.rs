//! The caller, the request key and the trace of a request.
//!
//! Every method of [`App`](super::App) takes an [`Origin`], reads included, so that a rule about callers has one place.
//! Nothing here decides what a caller may do.

use std::{borrow::Cow, net::IpAddr};

use crate::{
    domain::{
        ids::{RequestId, ShowtimeId},
        seating::Command,
    },
    ledger::Request,
    store::{RequestKey, SAMPLE_CALLER},
    telemetry::trace_parent::TraceParent,
};

/// The name of every caller that is not authenticated. Their request ids are kept in one common space.
const ANYONE: &str = "";
/// The caller of the service's own requests, such as those behind the example commands that it prints at its start.
const SERVICE: &str = "!service";

/// The sender of a request.
///
/// A name that begins with `!` belongs to the service itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Cow<'static, str>,
    address: Option<IpAddr>,
}

/// What a request brings besides its message.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who sent it.
    pub caller: Caller,
    /// The key under which its answer is stored. Reads have none, and neither has a change that was sent without a
    /// request id.
    pub key: Option<RequestKey>,
    /// The trace that it belongs to.
    pub trace: Option<TraceParent>,
}

impl Caller {
    /// A caller that is not authenticated. Limits per caller use its network address, if it is known.
    #[must_use]
    pub fn anyone(address: Option<IpAddr>) -> Self {
        Self { name: Cow::Borrowed(ANYONE), address }
    }

    /// The service itself.
    #[must_use]
    pub fn service() -> Self {
        Self { name: Cow::Borrowed(SERVICE), address: None }
    }

    /// The maker of the sample, whose stored answers are never deleted.
    pub(super) fn sample() -> Self {
        Self { name: Cow::Borrowed(SAMPLE_CALLER), address: None }
    }

    /// Its name, which is kept with what it does. Empty: it is not authenticated.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network address of its connection.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The key under which the answer to one of its requests is stored.
    #[must_use]
    pub fn request_key(&self, method: &'static str, request_id: RequestId, fingerprint: [u8; 32]) -> RequestKey {
        RequestKey { caller: self.name.clone().into_owned(), method, request_id, fingerprint }
    }
}

impl Origin {
    /// The ledger's request for a command of this origin.
    pub(super) fn command(&self, showtime_id: ShowtimeId, command: Command) -> Request {
        let (key, trace) = (self.key.clone(), self.trace);
        Request { key, trace, ..Request::new(showtime_id, command) }
    }
}

impl From<Caller> for Origin {
    /// A request without a key and without a trace.
    fn from(caller: Caller) -> Self {
        Self { caller, key: None, trace: None }
    }
}
