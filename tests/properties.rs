//! Properties of layouts, slots and money that hold for every value.

use std::collections::HashSet;

use boxoffice::domain::{
    layout::{Layout, LayoutCell, LayoutRow, MAX_PLACES, MAX_ROWS, MAX_SEATS},
    money::{Currency, Money},
    showtime::TimeSlot,
};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_assume},
    prop_oneof, proptest,
    sample::select,
};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_layout_is_valid_or_is_refused_at_paths_that_exist(written in layouts()) {
        match Layout::new(written.clone()) {
            Ok(layout) => {
                prop_assert!(is_valid(&written), "accepted: {written:?}");
                prop_assert_eq!(layout.rows_as_written(), &*written);
                let labels: HashSet<&str> = layout.rows().iter().map(|row| &*row.label).collect();
                prop_assert_eq!(labels.len(), layout.rows().len());
                let mut seats = 0;
                for (row, written) in layout.rows().iter().zip(&written) {
                    prop_assert_eq!(&row.label, &written.label);
                    prop_assert_eq!(row.cells.len(), written.places.len());
                    let numbers: Vec<i32> = row.cells.iter().copied().filter_map(number).collect();
                    prop_assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
                    prop_assert!(numbers.iter().all(|number| (1..=999).contains(number)), "{numbers:?}");
                    prop_assert!(written.numbers.is_empty() || written.numbers == numbers, "{numbers:?}");
                    seats += numbers.len();
                }
                prop_assert_eq!(usize::try_from(layout.seat_count()), Ok(seats));
                prop_assert!((1..=MAX_SEATS).contains(&seats));
                // The rows as written give the same layout again.
                prop_assert_eq!(Layout::new(layout.rows_as_written().to_vec()), Ok(layout));
            }
            Err(violations) => {
                prop_assert!(!is_valid(&written), "refused: {violations} in {written:?}");
                for violation in violations.list() {
                    let more = violation.field.is_empty() && violations.list().len() > 100;
                    prop_assert!(more || exists(&violation.field, &written), "{violation:?} in {written:?}");
                    prop_assert!(!violation.description.is_empty());
                }
            }
        }
    }

    #[test]
    fn slots_overlap_as_their_minutes_do(one in slots(), other in slots()) {
        let both = minutes(&one).intersection(&minutes(&other)).count();
        prop_assert_eq!(one.overlaps(&other), both > 0, "{} {:?} {:?}", both, one, other);
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        prop_assert!(one.overlaps(&one));
    }

    #[test]
    fn money_survives_a_round_trip(code in codes(), minor in 0..=100_000_000_i64) {
        let currency = Currency::parse(code).expect("a known currency");
        prop_assume!(minor <= currency.price_cap() * currency.minor_per_unit());
        let money = Money { currency, minor };
        let (units, nanos) = money.units_and_nanos();
        prop_assert_eq!(Money::price(code, units, nanos), Ok(money));
    }

    #[test]
    fn a_price_is_exactly_what_was_given_or_refused(code in codes(), units in amounts(), nanos in nanos()) {
        match Money::price(code, units, nanos) {
            Ok(money) => {
                prop_assert_eq!(money.units_and_nanos(), (units, nanos));
                let cap = money.currency.price_cap() * money.currency.minor_per_unit();
                prop_assert!((0..=cap).contains(&money.minor));
            }
            Err(violations) => {
                for violation in violations.list() {
                    prop_assert!(["units", "nanos"].contains(&&*violation.field), "{violation:?}");
                }
            }
        }
    }
}

/// Layouts of mostly valid rows, so that some layouts are valid as a whole, and every kind of invalid row.
fn layouts() -> impl Strategy<Value = Vec<LayoutRow>> {
    let few = vec(rows(), 0..8);
    let bare = || LayoutRow { label: String::new(), places: "s".repeat(MAX_PLACES), numbers: vec![] };
    // These layouts are near the limits of rows and of seats.
    let many = prop_oneof![19..23_usize, 99..103_usize].prop_map(move |count| {
        (0..count).map(|index| LayoutRow { label: lettered(index), ..bare() }).collect::<Vec<_>>()
    });
    let thin = (99..103_usize).prop_map(|count| {
        let row = |index| LayoutRow { label: lettered(index), places: "s".to_owned(), numbers: vec![] };
        (0..count).map(row).collect::<Vec<_>>()
    });
    prop_oneof![8 => few, 1 => many, 1 => thin]
}

/// Returns the label AA, AB, … of a row.
fn lettered(index: usize) -> String {
    [index / 26, index % 26]
        .into_iter()
        .filter_map(|digit| char::from_digit(digit as u32 + 10, 36))
        .collect::<String>()
        .to_uppercase()
}

fn rows() -> impl Strategy<Value = LayoutRow> {
    let label = prop_oneof![12 => "[A-Z]{1,4}", 1 => "[a-z]{0,2}", 1 => "[0-9A-Z]{1,6}", 1 => Just("Ä".to_owned())];
    let places = prop_oneof![12 => "[sacp_.]{1,12}", 1 => "[sacp_.]{95,104}", 1 => "[sx ü]{0,4}"];
    (label, places, 0..5_u8, any::<u32>(), vec(-1..1002, 0..6)).prop_map(|(label, places, kind, seed, any)| {
        let seats = places.chars().filter(|place| "sacp".contains(*place)).count();
        let numbers = match kind {
            // As many numbers as there are seats: backwards, or with gaps.
            0 => (1..=seats).rev().filter_map(|number| i32::try_from(number).ok()).collect(),
            1 => (0..seats).filter_map(|place| i32::try_from(1 + place * (1 + seed as usize % 9)).ok()).collect(),
            2 if seed % 4 == 0 => any,
            _ => vec![],
        };
        LayoutRow { label, places, numbers }
    })
}

/// The rules of the contract, implemented a second time.
fn is_valid(written: &[LayoutRow]) -> bool {
    let labels: HashSet<&str> = written.iter().map(|row| &*row.label).collect();
    let seats = |row: &LayoutRow| row.places.chars().filter(|place| "sacp".contains(*place)).count();
    let row = |row: &LayoutRow| {
        let label = row.label.as_bytes();
        let letters = !label.is_empty() && label.iter().all(u8::is_ascii_uppercase);
        let numbers: HashSet<i32> = row.numbers.iter().copied().filter(|number| (1..=999).contains(number)).collect();
        letters
            && label.len() <= 4
            && row.places.chars().all(|place| "sacp_.".contains(place))
            && (1..=MAX_PLACES).contains(&row.places.len())
            && seats(row) > 0
            && numbers.len() == row.numbers.len()
            && (numbers.is_empty() || numbers.len() == seats(row))
    };
    (1..=MAX_ROWS).contains(&written.len())
        && labels.len() == written.len()
        && written.iter().map(seats).sum::<usize>() <= MAX_SEATS
        && written.iter().all(row)
}

/// Whether the layout has a field with this path.
fn exists(path: &str, written: &[LayoutRow]) -> bool {
    if path == "rows" {
        return true;
    }
    let index = |text: &str| text.strip_suffix(']').and_then(|text| text.parse::<usize>().ok());
    let Some((row, field)) = path.strip_prefix("rows[").and_then(|rest| rest.split_once('.')) else { return false };
    let Some(row) = index(row).and_then(|row| written.get(row)) else { return false };
    match field.strip_prefix("numbers[") {
        Some(place) => index(place).is_some_and(|place| place < row.numbers.len()),
        None => ["label", "places", "numbers"].contains(&field),
    }
}

fn number(place: LayoutCell) -> Option<i32> {
    match place {
        LayoutCell::Seat { number, .. } => Some(number),
        LayoutCell::Aisle | LayoutCell::Missing => None,
    }
}

/// Slots of whole minutes within a few hours, so that many of them touch or nearly touch.
fn slots() -> impl Strategy<Value = TimeSlot> {
    (0..300_i64, 1..120_i64, 0..30_i64).prop_map(|(start, length, turnaround)| {
        let minute = |minute| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute);
        TimeSlot { start: minute(start), end: minute(start + length), free_again: minute(start + length + turnaround) }
    })
}

/// The minutes in which the auditorium is not free.
fn minutes(slot: &TimeSlot) -> HashSet<i64> {
    let minute = |time: DateTime<Utc>| time.timestamp() / 60;
    (minute(slot.start)..minute(slot.free_again)).collect()
}

fn codes() -> impl Strategy<Value = &'static str> {
    select(vec!["EUR", "USD", "JPY", "KRW", "KWD", "TND", "ISK", "ZMW", "AED", "IQD", "IRR"])
}

fn amounts() -> impl Strategy<Value = i64> {
    let caps = select(vec![1_000_000, 100_000_000, 1_000_000_000, 100_000_000_000_i64]);
    let near_a_cap = (caps, -1..=1_i64).prop_map(|(cap, by)| cap + by);
    prop_oneof![0..2_000_000_i64, near_a_cap, any::<i64>()]
}

fn nanos() -> impl Strategy<Value = i32> {
    let minor = (0..1000_i32).prop_map(|thousandth| thousandth * 1_000_000);
    let coarse = (0..100_i32).prop_map(|hundredth| hundredth * 10_000_000);
    prop_oneof![Just(0), minor, coarse, any::<i32>()]
}
