//! Lists of tickets for doors, read and watched.
//!
//! One task reads the lists that are watched here, one after the other, at most once a second. So many doors of a showtime cost one read, and
//! many showtimes cost one connection. What other instances did is seen as soon as what this one did.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::watched_lists::{DoorChanges, DoorList, changes};
use crate::{
    app::{App, Error, Origin},
    background::Task,
    domain::{ids::ShowtimeId, ticket::Admission},
};

/// How often the lists that are watched are read.
const PERIOD: Duration = Duration::from_secs(1);

/// A message to a door.
#[derive(Debug)]
pub enum DoorMessage {
    /// The whole list.
    List(DoorList),
    /// What has changed since the message before.
    Changes(DoorChanges),
    /// Nothing has changed. The list was last read at this time.
    Heartbeat(DateTime<Utc>),
}

/// Sends the list of a door and its changes, until the showtime is over.
pub struct DoorWatch {
    lists: watch::Receiver<DoorList>,
    /// What the door knows. `None`: nothing was sent yet.
    sent: Option<DoorList>,
    /// The list that was read when the watch began.
    first: DoorList,
    app: App,
    _permit: OwnedSemaphorePermit,
}

impl App {
    /// The tickets of a showtime that are not voided or refunded.
    ///
    /// # Errors
    /// There is no such showtime, or the store fails.
    pub async fn door_list(&self, _origin: &Origin, showtime_id: ShowtimeId) -> Result<DoorList, Error> {
        self.read_door_list(showtime_id).await
    }

    async fn read_door_list(&self, showtime_id: ShowtimeId) -> Result<DoorList, Error> {
        let as_of = self.0.clock.now();
        let plan = self.0.store.plan(showtime_id).await?.ok_or_else(|| Error::no_showtime(showtime_id))?;
        let tickets = self.0.store.door_tickets(showtime_id).await?.into();
        let admission = Admission::of(plan.facts.start_time, plan.facts.end_time, self.0.rules.doors_open);
        Ok(DoorList { plan, admission, tickets, as_of })
    }

    /// Watches the list of a door.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store fails.
    pub async fn watch_door(&self, _origin: &Origin, showtime_id: ShowtimeId) -> Result<DoorWatch, Error> {
        let permit = Arc::clone(&self.0.doors.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| Error::TooManyWatchers)?;
        let first = self.read_door_list(showtime_id).await?;
        let lists = self.0.doors.subscribe(&first);
        Ok(DoorWatch { lists, sent: None, first, app: self.clone(), _permit: permit })
    }

    /// Reads the lists that are watched, until the shutdown.
    pub async fn refresh_door_lists(self, shutdown: CancellationToken) {
        let task = Task::new("refresh of door lists", PERIOD).shutdown(shutdown);
        task.run(async move || {
            let mut outcome = Ok(());
            for showtime_id in self.0.doors.showtimes() {
                // One that cannot be read does not keep the others from being read.
                match self.read_door_list(showtime_id).await {
                    Ok(list) => self.0.doors.publish(list),
                    Err(error) => outcome = Err(error),
                }
            }
            outcome
        })
        .await;
    }
}

impl DoorWatch {
    /// The next message, or a heartbeat after this time without one. `None`: the showtime is over.
    pub async fn next(&mut self, heartbeat: Duration) -> Option<DoorMessage> {
        let Some(sent) = self.sent.clone() else {
            self.sent = Some(self.first.clone());
            return Some(DoorMessage::List(self.first.clone()));
        };
        let is_over = |list: &DoorList, now| now >= list.admission.until;
        if is_over(&sent, self.app.0.clock.now()) {
            return None;
        }
        let deadline = tokio::time::Instant::now() + heartbeat;
        loop {
            let list = self.lists.borrow_and_update().clone();
            // What was read before the first list has nothing new.
            if list.as_of > sent.as_of && !Arc::ptr_eq(&list.tickets, &sent.tickets) {
                self.sent = Some(list.clone());
                let changes = changes(&sent, &list);
                if !changes.tickets.is_empty() || !changes.removed.is_empty() {
                    return Some(DoorMessage::Changes(changes));
                }
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match timeout(left, self.lists.changed()).await {
                Ok(Ok(())) => {}
                // Nothing has changed until the heartbeat. A sender is kept for as long as there is a receiver.
                Ok(Err(_)) | Err(_) => return Some(DoorMessage::Heartbeat(self.lists.borrow().as_of.max(sent.as_of))),
            }
        }
    }
}
