//! `blocked_seats`: why a seat is kept back from sale. Only the ledger writes this table.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "blocked_seats")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub showtime_id: Uuid,
    /// The number of the seat in the layout, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seat: i16,
    /// `house`, `maintenance`, `company` or `sales_channel`.
    pub reason: String,
    pub note: String,
    pub create_time: ChronoDateTimeUtc,
    /// The showtime's revision that blocked it.
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}
