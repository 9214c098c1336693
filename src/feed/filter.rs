//! Which events a subscriber wants.

use std::{collections::HashSet, sync::Arc};

use super::{entry::Entry, row::Row};
use crate::{
    domain::ids::ShowtimeId,
    store::{Error, Store},
};

/// Which events a subscriber wants. An empty set means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Kinds, by their names in [`KINDS`](super::KINDS).
    pub kinds: HashSet<String>,
    /// Showtimes that events are about.
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
        if self.showtimes.is_empty() && self.cinemas.is_empty() {
            return Ok(true);
        }
        let Some(showtime_id) = row.showtime_id else { return Ok(false) };
        if !self.showtimes.is_empty() && !self.showtimes.contains(&showtime_id) {
            return Ok(false);
        }
        if self.cinemas.is_empty() {
            return Ok(true);
        }
        // A showtime's auditorium never changes, and is in memory for those that were sold lately.
        let plan = store.plan(showtime_id).await?;
        Ok(plan.is_some_and(|plan| self.cinemas.contains(plan.facts.auditorium.cinema.as_str())))
    }
}
