//! `outbox`: the events and steps of each commit, written in its transaction. A row has those of the revisions `seq` to
//! `last_seq` of one aggregate, and the next row begins at `last_seq + 1`.
//!
//! There is no relation to `showtimes`: an aggregate is a showtime, a purchase or a refund.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub aggregate: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub last_seq: i64,
    /// Public events in field 1 (a `boxoffice.events.v1.Events`), steps for other instances in field 2.
    pub events: Vec<u8>,
    pub create_time: ChronoDateTimeUtc,
    pub publish_time: Option<ChronoDateTimeUtc>,
    pub attempts: i32,
    /// How many public events there are.
    pub event_count: i32,
}

impl ActiveModelBehavior for ActiveModel {}
