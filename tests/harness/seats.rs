//! Seats by names such as "A1": requests for them, and checks of answers and refusals.

use boxoffice::pb::boxoffice::v1::{
    CancelReservationRequest, ConfirmReservationRequest, CreateAuditoriumRequest, CreateShowtimeRequest,
    ExtendReservationRequest, GetReservationRequest, GetShowtimeRequest, Reservation, ReservationState,
    ReserveSeatsRequest, Seat, SeatsUnavailable, Showtime,
};
use chrono::{DateTime, Utc};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::pb;

use super::{
    Server, assert_refused, in_hours, new_showtime,
    requests::{layout, new_auditorium},
};

/// An auditorium of 34 seats. Rows A and B have an aisle after seat 5, row C has no seat 4, and row D is one block.
pub(crate) const HALL: [(&str, &str); 4] =
    [("A", "sssss_sssss"), ("B", "sssss_sssss"), ("C", "sss.sss"), ("D", "ssssssss")];

/// A showtime tomorrow, in an auditorium of its own.
pub(crate) async fn showtime(server: &Server) -> Showtime {
    showtime_with(server, &HALL, in_hours(0), |request| request).await
}

/// A showtime with these rows and this start, in an auditorium of its own; `change` may change the rest of the request.
pub(crate) async fn showtime_with(
    server: &Server,
    rows: &[(&str, &str)],
    start: DateTime<Utc>,
    change: impl FnOnce(CreateShowtimeRequest) -> CreateShowtimeRequest,
) -> Showtime {
    let request = CreateAuditoriumRequest { layout: Some(layout(rows)), ..new_auditorium() };
    let answer = server.auditoriums().create_auditorium(request).await.expect("an auditorium is created");
    let auditorium = answer.into_inner().auditorium.expect("the answer has the auditorium");
    let request = change(new_showtime(&auditorium.auditorium_id, start));
    let answer = server.showtimes().create_showtime(request).await.expect("the slot is free");
    answer.into_inner().showtime.expect("the answer has the showtime")
}

/// The showtime as it is now.
pub(crate) async fn showtime_now(server: &Server, showtime: &Showtime) -> Showtime {
    let request =
        GetShowtimeRequest { showtime_id: showtime.showtime_id.clone(), at_least_revision: 0, include_sales: false };
    let answer = server.showtimes().get_showtime(request).await.expect("the showtime exists");
    answer.into_inner().showtime.expect("the answer has the showtime")
}

/// The seats in text like "A1 A2".
pub(crate) fn seats(names: &str) -> Vec<Seat> {
    let seat = |name: &str| {
        let digits = name.find(|c: char| c.is_ascii_digit()).expect("a seat has a number");
        Seat { row: name[..digits].to_owned(), number: name[digits..].parse().expect("a number") }
    };
    names.split_whitespace().map(seat).collect()
}

/// The names of these seats, like "A1 A2".
pub(crate) fn names(seats: &[Seat]) -> String {
    seats.iter().map(name).collect::<Vec<_>>().join(" ")
}

pub(crate) fn name(seat: &Seat) -> String {
    format!("{}{}", seat.row, seat.number)
}

/// A request for these seats.
pub(crate) fn these(showtime: &Showtime, customer_id: &str, names: &str) -> ReserveSeatsRequest {
    ReserveSeatsRequest {
        showtime_id: showtime.showtime_id.clone(),
        seats: seats(names),
        customer_id: customer_id.to_owned(),
        ..Default::default()
    }
}

/// A request for this many of the best seats.
pub(crate) fn best(showtime: &Showtime, customer_id: &str, seat_count: i32) -> ReserveSeatsRequest {
    ReserveSeatsRequest { seats: Vec::new(), seat_count, ..these(showtime, customer_id, "") }
}

pub(crate) async fn reserve(server: &Server, request: ReserveSeatsRequest) -> Result<Reservation, Status> {
    let answer = server.reservations().reserve_seats(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

pub(crate) async fn confirm(server: &Server, reservation: &Reservation) -> Result<Reservation, Status> {
    let reservation_id = reservation.reservation_id.clone();
    let request = ConfirmReservationRequest { reservation_id, ..Default::default() };
    let answer = server.reservations().confirm_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

pub(crate) async fn cancel(server: &Server, reservation: &Reservation) -> Result<Reservation, Status> {
    let reservation_id = reservation.reservation_id.clone();
    let request = CancelReservationRequest { reservation_id, ..Default::default() };
    let answer = server.reservations().cancel_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

pub(crate) async fn extend(server: &Server, reservation: &Reservation) -> Result<Reservation, Status> {
    let reservation_id = reservation.reservation_id.clone();
    let request = ExtendReservationRequest { reservation_id, ..Default::default() };
    let answer = server.reservations().extend_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

/// The reservation as it is now.
pub(crate) async fn get(server: &Server, reservation: &Reservation) -> Result<Reservation, Status> {
    let reservation_id = reservation.reservation_id.clone();
    let request = GetReservationRequest { reservation_id, ..Default::default() };
    let answer = server.reservations().get_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

pub(crate) async fn state(server: &Server, reservation: &Reservation) -> ReservationState {
    get(server, reservation).await.expect("the reservation exists").state()
}

/// The reservation without `time_left`, which differs from answer to answer.
pub(crate) fn lasting(reservation: Reservation) -> Reservation {
    Reservation { time_left: None, ..reservation }
}

/// The instant of a timestamp, which must be set.
pub(crate) fn instant(time: Option<prost_types::Timestamp>) -> DateTime<Utc> {
    let time = time.expect("a time");
    DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs()).expect("a time in range")
}

/// Asserts that a request was refused for this reason because of the state of the seats. Returns the seats in the way and the
/// offers.
pub(crate) fn assert_unavailable(status: &Status, reason: &str) -> SeatsUnavailable {
    assert_refused(status, Code::FailedPrecondition, reason);
    let details = pb::Status::decode(status.details()).expect("details are a status").details;
    let detail = details.iter().find(|detail| detail.type_url == "type.googleapis.com/boxoffice.v1.SeatsUnavailable");
    let detail = detail.unwrap_or_else(|| panic!("without SeatsUnavailable: {status:?}"));
    SeatsUnavailable::decode(&*detail.value).expect("the detail is readable")
}
