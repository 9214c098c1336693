//! Which events a subscriber wants.

use std::{collections::HashSet, sync::Arc};

use super::row::{Entry, Row};
use crate::{
    domain::ids::ShowtimeId,
    pb::boxoffice::events::v1::event::Payload,
    store::{Error, Store},
};

/// The names of all kinds of events.
pub const KINDS: [&str; 8] = [
    "ShowtimeCreated",
    "ShowtimeCancelled",
    "ReservationCreated",
    "ReservationExtended",
    "ReservationConfirmed",
    "ReservationCancelled",
    "ReservationExpired",
    "SeatsReleased",
];

/// Which events a subscriber wants. An empty set means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Kinds, by their names in [`KINDS`].
    pub kinds: HashSet<String>,
    /// Showtimes.
    pub showtimes: HashSet<ShowtimeId>,
    /// Cinemas of the auditoriums of showtimes.
    pub cinemas: HashSet<String>,
}

impl Filter {
    /// Whether the subscriber wants this event.
    pub(super) async fn wants(&self, row: &Row, entry: &Entry, store: &Store) -> Result<bool, Arc<Error>> {
        let is_in = |set: &HashSet<String>, name: &str| set.is_empty() || set.contains(name);
        if !is_in(&self.kinds, entry.kind()) {
            return Ok(false);
        }
        if !self.showtimes.is_empty() && !self.showtimes.contains(&row.showtime_id) {
            return Ok(false);
        }
        if self.cinemas.is_empty() {
            return Ok(true);
        }
        // A showtime's auditorium never changes, and is in memory for those that were sold lately.
        let plan = store.plan(row.showtime_id).await?;
        Ok(plan.is_some_and(|plan| self.cinemas.contains(plan.facts.auditorium.cinema.as_str())))
    }
}

/// What stands before the kind in the type of an event.
pub const NAMESPACE: &str = "boxoffice.v1.";

impl Entry {
    /// The id of the event: the showtime, the revision, and the position among the events of the revision.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.event.showtime_id, self.event.revision, self.event.ordinal)
    }

    /// The showtime as a source of events.
    #[must_use]
    pub fn source(&self) -> String {
        format!("/showtimes/{}", self.event.showtime_id)
    }

    /// The type of the event; the namespace alone for one of a kind that this program does not know.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self.event.payload {
            Some(Payload::ShowtimeCreated(_)) => "boxoffice.v1.ShowtimeCreated",
            Some(Payload::ShowtimeCancelled(_)) => "boxoffice.v1.ShowtimeCancelled",
            Some(Payload::ReservationCreated(_)) => "boxoffice.v1.ReservationCreated",
            Some(Payload::ReservationExtended(_)) => "boxoffice.v1.ReservationExtended",
            Some(Payload::ReservationConfirmed(_)) => "boxoffice.v1.ReservationConfirmed",
            Some(Payload::ReservationCancelled(_)) => "boxoffice.v1.ReservationCancelled",
            Some(Payload::ReservationExpired(_)) => "boxoffice.v1.ReservationExpired",
            Some(Payload::SeatsReleased(_)) => "boxoffice.v1.SeatsReleased",
            None => NAMESPACE,
        }
    }

    /// The name of the event's kind; empty for one that this program does not know.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.event_type().strip_prefix(NAMESPACE).unwrap_or_default()
    }

    /// What the event is about: the id of the reservation, or else of the showtime.
    #[must_use]
    pub fn subject(&self) -> &str {
        match &self.event.payload {
            Some(Payload::ReservationCreated(of)) => &of.reservation_id,
            Some(Payload::ReservationExtended(of)) => &of.reservation_id,
            Some(Payload::ReservationConfirmed(of)) => &of.reservation_id,
            Some(Payload::ReservationCancelled(of)) => &of.reservation_id,
            Some(Payload::ReservationExpired(of)) => &of.reservation_id,
            Some(Payload::SeatsReleased(of)) => &of.reservation_id,
            Some(Payload::ShowtimeCreated(_) | Payload::ShowtimeCancelled(_)) | None => &self.event.showtime_id,
        }
    }
}
