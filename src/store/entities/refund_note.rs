//! `refund_notes`: what operators did with refunds that were stuck, and why. A row is never updated.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refund_notes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub refund_id: Uuid,
    /// Begins with the time, so that the notes of a refund are in their order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub note_id: Uuid,
    pub create_time: ChronoDateTimeUtc,
    /// Who did it. Empty: a caller that was not authenticated.
    pub caller: String,
    /// `resumed`, `settled_done`, `settled_paid_out` or `settled_failed`.
    pub action: String,
    pub note: String,
}

impl ActiveModelBehavior for ActiveModel {}
