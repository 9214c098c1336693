//! `holds`: every hold, and what became of it.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "holds")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    pub showtime_id: String,
    /// How many seats were held.
    pub seats: i32,
    pub hold_time: ChronoDateTimeUtc,
    /// The date of the hold in the time zone of the cinema.
    pub hold_date: Date,
    pub showing_date: Date,
    pub expire_time: ChronoDateTimeUtc,
    /// `held`, `confirmed`, `cancelled` or `expired`.
    pub outcome: String,
    pub outcome_time: Option<ChronoDateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
