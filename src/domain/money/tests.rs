//! Prices: their bounds by currency, and how a price that is refused is explained.

use std::collections::HashSet;

use super::{CAPS, Currency, Money, USUAL_CAP};
use crate::domain::layout::MAX_SEATS;

fn flaws(code: &str, units: i64, nanos: i32) -> Vec<String> {
    match Money::price(code, units, nanos) {
        Ok(_) => Vec::new(),
        Err(flaws) => flaws.list().iter().map(|flaw| format!("{} {}", flaw.field, flaw.description)).collect(),
    }
}

#[test]
fn every_currency_is_listed_once_and_every_cap_is_of_one() {
    let codes: Vec<_> = Currency::all().map(Currency::code).collect();
    let unique: HashSet<_> = codes.iter().copied().collect();
    assert_eq!(unique.len(), codes.len());
    let capped: Vec<_> = CAPS.iter().flat_map(|(_, codes)| codes.split_whitespace()).collect();
    assert_eq!(capped.iter().collect::<HashSet<_>>().len(), capped.len());
    assert!(capped.iter().all(|code| unique.contains(code)), "{capped:?}");
}

#[test]
fn a_full_auditorium_at_the_highest_price_cannot_overflow() {
    for currency in Currency::all() {
        let cap = currency.price_cap();
        let dearest = Money::price(currency.code(), cap, 0).unwrap();
        let all = dearest.minor.checked_mul(MAX_SEATS as i64).expect("all seats of an auditorium");
        assert!(all.checked_mul(100).is_some(), "a hundred of them: {dearest}");
        assert!(dearest.minor * 100 < 1 << 53, "JavaScript reads a reservation of 100 seats exactly: {dearest}");
        assert!(cap >= USUAL_CAP, "no currency is worth so much that a million is too much to allow");
    }
}

#[test]
fn the_cap_goes_by_what_a_unit_is_worth() {
    for (code, cap) in [
        ("EUR", 1_000_000),
        ("KWD", 1_000_000),
        ("JPY", 100_000_000),
        ("KRW", 1_000_000_000),
        ("IQD", 1_000_000_000),
        ("IRR", 100_000_000_000),
        ("VND", 100_000_000_000),
    ] {
        assert_eq!(flaws(code, cap, 0), [""; 0]);
        let expected = format!("units must be at most {cap}: a seat may cost no more than {cap} {code}");
        assert_eq!(flaws(code, cap + 1, 0), [expected]);
    }
    let expected = "units must be at most 1000000: a seat may cost no more than 1000000 EUR";
    assert_eq!(flaws("EUR", 1_000_000, 10_000_000), [expected]);
    assert_eq!(flaws("EUR", i64::MAX, 0), [expected]);
    assert_eq!(flaws("EUR", -1, 0), ["units must not be negative"]);
}

#[test]
fn what_a_currency_has_no_coin_for_is_refused_with_the_step_that_it_has() {
    assert_eq!(flaws("EUR", 9, 5_000_000), ["nanos must be a multiple of 10000000: EUR has 2 decimal places"]);
    assert_eq!(flaws("KWD", 9, 100_000), ["nanos must be a multiple of 1000000: KWD has 3 decimal places"]);
    assert_eq!(flaws("JPY", 900, 500_000_000), ["nanos must be 0: JPY has no decimal places"]);
    assert_eq!(flaws("EUR", 9, -10_000_000), ["nanos must be from 0 to 999999999"]);
    let unknown = "currency_code must be a known ISO 4217 code, such as EUR";
    assert_eq!(flaws("eur", -1, -1), [unknown, "units must not be negative", "nanos must be from 0 to 999999999"]);
}

#[test]
fn money_is_shown_with_the_decimal_places_of_its_currency() {
    for (code, units, nanos, shown) in
        [("EUR", 9, 50_000_000, "9.05 EUR"), ("JPY", 900, 0, "900 JPY"), ("KWD", 3, 125_000_000, "3.125 KWD")]
    {
        assert_eq!(Money::price(code, units, nanos).unwrap().to_string(), shown);
    }
}
