//! `projection`: one row, which says up to which event the tables are filled.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// Grows with each change. A projector whose version is not the row's is not the only one.
    pub version: i64,
    /// The token after the last event; none: nothing was read.
    pub resume_token: Option<String>,
    pub event_count: i64,
    pub last_event_time: Option<ChronoDateTimeUtc>,
    /// When the projector last heard from the service.
    pub check_time: Option<ChronoDateTimeUtc>,
    /// Showtimes that were scheduled from this time on are complete; none: all of them.
    pub complete_since: Option<ChronoDateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
