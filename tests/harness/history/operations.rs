//! The operations that a test can ask for and record.

use std::ops::RangeInclusive;

use boxoffice::pb::boxoffice::v1::{
    CancelReservationRequest, ConfirmReservationRequest, ExtendReservationRequest, GetReservationRequest,
    ReserveSeatsRequest, Seat, Tender,
};

use crate::harness::request_id;

/// A request, or a lock that a test takes. The showtime is named by the call.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Reserve(ReserveSeatsRequest),
    Confirm(ConfirmReservationRequest),
    Cancel(CancelReservationRequest),
    Extend(ExtendReservationRequest),
    GetReservation(GetReservationRequest),
    GetShowtime,
    /// A test locks the showtime's row. No request is sent.
    Lock,
}

impl Operation {
    /// Reserves these seats of a row.
    pub(crate) fn reserve(showtime_id: &str, customer: &str, row: &str, numbers: RangeInclusive<i32>) -> Self {
        let seats = numbers.map(|number| Seat { row: row.to_owned(), number }).collect();
        Self::Reserve(ReserveSeatsRequest { seats, ..reserve_nothing(showtime_id, customer) })
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
        })
    }

    /// Confirms with a tender of this method.
    pub(crate) fn confirm_with(reservation_id: &str, method: &str) -> Self {
        Self::Confirm(ConfirmReservationRequest {
            reservation_id: reservation_id.to_owned(),
            request_id: request_id(),
            customer_id: String::new(),
            tender: Some(Tender { method: method.to_owned(), transaction_id: String::new() }),
            late: false,
        })
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
            Self::GetReservation(request) => Some(&request.reservation_id),
            Self::Reserve(_) | Self::GetShowtime | Self::Lock => None,
        }
    }

    /// Returns the request id, or "" if the operation has none.
    pub(crate) fn request_id(&self) -> &str {
        match self {
            Self::Reserve(request) => &request.request_id,
            Self::Confirm(request) => &request.request_id,
            Self::Cancel(request) => &request.request_id,
            Self::Extend(request) => &request.request_id,
            Self::GetReservation(_) | Self::GetShowtime | Self::Lock => "",
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
