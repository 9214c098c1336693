//! Tenders, customer ids, and the transitions of a reservation.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    Block, Currency, CustomerId, DateTime, Hold, Lines, NoLongerHeld, Phase, PurchaseId, Reservation, ReservationId,
    Sale, ShowtimeId, State, Tender, Utc,
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
fn a_tender_with_a_card_number_is_refused_and_the_refusal_says_by_which_rule() {
    assert_eq!(flaws("card", "visa 4111 1111 1111 1111!"), ["transaction_id"]);
    assert_eq!(flaws("4111111111111111", ""), ["method"]);
    let refused = Tender::check("card".to_owned(), "378282246310005".to_owned()).unwrap_err();
    let rule = "these digits have the prefix, the length and the check digit of American Express cards";
    assert_eq!(refused.list()[0].description, format!("must not contain a card number: {rule}"));
}

#[test]
fn a_customer_id_has_1_to_128_characters_that_are_seen() {
    for text in ["a", "Zoë 7", "%", "ada|held", &"ü".repeat(128), "山田　太郎", "Ελένη", "עדה"] {
        assert_eq!(CustomerId::parse(text).unwrap().as_str(), text);
    }
    for text in ["", " ", "a\tb", &"a".repeat(129), "\u{3000}"] {
        CustomerId::parse(text).unwrap_err();
    }
    let unseen = "\u{200b}\u{200d}\u{200e}\u{202e}\u{2028}\u{2029}\u{2066}\u{2060}\u{feff}\u{ad}\u{61c}\u{e000}\u{378}\u{34f}\u{3164}\u{fe0f}\u{e0101}\u{e0041}\u{85}";
    for character in unseen.chars() {
        let flaws = CustomerId::parse(&format!("ada{character}")).unwrap_err();
        assert_eq!(flaws.list().len(), 1, "{flaws}");
    }
    let flaws = CustomerId::parse("ada\u{200b}").unwrap_err();
    assert_eq!(flaws.to_string(), " must have no invisible or bidirectional characters, such as U+200B");
}

#[test]
fn customer_ids_are_the_same_in_every_form_of_unicode() {
    let composed = CustomerId::parse("Jos\u{e9}").unwrap();
    assert_eq!(CustomerId::parse("Jose\u{301}").unwrap(), composed);
    assert_eq!(composed.as_str(), "Jos\u{e9}");
    assert_ne!(CustomerId::parse("Jose").unwrap(), composed);
    // Some characters have no composed form, so that they become more by being normalised.
    CustomerId::parse(&"\u{958}".repeat(64)).unwrap();
    CustomerId::parse(&"\u{958}".repeat(65)).unwrap_err();
}

#[test]
fn every_customer_id_that_was_ever_stored_can_be_read() {
    assert_eq!(CustomerId::restore("Jose\u{301}"), CustomerId::parse("Jos\u{e9}").unwrap());
    for stored in ["", "ada\u{200b}", "\u{202e}ada", &"a".repeat(500)] {
        assert_eq!(CustomerId::restore(stored).as_str(), stored);
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
        currency: Currency::parse("EUR").unwrap(),
        lines: Lines::plain(2, 1_900),
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
    let tender = Some(Tender { method: "cash".to_owned(), transaction_id: String::new() });
    let sale = Sale { at: last, tender, purchase_id: Some(PurchaseId::at_till(hold().reservation_id)) };
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
