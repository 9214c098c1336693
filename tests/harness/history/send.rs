//! Sends the request of an operation, and reads what the caller knows after it.

use boxoffice::pb::boxoffice::v1::{
    ConfirmVerdict, GetSeatMapRequest, GetShowtimeRequest, ListSeatBlocksRequest, Reservation, Seat,
    reservations_client::ReservationsClient, showtimes_client::ShowtimesClient,
};
use tonic::{Response, Status, transport::Channel};

use super::{Operation, Outcome, Refusal};

pub(super) async fn send(channel: Channel, showtime_id: &str, operation: &Operation) -> Outcome {
    let answer = match operation {
        Operation::Block(_)
        | Operation::Unblock(_)
        | Operation::GetShowtime
        | Operation::GetSeatMap { .. }
        | Operation::ListSeatBlocks => send_to_showtimes(channel, showtime_id, operation.clone()).await,
        _ => send_to_reservations(channel, operation.clone()).await,
    };
    answer.unwrap_or_else(|status| match Refusal::from_status(&status) {
        Some(refusal) => Outcome::Refused(Box::new(refusal)),
        None => Outcome::Unknown(Box::new(status)),
    })
}

async fn send_to_reservations(channel: Channel, operation: Operation) -> Result<Outcome, Status> {
    let mut client = ReservationsClient::new(channel);
    let none = ConfirmVerdict::Unspecified;
    Ok(match operation {
        Operation::Reserve(request) => {
            changed(client.reserve_seats(request).await?, |it| (it.reservation, it.revision, none))
        }
        Operation::Confirm(request) => changed(client.confirm_reservation(request).await?, |it| {
            let verdict = it.verdict();
            (it.reservation, it.revision, verdict)
        }),
        Operation::Cancel(request) => {
            changed(client.cancel_reservation(request).await?, |it| (it.reservation, it.revision, none))
        }
        Operation::Extend(request) => {
            changed(client.extend_reservation(request).await?, |it| (it.reservation, it.revision, none))
        }
        Operation::Release(request) => {
            changed(client.release_seats(request).await?, |it| (it.reservation, it.revision, none))
        }
        Operation::Exchange(request) => {
            changed(client.exchange_seats(request).await?, |it| (it.reservation, it.revision, none))
        }
        Operation::GetReservation(request) => {
            let answer = client.get_reservation(request).await?.into_inner();
            Outcome::Reservation(Box::new(answer.reservation.expect("the answer has the reservation")))
        }
        other => unreachable!("{other:?} is no request for reservations"),
    })
}

async fn send_to_showtimes(channel: Channel, showtime_id: &str, operation: Operation) -> Result<Outcome, Status> {
    let (mut client, showtime_id) = (ShowtimesClient::new(channel), showtime_id.to_owned());
    Ok(match operation {
        Operation::Block(request) => blocked(client.block_seats(request).await?, |it| (it.seats, it.revision)),
        Operation::Unblock(request) => blocked(client.unblock_seats(request).await?, |it| (it.seats, it.revision)),
        Operation::GetShowtime => {
            let request = GetShowtimeRequest { showtime_id, at_least_revision: 0, include_sales: false };
            let answer = client.get_showtime(request).await?.into_inner();
            let showtime = answer.showtime.expect("the answer has the showtime");
            Outcome::Showtime { revision: showtime.revision, available_count: showtime.available_count }
        }
        Operation::GetSeatMap { at_least_revision } => {
            let request = GetSeatMapRequest { showtime_id, at_least_revision, include_seats: false };
            let answer = client.get_seat_map(request).await?.into_inner();
            Outcome::SeatMap(Box::new(answer.seat_map.expect("the answer has the seat map")))
        }
        Operation::ListSeatBlocks => {
            let answer = client.list_seat_blocks(ListSeatBlocksRequest { showtime_id }).await?.into_inner();
            Outcome::SeatBlocks { blocks: answer.blocks, revision: answer.revision }
        }
        other => unreachable!("{other:?} is no request for showtimes"),
    })
}

fn is_repetition<T>(answer: &Response<T>) -> bool {
    answer.metadata().contains_key("idempotent-replayed")
}

fn changed<T>(answer: Response<T>, parts: impl Fn(T) -> (Option<Reservation>, i64, ConfirmVerdict)) -> Outcome {
    let replayed = is_repetition(&answer);
    let (reservation, revision, verdict) = parts(answer.into_inner());
    let reservation = Box::new(reservation.expect("the answer has the reservation"));
    Outcome::Changed { reservation, revision, replayed, verdict }
}

fn blocked<T>(answer: Response<T>, parts: impl Fn(T) -> (Vec<Seat>, i64)) -> Outcome {
    let replayed = is_repetition(&answer);
    let (seats, revision) = parts(answer.into_inner());
    Outcome::Blocked { seats, revision, replayed }
}
