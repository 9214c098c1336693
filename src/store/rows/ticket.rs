//! Tickets as they are stored.

use sea_orm::{
    ExprTrait as _,
    sea_query::{CaseStatement, Expr},
};

use crate::{
    domain::{
        ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId, TicketId},
        money::{Currency, Money},
        number::TicketNumber,
        reservation::CustomerId,
        seat_index::{RowLabel, SeatName},
        ticket::{Ticket, TicketCode, TicketState, TicketUse},
    },
    store::{entities::ticket, errors::Error},
};

const STATES: [TicketState; 7] = [
    TicketState::Unpaid,
    TicketState::Issued,
    TicketState::Blocked,
    TicketState::Used,
    TicketState::Voided,
    TicketState::Exchanged,
    TicketState::Refunded,
];

/// The state's name in its column.
pub(in crate::store) fn state_name(state: TicketState) -> &'static str {
    match state {
        TicketState::Unpaid => "unpaid",
        TicketState::Issued => "issued",
        TicketState::Blocked => "blocked",
        TicketState::Used => "used",
        TicketState::Voided => "voided",
        TicketState::Exchanged => "exchanged",
        TicketState::Refunded => "refunded",
    }
}

/// The row of a new ticket.
pub(in crate::store) fn row(ticket: &Ticket) -> ticket::Model {
    ticket::Model {
        ticket_id: ticket.ticket_id.0,
        number: ticket.number.as_str().to_owned(),
        purchase_id: ticket.purchase_id.0,
        payment_id: ticket.payment_id.0,
        reservation_id: ticket.reservation_id.0,
        showtime_id: ticket.showtime_id.0,
        customer_id: ticket.customer_id.to_string(),
        seat: i32::from(ticket.seat),
        seat_row: ticket.seat_name.row.to_string(),
        seat_number: ticket.seat_name.number,
        ticket_type: i32::from(ticket.ticket_type),
        currency: ticket.price.currency.code().to_owned(),
        price_minor: ticket.price.minor,
        code: ticket.code.to_bytes().to_vec(),
        issue_time: ticket.issue_time,
        state: state_name(ticket.state).to_owned(),
        use_time: None,
        use_device: None,
        use_nonce: None,
        use_index: None,
    }
}

/// Reads a ticket.
pub(in crate::store) fn ticket(row: ticket::Model) -> Result<Ticket, Error> {
    let key = row.ticket_id.to_string();
    read(row).ok_or_else(|| Error::Unreadable { table: "tickets", key, why: "a value is unknown".to_owned() })
}

fn read(row: ticket::Model) -> Option<Ticket> {
    let used = match (row.use_time, row.use_device, row.use_nonce) {
        // A ticket that was exchanged keeps the nonce.
        (Some(time), Some(device), nonce) => Some(TicketUse { time, device, nonce: nonce.unwrap_or_default() }),
        _ => None,
    };
    Some(Ticket {
        ticket_id: TicketId(row.ticket_id),
        number: TicketNumber::restore(row.number),
        purchase_id: PurchaseId(row.purchase_id),
        payment_id: PaymentId(row.payment_id),
        reservation_id: ReservationId(row.reservation_id),
        showtime_id: ShowtimeId(row.showtime_id),
        customer_id: CustomerId::restore(&row.customer_id),
        seat: u16::try_from(row.seat).ok()?,
        seat_name: SeatName { row: RowLabel::parse(&row.seat_row).ok()?, number: row.seat_number },
        ticket_type: u8::try_from(row.ticket_type).ok()?,
        price: Money { currency: Currency::parse(&row.currency)?, minor: row.price_minor },
        code: TicketCode::from_bytes(&row.code).ok()?,
        issue_time: row.issue_time,
        state: STATES.into_iter().find(|state| state_name(*state) == row.state)?,
        used,
    })
}

/// The state of a ticket that is not blocked any more: one that was used before, or by a scan meanwhile, is used.
pub(in crate::store) fn issued_or_used() -> CaseStatement {
    CaseStatement::new()
        .case(Expr::col(ticket::Column::UseTime).is_null(), state_name(TicketState::Issued))
        .finally(state_name(TicketState::Used))
}
