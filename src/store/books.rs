//! The books: double entry of all money that moved.

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait as _, QueryTrait as _, Set, sea_query::InsertStatement};

use super::entities::money_entry;
use crate::domain::{ids::PaymentId, money::Currency};

/// Money that moves, of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyEntry {
    /// The account.
    pub account: &'static str,
    /// What it is owed; negative: what it owes.
    pub minor: i64,
}

/// The entries of operations on payments, each with the payment and the name of the operation.
pub(super) fn insert_entries(
    currency: Currency,
    entries: &[(PaymentId, impl AsRef<str>, MoneyEntry)],
    now: DateTime<Utc>,
) -> InsertStatement {
    money_entry::Entity::insert_many(rows(currency, entries, now)).into_query()
}

/// The rows of these entries.
pub(super) fn rows(
    currency: Currency,
    entries: &[(PaymentId, impl AsRef<str>, MoneyEntry)],
    now: DateTime<Utc>,
) -> Vec<money_entry::ActiveModel> {
    let row = |(payment_id, operation, entry): &(PaymentId, _, MoneyEntry)| money_entry::ActiveModel {
        payment_id: Set(payment_id.0),
        operation: Set(AsRef::<str>::as_ref(operation).to_owned()),
        account: Set(entry.account.to_owned()),
        currency: Set(currency.code().to_owned()),
        minor: Set(entry.minor),
        create_time: Set(now),
    };
    entries.iter().map(row).collect()
}
