//! The usual way on SQLite, a baseline: a program that reserves three seats through SeaORM's entities, each time in a
//! transaction of its own.
//!
//! It is as durable as the service: write-ahead log, `synchronous=FULL`. SQLite has one writer, so the load is one connection
//! that is never idle.

use boxoffice::clock::Clock;
use chrono::TimeDelta;
use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbErr, EntityTrait as _, NotSet,
    TransactionTrait as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    messages::{self, Random},
    usual::PAYLOAD,
};
use crate::wire::{
    self,
    load::{Answer, Caller, drive},
    tally::Outcome,
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS reservations (
        reservation_id  BLOB NOT NULL PRIMARY KEY,
        showtime_id     BLOB NOT NULL,
        customer_id     TEXT NOT NULL,
        state           TEXT NOT NULL,
        price_minor     INTEGER NOT NULL,
        create_time     TEXT NOT NULL,
        expire_time     TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS reservations_by_customer ON reservations (customer_id, reservation_id);
    CREATE INDEX IF NOT EXISTS reservations_by_showtime ON reservations (showtime_id, reservation_id);
    CREATE TABLE IF NOT EXISTS claims (
        showtime_id     BLOB NOT NULL,
        seat            INTEGER NOT NULL,
        reservation_id  BLOB NOT NULL,
        expire_time     TEXT NOT NULL,
        PRIMARY KEY (showtime_id, seat)
    );
    CREATE TABLE IF NOT EXISTS outbox (
        event_id        INTEGER PRIMARY KEY,
        aggregate       BLOB NOT NULL,
        type            TEXT NOT NULL,
        payload         BLOB NOT NULL,
        create_time     TEXT NOT NULL,
        published       INTEGER NOT NULL
    )";

mod reservation {
    //! The rows of reservations.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "reservations")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) reservation_id: Uuid,
        pub(crate) showtime_id: Uuid,
        pub(crate) customer_id: String,
        pub(crate) state: String,
        pub(crate) price_minor: i64,
        pub(crate) create_time: DateTimeUtc,
        pub(crate) expire_time: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod claim {
    //! The rows of claimed seats.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "claims")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) showtime_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) seat: i32,
        pub(crate) reservation_id: Uuid,
        pub(crate) expire_time: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod outbox {
    //! The rows of events.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "outbox")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) event_id: i64,
        pub(crate) aggregate: Uuid,
        pub(crate) r#type: String,
        pub(crate) payload: Vec<u8>,
        pub(crate) create_time: DateTimeUtc,
        pub(crate) published: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A load on the usual way on SQLite.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The file of the database, which is created if it does not exist.
    pub(crate) file: String,
    pub(crate) showtimes: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::run_role("usual-sqlite", self)
    }
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let database = plan.file.clone();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(move |_| {
        let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
        options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
    });
    let connection = Database::connect(options).await.expect("a database");
    connection.execute_unprepared(SCHEMA).await.expect("the tables");
    let mut random = Random::new(plan.seed, 0);
    let showtimes = (0..plan.showtimes).map(|_| (random.uuid(), 1)).collect();
    wire::print_result(&drive(plan.seconds, vec![DatabaseClient { connection, random, showtimes }]).await);
}

struct DatabaseClient {
    connection: DatabaseConnection,
    random: Random,
    /// Showtimes, each with its next free seat.
    showtimes: Vec<(Uuid, i32)>,
}

impl Caller for DatabaseClient {
    async fn call(&mut self) -> Option<Answer> {
        let number = self.random.below(self.showtimes.len());
        let (showtime, seat) = self.showtimes[number];
        self.showtimes[number].1 += 3;
        let customer = messages::customer(&mut self.random);
        reserve(&self.connection, showtime, seat, customer).await.expect("a reservation is written");
        Some(Answer::default())
    }
}

async fn reserve(connection: &DatabaseConnection, showtime: Uuid, seat: i32, customer: String) -> Result<(), DbErr> {
    let (now, id) = (Clock::System.now(), Clock::System.new_id());
    let expire_time = now + TimeDelta::hours(1);
    let transaction = connection.begin().await?;
    let reservation = reservation::ActiveModel {
        reservation_id: Set(id),
        showtime_id: Set(showtime),
        customer_id: Set(customer),
        state: Set("held".to_owned()),
        price_minor: Set(2850),
        create_time: Set(now),
        expire_time: Set(expire_time),
    };
    reservation.insert(&transaction).await?;
    let claims = (seat..seat + 3).map(|seat| claim::ActiveModel {
        showtime_id: Set(showtime),
        seat: Set(seat),
        reservation_id: Set(id),
        expire_time: Set(expire_time),
    });
    let lapsed = Expr::col((claim::Entity, claim::Column::ExpireTime)).lte(now);
    let mut replace_lapsed = OnConflict::columns([claim::Column::ShowtimeId, claim::Column::Seat]);
    replace_lapsed.update_columns([claim::Column::ReservationId, claim::Column::ExpireTime]).action_and_where(lapsed);
    let claimed =
        claim::Entity::insert_many(claims).on_conflict(replace_lapsed).exec_without_returning(&transaction).await?;
    assert_eq!(claimed, 3, "claimed seats");
    let event = outbox::ActiveModel {
        event_id: NotSet,
        aggregate: Set(showtime),
        r#type: Set("ReservationCreated".to_owned()),
        payload: Set(PAYLOAD.to_vec()),
        create_time: Set(now),
        published: Set(false),
    };
    event.insert(&transaction).await?;
    transaction.commit().await
}
