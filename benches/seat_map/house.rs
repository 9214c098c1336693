//! The house: one showtime in an auditorium of 616 seats, and services on its database.

use boxoffice::pb::boxoffice::v1::{
    CreateAuditoriumRequest, GetSeatMapRequest, Layout, Row, WatchSeatMapRequest,
    auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use prost::Message as _;

use crate::{
    harness::{Redis, Store, in_hours, new_auditorium, new_showtime, requests::seconds, world::Ground},
    wire::service::Service,
};

/// As the biggest screen of the sample: 28 rows of 22 seats, with two aisles.
pub(crate) const ROWS: u8 = 28;
const PLACES: &str = "sssss_ssssssssssss_sssss";
/// Where in a row two seats are neighbours: no seat is in two pairs.
const PAIRS: [u8; 10] = [1, 3, 6, 8, 10, 12, 14, 16, 18, 20];
/// Rows whose name is one letter.
const LETTERS: usize = 26;
/// More than ever watch.
const WATCHERS: &str = "20000";

/// A database with one showtime, whose holds outlast the bench.
pub(crate) struct House {
    ground: Ground,
    pub(crate) showtime: String,
}

impl House {
    pub(crate) async fn open() -> Self {
        let ground = Ground::new(Store::Postgres).await;
        let server = Service::start(ground.setup()).await;
        let request = CreateAuditoriumRequest { layout: Some(layout()), ..new_auditorium() };
        let made = AuditoriumsClient::new(server.channel.clone()).create_auditorium(request).await;
        let auditorium = made.expect("an auditorium").into_inner().auditorium.expect("the auditorium");
        assert_eq!(auditorium.seat_count, 616);
        let mut request = new_showtime(&auditorium.auditorium_id, in_hours(24));
        request.hold_duration = Some(seconds(12 * 3_600));
        let made = ShowtimesClient::new(server.channel.clone()).create_showtime(request).await;
        let showtime = made.expect("a showtime").into_inner().showtime.expect("the showtime").showtime_id;
        Self { ground, showtime }
    }

    /// A service that has shown the map to somebody before. Nothing is left for it to write.
    pub(crate) async fn serve(&self) -> Service {
        self.start(None).await
    }

    /// Two of them, as they are run together.
    pub(crate) async fn serve_twice(&self, redis: &Redis) -> [Service; 2] {
        [self.start(Some(redis)).await, self.start(Some(redis)).await]
    }

    async fn start(&self, redis: Option<&Redis>) -> Service {
        self.ground.sql("CHECKPOINT").await.expect("a checkpoint");
        let setup = self.ground.setup().with("--max-watchers", WATCHERS).with("--max-caller-watchers", WATCHERS);
        let server = Service::start(match redis {
            Some(redis) => setup.with("--redis-url", redis.url()),
            None => setup,
        });
        let server = server.await;
        let mut client = ShowtimesClient::new(server.channel.clone());
        let request = WatchSeatMapRequest { showtime_id: self.showtime.clone(), ..Default::default() };
        let mut watch = client.watch_seat_map(request).await.expect("a watch").into_inner();
        watch.message().await.expect("a watch that goes on").expect("the map");
        server
    }

    /// What asks for the map.
    pub(crate) fn ask(&self) -> Vec<u8> {
        GetSeatMapRequest { showtime_id: self.showtime.clone(), ..Default::default() }.encode_to_vec()
    }

    /// What asks to watch it.
    pub(crate) fn watch(&self) -> Vec<u8> {
        WatchSeatMapRequest { showtime_id: self.showtime.clone(), ..Default::default() }.encode_to_vec()
    }
}

/// Two neighbouring seats for each of so many, by the letter of the row and the number.
pub(crate) fn pair(whose: usize) -> [(u8, u8); 2] {
    let (row, number) = (whose / PAIRS.len(), PAIRS[whose % PAIRS.len()]);
    assert!(row < LETTERS, "there are no seats for so many");
    let row = b'A' + row as u8;
    [(row, number), (row, number + 1)]
}

/// A to Z, AA and AB.
fn layout() -> Layout {
    let label = |row: u8| {
        let letter = char::from(b'A' + row % LETTERS as u8);
        if usize::from(row) < LETTERS { letter.to_string() } else { format!("A{letter}") }
    };
    let row = |row| Row { label: label(row), places: PLACES.to_owned(), numbers: Vec::new() };
    Layout { rows: (0..ROWS).map(row).collect() }
}
