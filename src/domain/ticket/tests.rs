//! When a ticket admits its holder.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Admission, CodeKind, Ticket, TicketCode, TicketState, TicketUse, WhyNot};
use crate::domain::{
    ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId, TicketId},
    money::{Currency, Money},
    number::TicketNumber,
    reservation::CustomerId,
    seat_index::{RowLabel, SeatName},
};

const DOOR: ShowtimeId = ShowtimeId(Uuid::from_u128(1));

fn ticket(state: TicketState) -> Ticket {
    let code = TicketCode::unsigned(CodeKind::Seat(3), 1, [7; 8], DOOR.0).with_signature([9; 64]);
    Ticket {
        ticket_id: TicketId(Uuid::from_u128(2)),
        number: TicketNumber::of([1; 8]),
        purchase_id: PurchaseId(Uuid::from_u128(3)),
        payment_id: PaymentId(Uuid::from_u128(4)),
        reservation_id: ReservationId(Uuid::from_u128(5)),
        showtime_id: DOOR,
        customer_id: CustomerId::parse("ada").unwrap(),
        seat: 3,
        seat_name: SeatName { row: RowLabel::parse("A").unwrap(), number: 4 },
        ticket_type: 0,
        price: Money { currency: Currency::parse("EUR").unwrap(), minor: 950 },
        code,
        issue_time: DateTime::UNIX_EPOCH,
        state,
        used: None,
    }
}

fn start() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(1)
}

fn admission() -> Admission {
    Admission::of(start(), start() + TimeDelta::hours(2), Duration::from_hours(2))
}

#[test]
fn a_ticket_admits_from_before_the_start_to_the_end() {
    let issued = ticket(TicketState::Issued);
    let at = |offset: TimeDelta| issued.why_not(DOOR, admission(), start() + offset);
    let moment = TimeDelta::microseconds(1);
    assert_eq!(at(TimeDelta::hours(-2) - moment), [WhyNot::TooEarly]);
    assert_eq!(at(TimeDelta::hours(-2)), []);
    assert_eq!(at(TimeDelta::hours(2) - moment), []);
    assert_eq!(at(TimeDelta::hours(2)), [WhyNot::TooLate]);
}

#[test]
fn what_makes_it_invalid_comes_before_that_it_was_used() {
    let used = Some(TicketUse { time: start(), device: "door 1".to_owned(), nonce: "1".to_owned() });
    let why = |state, door| Ticket { used: used.clone(), ..ticket(state) }.why_not(door, admission(), start());
    assert_eq!(why(TicketState::Used, DOOR), [WhyNot::Used]);
    assert_eq!(why(TicketState::Voided, DOOR), [WhyNot::Voided, WhyNot::Used]);
    assert_eq!(why(TicketState::Refunded, DOOR), [WhyNot::Refunded, WhyNot::Used]);
    assert_eq!(why(TicketState::Blocked, DOOR), [WhyNot::Blocked, WhyNot::Used]);
    let other = ShowtimeId(Uuid::from_u128(9));
    assert_eq!(why(TicketState::Used, other), [WhyNot::WrongShowtime, WhyNot::Used]);
    assert_eq!(ticket(TicketState::Unpaid).why_not(DOOR, admission(), start()), [WhyNot::Blocked]);
}
