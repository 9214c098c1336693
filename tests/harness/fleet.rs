//! Several servers on one database. Each can be killed and started again while the others are called.

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

pub(crate) struct Fleet(Vec<Mutex<Member>>);

/// A server, if it runs, and the setup for its next start.
struct Member {
    setup: Setup,
    server: Option<Server>,
}

impl Fleet {
    /// Starts a number of servers with the same setup.
    pub(crate) async fn start(count: usize, setup: Setup) -> Self {
        let servers = join_all((0..count).map(|_| setup.clone().start())).await;
        Self(
            servers
                .into_iter()
                .map(|server| Mutex::new(Member { setup: setup.clone(), server: Some(server) }))
                .collect(),
        )
    }

    /// A channel to this server, or to the next one that runs.
    pub(crate) fn channel(&self, at: usize) -> Channel {
        let found = (0..self.0.len()).find_map(|next| {
            self.member((at + next) % self.0.len(), |member| member.server.as_ref().map(Server::channel))
        });
        found.expect("a server runs")
    }

    /// The address of this server, which runs.
    pub(crate) fn address(&self, at: usize) -> String {
        self.member(at, |member| member.server.as_ref().expect("the server runs").address().to_owned())
    }

    /// A channel to each server that runs.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        (0..self.0.len())
            .filter_map(|at| self.member(at, |member| member.server.as_ref().map(Server::channel)))
            .collect()
    }

    /// Kills the server, as a power cut would.
    pub(crate) fn kill(&self, at: usize) {
        let server = self.member(at, |member| member.server.take());
        server.expect("the server runs").kill();
    }

    /// Starts the server again, at another address.
    pub(crate) async fn restart(&self, at: usize) {
        let setup = self.member(at, |member| member.setup.clone());
        let server = setup.start().await;
        self.member(at, |member| member.server = Some(server));
    }

    /// Stops the server as an operator would, and starts another one in its place.
    pub(crate) async fn replace(&self, at: usize, setup: Setup) {
        let server = self.member(at, |member| member.server.take());
        server.expect("the server runs").stop().await;
        self.member(at, |member| member.setup = setup);
        self.restart(at).await;
    }

    fn member<T>(&self, at: usize, access: impl FnOnce(&mut Member) -> T) -> T {
        access(&mut self.0[at].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Schedules a showtime in an auditorium of its own, with holds of this many seconds.
pub(crate) async fn schedule(channel: Channel, layout: Layout, hold_seconds: i64) -> (Showtime, Auditorium) {
    schedule_with(channel, layout, hold_seconds, |request| request).await
}

/// The same; `change` may change the rest of the request.
pub(crate) async fn schedule_with(
    channel: Channel,
    layout: Layout,
    hold_seconds: i64,
    change: impl FnOnce(CreateShowtimeRequest) -> CreateShowtimeRequest,
) -> (Showtime, Auditorium) {
    let request = CreateAuditoriumRequest { layout: Some(layout), ..new_auditorium() };
    let auditorium = AuditoriumsClient::new(channel.clone()).create_auditorium(request).await;
    let auditorium = auditorium.expect("an auditorium is created").into_inner().auditorium.expect("the auditorium");
    let hold_duration = Some(seconds(hold_seconds));
    let request = new_showtime(&auditorium.auditorium_id, in_hours(0));
    let request = change(CreateShowtimeRequest { hold_duration, ..request });
    let showtime = ShowtimesClient::new(channel).create_showtime(request).await;
    (showtime.expect("the slot is free").into_inner().showtime.expect("the showtime"), auditorium)
}

/// A layout of rows with this many seats, with an aisle after every tenth seat.
pub(crate) fn rows(count: u8, seats: usize) -> Layout {
    let places: Vec<String> = (0..seats).map(|seat| if seat % 10 == 9 { "s_" } else { "s" }.to_owned()).collect();
    let places = places.concat().trim_end_matches('_').to_owned();
    let row = |row| Row { label: char::from(b'A' + row).to_string(), places: places.clone(), numbers: vec![] };
    Layout { rows: (0..count).map(row).collect() }
}
