//! The conversion of amounts. Unlike the price of a seat, an amount has no cap but the range of its type.

use crate::{
    domain::money::{Currency, Money},
    pb::google::r#type::Money as Message,
};

const NANOS: i64 = 1_000_000_000;

/// The amount, or `None` if it is negative, too large, of no known currency, or finer than the smallest unit of its currency.
pub(super) fn parse(message: &Message) -> Option<Money> {
    let currency = Currency::parse(&message.currency_code)?;
    let per_unit = currency.minor_per_unit();
    let (nanos, nanos_per_minor) = (i64::from(message.nanos), NANOS / per_unit);
    if message.units < 0 || !(0..NANOS).contains(&nanos) || nanos % nanos_per_minor != 0 {
        return None;
    }
    let minor = message.units.checked_mul(per_unit)?.checked_add(nanos / nanos_per_minor)?;
    Some(Money { currency, minor })
}

/// The reverse of [`parse`].
pub(super) fn message(amount: Money) -> Message {
    let (units, nanos) = amount.units_and_nanos();
    Message { currency_code: amount.currency.code().to_owned(), units, nanos }
}

#[cfg(test)]
mod tests {
    use super::{Message, message, parse};

    fn of(code: &str, units: i64, nanos: i32) -> Option<i64> {
        parse(&Message { currency_code: code.to_owned(), units, nanos }).map(|amount| amount.minor)
    }

    #[test]
    fn amounts_are_valid_for_their_currency() {
        assert_eq!(
            [of("EUR", 12, 340_000_000), of("JPY", 12, 0), of("KWD", 1, 5_000_000)],
            [Some(1234), Some(12), Some(1005)]
        );
        for (code, units, nanos) in
            [("EUR", 1, 1), ("JPY", 1, 500_000_000), ("EUR", -1, 0), ("EUR", 0, -10_000_000), ("ZZZ", 1, 0), ("", 0, 0)]
        {
            assert_eq!(of(code, units, nanos), None, "{code} {units} {nanos}");
        }
        assert_eq!((of("EUR", i64::MAX, 0), of("EUR", 0, 1_000_000_000)), (None, None));
        let amount = parse(&Message { currency_code: "KWD".to_owned(), units: 7, nanos: 250_000_000 }).unwrap();
        assert_eq!(parse(&message(amount)), Some(amount));
    }
}
