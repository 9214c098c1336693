//! What people write, and what a reservation is at a moment.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    Block, CustomerId, DateTime, Hold, Money, NoLongerHeld, Phase, Reservation, ReservationId, Sale, ShowtimeId, State,
    Tender, Utc,
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
        "card: 5555555555554444 (debit)",
        "4222222222222",
        "3782 822463 10005",
        "order 12 4111 1111 1111 1111",
    ];
    for card in cards {
        assert_eq!(flaws("card", card), ["transaction_id"], "{card}");
        assert_eq!(flaws(card, ""), ["method"], "{card}");
    }
    // The check digit is wrong; too short; too long; not together; of no scheme; a time in milliseconds.
    for other in [
        "4111111111111112",
        "411111111111",
        "41111111111111111111",
        "4111 1111, 1111 1111",
        "41 11 11 11 11 11 11 11",
        "6304000000000000",
        "1795820387003",
    ] {
        assert_eq!(flaws("card", other), Vec::<String>::new(), "{other}");
    }
}

#[test]
fn no_time_in_milliseconds_is_taken_for_a_card_number() {
    // These are times from 2001 to 2065.
    for step in 0..200_000_i64 {
        let millis = (1_000_000_000_000 + step * 10_007_003).to_string();
        assert_eq!(flaws("card", &millis), Vec::<String>::new(), "{millis}");
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

fn at() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

/// A hold of ten minutes, made by revision 2.
fn hold() -> Reservation {
    let hold = Hold {
        reservation_id: ReservationId(Uuid::from_u128(1)),
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        customer_id: CustomerId::parse("ann").unwrap(),
        block: Block { first: 0, count: 2 },
        total: Money::price("EUR", 19, 0).unwrap(),
        create_time: at(),
        expire_time: at() + TimeDelta::minutes(10),
    };
    Reservation::hold(hold, 2)
}

/// The hold in each state that it can come to, one second after it was made.
fn in_every_state() -> [Reservation; 5] {
    let now = at() + TimeDelta::seconds(1);
    let sold = hold().confirm(None, now, 3).unwrap();
    let cancelled_sale = sold.clone().cancel_with_showtime(now, 4).unwrap();
    let expired = hold().expire(hold().expire_time(), 3).unwrap();
    [hold(), sold, hold().cancel(now, 3).unwrap(), cancelled_sale, expired]
}

#[test]
fn a_hold_lapses_exactly_at_its_expire_time_and_no_other_state_depends_on_time() {
    let end = hold().expire_time();
    let times = [DateTime::<Utc>::MIN_UTC, at(), end - TimeDelta::microseconds(1), end, DateTime::<Utc>::MAX_UTC];
    let phases = in_every_state().map(|reservation| times.map(|now| reservation.phase(now)));
    let (held, expired) = (Phase::Held, Phase::Expired);
    assert_eq!(phases[0], [held, held, held, expired, expired]);
    assert_eq!(phases[1..], [[Phase::Confirmed; 5], [Phase::Cancelled; 5], [Phase::Cancelled; 5], [expired; 5]]);
}

#[test]
fn a_hold_that_has_not_lapsed_can_be_confirmed_cancelled_and_extended() {
    let last = hold().expire_time() - TimeDelta::microseconds(1);
    let later = hold().expire_time() + TimeDelta::minutes(5);
    let sale = Sale { at: last, tender: Some(Tender { method: "cash".to_owned(), transaction_id: String::new() }) };
    let sold = hold().confirm(sale.tender.clone(), last, 7).unwrap();
    assert_eq!((sold.state(), sold.revision(), sold.sale()), (&State::Confirmed(sale.clone()), 7, Some(&sale)));
    let cancelled = hold().cancel(last, 7).unwrap();
    let state = State::Cancelled { at: last, sale: None };
    assert_eq!((cancelled.state(), cancelled.revision(), cancelled.sale()), (&state, 7, None));
    let extended = hold().extend(later, last, 7).unwrap();
    assert_eq!((extended.state(), extended.revision(), extended.expire_time()), (&State::Held, 7, later));
    assert!(extended.extended() && !hold().extended());
    for changed in [sold, cancelled, extended] {
        assert_eq!(changed.as_made(), hold(), "the first answer stays what it was");
    }
}

#[test]
fn a_lapsed_hold_and_every_other_state_refuse_what_only_a_hold_allows() {
    let now = hold().expire_time();
    let lapsed = NoLongerHeld::Lapsed { at: now };
    let settled = |phase| NoLongerHeld::Settled { phase };
    let (confirmed, cancelled) = (settled(Phase::Confirmed), settled(Phase::Cancelled));
    for (reservation, why) in in_every_state().into_iter().zip([lapsed, confirmed, cancelled, cancelled, lapsed]) {
        assert_eq!(reservation.clone().confirm(None, now, 9), Err(why));
        assert_eq!(reservation.clone().cancel(now, 9), Err(why));
        assert_eq!(reservation.extend(now + TimeDelta::minutes(5), now, 9), Err(why));
    }
}

#[test]
fn only_a_hold_that_has_lapsed_expires() {
    let end = hold().expire_time();
    assert_eq!(hold().expire(end - TimeDelta::microseconds(1), 9), None);
    let expired = hold().expire(end, 9).unwrap();
    assert_eq!((expired.state(), expired.revision()), (&State::Expired, 9));
    for settled in &in_every_state()[1..] {
        assert_eq!(settled.clone().expire(end, 9), None, "{settled:?}");
    }
}

#[test]
fn holds_and_sales_are_cancelled_with_their_showtime_and_nothing_else_is() {
    let now = hold().expire_time() - TimeDelta::microseconds(1);
    let [held, sold, cancelled, cancelled_sale, expired] = in_every_state();
    for (live, sale) in [(held.clone(), None), (sold.clone(), sold.sale().cloned())] {
        let ended = live.cancel_with_showtime(now, 9).unwrap();
        assert_eq!((ended.state(), ended.revision()), (&State::Cancelled { at: now, sale }, 9));
    }
    for ended in [cancelled, cancelled_sale, expired] {
        assert_eq!(ended.cancel_with_showtime(now, 9), None);
    }
    assert_eq!(held.clone().cancel_with_showtime(held.expire_time(), 9), None, "it has lapsed");
}
