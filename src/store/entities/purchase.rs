//! `purchases`: seats that are sold and paid for, or were to be.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "purchases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub purchase_id: Uuid,
    pub number: String,
    pub customer_id: String,
    pub showtime_id: Uuid,
    pub reservation_id: Uuid,
    pub currency: String,
    pub total_minor: i64,
    pub create_time: ChronoDateTimeUtc,
    /// The request that began it, scoped by caller.
    pub request_id: Uuid,
    pub caller: String,
    pub fingerprint: Vec<u8>,
    /// `running`, `awaiting_customer`, `completed`, `compensated` or `stuck`.
    pub state: String,
    /// Grows when another instance goes on with it. Every write names it.
    pub fence: i64,
    /// Grows with every write.
    pub version: i64,
    /// From then on any instance may go on with it. `None`: no instance has to.
    pub due_time: Option<ChronoDateTimeUtc>,
    /// Position and steps (see `rows/purchase.rs`).
    pub detail: Vec<u8>,
    /// The last revision of its events; 0 if there is none. Only a write with events raises it.
    pub event_revision: i64,
    /// The time of that revision.
    pub event_time: Option<ChronoDateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
