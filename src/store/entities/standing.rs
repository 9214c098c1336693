//! `standings`: the part of a showtime that every reservation writes to, in a narrow row of its own.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "standings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub showtime_id: Uuid,
    /// Seats without a claim.
    pub available_count: i32,
    /// The number of changes of the showtime's seats, from 1 when it is scheduled.
    pub revision: i64,
    /// No hold lapses before this time. `None`: there is no hold.
    pub next_lapse: Option<ChronoDateTimeUtc>,
    /// When the seats last changed. No decision is made at an earlier time.
    pub decide_time: Option<ChronoDateTimeUtc>,
    #[sea_orm(belongs_to, from = "showtime_id", to = "showtime_id")]
    pub showtime: BelongsTo<super::showtime::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
