//! What people write, and what a reservation is at a moment.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    Block, CustomerId, DateTime, Money, Phase, Reservation, ReservationId, Sale, ShowtimeId, State, Tender, Utc,
};

fn flaws(method: &str, transaction_id: &str) -> Vec<String> {
    match Tender::check(method.to_owned(), transaction_id.to_owned()) {
        Ok(tender) => {
            assert_eq!((&*tender.method, &*tender.transaction_id), (method, transaction_id));
            Vec::new()
        }
        Err(violations) => violations.list().iter().map(|flaw| flaw.field.clone()).collect(),
    }
}

#[test]
fn a_tender_is_a_method_and_perhaps_a_transaction() {
    for (method, transaction_id) in [("cash", ""), ("card", "till 3/4711"), (&"m".repeat(64), &"t".repeat(128))] {
        assert_eq!(flaws(method, transaction_id), Vec::<String>::new());
    }
    assert_eq!(flaws("", "\n"), ["method", "transaction_id"]);
    assert_eq!(flaws(&"m".repeat(65), &"t".repeat(129)), ["method", "transaction_id"]);
}

#[test]
fn what_looks_like_the_number_of_a_card_is_refused() {
    let cards = [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "378282246310005",
        "visa 4111 1111 1111 1111!",
        "card: 6304000000000000 (debit)",
        "4222222222222",
    ];
    for card in cards {
        assert_eq!(flaws("card", card), ["transaction_id"], "{card}");
        assert_eq!(flaws(card, ""), ["method"], "{card}");
    }
    // The check digit is wrong; too short; too long; not together.
    for other in ["4111111111111112", "411111111111", "41111111111111111111", "4111 1111, 1111 1111"] {
        assert_eq!(flaws("card", other), Vec::<String>::new(), "{other}");
    }
}

#[test]
fn a_customer_has_a_name_that_can_be_printed() {
    for name in ["a", "Zoë 7", &"ü".repeat(128)] {
        assert_eq!(CustomerId::parse(name).unwrap().as_str(), name);
    }
    for name in ["", " ", "a\tb", &"a".repeat(129)] {
        CustomerId::parse(name).unwrap_err();
    }
}

#[test]
fn a_hold_is_over_at_its_end_exactly_and_whatever_is_settled_stays() {
    let at = DateTime::<Utc>::UNIX_EPOCH;
    let sale = Sale { at, tender: None };
    let made = Reservation {
        reservation_id: ReservationId(Uuid::from_u128(1)),
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        customer_id: CustomerId::parse("ann").unwrap(),
        block: Block { first: 0, count: 2 },
        total: Money::price("EUR", 19, 0).unwrap(),
        create_time: at,
        first_expire_time: at + TimeDelta::minutes(10),
        expire_time: at + TimeDelta::minutes(10),
        state: State::Held,
        first_revision: 2,
        revision: 2,
    };
    let end = made.expire_time;
    let times = [DateTime::<Utc>::MIN_UTC, at, end - TimeDelta::microseconds(1), end, DateTime::<Utc>::MAX_UTC];
    let phases = |state: &State| times.map(|now| Reservation { state: state.clone(), ..made.clone() }.phase(now));
    let (held, over) = (Phase::Held, Phase::Expired);
    assert_eq!(phases(&State::Held), [held, held, held, over, over]);
    assert_eq!(phases(&State::Expired), [over; 5]);
    assert_eq!(phases(&State::Confirmed(sale.clone())), [Phase::Confirmed; 5]);
    for was in [None, Some(sale.clone())] {
        let cancelled = State::Cancelled { at, sale: was.clone() };
        assert_eq!(phases(&cancelled), [Phase::Cancelled; 5]);
        assert_eq!(Reservation { state: cancelled, ..made.clone() }.sale(), was.as_ref());
    }
    let longer = Reservation {
        expire_time: end + TimeDelta::minutes(5),
        state: State::Confirmed(sale),
        revision: 9,
        ..made.clone()
    };
    assert!(longer.extended() && !made.extended());
    assert_eq!(longer.as_made(), made, "the first answer stays what it was");
}
