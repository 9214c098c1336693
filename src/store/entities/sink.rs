//! `sinks`: brokers to which events are delivered, and how far each of them is.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sinks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Every event up to this position of the feed was delivered.
    pub position: i64,
    /// The broker's ids are those of the feed plus this.
    pub shift: i64,
    /// Grows when another instance begins to deliver.
    pub fence: i64,
    /// Grows while an instance delivers.
    pub beat: i64,
    /// That instance; empty when it has stopped in order.
    pub owner: String,
    /// When it last said so.
    pub seen_time: ChronoDateTimeUtc,
    /// Why nothing is delivered at present; empty if nothing is wrong.
    pub problem: String,
}

impl ActiveModelBehavior for ActiveModel {}
