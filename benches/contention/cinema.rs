//! A cinema: a database of its own, one server process or several on it, and thousands of showtimes with free seats.

use boxoffice::pb::boxoffice::v1::{
    CreateAuditoriumRequest, Layout, Row, auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use futures_util::{StreamExt as _, stream};

use super::{
    asked::{PLACES, ROWS},
    load::{self, Shape},
};
use crate::{
    harness::{Store, in_hours, new_auditorium, new_showtime, requests::seconds, world::Ground},
    wire::{load::Outcome, service::Service},
};

/// Showtimes over which the load is spread.
pub(crate) const SHOWTIMES: usize = 2_000;
/// More of them, for those who crowd and for the hot one.
const CROWDED: usize = 20;
const AUDITORIUMS: usize = 101;
/// Requests that make them, at once.
const AT_ONCE: usize = 64;

/// A database, its servers, and what was asked of them so far.
pub(crate) struct Cinema {
    // The servers go before their ground.
    servers: Vec<Service>,
    pub(crate) ground: Ground,
    showtimes: Vec<String>,
    crowded: Vec<String>,
    /// Seats of each showtime that were asked for.
    used: usize,
    seed: u64,
}

impl Cinema {
    /// Starts so many servers on a new database, and schedules showtimes whose holds outlast the bench.
    pub(crate) async fn open(store: Store, servers: usize) -> Self {
        let ground = Ground::new(store).await;
        let mut started = Vec::new();
        for _ in 0..servers {
            started.push(Service::start(ground.setup()).await);
        }
        let mut showtimes = schedule(&started[0]).await;
        let crowded = showtimes.split_off(SHOWTIMES);
        Self { servers: started, ground, showtimes, crowded, used: 0, seed: seed() }
    }

    /// Puts this load on it.
    pub(crate) fn load(&mut self, shape: Shape, in_flight: usize, seconds: f64) -> Outcome {
        self.seed = self.seed.wrapping_add(1);
        let showtimes = match shape {
            Shape::Hot => vec![self.crowded[0].clone()],
            Shape::Crowd => self.crowded[1..].to_vec(),
            _ => self.showtimes.clone(),
        };
        let addresses = self.servers.iter().map(|server| server.address.clone()).collect();
        // Those of the others are free in every showtime.
        let first = if matches!(shape, Shape::Hot | Shape::Crowd) { 0 } else { self.used };
        let plan = load::Plan { shape, addresses, echo: false, showtimes, first, in_flight, seconds, seed: self.seed };
        let told = plan.run();
        match shape {
            Shape::Hot => {}
            Shape::Crowd => drop(self.crowded.drain(1..=told.next)),
            _ => self.used = told.next,
        }
        told.outcome
    }
}

/// Another one each time.
pub(crate) fn seed() -> u64 {
    boxoffice::clock::Clock::System.new_id().as_u64_pair().1
}

async fn schedule(server: &Service) -> Vec<String> {
    let auditoriums = (0..AUDITORIUMS).map(|at| {
        let mut client = AuditoriumsClient::new(server.channel.clone());
        async move {
            let made = client.create_auditorium(auditorium(at)).await.expect("an auditorium").into_inner();
            made.auditorium.expect("the auditorium").auditorium_id
        }
    });
    let auditoriums: Vec<_> = stream::iter(auditoriums).buffered(AT_ONCE).collect().await;
    let showtimes = (0..SHOWTIMES + CROWDED).map(|at| {
        let start = in_hours(24 + 4 * (at / AUDITORIUMS) as i64);
        let mut new = new_showtime(&auditoriums[at % AUDITORIUMS], start);
        new.hold_duration = Some(seconds(12 * 3_600));
        let mut client = ShowtimesClient::new(server.channel.clone());
        async move {
            let made = client.create_showtime(new).await.expect("a showtime").into_inner();
            made.showtime.expect("the showtime").showtime_id
        }
    });
    stream::iter(showtimes).buffered(AT_ONCE).collect().await
}

/// The biggest there may be, without an aisle.
fn auditorium(at: usize) -> CreateAuditoriumRequest {
    let row =
        |row| Row { label: char::from(b'A' + row as u8).to_string(), places: "s".repeat(PLACES), numbers: Vec::new() };
    let layout = Layout { rows: (0..ROWS).map(row).collect() };
    CreateAuditoriumRequest { name: format!("Screen {at}"), layout: Some(layout), ..new_auditorium() }
}
