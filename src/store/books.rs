//! The books: double entry of all money that moved.

use chrono::{DateTime, Utc};
use sea_orm::Set;

use super::{
    entities::money_entry,
    ledger::{Companion, NewRows},
};
use crate::domain::{ids::PaymentId, money::Currency};

/// Money that moves, of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyEntry {
    /// The account.
    pub account: &'static str,
    /// What it is owed; negative: what it owes.
    pub minor: i64,
}

/// The rows of operations on payments, each with the payment and the name of the operation. `None`: no money moves.
#[must_use]
pub fn insert_entries(
    currency: Currency,
    entries: &[(PaymentId, impl AsRef<str>, MoneyEntry)],
    now: DateTime<Utc>,
) -> Option<Companion> {
    if entries.is_empty() {
        return None;
    }
    let row = |(payment_id, operation, entry): &(PaymentId, _, MoneyEntry)| money_entry::ActiveModel {
        payment_id: Set(payment_id.0),
        operation: Set(AsRef::<str>::as_ref(operation).to_owned()),
        account: Set(entry.account.to_owned()),
        currency: Set(currency.code().to_owned()),
        minor: Set(entry.minor),
        create_time: Set(now),
    };
    Some(Companion::rows_of(NewRows::Money(entries.iter().map(row).collect())))
}
