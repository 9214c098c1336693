//! What a fresh service is given: an auditorium, showtimes, reservations, and the tokens of second pages.

use boxoffice::pb::{
    boxoffice::v1::{
        Auditorium, CancelShowtimeRequest, ConfirmReservationRequest, CreateAuditoriumRequest,
        CreateAuditoriumResponse, CreateShowtimeRequest, CreateShowtimeResponse, GetSeatMapRequest, GetSeatMapResponse,
        Layout, ListAuditoriumsRequest, ListAuditoriumsResponse, ListReservationsRequest, ListReservationsResponse,
        ListShowtimesRequest, ListShowtimesResponse, ReserveSeatsRequest, ReserveSeatsResponse, Row,
        SearchMoviesRequest, SearchMoviesResponse,
    },
    google::r#type::Money,
};
use prost::Message;
use prost_types::{Duration, Timestamp};

use crate::{
    answer::{Stack, exchange},
    names::{AUDITORIUM, CANCELLED, CONFIRMED, EPOCH, HELD, Names, SHOWTIME, TOKENS},
    request,
};

/// The id of a movie that the demo provider has.
pub const MOVIE: &str = "tt1375666";
/// Who has the reservations.
pub const CUSTOMER: &str = "ada";

/// Fills the service, and names what it has.
pub async fn fill(stack: &Stack) -> Names {
    let mut names = Names::default();
    let auditoriums = [auditorium(stack).await, auditorium(stack).await];
    let auditorium_id = &auditoriums[0].auditorium_id;
    let showtimes = [showtime(stack, auditorium_id, 1).await, showtime(stack, auditorium_id, 2).await];
    let cancelled = showtime(stack, auditorium_id, 3).await;
    let request = CancelShowtimeRequest { showtime_id: cancelled.clone(), ..Default::default() };
    call::<_, ()>(stack, "Showtimes/CancelShowtime", &request).await;
    let reservations = [reservation(stack, &showtimes[0]).await, reservation(stack, &showtimes[0]).await];
    let request = ConfirmReservationRequest { reservation_id: reservations[1].clone(), ..Default::default() };
    call::<_, ()>(stack, "Reservations/ConfirmReservation", &request).await;
    let request = GetSeatMapRequest { showtime_id: showtimes[0].clone(), ..Default::default() };
    let map: GetSeatMapResponse = call(stack, "Showtimes/GetSeatMap", &request).await;
    for (placeholder, value) in [
        (AUDITORIUM, auditorium_id),
        (SHOWTIME, &showtimes[0]),
        (CANCELLED, &cancelled),
        (HELD, &reservations[0]),
        (CONFIRMED, &reservations[1]),
        (EPOCH, &map.seat_map.expect("a seat map").epoch),
    ] {
        names.set(placeholder, value);
    }
    for (placeholder, value) in TOKENS.iter().zip(tokens(stack).await) {
        names.set(placeholder, &value);
    }
    names
}

async fn call<M: Message, A: Message + Default>(stack: &Stack, method: &str, message: &M) -> A {
    let call = request::native(&format!("/boxoffice.v1.{method}"), &message.encode_to_vec());
    let answer = exchange(stack, call.request, false).await;
    A::decode(answer.message()).expect("the answer decodes")
}

async fn auditorium(stack: &Stack) -> Auditorium {
    let row = |label: &str, places: &str| Row { label: label.to_owned(), places: places.to_owned(), numbers: vec![] };
    let rows = vec![row("A", "sssss_sssss"), row("B", "sss.sss"), row("C", "ac_ca"), row("D", &"s".repeat(40))];
    let request = CreateAuditoriumRequest {
        name: "Screen 1".to_owned(),
        cinema: "Grand".to_owned(),
        time_zone: "Europe/Madrid".to_owned(),
        layout: Some(Layout { rows }),
        request_id: String::new(),
    };
    let answer: CreateAuditoriumResponse = call(stack, "Auditoriums/CreateAuditorium", &request).await;
    answer.auditorium.expect("an auditorium")
}

async fn showtime(stack: &Stack, auditorium_id: &str, days: i64) -> String {
    let now = boxoffice::clock::Clock::System.now().timestamp();
    let request = CreateShowtimeRequest {
        movie_id: MOVIE.to_owned(),
        auditorium_id: auditorium_id.to_owned(),
        start_time: Some(Timestamp { seconds: now + days * 86_400, nanos: 0 }),
        duration: Some(Duration { seconds: 7_200, nanos: 0 }),
        price: Some(Money { currency_code: "EUR".to_owned(), units: 9, nanos: 500_000_000 }),
        ..Default::default()
    };
    let answer: CreateShowtimeResponse = call(stack, "Showtimes/CreateShowtime", &request).await;
    answer.showtime.expect("a showtime").showtime_id
}

async fn reservation(stack: &Stack, showtime_id: &str) -> String {
    let request = ReserveSeatsRequest {
        showtime_id: showtime_id.to_owned(),
        seat_count: 2,
        customer_id: CUSTOMER.to_owned(),
        ..Default::default()
    };
    let answer: ReserveSeatsResponse = call(stack, "Reservations/ReserveSeats", &request).await;
    answer.reservation.expect("a reservation").reservation_id
}

/// The tokens of the second pages, in the order of their placeholders.
async fn tokens(stack: &Stack) -> [String; 4] {
    let request = ListAuditoriumsRequest { page_size: 1, ..Default::default() };
    let auditoriums: ListAuditoriumsResponse = call(stack, "Auditoriums/ListAuditoriums", &request).await;
    let request = SearchMoviesRequest { page_size: 1, ..Default::default() };
    let movies: SearchMoviesResponse = call(stack, "Movies/SearchMovies", &request).await;
    let request = ListShowtimesRequest { page_size: 1, ..Default::default() };
    let showtimes: ListShowtimesResponse = call(stack, "Showtimes/ListShowtimes", &request).await;
    let request = ListReservationsRequest { page_size: 1, customer_id: CUSTOMER.to_owned(), ..Default::default() };
    let reservations: ListReservationsResponse = call(stack, "Reservations/ListReservations", &request).await;
    [auditoriums.next_page_token, movies.next_page_token, showtimes.next_page_token, reservations.next_page_token]
}

/// The id of the reservation in the answer of `ReserveSeats`.
#[must_use]
pub fn reserved(answer: &[u8]) -> Option<String> {
    let id = ReserveSeatsResponse::decode(answer).ok()?.reservation?.reservation_id;
    (id.len() == HELD.len()).then_some(id)
}
