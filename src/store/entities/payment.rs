//! `payments`: the payments of purchases.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub payment_id: Uuid,
    pub purchase_id: Uuid,
    /// The number among the payments of the purchase, from 0.
    pub ordinal: i16,
    pub customer_id: String,
    pub reservation_id: Uuid,
    pub method: String,
    pub currency: String,
    pub amount_minor: i64,
    pub create_time: ChronoDateTimeUtc,
    pub refunded_minor: i64,
    /// `pending`, `processing`, `authorized`, `completed`, `declined`, `partially_refunded`, `refunded` or `voided`.
    pub state: String,
    /// The gateway's. Empty once the payment is decided.
    pub token: String,
    pub decline_code: String,
    pub process_time: Option<ChronoDateTimeUtc>,
    /// Grows when a refund begins and when one fails. A refund begins only with the version that it was decided with.
    pub refund_version: i64,
    /// The till's name for how it was paid. `None`: by the gateway.
    pub tender: Option<String>,
    pub transaction_id: Option<String>,
    pub till: Option<String>,
    /// The date where the cinema is. `None`: by the gateway, or made of a sale from before there were purchases.
    pub local_date: Option<Date>,
}

impl ActiveModelBehavior for ActiveModel {}
