//! `requests`: for each change that came with a request id, its fingerprint and its answer.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "requests")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub caller: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub method: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: Uuid,
    pub fingerprint: Vec<u8>,
    /// `None` only inside the transaction that makes the answer.
    #[sea_orm(column_type = "JsonBinary")]
    pub answer: Option<Json>,
    pub create_time: ChronoDateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
