//! What a refund gives back, and its life.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    Chosen, Refund, RefundAction, RefundAnswer, RefundFacts, RefundRecord, RefundRefusal, RefundSettlement,
    RefundState, RefundWish, choose, choose_released, left,
};
use crate::domain::{
    ids::{PaymentId, PurchaseId, RefundId, ReservationId, ShowtimeId},
    layout::{Layout, LayoutRow},
    money::{Currency, Money},
    prices::{Line, Lines, Split},
    purchase::{Payment, PaymentMethod, PaymentState},
    reservation::{CustomerId, Record, Reservation, Sale, State},
    seat_index::{Block, RowLabel, SeatIndex, SeatName},
};

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn euros(minor: i64) -> Money {
    Money { currency: Currency::parse("EUR").unwrap(), minor }
}

fn seat_index() -> SeatIndex {
    let row = LayoutRow { label: "A".to_owned(), places: "ssss".to_owned(), numbers: Vec::new() };
    SeatIndex::new(&Layout::new(vec![row]).unwrap())
}

fn name(number: i32) -> SeatName {
    SeatName { row: RowLabel::parse("A").unwrap(), number }
}

/// A sale of A1 to A3, for 10.00 each.
fn sale() -> Reservation {
    Reservation::restore(Record {
        reservation_id: ReservationId(Uuid::from_u128(1)),
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        customer_id: CustomerId::parse("ada").unwrap(),
        first_block: Block { first: 0, count: 3 },
        currency: euros(0).currency,
        first_lines: Lines::plain(3, 3_000),
        amendment: None,
        create_time: now(),
        first_expire_time: now(),
        expire_time: now(),
        state: State::Confirmed(Sale { at: now(), tender: None, purchase_id: None }),
        payment: None,
        refund_due: None,
        first_revision: 1,
        revision: 1,
    })
}

fn payment(state: PaymentState) -> Payment {
    Payment {
        payment_id: PaymentId(Uuid::from_u128(3)),
        method: PaymentMethod::CreditCard,
        token: String::new(),
        amount: euros(3_000),
        refunded_minor: 0,
        state,
        decline_code: String::new(),
        create_time: now(),
        process_time: None,
        at_till: None,
    }
}

fn facts(minor: i64, seats: &[i32], releases: bool) -> RefundFacts {
    let sales = 1_000 * seats.len() as i64;
    RefundFacts {
        refund_id: RefundId(Uuid::from_u128(4)),
        payment_id: PaymentId(Uuid::from_u128(3)),
        purchase_id: PurchaseId(Uuid::from_u128(5)),
        reservation_id: ReservationId(Uuid::from_u128(1)),
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        chosen: Chosen {
            amount: euros(minor),
            split: Split { sales, ..Split::default() },
            seats: seats.iter().copied().map(name).collect(),
        },
        releases,
        owed: false,
        till: None,
        reason: String::new(),
        create_time: now(),
    }
}

fn refund(state: RefundState, minor: i64, seats: &[i32]) -> Refund {
    let record = RefundRecord {
        state,
        waits: false,
        attempts: 0,
        failed_attempts: 0,
        message: String::new(),
        end_time: None,
        last_event: 1,
    };
    Refund::restore(facts(minor, seats, true), record)
}

fn chosen(wish: &RefundWish, refunds: &[Refund]) -> Result<(i64, Vec<i32>), RefundRefusal> {
    let chosen = choose(wish, &payment(PaymentState::Completed), refunds, Some(&sale()), &seat_index())?;
    Ok((chosen.amount.minor, chosen.seats.iter().map(|seat| seat.number).collect()))
}

fn seats(numbers: &[i32]) -> RefundWish {
    RefundWish::Seats(numbers.iter().copied().map(name).collect())
}

#[test]
fn a_wish_is_for_all_for_seats_or_for_an_amount() {
    assert_eq!(chosen(&RefundWish::All, &[]), Ok((3_000, vec![1, 2, 3])));
    assert_eq!(chosen(&seats(&[3, 1]), &[]), Ok((2_000, vec![1, 3])));
    assert_eq!(chosen(&RefundWish::Amount(euros(500)), &[]), Ok((500, vec![])));
    assert_eq!(chosen(&seats(&[4]), &[]), Err(RefundRefusal::Nothing));
    assert_eq!(chosen(&RefundWish::Amount(euros(3_001)), &[]), Err(RefundRefusal::Exceeds { left: euros(3_000) }));
    let yen = Money { currency: Currency::parse("JPY").unwrap(), minor: 5 };
    let refusal = RefundRefusal::OtherCurrency { currency: euros(0).currency };
    assert_eq!(chosen(&RefundWish::Amount(yen), &[]), Err(refusal));
}

#[test]
fn what_is_given_back_or_may_be_is_not_given_back_again() {
    for state in [RefundState::Pending, RefundState::Stuck] {
        let refunds = [refund(state, 1_000, &[2])];
        assert_eq!(left(&payment(PaymentState::Completed), &refunds), 2_000);
        assert_eq!(chosen(&RefundWish::All, &refunds), Ok((2_000, vec![1, 3])));
        assert_eq!(chosen(&seats(&[2]), &refunds), Err(RefundRefusal::Nothing));
    }
    let failed = [refund(RefundState::Failed, 1_000, &[2])];
    assert_eq!(chosen(&RefundWish::All, &failed), Ok((3_000, vec![1, 2, 3])));
    let all = [refund(RefundState::Done, 3_000, &[])];
    assert_eq!(chosen(&RefundWish::All, &all), Err(RefundRefusal::Nothing));
    let most = [refund(RefundState::Done, 2_500, &[])];
    assert_eq!(chosen(&seats(&[1]), &most), Err(RefundRefusal::Exceeds { left: euros(500) }));
}

#[test]
fn only_what_was_taken_is_given_back() {
    for state in [PaymentState::Pending, PaymentState::Processing, PaymentState::Authorized] {
        let refused = choose(&RefundWish::All, &payment(state), &[], Some(&sale()), &seat_index());
        assert_eq!(refused, Err(RefundRefusal::Pending));
    }
    for state in [PaymentState::Declined, PaymentState::Voided, PaymentState::Refunded] {
        let refused = choose(&RefundWish::All, &payment(state), &[], Some(&sale()), &seat_index());
        assert_eq!(refused, Err(RefundRefusal::Nothing));
    }
}

#[test]
fn seats_that_were_given_up_are_refunded_as_far_as_money_is_left() {
    let released = |left, refunds: &[Refund]| {
        let lines = [1, 2].map(|number| (name(number), Line::plain(1_000)));
        let chosen = choose_released(left, refunds, euros(0).currency, lines.into_iter())?;
        Some((chosen.amount.minor, chosen.split.total(), chosen.seats.len()))
    };
    assert_eq!(released(None, &[]), Some((2_000, 2_000, 2)));
    assert_eq!(released(Some(1_500), &[]), Some((1_500, 2_000, 2)));
    assert_eq!(released(Some(0), &[]), None);
    assert_eq!(released(Some(2_000), &[refund(RefundState::Pending, 1_000, &[2])]), Some((1_000, 1_000, 1)));
}

#[test]
fn every_refund_is_even_in_the_books() {
    for (minor, of) in [(1_000, &[1][..]), (500, &[]), (700, &[1, 2])] {
        let entries = refund(RefundState::Done, minor, of).entries();
        assert_eq!(entries.iter().map(|(_, minor)| minor).sum::<i64>(), 0, "{entries:?}");
        assert_eq!(entries[0], ("gateway", -minor));
    }
}

#[test]
fn the_gateway_is_asked_for_one_operation_until_it_says_what_became_of_it() {
    let mut refund = Refund::begin(facts(1_000, &[1], true));
    let key = refund.operation_key();
    assert_eq!(refund.next_action(now()), RefundAction::Ask);
    refund.answered(RefundAnswer::Unknown { message: "no answer".to_owned() }, 1.0, now());
    assert_eq!(refund.next_action(now()), RefundAction::Wait(now() + TimeDelta::milliseconds(100)));
    refund.answered(RefundAnswer::Pending, 1.0, now());
    assert_eq!((refund.record().attempts, refund.record().message.as_str()), (2, ""));
    assert_eq!(refund.next_action(now()), RefundAction::Wait(now() + TimeDelta::milliseconds(200)));
    refund.answered(RefundAnswer::Done, 1.0, now());
    assert_eq!((refund.state(), refund.next_action(now())), (RefundState::Done, RefundAction::End));
    refund.answered(RefundAnswer::Failed { code: "late".to_owned() }, 1.0, now());
    assert_eq!((refund.state(), refund.operation_key()), (RefundState::Done, key));
}

#[test]
fn it_is_asked_for_until_there_is_an_answer_and_after_14_days_an_operator_is() {
    let mut refund = Refund::begin(facts(1_000, &[1], true));
    for attempt in 1..=1_000 {
        assert_eq!(refund.state(), RefundState::Pending, "{attempt}");
        refund.answered(RefundAnswer::Unknown { message: "no answer".to_owned() }, 1.0, now());
        if let RefundAction::Wait(until) = refund.next_action(now()) {
            assert!(until - now() <= TimeDelta::minutes(5), "{attempt}: {until}");
        }
    }
    assert_eq!((refund.state(), refund.record().message.as_str()), (RefundState::Pending, "no answer"));
    assert!(refund.counts() && refund.is_open(), "its money may have been given back");
    // A gateway that works on it for days does not make it stuck.
    let mut slow = Refund::begin(facts(1_000, &[1], true));
    for _ in 0..1_000 {
        slow.answered(RefundAnswer::Pending, 0.5, now());
    }
    assert_eq!(slow.state(), RefundState::Pending);
    let (limit, tick) = (now() + TimeDelta::days(14), TimeDelta::microseconds(1));
    for (answer, message) in [
        (RefundAnswer::Pending, "not given back for 14 days"),
        (RefundAnswer::Unknown { message: "no answer".to_owned() }, "not given back for 14 days: no answer"),
    ] {
        let mut open = slow.clone();
        for _ in 0..30 {
            open.answered(answer.clone(), 0.5, limit - tick);
            assert_eq!(open.state(), RefundState::Pending);
        }
        for _ in 0..100 {
            open.answered(answer.clone(), 0.5, limit);
        }
        assert_eq!((open.is_stuck(), open.record().message.as_str()), (true, message));
        // An operator who lets it go on gives it as much time again.
        open.resume();
        open.answered(answer, 0.5, limit);
        assert_eq!(open.state(), RefundState::Pending);
    }
    // One whose payment was decided late was not asked for often.
    let mut late = Refund::begin(facts(1_000, &[1], true));
    late.answered(RefundAnswer::Pending, 0.5, limit);
    late.answered(RefundAnswer::Unknown { message: "no answer".to_owned() }, 0.5, limit);
    assert_eq!(late.state(), RefundState::Pending);
    slow.answered(RefundAnswer::Done, 0.5, limit);
    assert_eq!(slow.state(), RefundState::Done);
}

#[test]
fn a_refusal_for_seats_that_were_given_up_waits_for_an_operator() {
    let mut refund = Refund::begin(facts(1_000, &[2], false));
    refund.answered(RefundAnswer::Failed { code: "late".to_owned() }, 1.0, now());
    assert!(refund.is_stuck() && refund.counts() && refund.is_open());
    assert_eq!((refund.next_action(now()), refund.record().last_event), (RefundAction::End, 2));
    refund.resume();
    assert_eq!((refund.next_action(now()), refund.state()), (RefundAction::Ask, RefundState::Pending));
    refund.answered(RefundAnswer::Failed { code: "late".to_owned() }, 1.0, now());
    assert!(refund.is_stuck());
    refund.settle(RefundSettlement::PaidOut { till: "till 7".to_owned() }, now());
    assert_eq!((refund.state(), refund.record().last_event), (RefundState::Done, 4));
    assert_eq!(refund.entries()[0], ("till", -1_000));
    // An amount that concerns no seat is owed once seats were given up while it was open.
    for (owed, expected) in [(false, RefundState::Failed), (true, RefundState::Stuck)] {
        let mut refund = Refund::begin(RefundFacts { owed, ..facts(1_000, &[], false) });
        refund.answered(RefundAnswer::Failed { code: "late".to_owned() }, 1.0, now());
        assert_eq!(refund.state(), expected);
    }
}
