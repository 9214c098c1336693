//! `money_entries`: the double entry of all money that moved. A row is never updated.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "money_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub payment_id: Uuid,
    /// `capture`, or `refund:` and the id of the refund.
    #[sea_orm(primary_key, auto_increment = false)]
    pub operation: String,
    /// `gateway`, `sales`, `fees`, `tax` or `refunds`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account: String,
    pub currency: String,
    /// What the account is owed; negative: what it owes. The entries of an operation add up to nothing.
    pub minor: i64,
    pub create_time: ChronoDateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
