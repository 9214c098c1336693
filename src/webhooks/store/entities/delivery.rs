//! `webhook_deliveries`: events that are waiting for an endpoint, or were given up. What was delivered is deleted.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub endpoint: String,
    /// Grows in the order of the feed, for each endpoint.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// Sent as `webhook-id`. It is unique for the endpoint.
    pub webhook_id: String,
    /// The id of the event.
    pub event_id: String,
    /// The type of the event, with the package.
    pub event_type: String,
    /// The id of the event's aggregate. Deliveries of one aggregate are attempted in order.
    pub aggregate: String,
    /// What is sent.
    pub body: String,
    /// How often it was attempted.
    pub attempts: i32,
    /// When it is attempted next.
    pub next_time: ChronoDateTimeUtc,
    /// What came of the last attempt, in words; empty before the first.
    pub last_answer: String,
    /// When it was queued.
    pub create_time: ChronoDateTimeUtc,
    /// When it was given up.
    pub failed_time: Option<ChronoDateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
