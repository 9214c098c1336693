//! A deployment: a database with one showtime in an auditorium of 616 seats, and services that are started on it.

use boxoffice::pb::boxoffice::v1::{
    CreateAuditoriumRequest, GetSeatMapRequest, Layout, Row, WatchSeatMapRequest,
    auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use prost::Message as _;

use crate::{
    harness::{Redis, Store, in_hours, new_auditorium, new_showtime, requests::seconds, world::Storage},
    wire::service::{Program, Service},
};

/// Rows of the auditorium. It is laid out as the largest one of the sample: 28 rows of 22 seats, with two aisles.
pub(crate) const ROWS: u8 = 28;
const PLACES: &str = "sssss_ssssssssssss_sssss";
const SEATS: i32 = 616;
/// First seats of pairs of neighbours in a row. No seat is in two pairs.
const PAIRS: [u8; 10] = [1, 3, 6, 8, 10, 12, 14, 16, 18, 20];
/// Rows whose label is one letter.
const LETTERS: usize = 26;
/// Limits of watchers, above any number that the bench has.
const MAX_WATCHERS: &str = "20000";

/// A database with one showtime, whose holds last longer than the bench.
pub(crate) struct Deployment {
    storage: Storage,
    program: Program,
    pub(crate) showtime: String,
}

impl Deployment {
    pub(crate) async fn new(program: &Program) -> Self {
        let storage = Storage::new(Store::Postgres).await;
        let service = Service::start(program, storage.setup()).await;
        let request = CreateAuditoriumRequest { layout: Some(layout()), ..new_auditorium() };
        let created = AuditoriumsClient::new(service.channel.clone()).create_auditorium(request).await;
        let auditorium = created.expect("an auditorium").into_inner().auditorium.expect("the auditorium");
        assert_eq!(auditorium.seat_count, SEATS);
        let mut request = new_showtime(&auditorium.auditorium_id, in_hours(24));
        request.hold_duration = Some(seconds(12 * 3_600));
        let created = ShowtimesClient::new(service.channel.clone()).create_showtime(request).await;
        let showtime = created.expect("a showtime").into_inner().showtime.expect("the showtime").showtime_id;
        Self { storage, program: program.clone(), showtime }
    }

    /// Starts a service that has the seat map in memory already, after a checkpoint of the database.
    pub(crate) async fn start_service(&self) -> Service {
        self.start(None).await
    }

    /// Starts two instances that share a Redis server.
    pub(crate) async fn start_two(&self, redis: &Redis) -> [Service; 2] {
        [self.start(Some(redis)).await, self.start(Some(redis)).await]
    }

    async fn start(&self, redis: Option<&Redis>) -> Service {
        self.storage.sql("CHECKPOINT").await.expect("a checkpoint");
        let setup =
            self.storage.setup().with("--max-watchers", MAX_WATCHERS).with("--max-caller-watchers", MAX_WATCHERS);
        let setup = match redis {
            Some(redis) => setup.with("--redis-url", redis.url()),
            None => setup,
        };
        let service = Service::start(&self.program, setup).await;
        let mut client = ShowtimesClient::new(service.channel.clone());
        let request = WatchSeatMapRequest { showtime_id: self.showtime.clone(), ..Default::default() };
        let mut watch = client.watch_seat_map(request).await.expect("a stream").into_inner();
        watch.message().await.expect("an open stream").expect("a snapshot");
        service
    }

    /// An encoded `GetSeatMapRequest`.
    pub(crate) fn get_request(&self) -> Vec<u8> {
        GetSeatMapRequest { showtime_id: self.showtime.clone(), ..Default::default() }.encode_to_vec()
    }

    /// An encoded `WatchSeatMapRequest`.
    pub(crate) fn watch_request(&self) -> Vec<u8> {
        WatchSeatMapRequest { showtime_id: self.showtime.clone(), ..Default::default() }.encode_to_vec()
    }
}

/// The two neighbouring seats of a caller, by the letter of the row and the number. No other caller has them.
pub(crate) fn seats_of(caller: usize) -> [(u8, u8); 2] {
    let (row, number) = (caller / PAIRS.len(), PAIRS[caller % PAIRS.len()]);
    assert!(row < LETTERS, "no seats are left for caller {caller}");
    let row = b'A' + row as u8;
    [(row, number), (row, number + 1)]
}

/// Rows A to Z, AA and AB.
fn layout() -> Layout {
    let label = |row: u8| {
        let letter = char::from(b'A' + row % LETTERS as u8);
        if usize::from(row) < LETTERS { letter.to_string() } else { format!("A{letter}") }
    };
    let row = |row| Row { label: label(row), places: PLACES.to_owned(), numbers: Vec::new() };
    Layout { rows: (0..ROWS).map(row).collect() }
}
