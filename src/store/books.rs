//! The books: double entry of all money that moved.

use super::{entities::money_entry, ledger::Companion, purchase_rows::Row};
use crate::domain::{ids::PaymentId, money::Currency};
use chrono::{DateTime, Utc};

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
    let row = |(payment_id, operation, entry): &(PaymentId, _, MoneyEntry)| money_entry::Model {
        payment_id: payment_id.0,
        operation: AsRef::<str>::as_ref(operation).to_owned(),
        account: entry.account.to_owned(),
        currency: currency.code().to_owned(),
        minor: entry.minor,
        create_time: now,
    };
    Some(Companion::row(Row::Entries(entries.iter().map(row).collect())))
}
