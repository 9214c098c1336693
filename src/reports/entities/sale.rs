//! `sales`: a line for each seat that was sold. One that was given back has the time of that.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sales")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    /// The seat that was sold first.
    pub seat: String,
    /// The row and the number of the seat that it is now, after exchanges.
    pub seat_row: String,
    pub seat_number: i32,
    pub showtime_id: String,
    /// In the currency's smallest units.
    pub price: i64,
    pub currency: String,
    pub payment_method: Option<String>,
    pub sale_time: ChronoDateTimeUtc,
    /// The date of the sale in the time zone of the cinema.
    pub sale_date: Date,
    pub showing_date: Date,
    pub return_time: Option<ChronoDateTimeUtc>,
    pub return_date: Option<Date>,
}

impl ActiveModelBehavior for ActiveModel {}
