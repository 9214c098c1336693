//! `tickets`: one for each seat that is sold.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tickets")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub ticket_id: Uuid,
    pub number: String,
    pub purchase_id: Uuid,
    pub payment_id: Uuid,
    pub reservation_id: Uuid,
    pub showtime_id: Uuid,
    pub customer_id: String,
    /// The index of the seat in the auditorium.
    pub seat: i32,
    pub seat_row: String,
    pub seat_number: i32,
    /// The index of the ticket type in the price list of the showtime.
    pub ticket_type: i32,
    pub currency: String,
    pub price_minor: i64,
    /// Signed, as in the QR code.
    pub code: Vec<u8>,
    pub issue_time: ChronoDateTimeUtc,
    /// `unpaid`, `issued`, `blocked`, `used`, `voided` or `refunded`.
    pub state: String,
    pub use_time: Option<ChronoDateTimeUtc>,
    pub use_device: Option<String>,
    /// The device's name for the use, so that its repetition gets the same answer.
    pub use_nonce: Option<String>,
    /// The place of the ticket in its use, from 0.
    pub use_index: Option<i16>,
}

impl ActiveModelBehavior for ActiveModel {}
