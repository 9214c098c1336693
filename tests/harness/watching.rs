//! Watching a seat map: what is said, put together, and compared with the map.

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

/// A seat's state, by its name.
pub(crate) type States = BTreeMap<String, SeatState>;

/// A crowd reserves, prolongs, sells and gives up at these servers, while somebody watches, and compares at the end.
pub(crate) async fn follow_a_crowd(
    servers: &[&Server],
    at: &Server,
    showtime: &Showtime,
    seen: &mut Seen,
    watch: &mut Streaming<WatchSeatMapResponse>,
) {
    let crowd = join_all((0..24).map(async |caller: usize| {
        let server = servers[caller % servers.len()];
        let mine = best(showtime, &format!("caller {caller}"), 1 + (caller % 3) as i32);
        let Ok(held) = reserve(server, mine).await else { return 0 };
        let after = match caller % 4 {
            0 => confirm(server, &held).await,
            1 => cancel(server, &held).await,
            2 => extend(server, &held).await,
            _ => Ok(held),
        };
        after.expect("it is held").revision
    }));
    let last = crowd.await.into_iter().max().expect("some were served");
    seen.read_until(watch, last).await;
    let map = map(&mut at.showtimes(), &showtime.showtime_id, last).await;
    assert_eq!((seen.revision, &seen.states), (map.revision, &states(&map)));
}

/// What somebody who watches has put together.
pub(crate) struct Seen {
    pub(crate) revision: i64,
    pub(crate) epoch: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) states: States,
    /// When holds end, as far as deltas say.
    holds: BTreeMap<String, DateTime<Utc>>,
}

impl Seen {
    pub(crate) async fn begin(watch: &mut Streaming<WatchSeatMapResponse>) -> Self {
        let Some(Event::Snapshot(map)) = next(watch).await else { panic!("everything comes first") };
        let (revision, at, states) = (map.revision, instant(map.as_of_time), states(&map));
        Self { revision, epoch: map.epoch, at, states, holds: BTreeMap::new() }
    }

    /// One word, which must follow on the last.
    pub(crate) async fn read(&mut self, watch: &mut Streaming<WatchSeatMapResponse>) -> Event {
        let event = next(watch).await.expect("it goes on");
        self.hear(&event);
        event
    }

    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::Delta(delta) => {
                assert_eq!(delta.base_revision, self.revision, "a gap, or a repetition: {delta:?}");
                for seat in &delta.seats {
                    let name = name(seat.seat.as_ref().expect("a seat has a name"));
                    match seat.held_until {
                        Some(until) => drop(self.holds.insert(name.clone(), instant(Some(until)))),
                        None => drop(self.holds.remove(&name)),
                    }
                    assert!(self.states.insert(name, seat.state()).is_some(), "an unknown seat: {seat:?}");
                }
                assert!(instant(delta.as_of_time) >= self.at, "time runs back: {delta:?}");
                (self.revision, self.at) = (delta.revision, instant(delta.as_of_time));
                self.assert_no_hold_is_over();
            }
            Event::Heartbeat(sign) => {
                assert_eq!(sign.revision, self.revision);
                assert!(instant(sign.as_of_time) >= self.at, "time runs back: {sign:?}");
                self.at = instant(sign.as_of_time);
                self.assert_no_hold_is_over();
            }
            Event::Snapshot(_) | Event::Draining(_) => panic!("unexpected: {event:?}"),
        }
    }

    /// At the time that a message bears, every hold that has ended by then shows as free.
    fn assert_no_hold_is_over(&self) {
        let over = self.holds.iter().find(|(_, until)| **until <= self.at);
        assert_eq!(over, None, "a hold is over at {}", self.at);
    }

    /// Reads until this revision, though it be told everything anew on the way.
    pub(crate) async fn catch_up(&mut self, watch: &mut Streaming<WatchSeatMapResponse>, revision: i64) {
        let read = async {
            while self.revision < revision {
                match next(watch).await.expect("it goes on") {
                    Event::Snapshot(map) => {
                        assert!(map.revision > self.revision, "it goes back");
                        (self.revision, self.at, self.states) = (map.revision, instant(map.as_of_time), states(&map));
                        self.holds.clear();
                    }
                    event => self.hear(&event),
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("it comes in time");
    }

    pub(crate) async fn read_until(&mut self, watch: &mut Streaming<WatchSeatMapResponse>, revision: i64) {
        self.read_while(watch, |seen| seen.revision < revision).await;
    }

    /// However many signs of life come meanwhile, it does not last for ever.
    pub(crate) async fn read_while(
        &mut self,
        watch: &mut Streaming<WatchSeatMapResponse>,
        waits: impl Fn(&Self) -> bool,
    ) {
        let read = async {
            while waits(self) {
                self.read(watch).await;
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("it comes in time");
    }
}

pub(crate) async fn next(watch: &mut Streaming<WatchSeatMapResponse>) -> Option<Event> {
    let read = tokio::time::timeout(DEADLINE, watch.message());
    let message = read.await.expect("it says something").expect("it does not fail");
    message.map(|message| message.event.expect("it says what"))
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

/// With every seat listed.
pub(crate) async fn map(client: &mut ShowtimesClient<Channel>, showtime_id: &str, at_least_revision: i64) -> SeatMap {
    let request = GetSeatMapRequest { showtime_id: showtime_id.to_owned(), at_least_revision, include_seats: true };
    client.get_seat_map(request).await.expect("there is one").into_inner().seat_map.expect("the map")
}

/// As the bytes say, by the names of the layout.
pub(crate) fn states(map: &SeatMap) -> States {
    let rows = &map.layout.as_ref().expect("the layout").rows;
    let seats = rows.iter().flat_map(|row| {
        let numbered = row.places.chars().filter(|place| *place != '_').zip(1..);
        numbered.filter(|(place, _)| *place != '.').map(|(_, number)| format!("{}{number}", row.label))
    });
    let state = |byte: &u8| SeatState::try_from(i32::from(*byte)).expect("a state");
    seats.zip(map.states.iter().map(state)).collect()
}
