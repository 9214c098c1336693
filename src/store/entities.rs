//! The tables, as rows: one module for each, columns as the migrations have them.

#![expect(unreachable_pub, reason = "the derive asks for `pub`, the modules keep it in this room")]

/// `settings`
pub(super) mod setting {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "settings")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub value: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// `auditoriums`
pub(super) mod auditorium {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auditoriums")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub auditorium_id: Uuid,
        pub name: String,
        pub cinema: String,
        pub time_zone: String,
        pub layout: Json,
        pub seat_count: i32,
        pub create_time: ChronoDateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// `showtimes`
pub(super) mod showtime {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "showtimes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub showtime_id: Uuid,
        pub auditorium_id: Uuid,
        pub movie_id: String,
        pub movie: Json,
        pub start_time: ChronoDateTimeUtc,
        pub end_time: ChronoDateTimeUtc,
        pub free_again: ChronoDateTimeUtc,
        pub local_date: Date,
        pub currency: String,
        pub price_minor: i64,
        pub hold_us: i64,
        pub create_time: ChronoDateTimeUtc,
        pub state: String,
        pub cancel_time: Option<ChronoDateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_one = "super::standing::Entity")]
        Standing,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// `standings`
pub(super) mod standing {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "standings")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub showtime_id: Uuid,
        pub available_count: i32,
        pub revision: i64,
        pub next_lapse: Option<ChronoDateTimeUtc>,
        pub decide_time: Option<ChronoDateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::showtime::Entity",
            from = "Column::ShowtimeId",
            to = "super::showtime::Column::ShowtimeId"
        )]
        Showtime,
    }

    impl Related<super::showtime::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Showtime.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// `requests`
pub(super) mod request {
    use sea_orm::entity::prelude::*;

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
        pub answer: Option<Json>,
        pub create_time: ChronoDateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
