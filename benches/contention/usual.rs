//! The usual way to reserve, a baseline: a database client that writes a reservation of three seats in a transaction of
//! several statements, or all of it in one statement. It has no gRPC, no rules and no layout.
//!
//! Its tables are in a database of their own, on the same Postgres server as those of the service.

use std::sync::Arc;

use boxoffice::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sqlx::{
    self, ConnectOptions as _, Connection as _, PgConnection,
    postgres::{PgArguments, PgConnectOptions},
    query::Query,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI32, Ordering};
use uuid::Uuid;

use super::messages::{self, Random};
use crate::wire::{
    self,
    load::{Answer, Caller, drive},
    tally::Outcome,
};

const SCHEMA: &str = "
    DROP TABLE IF EXISTS reservations, claims, outbox;
    CREATE TABLE reservations (
        reservation_id  uuid PRIMARY KEY,
        showtime_id     uuid NOT NULL,
        customer_id     text NOT NULL,
        state           text NOT NULL,
        price_minor     bigint NOT NULL,
        create_time     timestamptz NOT NULL,
        expire_time     timestamptz NOT NULL
    );
    CREATE INDEX ON reservations (customer_id, reservation_id);
    CREATE INDEX ON reservations (showtime_id, reservation_id);
    CREATE TABLE claims (
        showtime_id     uuid NOT NULL,
        seat            integer NOT NULL,
        reservation_id  uuid NOT NULL,
        expire_time     timestamptz NOT NULL,
        PRIMARY KEY (showtime_id, seat)
    );
    CREATE TABLE outbox (
        event_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        aggregate       uuid NOT NULL,
        type            text NOT NULL,
        payload         bytea NOT NULL,
        create_time     timestamptz NOT NULL,
        published       boolean NOT NULL DEFAULT false
    )";

const RESERVATION: &str = "
    INSERT INTO reservations (reservation_id, showtime_id, customer_id, state, price_minor, create_time, expire_time)
    VALUES ($1, $2, $3, 'held', 2850, $4, $5)";

const CLAIMS: &str = "
    INSERT INTO claims (showtime_id, seat, reservation_id, expire_time)
    VALUES ($1, $2, $5, $7), ($1, $3, $5, $7), ($1, $4, $5, $7)
    ON CONFLICT (showtime_id, seat) DO UPDATE
    SET reservation_id = excluded.reservation_id, expire_time = excluded.expire_time
    WHERE claims.expire_time <= $6";

const OUTBOX: &str = "
    INSERT INTO outbox (aggregate, type, payload, create_time) VALUES ($1, 'ReservationCreated', $2, $3)";

const ONE_STATEMENT: &str = "
    WITH reservation AS (
        INSERT INTO reservations
            (reservation_id, showtime_id, customer_id, state, price_minor, create_time, expire_time)
        VALUES ($1, $2, $3, 'held', 2850, $4, $5)
    ), claimed AS (
        INSERT INTO claims (showtime_id, seat, reservation_id, expire_time)
        VALUES ($2, $6, $1, $5), ($2, $7, $1, $5), ($2, $8, $1, $5)
        ON CONFLICT (showtime_id, seat) DO UPDATE
        SET reservation_id = excluded.reservation_id, expire_time = excluded.expire_time
        WHERE claims.expire_time <= $4
    )
    INSERT INTO outbox (aggregate, type, payload, create_time) VALUES ($2, 'ReservationCreated', $9, $4)";

/// The event of a reservation.
pub(crate) const PAYLOAD: [u8; 150] = [7; 150];

/// How a reservation is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// BEGIN, insert of the reservation, upsert of three claims, insert of an outbox row, COMMIT.
    Transaction,
    /// The same rows by one prepared statement.
    Statement,
}

/// A load on the usual way.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) url: String,
    pub(crate) showtimes: usize,
    /// Connections. None of them is ever idle.
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::run_role("usual", self)
    }
}

/// Drops the tables and creates them again.
pub(crate) async fn prepare(url: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.expect("the tables");
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("an address");
    options.disable_statement_logging().connect().await.expect("a connection")
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let showtimes = Arc::new(Showtimes::new(&plan));
    let mut clients = Vec::new();
    for number in 0..plan.connections {
        let (connection, random) = (connect(&plan.url).await, Random::new(plan.seed, number));
        clients.push(DatabaseClient { way: plan.way, connection, random, showtimes: Arc::clone(&showtimes) });
    }
    wire::print_result(&drive(plan.seconds, clients).await);
}

/// Showtimes, each with its next free seat. Their seats are unlimited.
struct Showtimes(Vec<(Uuid, AtomicI32)>);

impl Showtimes {
    fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed, usize::MAX);
        Self((0..plan.showtimes).map(|_| (random.uuid(), AtomicI32::new(1))).collect())
    }
}

struct DatabaseClient {
    way: Way,
    connection: PgConnection,
    random: Random,
    showtimes: Arc<Showtimes>,
}

/// A reservation to be written.
struct Reservation {
    id: Uuid,
    showtime: Uuid,
    customer: String,
    seats: [i32; 3],
    create_time: DateTime<Utc>,
    expire_time: DateTime<Utc>,
}

impl Caller for DatabaseClient {
    async fn call(&mut self) -> Option<Answer> {
        let (showtime, next) = &self.showtimes.0[self.random.below(self.showtimes.0.len())];
        let seat = next.fetch_add(3, Ordering::Relaxed);
        let now = Clock::System.now();
        let reservation = Reservation {
            id: Clock::System.new_id(),
            showtime: *showtime,
            customer: messages::customer(&mut self.random),
            seats: [seat, seat + 1, seat + 2],
            create_time: now,
            expire_time: now + TimeDelta::hours(1),
        };
        match self.way {
            Way::Transaction => transaction(&mut self.connection, &reservation).await,
            Way::Statement => statement(&mut self.connection, &reservation).await,
        }
        .expect("a reservation is written");
        Some(Answer::default())
    }
}

type Prepared<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// A statement with its first five parameters, which are the same for both ways.
fn bind_reservation<'q>(sql: &'static str, new: &'q Reservation) -> Prepared<'q> {
    sqlx::query(sql).bind(new.id).bind(new.showtime).bind(&new.customer).bind(new.create_time).bind(new.expire_time)
}

async fn transaction(connection: &mut PgConnection, new: &Reservation) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    bind_reservation(RESERVATION, new).execute(&mut *transaction).await?;
    let claims = sqlx::query(CLAIMS).bind(new.showtime).bind(new.seats[0]).bind(new.seats[1]).bind(new.seats[2]);
    let claims = claims.bind(new.id).bind(new.create_time).bind(new.expire_time);
    let claimed = claims.execute(&mut *transaction).await?;
    assert_eq!(claimed.rows_affected(), 3, "claimed seats");
    let event = sqlx::query(OUTBOX).bind(new.showtime).bind(&PAYLOAD[..]).bind(new.create_time);
    event.execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn statement(connection: &mut PgConnection, new: &Reservation) -> Result<(), sqlx::Error> {
    let all = bind_reservation(ONE_STATEMENT, new).bind(new.seats[0]).bind(new.seats[1]).bind(new.seats[2]);
    let written = all.bind(&PAYLOAD[..]).execute(connection).await?;
    assert_eq!(written.rows_affected(), 1, "written events");
    Ok(())
}
