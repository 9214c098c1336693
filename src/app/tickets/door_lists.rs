//! Lists of tickets for doors, read and watched.
//!
//! One task reads the lists that are watched here, one after the other, at most once a second. So many doors of a showtime cost one read, and
//! many showtimes cost one connection. What other instances did is seen as soon as what this one did.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, Error, Origin},
    background::Task,
    domain::{
        ids::ShowtimeId,
        number::TicketNumber,
        seating::ShowtimePlan,
        ticket::{Admission, Ticket},
    },
};

/// How often the lists that are watched are read.
const PERIOD: Duration = Duration::from_secs(1);
/// The most watchers of doors of one instance.
const MAX_WATCHERS: usize = 10_000;

/// The list of a door.
#[derive(Clone, Debug)]
pub struct DoorList {
    /// The showtime, and the seats of its auditorium.
    pub plan: Arc<ShowtimePlan>,
    /// When tickets admit their holders.
    pub admission: Admission,
    /// The tickets that are not voided or refunded, in the order of their seats.
    pub tickets: Arc<[Ticket]>,
    /// When the list was read.
    pub as_of: DateTime<Utc>,
}

/// What has changed between two lists.
#[derive(Debug)]
pub struct DoorChanges {
    /// The showtime.
    pub plan: Arc<ShowtimePlan>,
    /// Tickets that are new or have changed.
    pub tickets: Vec<Ticket>,
    /// The numbers of those that are gone.
    pub removed: Vec<TicketNumber>,
    /// When the list was read.
    pub as_of: DateTime<Utc>,
}

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

/// The lists that are watched on this instance.
#[derive(Clone)]
pub(in crate::app) struct Doors {
    watched: Arc<Mutex<HashMap<ShowtimeId, watch::Sender<DoorList>>>>,
    watchers: Arc<Semaphore>,
}

impl Doors {
    pub(in crate::app) fn new() -> Self {
        Self { watched: Arc::default(), watchers: Arc::new(Semaphore::new(MAX_WATCHERS)) }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<ShowtimeId, watch::Sender<DoorList>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives this list whenever it is read again.
    fn subscribe(&self, list: &DoorList) -> watch::Receiver<DoorList> {
        let mut watched = self.watched();
        let sender = watched.entry(list.plan.facts.showtime_id).or_insert_with(|| watch::Sender::new(list.clone()));
        sender.subscribe()
    }

    /// The showtimes that are watched. Those that nobody watches any more are forgotten.
    fn showtimes(&self) -> Vec<ShowtimeId> {
        let mut watched = self.watched();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.keys().copied().collect()
    }

    /// Wakes the watchers of this list if it has changed.
    fn publish(&self, list: DoorList) {
        if let Some(sender) = self.watched().get(&list.plan.facts.showtime_id) {
            sender.send_if_modified(|last| {
                let is_same = last.admission == list.admission && last.tickets == list.tickets;
                // Watchers compare equal lists without looking into them.
                let tickets = if is_same { Arc::clone(&last.tickets) } else { list.tickets };
                *last = DoorList { tickets, ..list };
                !is_same
            });
        }
    }
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
            for showtime_id in self.0.doors.showtimes() {
                let list = self.read_door_list(showtime_id).await?;
                self.0.doors.publish(list);
            }
            Ok::<_, Error>(())
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
                if list.admission != sent.admission {
                    return Some(DoorMessage::List(list));
                }
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

/// What has changed from one list to another.
fn changes(before: &DoorList, after: &DoorList) -> DoorChanges {
    let known: HashMap<_, _> = before.tickets.iter().map(|ticket| (&ticket.number, ticket)).collect();
    let tickets = after.tickets.iter().filter(|ticket| known.get(&ticket.number) != Some(ticket)).cloned();
    let left: std::collections::HashSet<_> = after.tickets.iter().map(|ticket| &ticket.number).collect();
    let removed = before.tickets.iter().map(|ticket| &ticket.number).filter(|number| !left.contains(number)).cloned();
    let (tickets, removed) = (tickets.collect(), removed.collect());
    DoorChanges { plan: Arc::clone(&after.plan), tickets, removed, as_of: after.as_of }
}
