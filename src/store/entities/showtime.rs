//! `showtimes`: what is scheduled. Only `state` and `cancel_time` ever change; what changes with the seats is in `standings`.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "showtimes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub showtime_id: Uuid,
    pub auditorium_id: Uuid,
    pub movie_id: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub movie: Json,
    pub start_time: ChronoDateTimeUtc,
    pub end_time: ChronoDateTimeUtc,
    /// The end of the showtime and of the turnaround after it.
    pub free_again: ChronoDateTimeUtc,
    /// The date of the start in the auditorium's time zone.
    pub local_date: Date,
    pub currency: String,
    /// The price of the first ticket type.
    pub price_minor: i64,
    /// How long a hold lasts, in microseconds.
    pub hold_us: i64,
    pub create_time: ChronoDateTimeUtc,
    /// `scheduled` or `cancelled`.
    pub state: String,
    pub cancel_time: Option<ChronoDateTimeUtc>,
    /// The cinema of the auditorium, which never changes. It is repeated here for an index that ends in the list's order. `None`
    /// only until a trigger fills it in for a program that does not.
    pub cinema: Option<String>,
    /// The price list (see `rows/prices.rs`). `None`: every seat costs `price_minor`.
    #[sea_orm(column_type = "JsonBinary")]
    pub price_list: Option<Json>,
    #[sea_orm(belongs_to, from = "auditorium_id", to = "auditorium_id")]
    pub auditorium: BelongsTo<super::auditorium::Entity>,
    #[sea_orm(has_one)]
    pub standing: HasOne<super::standing::Entity>,
    #[sea_orm(has_many)]
    pub reservations: HasMany<super::reservation::Entity>,
    #[sea_orm(has_many)]
    pub seat_claims: HasMany<super::seat_claim::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
