//! What staff and payment services ask for: blocked seats, seats that are given back or exchanged, and money that comes late.

use boxoffice::pb::boxoffice::v1::{
    BlockReason, BlockSeatsRequest, BlockSeatsResponse, ConfirmReservationRequest, ConfirmReservationResponse,
    ConfirmVerdict, ExchangeSeatsRequest, GetShowtimeRequest, ListSeatBlocksRequest, ListSeatBlocksResponse,
    ReleaseSeatsRequest, Reservation, Showtime, ShowtimeSales, Tender, UnblockSeatsRequest, UnblockSeatsResponse,
};
use tonic::Status;

use super::{Server, seats::seats};

/// A request to block these seats for the house.
pub(crate) fn to_block(showtime: &Showtime, names: &str) -> BlockSeatsRequest {
    BlockSeatsRequest {
        showtime_id: showtime.showtime_id.clone(),
        seats: seats(names),
        reason: BlockReason::House.into(),
        ..Default::default()
    }
}

pub(crate) async fn block(server: &Server, showtime: &Showtime, names: &str) -> Result<BlockSeatsResponse, Status> {
    Ok(server.showtimes().block_seats(to_block(showtime, names)).await?.into_inner())
}

/// A request to unblock these seats.
pub(crate) fn to_unblock(showtime: &Showtime, names: &str) -> UnblockSeatsRequest {
    let showtime_id = showtime.showtime_id.clone();
    UnblockSeatsRequest { showtime_id, seats: seats(names), ..Default::default() }
}

pub(crate) async fn unblock(server: &Server, showtime: &Showtime, names: &str) -> Result<UnblockSeatsResponse, Status> {
    Ok(server.showtimes().unblock_seats(to_unblock(showtime, names)).await?.into_inner())
}

/// The seats of a showtime that are blocked.
pub(crate) async fn blocked(server: &Server, showtime: &Showtime) -> ListSeatBlocksResponse {
    let request = ListSeatBlocksRequest { showtime_id: showtime.showtime_id.clone() };
    server.showtimes().list_seat_blocks(request).await.expect("the showtime exists").into_inner()
}

/// What was sold of a showtime.
pub(crate) async fn sales(server: &Server, showtime: &Showtime) -> ShowtimeSales {
    let showtime_id = showtime.showtime_id.clone();
    let request = GetShowtimeRequest { showtime_id, at_least_revision: 0, include_sales: true };
    let answer = server.showtimes().get_showtime(request).await.expect("the showtime exists");
    answer.into_inner().sales.expect("the sales were asked for")
}

/// A request to give back these seats of a sale; all of them if none is named.
pub(crate) fn to_release(reservation: &Reservation, names: &str) -> ReleaseSeatsRequest {
    ReleaseSeatsRequest {
        reservation_id: reservation.reservation_id.clone(),
        seats: seats(names),
        reason: "the projector failed".to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn release(server: &Server, reservation: &Reservation, names: &str) -> Result<Reservation, Status> {
    let answer = server.reservations().release_seats(to_release(reservation, names)).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

/// A request to exchange all seats of a reservation for these.
pub(crate) fn to_exchange(reservation: &Reservation, names: &str) -> ExchangeSeatsRequest {
    let reservation_id = reservation.reservation_id.clone();
    ExchangeSeatsRequest { reservation_id, seats: seats(names), ..Default::default() }
}

pub(crate) async fn exchange(server: &Server, reservation: &Reservation, names: &str) -> Result<Reservation, Status> {
    let answer = server.reservations().exchange_seats(to_exchange(reservation, names)).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

/// A request to confirm a reservation for which money was taken in any case.
pub(crate) fn to_confirm_late(reservation: &Reservation, method: &str) -> ConfirmReservationRequest {
    ConfirmReservationRequest {
        reservation_id: reservation.reservation_id.clone(),
        tender: Some(tender(method)),
        late: true,
        ..Default::default()
    }
}

pub(crate) fn tender(method: &str) -> Tender {
    Tender { method: method.to_owned(), transaction_id: "till 3/4711".to_owned() }
}

pub(crate) async fn confirm_late(
    server: &Server,
    reservation: &Reservation,
    method: &str,
) -> Result<(ConfirmVerdict, Reservation), Status> {
    answer_to(server, to_confirm_late(reservation, method)).await
}

/// The verdict and the reservation of a confirmation.
pub(crate) async fn answer_to(
    server: &Server,
    request: ConfirmReservationRequest,
) -> Result<(ConfirmVerdict, Reservation), Status> {
    let answer: ConfirmReservationResponse = server.reservations().confirm_reservation(request).await?.into_inner();
    let verdict = answer.verdict();
    let reservation = answer.reservation.expect("the answer has the reservation");
    assert_eq!(answer.revision, reservation.revision);
    Ok((verdict, reservation))
}
