//! Refusals and failures of the use cases. `grpc/status.rs` gives each of them a code and a reason.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::{
    domain::{
        ids::{PaymentId, RefundId, ReservationId, ShowtimeId},
        number::TicketNumber,
        purchase::PurchaseState,
        refund::RefundRefusal,
        reservation::contains_card_number,
        seating::{Refusal, ShowtimePlan},
        showtime::Showtime,
        ticket::{NotACode, TicketUse, WhyNot},
        violations::Violations,
    },
    reports, store, upstream,
};

/// The kind of a resource that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An auditorium.
    Auditorium,
    /// A movie of the provider.
    Movie,
    /// A showtime.
    Showtime,
    /// A reservation of the customer who asks for it.
    Reservation,
    /// A purchase of the customer who asks for it.
    Purchase,
    /// A payment of the customer who asks for it.
    Payment,
    /// A refund.
    Refund,
    /// A ticket.
    Ticket,
    /// A key that signs the codes of tickets.
    SigningKey,
    /// A dead letter of a sink.
    DeadLetter,
}

/// A command that the rules refuse.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The reason.
    pub why: Arc<Refusal>,
    /// The showtime, and the seats of its auditorium.
    pub plan: Arc<ShowtimePlan>,
    /// The showtime's revision at the decision.
    pub revision: i64,
    /// The time of the decision.
    pub now: DateTime<Utc>,
    /// The reservation that the command named, if it named one.
    pub reservation_id: Option<ReservationId>,
}

/// Why events are not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FeedRefusal {
    /// The process has as many subscribers as it accepts.
    #[error("the process has its maximum of subscribers")]
    TooManySubscribers,
    /// The resume token is none of this service.
    #[error("the resume token is malformed")]
    TokenMalformed,
    /// The events after the resume token were deleted.
    #[error("events were deleted")]
    Compacted {
        /// The token from which everything that is kept can be read.
        oldest: String,
    },
    /// The resume token is of another history of the database, or of events that it does not have.
    #[error("the resume token is of another history")]
    Unknown {
        /// The token from which everything that is kept can be read.
        oldest: String,
    },
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportsRefusal {
    /// The server has no reporting database.
    #[error("no reporting database is configured")]
    NotConfigured,
    /// The reporting database cannot be used.
    #[error("the reporting database cannot be used")]
    Unavailable(#[source] reports::Error),
}

/// Why a ticket does not admit its holder.
#[derive(Clone, Debug)]
pub struct TicketRefusal {
    /// The reasons, the most important first.
    pub why: Vec<WhyNot>,
    /// The number of the ticket. `None`: there is none.
    pub number: Option<TicketNumber>,
    /// By whom it was used, if it was.
    pub used: Option<TicketUse>,
}

/// Why a key is not retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyRefusal {
    /// It signs, or did a moment ago.
    #[error("the key signs")]
    Signs,
    /// Tickets that are not used yet have codes of it.
    #[error("{tickets} tickets have codes of the key")]
    InUse {
        /// Their number.
        tickets: u64,
    },
}

/// Why something is not done with a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PurchaseRefusal {
    /// Its payment is under way, and may succeed.
    #[error("the payment is under way")]
    Pending,
    /// It has ended.
    #[error("the purchase has ended")]
    Ended,
    /// It is not completed.
    #[error("the purchase is not completed")]
    NotCompleted,
    /// An operator must help.
    #[error("the purchase is stuck")]
    Stuck,
    /// It needs no operator.
    #[error("the purchase is not stuck")]
    NotStuck,
    /// Its seats were never sold, so it cannot be settled as completed.
    #[error("the seats of the purchase were never sold")]
    NotSold,
}

impl PurchaseRefusal {
    /// Why nothing is done with a purchase in this state.
    pub(super) fn of(state: PurchaseState) -> Self {
        match state {
            PurchaseState::Running | PurchaseState::AwaitingCustomer => Self::Pending,
            PurchaseState::Completed | PurchaseState::Compensated => Self::Ended,
            PurchaseState::Stuck => Self::Stuck,
        }
    }
}

/// A refusal, or a failure.
#[derive(Debug, Error)]
pub enum Error {
    /// The request is invalid, whatever the state of the service.
    #[error("invalid: {0}")]
    Invalid(#[from] Violations),
    /// The request id was used before, by a request with other content.
    #[error("the request_id was used for another request")]
    RequestReused,
    /// A card number stands in this field. It is neither stored nor logged.
    #[error("a card number was sent in {field}")]
    CardNumber {
        /// The path of the field in the request.
        field: &'static str,
    },
    /// The resource does not exist, or is not the caller's to see.
    #[error("there is no {kind:?} {id}")]
    NotFound {
        /// The kind of the resource.
        kind: Kind,
        /// The id that was asked for.
        id: String,
    },
    /// Another showtime occupies the auditorium at that time.
    #[error("overlaps showtime {}", .other.facts.showtime_id)]
    Overlaps {
        /// The showtime that was scheduled before.
        other: Box<Showtime>,
        /// How long the auditorium must stay empty after each showtime.
        turnaround: Duration,
    },
    /// The rules by which seats are sold refuse the command.
    #[error("refused: {:?}", .0.why)]
    Refused(Refused),
    /// The request asks for a revision that the showtime has not reached.
    #[error("revision {asked} was asked for, {reached} is the newest")]
    RevisionNotReached {
        /// The revision that was asked for.
        asked: i64,
        /// The newest revision.
        reached: i64,
    },
    /// The process has as many watchers as it accepts.
    #[error("the process has its maximum of watchers")]
    TooManyWatchers,
    /// The caller has as many watchers as one caller may have.
    #[error("the caller has {most} watchers already")]
    WatchLimit {
        /// The maximum for one caller.
        most: usize,
    },
    /// The feed of events has not what is asked for.
    #[error("events: {0}")]
    Feed(FeedRefusal),
    /// A purchase is not as it must be for this.
    #[error(transparent)]
    Purchase(PurchaseRefusal),
    /// Nothing is given back.
    #[error("no refund: {0:?}")]
    Refund(RefundRefusal),
    /// A ticket does not admit its holder.
    #[error("the ticket does not admit: {:?}", .0.why)]
    Ticket(TicketRefusal),
    /// A key is not retired.
    #[error(transparent)]
    Key(KeyRefusal),
    /// A purchase has fewer tickets left than are to be used.
    #[error("the purchase has {left} tickets left")]
    TicketCount {
        /// How many are left.
        left: usize,
    },
    /// There are no reports.
    #[error(transparent)]
    Reports(ReportsRefusal),
    /// The movie provider fails, and the cache has no answer that may be used.
    #[error("the movie provider is unavailable")]
    ProviderUnavailable {
        /// The time after which a retry is useful.
        retry_after: Duration,
    },
    /// The database is unavailable. Nothing was changed.
    #[error("the store is unavailable")]
    StoreUnavailable(#[source] Arc<store::Error>),
    /// The database is overloaded, or a lock was held for too long. Nothing was changed.
    #[error("the store is too busy")]
    StoreBusy(#[source] Arc<store::Error>),
    /// A commit was sent and its result is not known: the change may have happened.
    #[error("the outcome of a change is unknown")]
    OutcomeUnknown(#[source] Arc<store::Error>),
    /// The database answered with something that this program does not expect.
    #[error("the store failed")]
    Store(#[source] Arc<store::Error>),
    /// The task of a change ended without a result.
    #[error("a change was lost: {0}")]
    Lost(String),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::from(Arc::new(error))
    }
}

impl From<Arc<store::Error>> for Error {
    fn from(error: Arc<store::Error>) -> Self {
        match error.as_ref() {
            store::Error::Unavailable(_) => Self::StoreUnavailable(error),
            store::Error::Busy(_) => Self::StoreBusy(error),
            store::Error::Unknown(_) => Self::OutcomeUnknown(error),
            _ => Self::Store(error),
        }
    }
}

/// Refuses a text with a card number, which is never stored.
pub(super) fn check_no_card_number(field: &'static str, text: &str) -> Result<(), Error> {
    if contains_card_number(text) { Err(Error::CardNumber { field }) } else { Ok(()) }
}

impl Error {
    pub(super) fn no_showtime(id: ShowtimeId) -> Self {
        Self::NotFound { kind: Kind::Showtime, id: id.to_string() }
    }

    pub(super) fn no_reservation(id: ReservationId) -> Self {
        Self::NotFound { kind: Kind::Reservation, id: id.to_string() }
    }

    /// Whether something that was stored before, perhaps by the same request, is in the way.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Store(_) => self.is_taken_key(),
            _ => false,
        }
    }

    /// Whether a row was to be written whose key another row has.
    pub(super) fn is_taken_key(&self) -> bool {
        matches!(self, Self::Store(error) if matches!(**error, store::Error::Constraint(_)))
    }

    /// Whether a row that was written with a change of seats was not as it had been read.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(self, Self::Store(error) if matches!(**error, store::Error::Fenced(_)))
    }

    pub(super) fn no_purchase(id: &impl ToString) -> Self {
        Self::NotFound { kind: Kind::Purchase, id: id.to_string() }
    }

    pub(super) fn no_payment(id: PaymentId) -> Self {
        Self::NotFound { kind: Kind::Payment, id: id.to_string() }
    }

    pub(super) fn no_ticket(id: &impl ToString) -> Self {
        Self::NotFound { kind: Kind::Ticket, id: id.to_string() }
    }

    /// The error for what is shown at a door and is not the code of a ticket.
    pub(super) fn no_code(flaw: &NotACode) -> Self {
        Violations::one("code", flaw.to_string()).into()
    }

    pub(super) fn no_refund(id: RefundId) -> Self {
        Self::NotFound { kind: Kind::Refund, id: id.to_string() }
    }

    /// The error for a movie that could not be looked up.
    pub(super) fn movie(id: &str, failure: &upstream::Failure) -> Self {
        match failure {
            upstream::Failure::NotFound => Self::NotFound { kind: Kind::Movie, id: id.to_owned() },
            upstream::Failure::Unavailable { retry_after } => Self::ProviderUnavailable { retry_after: *retry_after },
        }
    }
}
