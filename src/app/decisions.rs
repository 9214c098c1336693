//! Commands that the ledger decides, and its replies.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::Instrument as _;

use super::{App, Error, Refused};
use crate::{
    domain::{ids::ReservationId, reservation::Reservation, seating::ShowtimePlan},
    ledger::{Outcome, Reply, Request},
};

/// A command that was accepted, now or when its request came first.
pub(super) struct Accepted {
    /// The showtime, and the seats of its auditorium.
    pub(super) plan: Arc<ShowtimePlan>,
    /// The showtime's revision in the answer.
    pub(super) revision: i64,
    /// When the request was decided.
    pub(super) now: DateTime<Utc>,
    /// The reservation in the answer, if the command is about one.
    pub(super) reservation: Option<Arc<Reservation>>,
    /// Whether the request came before.
    pub(super) repeated: bool,
    /// Whether the request changed something, so that its companions were written.
    pub(super) changed: bool,
}

/// A command about the reservation of a purchase that was accepted.
#[derive(Clone)]
pub(super) struct Decided {
    /// The reservation as it is afterwards.
    pub(super) reservation: Arc<Reservation>,
    /// When that was decided.
    pub(super) now: DateTime<Utc>,
    /// Whether the command changed something, so that its companions were written.
    pub(super) changed: bool,
}

impl App {
    /// Submits a command to the ledger. The caller's trace shows the wait for the reply; the transaction is shared with others.
    pub(super) async fn decide(&self, mut request: Request) -> Result<Option<Reply>, Error> {
        if let Some(tickets) = self.ticket_maker(&request.command) {
            request.more_companions = Some(match request.more_companions.take() {
                Some(others) => others.and(tickets),
                None => tickets,
            });
        }
        let wait = tracing::info_span!("decide", otel.kind = "internal");
        Ok(self.0.ledger.submit(request).instrument(wait).await?)
    }
}

impl Accepted {
    /// Reads a reply to a command, which may have named a reservation.
    pub(super) fn read(reply: Reply, named: Option<ReservationId>) -> Result<Self, Error> {
        let Reply { plan, revision, now, outcome, changed } = reply;
        let (reservation, repeated) = match outcome {
            Outcome::Done(reservation) => (reservation, false),
            Outcome::Repeated(reservation) => (reservation, true),
            Outcome::RequestReused => return Err(Error::RequestReused),
            Outcome::Refused(why) => {
                return Err(Error::Refused(Refused { why, plan, revision, now, reservation_id: named }));
            }
        };
        Ok(Self { plan, revision, now, reservation, repeated, changed })
    }
}
