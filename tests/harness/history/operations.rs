//! The operations that a test can ask for and record.

use std::ops::RangeInclusive;

use boxoffice::pb::boxoffice::v1::{
    BlockReason, BlockSeatsRequest, CancelReservationRequest, ConfirmReservationRequest, ExchangeSeatsRequest,
    ExtendReservationRequest, GetReservationRequest, ReleaseSeatsRequest, ReserveSeatsRequest, Seat, Tender,
    UnblockSeatsRequest,
};

use crate::harness::request_id;

/// A request, or a lock that a test takes. The showtime is named by the call.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Reserve(ReserveSeatsRequest),
    Confirm(ConfirmReservationRequest),
    Cancel(CancelReservationRequest),
    Extend(ExtendReservationRequest),
    Release(ReleaseSeatsRequest),
    Exchange(ExchangeSeatsRequest),
    Block(BlockSeatsRequest),
    Unblock(UnblockSeatsRequest),
    GetReservation(GetReservationRequest),
    GetShowtime,
    /// Reads the seat map at this revision or a later one.
    GetSeatMap {
        at_least_revision: i64,
    },
    ListSeatBlocks,
    /// A test locks the showtime's row. No request is sent.
    Lock,
}

/// These seats of a row.
pub(crate) fn row_seats(row: &str, numbers: RangeInclusive<i32>) -> Vec<Seat> {
    numbers.map(|number| Seat { row: row.to_owned(), number }).collect()
}

impl Operation {
    /// Reserves these seats of a row.
    pub(crate) fn reserve(showtime_id: &str, customer: &str, row: &str, numbers: RangeInclusive<i32>) -> Self {
        let seats = row_seats(row, numbers);
        Self::Reserve(ReserveSeatsRequest { seats, ..reserve_nothing(showtime_id, customer) })
    }

    /// Reserves these seats, blocked or not.
    pub(crate) fn reserve_from_block(showtime_id: &str, customer: &str, seats: Vec<Seat>) -> Self {
        Self::Reserve(ReserveSeatsRequest { seats, from_block: true, ..reserve_nothing(showtime_id, customer) })
    }

    /// Reserves this many seats, which the service chooses.
    pub(crate) fn reserve_best(showtime_id: &str, customer: &str, seat_count: i32) -> Self {
        Self::Reserve(ReserveSeatsRequest { seat_count, ..reserve_nothing(showtime_id, customer) })
    }

    pub(crate) fn confirm(reservation_id: &str) -> Self {
        Self::Confirm(ConfirmReservationRequest {
            reservation_id: reservation_id.to_owned(),
            request_id: request_id(),
            customer_id: String::new(),
            tender: None,
            late: false,
            till: String::new(),
        })
    }

    /// Confirms with a tender of this method.
    pub(crate) fn confirm_with(reservation_id: &str, method: &str) -> Self {
        Self::Confirm(confirm_with(reservation_id, method))
    }

    /// Confirms with a tender of this method, in time or late.
    pub(crate) fn confirm_late(reservation_id: &str, method: &str) -> Self {
        Self::Confirm(ConfirmReservationRequest { late: true, ..confirm_with(reservation_id, method) })
    }

    pub(crate) fn cancel(reservation_id: &str) -> Self {
        Self::Cancel(CancelReservationRequest {
            reservation_id: reservation_id.to_owned(),
            request_id: request_id(),
            customer_id: String::new(),
        })
    }

    pub(crate) fn extend(reservation_id: &str) -> Self {
        Self::Extend(ExtendReservationRequest {
            reservation_id: reservation_id.to_owned(),
            request_id: request_id(),
            customer_id: String::new(),
        })
    }

    /// Gives back these seats, or all if there are none.
    pub(crate) fn release(reservation_id: &str, seats: Vec<Seat>) -> Self {
        Self::Release(ReleaseSeatsRequest {
            reservation_id: reservation_id.to_owned(),
            seats,
            reason: format!("the caller of {reservation_id} asked for it"),
            request_id: request_id(),
            till: String::new(),
        })
    }

    pub(crate) fn exchange(reservation_id: &str, seats: Vec<Seat>) -> Self {
        Self::Exchange(ExchangeSeatsRequest {
            reservation_id: reservation_id.to_owned(),
            seats,
            request_id: request_id(),
            customer_id: String::new(),
        })
    }

    pub(crate) fn block(showtime_id: &str, seats: Vec<Seat>, note: &str) -> Self {
        Self::Block(BlockSeatsRequest {
            showtime_id: showtime_id.to_owned(),
            seats,
            reason: BlockReason::House.into(),
            note: note.to_owned(),
            request_id: request_id(),
        })
    }

    pub(crate) fn unblock(showtime_id: &str, seats: Vec<Seat>) -> Self {
        Self::Unblock(UnblockSeatsRequest { showtime_id: showtime_id.to_owned(), seats, request_id: request_id() })
    }

    pub(crate) fn get(reservation_id: &str) -> Self {
        Self::GetReservation(GetReservationRequest {
            reservation_id: reservation_id.to_owned(),
            customer_id: String::new(),
        })
    }

    /// Returns the id of the reservation that the request names.
    pub(super) fn reservation_id(&self) -> Option<&str> {
        match self {
            Self::Confirm(request) => Some(&request.reservation_id),
            Self::Cancel(request) => Some(&request.reservation_id),
            Self::Extend(request) => Some(&request.reservation_id),
            Self::Release(request) => Some(&request.reservation_id),
            Self::Exchange(request) => Some(&request.reservation_id),
            Self::GetReservation(request) => Some(&request.reservation_id),
            Self::Reserve(_)
            | Self::Block(_)
            | Self::Unblock(_)
            | Self::GetShowtime
            | Self::GetSeatMap { .. }
            | Self::ListSeatBlocks
            | Self::Lock => None,
        }
    }

    /// Returns the request id, or "" if the operation has none.
    pub(crate) fn request_id(&self) -> &str {
        match self {
            Self::Reserve(request) => &request.request_id,
            Self::Confirm(request) => &request.request_id,
            Self::Cancel(request) => &request.request_id,
            Self::Extend(request) => &request.request_id,
            Self::Release(request) => &request.request_id,
            Self::Exchange(request) => &request.request_id,
            Self::Block(request) => &request.request_id,
            Self::Unblock(request) => &request.request_id,
            Self::GetReservation(_)
            | Self::GetShowtime
            | Self::GetSeatMap { .. }
            | Self::ListSeatBlocks
            | Self::Lock => "",
        }
    }
}

/// A request without seats.
fn reserve_nothing(showtime_id: &str, customer: &str) -> ReserveSeatsRequest {
    ReserveSeatsRequest {
        showtime_id: showtime_id.to_owned(),
        customer_id: customer.to_owned(),
        request_id: request_id(),
        ..Default::default()
    }
}

fn confirm_with(reservation_id: &str, method: &str) -> ConfirmReservationRequest {
    ConfirmReservationRequest {
        reservation_id: reservation_id.to_owned(),
        request_id: request_id(),
        customer_id: String::new(),
        tender: Some(Tender { method: method.to_owned(), transaction_id: String::new() }),
        late: false,
        till: "till 1".to_owned(),
    }
}
