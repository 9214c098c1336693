//! What somebody may ask for.

use std::ops::RangeInclusive;

use boxoffice::pb::boxoffice::v1::{
    CancelReservationRequest, ConfirmReservationRequest, ExtendReservationRequest, GetReservationRequest,
    ReserveSeatsRequest, Seat, Tender,
};

use crate::harness::request_id;

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Reserve(ReserveSeatsRequest),
    Confirm(ConfirmReservationRequest),
    Cancel(CancelReservationRequest),
    Extend(ExtendReservationRequest),
    /// A reservation is read.
    Read(GetReservationRequest),
    /// The showtime is.
    Look,
    /// The showtime's row is locked from outside.
    Lock,
}

impl Deed {
    /// These seats of a row, for this person.
    pub(crate) fn reserve(showtime_id: &str, customer: &str, row: &str, numbers: RangeInclusive<i32>) -> Self {
        let seats = numbers.map(|number| Seat { row: row.to_owned(), number }).collect();
        Self::Reserve(ReserveSeatsRequest { seats, ..plain(showtime_id, customer) })
    }

    /// So many of the best.
    pub(crate) fn best(showtime_id: &str, customer: &str, seat_count: i32) -> Self {
        Self::Reserve(ReserveSeatsRequest { seat_count, ..plain(showtime_id, customer) })
    }

    pub(crate) fn confirm(reservation_id: &str) -> Self {
        let (reservation_id, request_id, customer_id) = new(reservation_id);
        Self::Confirm(ConfirmReservationRequest { reservation_id, request_id, customer_id, tender: None })
    }

    /// Paid for in this way.
    pub(crate) fn confirm_by(reservation_id: &str, method: &str) -> Self {
        let (reservation_id, request_id, customer_id) = new(reservation_id);
        let tender = Some(Tender { method: method.to_owned(), transaction_id: String::new() });
        Self::Confirm(ConfirmReservationRequest { reservation_id, request_id, customer_id, tender })
    }

    pub(crate) fn cancel(reservation_id: &str) -> Self {
        let (reservation_id, request_id, customer_id) = new(reservation_id);
        Self::Cancel(CancelReservationRequest { reservation_id, request_id, customer_id })
    }

    pub(crate) fn extend(reservation_id: &str) -> Self {
        let (reservation_id, request_id, customer_id) = new(reservation_id);
        Self::Extend(ExtendReservationRequest { reservation_id, request_id, customer_id })
    }

    pub(crate) fn read(reservation_id: &str) -> Self {
        let (reservation_id, _, customer_id) = new(reservation_id);
        Self::Read(GetReservationRequest { reservation_id, customer_id })
    }

    /// The reservation that it names.
    pub(super) fn reservation_id(&self) -> Option<&str> {
        match self {
            Self::Confirm(request) => Some(&request.reservation_id),
            Self::Cancel(request) => Some(&request.reservation_id),
            Self::Extend(request) => Some(&request.reservation_id),
            Self::Read(request) => Some(&request.reservation_id),
            Self::Reserve(_) | Self::Look | Self::Lock => None,
        }
    }

    /// "" where there is none.
    pub(super) fn request_id(&self) -> &str {
        match self {
            Self::Reserve(request) => &request.request_id,
            Self::Confirm(request) => &request.request_id,
            Self::Cancel(request) => &request.request_id,
            Self::Extend(request) => &request.request_id,
            Self::Read(_) | Self::Look | Self::Lock => "",
        }
    }
}

fn plain(showtime_id: &str, customer: &str) -> ReserveSeatsRequest {
    let (showtime_id, request_id, _) = new(showtime_id);
    ReserveSeatsRequest { showtime_id, customer_id: customer.to_owned(), request_id, ..Default::default() }
}

/// The id of something, of a new request, and of nobody in particular.
fn new(id: &str) -> (String, String, String) {
    (id.to_owned(), request_id(), String::new())
}
