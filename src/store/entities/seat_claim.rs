//! `seat_claims`: one row for each seat that is held, sold or blocked. Its key alone keeps a seat from being sold twice.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "seat_claims")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub showtime_id: Uuid,
    /// The number of the seat in the layout, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seat: i16,
    /// Nil: the seat is blocked.
    pub reservation_id: Uuid,
    #[sea_orm(belongs_to, from = "showtime_id", to = "showtime_id")]
    pub showtime: BelongsTo<super::showtime::Entity>,
    #[sea_orm(belongs_to, from = "reservation_id", to = "reservation_id")]
    pub reservation: BelongsTo<super::reservation::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
