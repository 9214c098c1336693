//! `showtimes`: what was scheduled, and how many of its seats are held and sold.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "showtimes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub showtime_id: String,
    pub movie_id: String,
    pub movie_title: String,
    pub cinema: String,
    pub auditorium_id: String,
    pub auditorium_name: String,
    pub start_time: ChronoDateTimeUtc,
    pub end_time: ChronoDateTimeUtc,
    /// The date of the start in the time zone.
    pub local_date: Date,
    pub time_zone: String,
    pub capacity: i32,
    /// The price of a seat as the first ticket type, without supplement and fee, in the currency's smallest units.
    pub price: i64,
    pub currency: String,
    pub create_time: ChronoDateTimeUtc,
    pub cancel_time: Option<ChronoDateTimeUtc>,
    pub held_seats: i32,
    pub sold_seats: i32,
    /// The revision and the ordinal of the last event that is in the tables.
    pub revision: i64,
    pub ordinal: i32,
}

impl ActiveModelBehavior for ActiveModel {}
