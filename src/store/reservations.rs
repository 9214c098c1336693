//! Reservations as rows.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, prelude::Uuid};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::domain::{
    house::Block,
    ids::{ReservationId, ShowtimeId},
    money::{Currency, Money},
    reservation::{CustomerId, Reservation, Sale, State, Tender},
};

/// All columns of a reservation, and its showtime's currency. Serialised, it is a stored answer.
#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
pub(super) struct ReservationRow {
    pub(super) reservation_id: Uuid,
    pub(super) showtime_id: Uuid,
    pub(super) customer_id: String,
    pub(super) first_seat: i16,
    pub(super) seat_count: i16,
    pub(super) currency: String,
    pub(super) total_minor: i64,
    pub(super) create_time: DateTime<Utc>,
    pub(super) first_expire_time: DateTime<Utc>,
    pub(super) expire_time: DateTime<Utc>,
    pub(super) first_revision: i64,
    pub(super) state: String,
    pub(super) revision: i64,
    pub(super) confirm_time: Option<DateTime<Utc>>,
    pub(super) tender_method: Option<String>,
    pub(super) tender_transaction: Option<String>,
    pub(super) cancel_time: Option<DateTime<Utc>>,
}

/// The columns of a `ReservationRow`.
pub(super) const RESERVATION_COLUMNS: &str = "r.reservation_id, r.showtime_id, r.customer_id, r.first_seat, \
    r.seat_count, s.currency, r.total_minor, r.create_time, r.first_expire_time, r.expire_time, r.first_revision, r.state, \
    r.revision, r.confirm_time, r.tender_method, r.tender_transaction, r.cancel_time";

/// What to select for a `ReservationRow`.
pub(super) const SELECT_RESERVATIONS: &str = "SELECT r.reservation_id, r.showtime_id, r.customer_id, r.first_seat, \
    r.seat_count, s.currency, r.total_minor, r.create_time, r.first_expire_time, r.expire_time, r.first_revision, r.state, \
    r.revision, r.confirm_time, r.tender_method, r.tender_transaction, r.cancel_time \
    FROM reservations r JOIN showtimes s ON s.showtime_id = r.showtime_id";

impl ReservationRow {
    pub(super) fn of(reservation: &Reservation) -> Self {
        let sale = reservation.sale();
        let tender = sale.and_then(|sale| sale.tender.as_ref());
        let (state, cancel_time) = match &reservation.state {
            State::Held => ("held", None),
            State::Confirmed(_) => ("confirmed", None),
            State::Cancelled { at, .. } => ("cancelled", Some(*at)),
            State::Expired => ("expired", None),
        };
        Self {
            reservation_id: reservation.reservation_id.0,
            showtime_id: reservation.showtime_id.0,
            customer_id: reservation.customer_id.to_string(),
            first_seat: reservation.block.first as i16,
            seat_count: reservation.block.count as i16,
            currency: reservation.total.currency.code().to_owned(),
            total_minor: reservation.total.minor,
            create_time: reservation.create_time,
            first_expire_time: reservation.first_expire_time,
            expire_time: reservation.expire_time,
            first_revision: reservation.first_revision,
            state: state.to_owned(),
            revision: reservation.revision,
            confirm_time: sale.map(|sale| sale.at),
            tender_method: tender.map(|tender| tender.method.clone()),
            tender_transaction: tender.map(|tender| tender.transaction_id.clone()),
            cancel_time,
        }
    }

    pub(super) fn reservation(self) -> Result<Reservation, Error> {
        let id = self.reservation_id;
        let broken = |why: String| Error::Unreadable { table: "reservations", key: id.to_string(), why };
        let tender = match (self.tender_method, self.tender_transaction) {
            (Some(method), Some(transaction_id)) => Some(Tender { method, transaction_id }),
            (None, None) => None,
            _ => return Err(broken("half a tender".to_owned())),
        };
        let sale = self.confirm_time.map(|at| Sale { at, tender });
        let state = match (self.state.as_str(), sale, self.cancel_time) {
            ("held", None, None) => State::Held,
            ("expired", None, None) => State::Expired,
            ("confirmed", Some(sale), None) => State::Confirmed(sale),
            ("cancelled", sale, Some(at)) => State::Cancelled { at, sale },
            _ => return Err(broken(format!("state {:?}", self.state))),
        };
        let seats = (u16::try_from(self.first_seat), u16::try_from(self.seat_count));
        let (Ok(first), Ok(count)) = seats else { return Err(broken("seats".to_owned())) };
        let currency =
            Currency::parse(&self.currency).ok_or_else(|| broken(format!("currency {:?}", self.currency)))?;
        Ok(Reservation {
            reservation_id: ReservationId(id),
            showtime_id: ShowtimeId(self.showtime_id),
            customer_id: CustomerId::parse(&self.customer_id).map_err(|flaws| broken(flaws.to_string()))?,
            block: Block { first, count },
            total: Money { currency, minor: self.total_minor },
            create_time: self.create_time,
            first_expire_time: self.first_expire_time,
            expire_time: self.expire_time,
            state,
            first_revision: self.first_revision,
            revision: self.revision,
        })
    }
}
