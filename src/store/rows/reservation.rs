//! Reservations as they are read and stored.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sea_orm::{DerivePartialModel, prelude::Uuid};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        ids::{PurchaseId, ReservationId, ShowtimeId},
        money::Currency,
        reservation::{CustomerId, Paying, Record, RefundDue, Reservation, Sale, State, Tender},
        seat_index::Block,
    },
    store::{
        entities::{reservation, showtime},
        errors::Error,
        rows::{amendment, prices::StoredLines},
    },
};

/// A reservation and its showtime's currency. Serialised, it is a stored answer.
#[derive(Clone, Debug, DerivePartialModel, Serialize, Deserialize)]
#[sea_orm(entity = "reservation::Entity")]
pub(in crate::store) struct ReservationRow {
    pub(in crate::store) reservation_id: Uuid,
    pub(in crate::store) showtime_id: Uuid,
    pub(in crate::store) customer_id: String,
    pub(in crate::store) first_seat: i16,
    pub(in crate::store) seat_count: i16,
    #[sea_orm(from_expr = "showtime::Column::Currency")]
    pub(in crate::store) currency: String,
    pub(in crate::store) total_minor: i64,
    pub(in crate::store) create_time: DateTime<Utc>,
    pub(in crate::store) first_expire_time: DateTime<Utc>,
    pub(in crate::store) expire_time: DateTime<Utc>,
    pub(in crate::store) first_revision: i64,
    pub(in crate::store) state: String,
    pub(in crate::store) revision: i64,
    pub(in crate::store) confirm_time: Option<DateTime<Utc>>,
    pub(in crate::store) tender_method: Option<String>,
    pub(in crate::store) tender_transaction: Option<String>,
    pub(in crate::store) cancel_time: Option<DateTime<Utc>>,
    /// Not in answers that were stored by earlier versions.
    #[serde(default)]
    pub(in crate::store) lines: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) amendment: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) refund_due_time: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) pay_until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) purchase_id: Option<Uuid>,
}

impl ReservationRow {
    pub(in crate::store) fn of(reservation: &Reservation) -> Self {
        let (sale, due, payment) = (reservation.sale(), reservation.refund_due(), reservation.payment());
        let tender = due.map(|due| &due.tender).or(sale.and_then(|sale| sale.tender.as_ref()));
        let (state, cancel_time) = match reservation.state() {
            State::Held => ("held", None),
            State::Paying(_) => ("paying", None),
            State::Confirmed(_) => ("confirmed", None),
            State::Cancelled { at, .. } => ("cancelled", Some(*at)),
            State::Expired => ("expired", None),
        };
        Self {
            reservation_id: reservation.reservation_id.0,
            showtime_id: reservation.showtime_id.0,
            customer_id: reservation.customer_id.to_string(),
            first_seat: reservation.first_block.first as i16,
            seat_count: reservation.first_block.count as i16,
            currency: reservation.currency.code().to_owned(),
            total_minor: reservation.first_lines.total(),
            create_time: reservation.create_time,
            first_expire_time: reservation.first_expire_time,
            expire_time: reservation.expire_time(),
            first_revision: reservation.first_revision,
            state: state.to_owned(),
            revision: reservation.revision(),
            confirm_time: sale.map(|sale| sale.at),
            tender_method: tender.map(|tender| tender.method.clone()),
            tender_transaction: tender.map(|tender| tender.transaction_id.clone()),
            cancel_time,
            lines: StoredLines::of(&reservation.first_lines).map(|lines| lines.encode_to_vec()),
            amendment: reservation.amendment().map(amendment::encode),
            refund_due_time: due.map(|due| due.at),
            pay_until: payment.map(|payment| payment.pay_until),
            purchase_id: reservation.purchase_id().map(|id| id.0),
        }
    }

    pub(in crate::store) fn reservation(self) -> Result<Reservation, Error> {
        let id = self.reservation_id;
        let unreadable = |why: String| Error::Unreadable { table: "reservations", key: id.to_string(), why };
        let tender = match (self.tender_method, self.tender_transaction) {
            (Some(method), Some(transaction_id)) => Some(Tender { method, transaction_id }),
            (None, None) => None,
            _ => return Err(unreadable("half a tender".to_owned())),
        };
        let refund_due = match (self.refund_due_time, &tender) {
            (None, _) => None,
            (Some(at), Some(tender)) => Some(RefundDue { at, tender: tender.clone() }),
            (Some(_), None) => return Err(unreadable("a refund without a tender".to_owned())),
        };
        let payment = match (self.purchase_id.map(PurchaseId), self.pay_until) {
            (Some(purchase_id), Some(pay_until)) => Some(Paying { purchase_id, pay_until }),
            // A sale at a till is a purchase, and its payment was never under way.
            (Some(_), None) if self.confirm_time.is_some() => None,
            (None, None) => None,
            _ => return Err(unreadable("half a payment".to_owned())),
        };
        let purchase_id = self.purchase_id.map(PurchaseId);
        let sale = self.confirm_time.map(|at| Sale { at, tender, purchase_id });
        let (state, payment) = match (self.state.as_str(), sale, self.cancel_time, payment) {
            ("paying", None, None, Some(paying)) => (State::Paying(paying), None),
            ("held", None, None, None) => (State::Held, None),
            ("expired", None, None, None) => (State::Expired, None),
            ("confirmed", Some(sale), None, payment) => (State::Confirmed(sale), payment),
            ("cancelled", sale, Some(at), payment) => (State::Cancelled { at, sale }, payment),
            _ => return Err(unreadable(format!("state {:?}", self.state))),
        };
        let seats = (u16::try_from(self.first_seat), u16::try_from(self.seat_count));
        let (Ok(first), Ok(count)) = seats else { return Err(unreadable("seats".to_owned())) };
        let currency =
            Currency::parse(&self.currency).ok_or_else(|| unreadable(format!("currency {:?}", self.currency)))?;
        let lines = StoredLines::read_column(self.lines.as_deref(), count, self.total_minor);
        let lines = lines.ok_or_else(|| unreadable("lines".to_owned()))?;
        let amendment = self.amendment.as_deref().map(amendment::decode);
        let amendment = amendment.map(|read| read.ok_or_else(|| unreadable("amendment".to_owned()))).transpose()?;
        Ok(Reservation::restore(Record {
            reservation_id: ReservationId(id),
            showtime_id: ShowtimeId(self.showtime_id),
            customer_id: CustomerId::restore(&self.customer_id),
            first_block: Block { first, count },
            currency,
            first_lines: lines,
            amendment,
            create_time: self.create_time,
            first_expire_time: self.first_expire_time,
            expire_time: self.expire_time,
            state,
            payment,
            refund_due,
            first_revision: self.first_revision,
            revision: self.revision,
        }))
    }
}
