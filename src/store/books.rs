//! The books: double entry of all money that moved.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, QueryTrait as _, sea_query::InsertStatement};

use super::{entities::money_entry, ledger::Companion, purchase_rows::Row};
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
    let rows = rows(currency, entries, now).into_iter();
    let rows = rows.map(|row| money_entry::ActiveModel::from(row).reset_all());
    money_entry::Entity::insert_many(rows).into_query()
}

/// The same as rows that are written together with others; none if there are no entries.
pub(super) fn entry_rows(
    currency: Currency,
    entries: &[(PaymentId, impl AsRef<str>, MoneyEntry)],
    now: DateTime<Utc>,
) -> Option<Companion> {
    (!entries.is_empty()).then(|| Companion::row(Row::Entries(rows(currency, entries, now).into())))
}

fn rows(
    currency: Currency,
    entries: &[(PaymentId, impl AsRef<str>, MoneyEntry)],
    now: DateTime<Utc>,
) -> Vec<money_entry::Model> {
    let row = |(payment_id, operation, entry): &(PaymentId, _, MoneyEntry)| money_entry::Model {
        payment_id: payment_id.0,
        operation: AsRef::<str>::as_ref(operation).to_owned(),
        account: entry.account.to_owned(),
        currency: currency.code().to_owned(),
        minor: entry.minor,
        create_time: now,
    };
    entries.iter().map(row).collect()
}
