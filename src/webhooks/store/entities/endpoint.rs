//! `webhook_endpoints`: how far each endpoint has read, and whether it is disabled.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_endpoints")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The resume token up to which events were queued; empty before the first.
    pub token: String,
    /// When the endpoint was disabled, because it has answered 410.
    pub disabled_time: Option<ChronoDateTimeUtc>,
    /// How many deliveries the endpoint has confirmed.
    pub delivered: i64,
    /// How many deliveries were given up.
    pub failed: i64,
}

impl ActiveModelBehavior for ActiveModel {}
