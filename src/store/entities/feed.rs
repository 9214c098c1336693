//! `feed`: one order for the rows of the outbox of all aggregates, on SQLite. A row of the outbox that has a position can be
//! delivered. On Postgres this is a view of `feed_segments`, without `events_to`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "feed")]
pub struct Model {
    /// Positions begin at 1 and have no gaps.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub aggregate: Uuid,
    pub seq: i64,
    /// How many events all commits up to this position have. `None`: one for each is assumed.
    pub events_to: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
