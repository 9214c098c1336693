//! Card numbers are found, and other numbers are not taken for them.

use proptest::prelude::*;

use super::{card_scheme, passes_luhn};

#[test]
fn card_numbers_are_found_bare_and_in_groups() {
    for (text, expected) in [
        ("4111111111111111", "Visa"),
        ("4111 1111 1111 1111", "Visa"),
        ("4111-1111-1111-1111", "Visa"),
        ("visa 4111 1111 1111 1111!", "Visa"),
        ("paid by 4111111111111111, thanks", "Visa"),
        ("4111 1111 1111 1111 12/27", "Visa"),
        ("7 4111-1111-1111-1111-123", "Visa"),
        ("4111 1111 1111 1111 110", "Visa"),
        ("5555555555554444", "Mastercard"),
        ("2223 0031 2200 3222", "Mastercard"),
        ("378282246310005", "American Express"),
        ("3782 822463 10005", "American Express"),
        ("3782-8224-6310-005", "American Express"),
        ("6011111111111117", "Discover"),
        ("3056 930902 5904", "Diners Club"),
        ("3056 9309 0259 04", "Diners Club"),
        ("3530111333300000", "JCB"),
        ("6200000000000005", "UnionPay"),
    ] {
        assert_eq!(card_scheme(text), Some(expected), "{text}");
    }
}

#[test]
fn other_numbers_are_not_taken_for_card_numbers() {
    for text in [
        "1795820387003",
        "4111111111111112",
        "411111111111",
        "41111111111111111",
        "94111111111111111",
        "41111111111111110",
        "4111 1111, 1111 1111",
        "4111 1111-1111 1111",
        "4111  1111  1111  1111",
        "41 111111 11111111",
        "4111.1111.1111.1111",
        // No longer issued: Visa numbers of 13 digits, and Maestro.
        "4222222222222",
        "6304000000000000",
        // A number of 16 digits that passes the Luhn check and is of no scheme.
        "1795820387003120",
        "",
        "till 3/4711",
    ] {
        assert_eq!(card_scheme(text), None, "{text}");
    }
}

/// The share of these numbers that are taken for card numbers, in millionths.
fn refused(numbers: impl ExactSizeIterator<Item = u64>) -> usize {
    let count = numbers.len();
    numbers.filter(|number| card_scheme(&number.to_string()).is_some()).count() * 1_000_000 / count
}

/// Numbers that look random and are always the same.
fn random(digits: u32, count: usize) -> impl ExactSizeIterator<Item = u64> {
    let mut state = 42_u64;
    let least = 10_u64.pow(digits - 1);
    std::iter::repeat_n((), count).map(move |()| {
        // SplitMix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        least + (mixed ^ (mixed >> 31)) % (9 * least)
    })
}

#[test]
fn a_uuid_is_not_taken_for_a_card_number() {
    assert_eq!(card_scheme("3682-7530-8538-31"), Some("Diners Club"));
    assert_eq!(card_scheme("01a22d3f-3682-7530-8538-31cda79b1774"), None);
}

#[test]
fn few_transaction_ids_made_of_digits_are_refused() {
    let most = [(12, 0), (13, 0), (14, 5_000), (15, 7_500), (16, 31_000), (17, 9_000), (18, 9_000), (19, 19_500)];
    for (digits, most) in most {
        let rate = refused(random(digits, 200_000));
        assert!(rate <= most, "{rate} in a million numbers of {digits} digits");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// From September 2001 to November 2286 they have 13 digits.
    #[test]
    fn no_time_in_milliseconds_is_taken_for_a_card_number(millis in 1_000_000_000_000..10_000_000_000_000_u64) {
        prop_assert_eq!(card_scheme(&millis.to_string()), None);
    }

    #[test]
    fn a_wrong_check_digit_is_noticed(digits in "4[0-9]{14}", wrong in 1..10_u8) {
        let number = |last: u8| format!("{digits}{last}");
        let right = (0..10).find(|last| passes_luhn(number(*last).as_bytes())).expect("one of them is right");
        prop_assert_eq!(card_scheme(&number(right)), Some("Visa"));
        prop_assert_eq!(card_scheme(&number((right + wrong) % 10)), None);
    }
}
