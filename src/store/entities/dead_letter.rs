//! `dead_letters`: events that the broker of a sink refuses, and those that wait behind them.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_letters")]
pub struct Model {
    /// The name of the sink.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sink: String,
    /// The position of the event's commit in the feed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// The index of the event in its commit.
    #[sea_orm(primary_key, auto_increment = false)]
    pub index: i32,
    /// What the event is of. Its events are delivered in their order.
    pub aggregate: String,
    /// The event, as it is delivered.
    pub event: Vec<u8>,
    /// Whether the broker has refused it. Otherwise it waits.
    pub dead: bool,
    /// Why it was refused; empty while it waits.
    pub reason: String,
    /// How often it was refused.
    pub attempts: i32,
    /// Since when it is here.
    pub write_time: ChronoDateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
