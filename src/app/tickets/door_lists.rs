//! Lists of tickets for doors, read and watched.
//!
//! One task reads the lists that are watched here, one after the other, at most once a second. So many doors of a showtime cost one read, and
//! many showtimes cost one connection. What other instances did is seen as soon as what this one did.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::watched_lists::{DoorChanges, DoorList, changes};
use crate::{
    app::{App, Error, Origin, seat_maps::not_watched},
    background::Task,
    domain::ids::ShowtimeId,
    ledger::WatchPermit,
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
    /// The list that the door has, or if nothing was sent yet, the one that is sent first.
    list: DoorList,
    has_begun: bool,
    app: App,
    _permit: WatchPermit,
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
        let plan = self.plan_of(showtime_id).await?;
        let tickets = self.0.store.door_tickets(showtime_id).await?.into();
        Ok(DoorList { admission: self.admission(&plan), plan, tickets, as_of })
    }

    /// Watches the list of a door.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store fails.
    pub async fn watch_door(&self, origin: &Origin, showtime_id: ShowtimeId) -> Result<DoorWatch, Error> {
        let permit = self.0.ledger.views().permit(origin.caller.address());
        let permit = permit.map_err(|why| not_watched(showtime_id, why))?;
        let list = self.read_door_list(showtime_id).await?;
        let lists = self.0.doors.subscribe(&list);
        Ok(DoorWatch { lists, list, has_begun: false, app: self.clone(), _permit: permit })
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
        if !self.has_begun {
            self.has_begun = true;
            return Some(DoorMessage::List(self.list.clone()));
        }
        if self.app.0.clock.now() >= self.list.admission.until {
            return None;
        }
        let heartbeat = Instant::now() + heartbeat;
        loop {
            let list = self.lists.borrow_and_update().clone();
            // A list that was read before that of the door has nothing new.
            if list.as_of > self.list.as_of && !Arc::ptr_eq(&list.tickets, &self.list.tickets) {
                let changes = changes(&self.list, &list);
                self.list = list;
                if !changes.tickets.is_empty() || !changes.removed.is_empty() {
                    return Some(DoorMessage::Changes(changes));
                }
            }
            // A sender is kept for as long as there is a receiver, so nothing ends this wait but a change and the heartbeat.
            if !matches!(timeout_at(heartbeat, self.lists.changed()).await, Ok(Ok(()))) {
                return Some(DoorMessage::Heartbeat(self.lists.borrow().as_of.max(self.list.as_of)));
            }
        }
    }
}
