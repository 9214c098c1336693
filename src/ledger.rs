//! Who has which seat: the only room in which seats change hands.
//!
//! A command for a showtime waits in the queue of that showtime's writer. The writer takes whatever is queued, locks those
//! showtimes in the database, decides in memory with [`crate::domain::seating`], writes what came of it in one
//! transaction, and only then answers. Commands that were queued are carried out whatever becomes of those who asked.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        ids::ShowtimeId,
        reservation::Reservation,
        seating::{Command, Plan, Refusal},
    },
    store::RequestKey,
};

/// A command, and all that goes with it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// For this showtime.
    pub showtime_id: ShowtimeId,
    /// What is wanted.
    pub command: Command,
    /// Under which request id, so that its repetition has no second effect.
    pub key: Option<RequestKey>,
    /// The reservation it names, as it was found a moment ago.
    pub record: Option<Arc<Reservation>>,
    /// Whether only to say what would come of it.
    pub validate_only: bool,
    /// The trace of the request.
    pub trace_id: Option<u128>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The showtime, without what changes.
    pub plan: Arc<Plan>,
    /// Its revision at which this was decided or, for a repetition, was decided at first.
    pub revision: i64,
    /// When it was decided, by the database's clock.
    pub now: DateTime<Utc>,
    /// The rest.
    pub outcome: Outcome,
}

/// The ways in which a command can end, besides not at all.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was done; the reservation it was about, if it was about one.
    Done(Option<Arc<Reservation>>),
    /// It had been done by this same request, and this was the reservation then.
    Replayed(Option<Arc<Reservation>>),
    /// The request id belongs to another request.
    RequestReused,
    /// It is against the rules. Shared, as many can be refused alike.
    Refused(Arc<Refusal>),
}
