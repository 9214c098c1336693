//! `auditoriums`: written once and never changed.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auditoriums")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub auditorium_id: Uuid,
    pub name: String,
    pub cinema: String,
    pub time_zone: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub layout: Json,
    pub seat_count: i32,
    pub create_time: ChronoDateTimeUtc,
    #[sea_orm(has_many)]
    pub showtimes: HasMany<super::showtime::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
