//! What can come of asking, besides the answer. Each has a code and a reason on the wire, given in one place there.

use std::{sync::Arc, time::Duration};

use thiserror::Error;

use super::Refused;
use crate::{
    domain::{showtime::Showtime, violations::Violations},
    store, upstream,
};

/// Kinds of things that may not be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A room.
    Auditorium,
    /// A film.
    Movie,
    /// A screening.
    Showtime,
    /// Seats held or sold, of whoever asks for them.
    Reservation,
}

/// A refusal, or a failure.
#[derive(Debug, Error)]
pub enum Error {
    /// The request is wrong by itself.
    #[error("invalid: {0}")]
    Invalid(#[from] Violations),
    /// The request id was used with other content.
    #[error("the request_id was used for another request")]
    RequestReused,
    /// There is no such thing.
    #[error("there is no {kind:?} {id}")]
    NotFound {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        id: String,
    },
    /// Another showtime has the auditorium at that time.
    #[error("overlaps showtime {}", .other.facts.showtime_id)]
    Overlaps {
        /// The showtime that was scheduled before.
        other: Box<Showtime>,
        /// How long the auditorium must stay empty after each showtime.
        turnaround: Duration,
    },
    /// It is against the rules by which seats are sold.
    #[error("refused: {:?}", .0.why)]
    Refused(Refused),
    /// A revision was asked for that the showtime has never had.
    #[error("revision {asked} was asked for, {reached} is the newest")]
    RevisionNotReached {
        /// What was asked for.
        asked: i64,
        /// What there is.
        reached: i64,
    },
    /// There are as many watchers as there may be.
    #[error("too many watch already")]
    TooManyWatchers,
    /// The caller watches as much as it may.
    #[error("the caller has {most} watchers already")]
    WatchLimit {
        /// So many.
        most: usize,
    },
    /// The provider fails and nothing usable is cached.
    #[error("the movie provider is unavailable")]
    ProviderUnavailable {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The store cannot be asked just now; nothing was changed.
    #[error("the store is unavailable")]
    StoreUnavailable(#[source] Arc<store::Error>),
    /// Too much is asked of the store at once; nothing was changed.
    #[error("the store is too busy")]
    StoreBusy(#[source] Arc<store::Error>),
    /// A change was sent to the store, and whether it took effect is not known.
    #[error("the outcome of a change is unknown")]
    OutcomeUnknown(#[source] Arc<store::Error>),
    /// The store answered with what nobody foresaw.
    #[error("the store failed")]
    Store(#[source] Arc<store::Error>),
    /// A change's task ended without an answer.
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

impl Error {
    /// What a failed look-up of this movie means.
    pub(super) fn movie(id: &str, failure: &upstream::Failure) -> Self {
        match failure {
            upstream::Failure::NotFound => Self::NotFound { kind: Kind::Movie, id: id.to_owned() },
            upstream::Failure::Unavailable { retry_after } => Self::ProviderUnavailable { retry_after: *retry_after },
        }
    }
}
