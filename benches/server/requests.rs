//! The showtimes that a service is asked for, and the requests: one page for all, or 200 pages by filters of all kinds.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, CreateShowtimeRequest, GetShowtimeRequest, ListShowtimesRequest,
    auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tonic::transport::Channel;

use crate::{
    harness::{create_auditorium, in_hours, new_showtime, timestamp},
    wire::service::Service,
};

const AUDITORIUMS: usize = 20;
/// Showtimes of each auditorium.
const SHOWTIMES: usize = 200;
/// Hours from one showtime of an auditorium to its next.
const HOURS_APART: usize = 4;
/// One showtime in so many is cancelled.
const CANCELLED: usize = 10;
/// One showtime in so many is read by itself.
const READ_ALONE: usize = 8;
/// Showtimes on the page that all callers ask for, and on average on one of the different pages.
pub(crate) const PAGE: i32 = 50;
/// Different pages.
pub(crate) const PAGES: usize = 200;
/// Ways to filter. Each has as many of the different pages.
const FILTERS: usize = 8;
/// Sizes of the different pages, in turn.
const PAGE_SIZES: [i32; 5] = [20, 30, 45, 55, 100];
/// Movies that every demo provider knows.
const MOVIES: [&str; 10] = [
    "tt0111161",
    "tt0068646",
    "tt0468569",
    "tt0071562",
    "tt0050083",
    "tt0108052",
    "tt0167260",
    "tt0110912",
    "tt0060196",
    "tt1375666",
];
/// Requests of the preparation that are under way at once.
const AT_ONCE: usize = 20;

/// Encoded requests to a service that has the showtimes.
pub(crate) struct Requests {
    /// `GetShowtime`, each for another showtime.
    pub(crate) get: Vec<Vec<u8>>,
    /// `ListShowtimes`, for one and the same page.
    pub(crate) one_page: Vec<Vec<u8>>,
    /// `ListShowtimes`, each for another page.
    pub(crate) pages: Vec<Vec<u8>>,
}

impl Requests {
    /// Schedules the showtimes at a service on an empty database, and writes the requests for them.
    pub(crate) async fn prepare(service: &Service) -> Self {
        let mut auditoriums = Vec::new();
        for _ in 0..AUDITORIUMS {
            auditoriums.push(create_auditorium(AuditoriumsClient::new(service.channel.clone())).await.auditorium_id);
        }
        let mut client = ShowtimesClient::new(service.channel.clone());
        let showtimes = schedule(&client, &auditoriums).await;
        let get = |id: &String| {
            GetShowtimeRequest { showtime_id: id.clone(), at_least_revision: 0, include_sales: false }.encode_to_vec()
        };
        let one_page = ListShowtimesRequest { page_size: PAGE, ..Default::default() };
        let mut pages = Vec::new();
        for page in 0..PAGES {
            pages.push(another_page(&mut client, page, &auditoriums).await.encode_to_vec());
        }
        assert_eq!(pages.iter().collect::<BTreeSet<_>>().len(), PAGES, "a page is asked for twice");
        Self {
            get: showtimes.iter().step_by(READ_ALONE).map(get).collect(),
            one_page: vec![one_page.encode_to_vec()],
            pages,
        }
    }
}

/// When the showtimes with this number in their auditoriums start.
fn start(number: usize) -> DateTime<Utc> {
    in_hours((24 + number * HOURS_APART) as i64)
}

/// Schedules all showtimes, one auditorium after the other for each start, and cancels some. Answers with their ids.
async fn schedule(client: &ShowtimesClient<Channel>, auditoriums: &[String]) -> Vec<String> {
    let showtimes = (0..AUDITORIUMS * SHOWTIMES).map(|at| {
        let new = CreateShowtimeRequest {
            movie_id: MOVIES[at % MOVIES.len()].to_owned(),
            ..new_showtime(&auditoriums[at % AUDITORIUMS], start(at / AUDITORIUMS))
        };
        let mut client = client.clone();
        async move {
            let created = client.create_showtime(new).await.expect("a showtime").into_inner();
            created.showtime.expect("the showtime").showtime_id
        }
    });
    let showtimes: Vec<_> = stream::iter(showtimes).buffered(AT_ONCE).collect().await;
    // Every auditorium and every movie has as many of them.
    let cancelled = showtimes.chunks(CANCELLED).enumerate().map(|(at, ten)| ten[at / 2 % ten.len()].clone());
    let cancelled = cancelled.map(|showtime_id| {
        let request = CancelShowtimeRequest { showtime_id, ..Default::default() };
        let mut client = client.clone();
        async move { client.cancel_showtime(request).await.expect("a showtime is cancelled") }
    });
    let _answers: Vec<_> = stream::iter(cancelled).buffered(AT_ONCE).collect().await;
    showtimes
}

/// A request for one of the different pages.
async fn another_page(
    client: &mut ShowtimesClient<Channel>,
    page: usize,
    auditoriums: &[String],
) -> ListShowtimesRequest {
    // Which of the pages with this filter.
    let at = page / FILTERS;
    // Where an auditorium or movie has its turn again, the size is another one.
    let page_size = PAGE_SIZES[(at + at / MOVIES.len()) % PAGE_SIZES.len()];
    let request = ListShowtimesRequest { page_size, ..Default::default() };
    let auditorium_id = auditoriums[at % AUDITORIUMS].clone();
    let movie_id = MOVIES[at % MOVIES.len()].to_owned();
    // Far enough from the last showtimes for a full page.
    let start_after = Some(timestamp(start(at * 2)));
    let request = match page % FILTERS {
        0 => ListShowtimesRequest { start_after, ..request },
        1 => ListShowtimesRequest { auditorium_id, start_after, ..request },
        2 => ListShowtimesRequest { auditorium_id, ..request },
        3 => ListShowtimesRequest { movie_id, start_after, ..request },
        4 => ListShowtimesRequest { start_after, start_before: Some(timestamp(start(at * 2 + 12))), ..request },
        5 => {
            let local_date = start(at * 6 + 6).date_naive().to_string();
            ListShowtimesRequest { local_date, ..request }
        }
        6 => ListShowtimesRequest { auditorium_id, start_after, include_cancelled: true, ..request },
        _ => ListShowtimesRequest { movie_id, include_cancelled: true, ..request },
    };
    // Every other kind of filter is asked for the page after the first.
    if page % 2 == 1 {
        return request;
    }
    let first = client.list_showtimes(request.clone()).await.expect("the first page").into_inner();
    assert!(!first.next_page_token.is_empty(), "there is no page after the first: {request:?}");
    ListShowtimesRequest { page_token: first.next_page_token, ..request }
}
