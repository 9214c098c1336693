//! Several servers on one database, any of which may be killed and come back while others call them.

use std::sync::{Mutex, PoisonError};

use boxoffice::pb::boxoffice::v1::{
    Auditorium, CreateAuditoriumRequest, CreateShowtimeRequest, Layout, Row, Showtime,
    auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use futures_util::future::join_all;
use tonic::transport::Channel;

use super::{
    Server, in_hours, new_showtime,
    requests::{new_auditorium, seconds},
    server::Setup,
};

pub(crate) struct Fleet(Vec<Mutex<Place>>);

/// Where a server is, or was.
struct Place {
    setup: Setup,
    server: Option<Server>,
}

impl Fleet {
    /// So many servers, set up alike.
    pub(crate) async fn start(count: usize, setup: Setup) -> Self {
        let servers = join_all((0..count).map(|_| setup.clone().start())).await;
        Self(
            servers
                .into_iter()
                .map(|server| Mutex::new(Place { setup: setup.clone(), server: Some(server) }))
                .collect(),
        )
    }

    /// A way to this one, or to the next that is there.
    pub(crate) fn channel(&self, at: usize) -> Channel {
        let found = (0..self.0.len()).find_map(|next| {
            self.place((at + next) % self.0.len(), |place| place.server.as_ref().map(Server::channel))
        });
        found.expect("some server is there")
    }

    /// One way to each that is there.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        (0..self.0.len()).filter_map(|at| self.place(at, |place| place.server.as_ref().map(Server::channel))).collect()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self, at: usize) {
        let server = self.place(at, |place| place.server.take());
        server.expect("it was there").kill();
    }

    /// It comes back, somewhere else.
    pub(crate) async fn restart(&self, at: usize) {
        let setup = self.place(at, |place| place.setup.clone());
        let server = setup.start().await;
        self.place(at, |place| place.server = Some(server));
    }

    fn place<T>(&self, at: usize, see: impl FnOnce(&mut Place) -> T) -> T {
        see(&mut self.0[at].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A showtime in a house of its own, which holds seats for so many seconds.
pub(crate) async fn schedule(channel: Channel, layout: Layout, hold: i64) -> (Showtime, Auditorium) {
    let request = CreateAuditoriumRequest { layout: Some(layout), ..new_auditorium() };
    let auditorium = AuditoriumsClient::new(channel.clone()).create_auditorium(request).await;
    let auditorium = auditorium.expect("an auditorium is created").into_inner().auditorium.expect("the auditorium");
    let hold_duration = Some(seconds(hold));
    let request = CreateShowtimeRequest { hold_duration, ..new_showtime(&auditorium.auditorium_id, in_hours(0)) };
    let showtime = ShowtimesClient::new(channel).create_showtime(request).await;
    (showtime.expect("the slot is free").into_inner().showtime.expect("the showtime"), auditorium)
}

/// So many rows of so many seats, with an aisle after every tenth.
pub(crate) fn rows(count: u8, seats: usize) -> Layout {
    let places: Vec<String> = (0..seats).map(|seat| if seat % 10 == 9 { "s_" } else { "s" }.to_owned()).collect();
    let places = places.concat().trim_end_matches('_').to_owned();
    let row = |row| Row { label: char::from(b'A' + row).to_string(), places: places.clone(), numbers: vec![] };
    Layout { rows: (0..count).map(row).collect() }
}
