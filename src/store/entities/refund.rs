//! `refunds`: money of payments that is given back.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refunds")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub refund_id: Uuid,
    pub payment_id: Uuid,
    pub purchase_id: Uuid,
    pub reservation_id: Uuid,
    pub showtime_id: Uuid,
    pub currency: String,
    pub amount_minor: i64,
    pub reason: String,
    pub create_time: ChronoDateTimeUtc,
    /// The request that began it. `None`: it began with a change of seats.
    pub request_id: Option<Uuid>,
    pub caller: Option<String>,
    pub fingerprint: Option<Vec<u8>>,
    /// The seats and what they cost, as `rows::refund` encodes them.
    pub detail: Vec<u8>,
    /// `pending`, `done`, `failed` or `stuck`.
    pub state: String,
    /// Grows when an instance goes on with it.
    pub fence: i64,
    /// From then on any instance may go on with it. `None`: no instance has to.
    pub due_time: Option<ChronoDateTimeUtc>,
    pub attempts: i32,
    /// Attempts since the gateway's last answer.
    pub failed_attempts: i32,
    pub message: String,
    pub end_time: Option<ChronoDateTimeUtc>,
    /// Where it is paid out. `None`: by the gateway.
    pub till: Option<String>,
    /// When it was paid out at the till, where the cinema is.
    pub local_date: Option<Date>,
    /// The revision of its last event. `None`: 1 while it is pending, and 2 once it is not.
    pub event_revision: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
