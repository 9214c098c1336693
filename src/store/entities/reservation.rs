//! `reservations`: a block of neighbouring seats of one showtime. Only the ledger writes this table.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: Uuid,
    pub showtime_id: Uuid,
    pub customer_id: String,
    /// The number of the first seat in the layout, from 0.
    pub first_seat: i16,
    pub seat_count: i16,
    /// The total price in the minor unit of the showtime's currency.
    pub total_minor: i64,
    pub create_time: ChronoDateTimeUtc,
    /// The expire time that the first answer promised.
    pub first_expire_time: ChronoDateTimeUtc,
    pub expire_time: ChronoDateTimeUtc,
    pub first_revision: i64,
    /// The id of the request that made it, scoped by caller.
    pub request_id: Option<Uuid>,
    pub caller: Option<String>,
    pub fingerprint: Option<Vec<u8>>,
    /// `held`, `paying`, `confirmed`, `cancelled` or `expired`.
    pub state: String,
    pub revision: i64,
    pub confirm_time: Option<ChronoDateTimeUtc>,
    pub tender_method: Option<String>,
    pub tender_transaction: Option<String>,
    pub cancel_time: Option<ChronoDateTimeUtc>,
    /// What each seat costs (see `rows/prices.rs`). `None`: each costs the same part of `total_minor`.
    pub lines: Option<Vec<u8>>,
    /// The seats and lines that it has instead, once seats were exchanged or given back (see `rows/amendment.rs`).
    pub amendment: Option<Vec<u8>>,
    /// When money was taken for it after it had ended.
    pub refund_due_time: Option<ChronoDateTimeUtc>,
    /// Until when its payment is, or was, given time.
    pub pay_until: Option<ChronoDateTimeUtc>,
    /// The purchase for which its payment began.
    pub purchase_id: Option<Uuid>,
    #[sea_orm(belongs_to, from = "showtime_id", to = "showtime_id")]
    pub showtime: BelongsTo<super::showtime::Entity>,
    #[sea_orm(has_many)]
    pub seat_claims: HasMany<super::seat_claim::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
