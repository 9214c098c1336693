//! Lists of tickets for doors, as they were read last, for those who watch them on this instance.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::domain::{
    ids::ShowtimeId,
    number::TicketNumber,
    seating::ShowtimePlan,
    ticket::{Admission, Ticket},
};

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

/// The lists that are watched on this instance.
#[derive(Clone, Default)]
pub(in crate::app) struct Doors {
    watched: Arc<Mutex<HashMap<ShowtimeId, watch::Sender<DoorList>>>>,
}

impl Doors {
    fn watched(&self) -> MutexGuard<'_, HashMap<ShowtimeId, watch::Sender<DoorList>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives this list, which was just read, whenever it is read again. Those who watch it already receive it now, so that all know the
    /// same before the next one.
    pub(super) fn subscribe(&self, list: &DoorList) -> watch::Receiver<DoorList> {
        let mut watched = self.watched();
        let sender = watched.entry(list.plan.facts.showtime_id).or_insert_with(|| watch::Sender::new(list.clone()));
        send(sender, list.clone());
        sender.subscribe()
    }

    /// The showtimes that are watched. Those that nobody watches any more are forgotten.
    pub(super) fn showtimes(&self) -> Vec<ShowtimeId> {
        let mut watched = self.watched();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.keys().copied().collect()
    }

    /// Wakes the watchers of this list if it has changed.
    pub(super) fn publish(&self, list: DoorList) {
        if let Some(sender) = self.watched().get(&list.plan.facts.showtime_id) {
            send(sender, list);
        }
    }
}

/// Sends a list, unless a later one was sent. It wakes nobody if nothing has changed.
fn send(sender: &watch::Sender<DoorList>, list: DoorList) {
    sender.send_if_modified(|last| {
        if list.as_of < last.as_of {
            return false;
        }
        let is_same = last.tickets == list.tickets;
        // Watchers compare equal lists without looking into them.
        let tickets = if is_same { Arc::clone(&last.tickets) } else { list.tickets };
        *last = DoorList { tickets, ..list };
        !is_same
    });
}

/// What has changed from one list to another.
pub(super) fn changes(before: &DoorList, after: &DoorList) -> DoorChanges {
    let known: HashMap<_, _> = before.tickets.iter().map(|ticket| (&ticket.number, ticket)).collect();
    let tickets = after.tickets.iter().filter(|ticket| known.get(&ticket.number) != Some(ticket)).cloned();
    let left: HashSet<_> = after.tickets.iter().map(|ticket| &ticket.number).collect();
    let removed = before.tickets.iter().map(|ticket| &ticket.number).filter(|number| !left.contains(number)).cloned();
    let (tickets, removed) = (tickets.collect(), removed.collect());
    DoorChanges { plan: Arc::clone(&after.plan), tickets, removed, as_of: after.as_of }
}
