//! A watcher of a seat map. It checks each message, applies it to a copy, and compares the copy with the map itself.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{
    GetSeatMapRequest, SeatMap, SeatState, Showtime, WatchSeatMapRequest, WatchSeatMapResponse,
    showtimes_client::ShowtimesClient, watch_seat_map_response::Event,
};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    DEADLINE, Server,
    seats::{best, cancel, confirm, extend, instant, name, reserve},
};

/// The states of all seats, by their names.
pub(crate) type States = BTreeMap<String, SeatState>;

/// Reserves, extends, confirms and cancels at these servers, and compares what a watcher has seen with the map of one of them.
pub(crate) async fn watch_under_load(
    servers: &[&Server],
    at: &Server,
    showtime: &Showtime,
    copy: &mut Copy,
    watch: &mut Streaming<WatchSeatMapResponse>,
) {
    let load = join_all((0..24).map(async |caller: usize| {
        let server = servers[caller % servers.len()];
        let request = best(showtime, &format!("caller {caller}"), 1 + (caller % 3) as i32);
        let Ok(held) = reserve(server, request).await else { return 0 };
        let after = match caller % 4 {
            0 => confirm(server, &held).await,
            1 => cancel(server, &held).await,
            2 => extend(server, &held).await,
            _ => Ok(held),
        };
        after.expect("the seats are held").revision
    }));
    let last = load.await.into_iter().max().expect("some requests were accepted");
    copy.read_until(watch, last).await;
    let map = map(&mut at.showtimes(), &showtime.showtime_id, last).await;
    assert_eq!((copy.revision, &copy.states), (map.revision, &states(&map)));
}

/// A watcher's copy of a seat map.
pub(crate) struct Copy {
    pub(crate) revision: i64,
    pub(crate) epoch: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) states: States,
    /// The ends of the holds that deltas have named.
    holds: BTreeMap<String, DateTime<Utc>>,
}

impl Copy {
    /// Reads the snapshot that a watch begins with.
    pub(crate) async fn begin(watch: &mut Streaming<WatchSeatMapResponse>) -> Self {
        let Some(Event::Snapshot(map)) = next(watch).await else { panic!("a watch begins with a snapshot") };
        let (revision, at, states) = (map.revision, instant(map.as_of_time), states(&map));
        Self { revision, epoch: map.epoch, at, states, holds: BTreeMap::new() }
    }

    /// Reads one message and applies it. A delta must follow on the message before.
    pub(crate) async fn read(&mut self, watch: &mut Streaming<WatchSeatMapResponse>) -> Event {
        let event = next(watch).await.expect("the stream has not ended");
        self.apply(&event);
        event
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Delta(delta) => {
                assert_eq!(delta.base_revision, self.revision, "a gap or a repetition: {delta:?}");
                for seat in &delta.seats {
                    let name = name(seat.seat.as_ref().expect("a seat has a name"));
                    match seat.held_until {
                        Some(until) => drop(self.holds.insert(name.clone(), instant(Some(until)))),
                        None => drop(self.holds.remove(&name)),
                    }
                    assert!(self.states.insert(name, seat.state()).is_some(), "an unknown seat: {seat:?}");
                }
                assert!(instant(delta.as_of_time) >= self.at, "the time is earlier than before: {delta:?}");
                (self.revision, self.at) = (delta.revision, instant(delta.as_of_time));
                self.assert_no_hold_has_lapsed();
            }
            Event::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.revision, self.revision);
                assert!(instant(heartbeat.as_of_time) >= self.at, "the time is earlier than before: {heartbeat:?}");
                self.at = instant(heartbeat.as_of_time);
                self.assert_no_hold_has_lapsed();
            }
            Event::Snapshot(_) | Event::Draining(_) => panic!("unexpected: {event:?}"),
        }
    }

    /// Every hold that has lapsed by the time of a message shows as free.
    fn assert_no_hold_has_lapsed(&self) {
        let lapsed = self.holds.iter().find(|(_, until)| **until <= self.at);
        assert_eq!(lapsed, None, "a hold has lapsed by {}", self.at);
    }

    /// Reads until this revision, with snapshots on the way if the watcher was too far behind.
    pub(crate) async fn catch_up(&mut self, watch: &mut Streaming<WatchSeatMapResponse>, revision: i64) {
        let read = async {
            while self.revision < revision {
                match next(watch).await.expect("the stream has not ended") {
                    Event::Snapshot(map) => {
                        assert!(map.revision > self.revision, "a snapshot goes back");
                        (self.revision, self.at, self.states) = (map.revision, instant(map.as_of_time), states(&map));
                        self.holds.clear();
                    }
                    event => self.apply(&event),
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("the messages arrive in time");
    }

    pub(crate) async fn read_until(&mut self, watch: &mut Streaming<WatchSeatMapResponse>, revision: i64) {
        self.read_while(watch, |copy| copy.revision < revision).await;
    }

    /// Reads for as long as the condition holds. The deadline is for all messages together, since heartbeats never end.
    pub(crate) async fn read_while(
        &mut self,
        watch: &mut Streaming<WatchSeatMapResponse>,
        condition: impl Fn(&Self) -> bool,
    ) {
        let read = async {
            while condition(self) {
                self.read(watch).await;
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("the messages arrive in time");
    }
}

pub(crate) async fn next(watch: &mut Streaming<WatchSeatMapResponse>) -> Option<Event> {
    let read = tokio::time::timeout(DEADLINE, watch.message());
    let message = read.await.expect("a message arrives in time").expect("the watch does not fail");
    message.map(|message| message.event.expect("a message has an event"))
}

pub(crate) async fn watch(
    client: &ShowtimesClient<Channel>,
    showtime_id: &str,
    from_revision: i64,
    epoch: &str,
) -> Result<Streaming<WatchSeatMapResponse>, Status> {
    let (showtime_id, epoch) = (showtime_id.to_owned(), epoch.to_owned());
    let request = WatchSeatMapRequest { showtime_id, from_revision, epoch };
    client.clone().watch_seat_map(request).await.map(tonic::Response::into_inner)
}

/// The seat map, with every seat listed.
pub(crate) async fn map(client: &mut ShowtimesClient<Channel>, showtime_id: &str, at_least_revision: i64) -> SeatMap {
    let request = GetSeatMapRequest { showtime_id: showtime_id.to_owned(), at_least_revision, include_seats: true };
    client
        .get_seat_map(request)
        .await
        .expect("the showtime exists")
        .into_inner()
        .seat_map
        .expect("the answer has the map")
}

/// The states in the bytes of a map, by the names of the seats in its layout.
pub(crate) fn states(map: &SeatMap) -> States {
    let rows = &map.layout.as_ref().expect("the layout").rows;
    let seats = rows.iter().flat_map(|row| {
        let numbered = row.places.chars().filter(|cell| *cell != '_').zip(1..);
        numbered.filter(|(cell, _)| *cell != '.').map(|(_, number)| format!("{}{number}", row.label))
    });
    let state = |byte: &u8| SeatState::try_from(i32::from(*byte)).expect("a state");
    seats.zip(map.states.iter().map(state)).collect()
}
