//! A deployment: a database of its own, service processes on it, and thousands of showtimes with free seats.

use boxoffice::pb::boxoffice::v1::{
    CreateAuditoriumRequest, Layout, Row, auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use futures_util::{StreamExt as _, stream};

use super::{
    load::{self, LoadResult, Workload},
    messages::{ROWS, SEATS_PER_ROW},
};
use crate::{
    harness::{
        Store, in_hours, new_auditorium, new_showtime,
        requests::{seconds, three_types},
        world::Storage,
    },
    wire::{
        service::{Program, Service},
        tally::Outcome,
    },
};

/// Showtimes over which the load is spread.
pub(crate) const SHOWTIMES: usize = 2_000;
/// Further showtimes: one for the workload on a single showtime, the others for callers who want the same seats.
const CONTENDED: usize = 20;
const AUDITORIUMS: usize = 101;
/// Requests of the preparation that are in flight at once.
const AT_ONCE: usize = 64;

/// A database, service processes, and how far their seats are used up.
pub(crate) struct Deployment {
    // The services end before their storage is removed.
    services: Vec<Service>,
    pub(crate) storage: Storage,
    showtimes: Vec<String>,
    contended: Vec<String>,
    /// Seats of each showtime that were requested.
    used: usize,
    seed: u64,
}

/// What seats cost.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Prices {
    /// One price.
    One,
    /// A list of three ticket types.
    List,
}

impl Deployment {
    /// Starts services on a new database and schedules showtimes whose holds last longer than the bench.
    pub(crate) async fn start(program: &Program, store: Store, processes: usize, prices: Prices) -> Self {
        let storage = Storage::new(store).await;
        let mut services = Vec::new();
        for _ in 0..processes {
            services.push(Service::start(program, storage.setup()).await);
        }
        let mut showtimes = schedule(&services[0], AUDITORIUMS, SHOWTIMES + CONTENDED, prices).await;
        let contended = showtimes.split_off(SHOWTIMES);
        Self { services, storage, showtimes, contended, used: 0, seed: seed() }
    }

    /// Runs a workload.
    pub(crate) fn load(&mut self, workload: Workload, in_flight: usize, seconds: f64) -> Outcome {
        self.seed = self.seed.wrapping_add(1);
        let showtimes = match workload {
            Workload::OneShowtime => vec![self.contended[0].clone()],
            Workload::SameSeats => self.contended[1..].to_vec(),
            Workload::Reserve | Workload::ReserveWithoutId | Workload::ReserveTypes | Workload::ReserveAndConfirm => {
                self.showtimes.clone()
            }
        };
        let addresses = self.services.iter().map(|service| service.address.clone()).collect();
        let first = if workload.is_contended() { 0 } else { self.used };
        let (echo, seed) = (false, self.seed);
        let plan = load::Plan { workload, addresses, echo, showtimes, first, in_flight, seconds, seed };
        let LoadResult { outcome, used } = plan.run();
        match workload {
            // Each of its callers cancels what it has reserved.
            Workload::OneShowtime => {}
            Workload::SameSeats => drop(self.contended.drain(1..=used)),
            Workload::Reserve | Workload::ReserveWithoutId | Workload::ReserveTypes | Workload::ReserveAndConfirm => {
                self.used = used;
            }
        }
        outcome
    }
}

/// A random seed.
pub(crate) fn seed() -> u64 {
    boxoffice::clock::Clock::System.new_id().as_u64_pair().1
}

/// Schedules showtimes in new auditoriums. Their holds last longer than a bench.
pub(crate) async fn schedule(service: &Service, auditoriums: usize, showtimes: usize, prices: Prices) -> Vec<String> {
    let auditoriums = (0..auditoriums).map(|number| {
        let mut client = AuditoriumsClient::new(service.channel.clone());
        async move {
            let created = client.create_auditorium(auditorium(number)).await.expect("an auditorium").into_inner();
            created.auditorium.expect("the auditorium").auditorium_id
        }
    });
    let auditoriums: Vec<_> = stream::iter(auditoriums).buffered(AT_ONCE).collect().await;
    let showtimes = (0..showtimes).map(|number| {
        let start = in_hours(24 + 4 * (number / auditoriums.len()) as i64);
        let mut new = new_showtime(&auditoriums[number % auditoriums.len()], start);
        new.hold_duration = Some(seconds(12 * 3_600));
        if prices == Prices::List {
            (new.price, new.price_list) = (None, Some(three_types()));
        }
        let mut client = ShowtimesClient::new(service.channel.clone());
        async move {
            let created = client.create_showtime(new).await.expect("a showtime").into_inner();
            created.showtime.expect("the showtime").showtime_id
        }
    });
    stream::iter(showtimes).buffered(AT_ONCE).collect().await
}

/// An auditorium without aisles, with rows of the greatest length.
fn auditorium(number: usize) -> CreateAuditoriumRequest {
    let row = |row| Row {
        label: char::from(b'A' + row as u8).to_string(),
        places: "s".repeat(SEATS_PER_ROW),
        numbers: Vec::new(),
    };
    let layout = Layout { rows: (0..ROWS).map(row).collect() };
    CreateAuditoriumRequest { name: format!("Screen {number}"), layout: Some(layout), ..new_auditorium() }
}
