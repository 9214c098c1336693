//! Requests to the ledger, and its replies.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        ids::ShowtimeId,
        reservation::Reservation,
        seating::{Change, Command, Refusal, ShowtimePlan},
    },
    store::{Companion, RequestKey},
    telemetry::trace_parent::TraceParent,
};

/// A command for one showtime, with what belongs to the request that brought it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The showtime whose seats the command is about.
    pub showtime_id: ShowtimeId,
    /// The change that is asked for.
    pub command: Command,
    /// The key of the request. A repeated request with the same key has no second effect.
    pub key: Option<RequestKey>,
    /// Whether the command is only decided. Nothing is written, and no request id is looked up.
    pub validate_only: bool,
    /// The trace of the request, which the events of the change carry.
    pub trace: Option<TraceParent>,
    /// Rows of other tables that commit with the change. They are written only if the command is accepted and changes
    /// something. If one of them cannot be written, the request fails, and nothing of it is written.
    pub companions: Vec<Companion>,
    /// Makes further rows, of what the command has changed.
    pub more_companions: Option<CompanionMaker>,
}

/// Makes rows of other tables that commit with the changes of a command, where only the changes say which: a showtime that is
/// cancelled ends all sales that it has by then. It is called under the lock, so it must be quick.
#[derive(Clone)]
pub struct CompanionMaker(Arc<MakeCompanions>);

type MakeCompanions = dyn Fn(&ShowtimePlan, &[Change], DateTime<Utc>) -> Vec<Companion> + Send + Sync;

impl CompanionMaker {
    /// Makes rows by this function of the showtime, the changes, and the time of the decision.
    pub fn new(
        make: impl Fn(&ShowtimePlan, &[Change], DateTime<Utc>) -> Vec<Companion> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(make))
    }

    /// Makes the rows of both, in this order.
    #[must_use]
    pub fn and(self, then: Self) -> Self {
        Self::new(move |plan, changes, now| {
            let mut rows = self.make(plan, changes, now);
            rows.extend(then.make(plan, changes, now));
            rows
        })
    }

    pub(super) fn make(&self, plan: &ShowtimePlan, changes: &[Change], now: DateTime<Utc>) -> Vec<Companion> {
        (self.0)(plan, changes, now)
    }
}

impl fmt::Debug for CompanionMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompanionMaker").finish_non_exhaustive()
    }
}

impl Request {
    /// A command with nothing else: no request id, no trace, no companions.
    #[must_use]
    pub fn new(showtime_id: ShowtimeId, command: Command) -> Self {
        let (key, trace, companions, more_companions) = (None, None, Vec::new(), None);
        Self { showtime_id, command, key, validate_only: false, trace, companions, more_companions }
    }

    /// Whether the command makes a reservation. Such a request id is stored with the reservation, not with an answer.
    pub(super) fn reserves(&self) -> bool {
        matches!(self.command, Command::Reserve { .. })
    }

    /// The key under which the answer is looked up and stored.
    pub(super) fn effective_key(&self) -> Option<&RequestKey> {
        self.key.as_ref().filter(|_| !self.validate_only)
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// What never changes about the showtime.
    pub plan: Arc<ShowtimePlan>,
    /// The showtime's revision at which the request was decided. A repeated request has the revision of its first answer.
    pub revision: i64,
    /// When the request was decided, by the database's clock.
    pub now: DateTime<Utc>,
    /// The decision.
    pub outcome: Outcome,
    /// Whether the request changed something, so that its companions were written.
    pub changed: bool,
}

/// The result of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The command was accepted. The reservation is the one that the command made or named, as it is afterwards.
    Done(Option<Arc<Reservation>>),
    /// The same request was accepted before. The reservation is the one of the first answer.
    Repeated(Option<Arc<Reservation>>),
    /// The request id was used before, with other content.
    RequestReused,
    /// A rule forbids the command. Shared, because many requests for the same seats are refused alike.
    Refused(Arc<Refusal>),
}
