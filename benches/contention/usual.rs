//! The usual ways to do it: a database client that reserves three seats in a transaction of five steps, or in one
//! statement. No gRPC, no rules, no layout: only what must be written.
//!
//! They have tables of their own in a database of their own, beside the service's, on the same server.

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

use super::asked::{self, Dice};
use crate::wire::{
    self,
    load::{Answer, Caller, Outcome, drive},
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

const ALL_OF_IT: &str = "
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

/// Bytes of an event.
pub(crate) const PAYLOAD: [u8; 150] = [7; 150];

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// BEGIN, insert the reservation, upsert three claims, insert an outbox row, COMMIT.
    Transaction,
    /// The same in one prepared statement.
    Statement,
}

/// What to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) url: String,
    pub(crate) showtimes: usize,
    /// Connections, each always busy.
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

impl Plan {
    /// Has it done by a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::instruct("usual", self)
    }
}

/// Makes the tables, empty, instead of those that were there.
pub(crate) async fn prepare(url: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.expect("the tables");
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("an address");
    options.disable_statement_logging().connect().await.expect("a connection")
}

/// Does what the plan in this file says, and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::instructions(file);
    let houses = Arc::new(Houses::new(&plan));
    let mut reserving = Vec::new();
    for caller in 0..plan.connections {
        let (connection, dice) = (connect(&plan.url).await, Dice::new(plan.seed, caller));
        reserving.push(Reserving { way: plan.way, connection, dice, houses: Arc::clone(&houses) });
    }
    let outcome = drive(plan.seconds, reserving).await;
    println!("{}", serde_json::to_string(&outcome).expect("an outcome as text"));
}

/// Showtimes, and the seats of each that were never asked for: there is no end of them.
struct Houses(Vec<(Uuid, AtomicI32)>);

impl Houses {
    fn new(plan: &Plan) -> Self {
        let mut dice = Dice::new(plan.seed, usize::MAX);
        Self((0..plan.showtimes).map(|_| (dice.uuid(), AtomicI32::new(1))).collect())
    }
}

/// One client.
struct Reserving {
    way: Way,
    connection: PgConnection,
    dice: Dice,
    houses: Arc<Houses>,
}

/// What is written.
struct Reservation {
    id: Uuid,
    showtime: Uuid,
    customer: String,
    seats: [i32; 3],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Caller for Reserving {
    async fn call(&mut self) -> Option<Answer> {
        let (showtime, next) = &self.houses.0[self.dice.below(self.houses.0.len())];
        let seat = next.fetch_add(3, Ordering::Relaxed);
        let now = Clock::System.now();
        let reservation = Reservation {
            id: Clock::System.new_id(),
            showtime: *showtime,
            customer: asked::customer(&mut self.dice),
            seats: [seat, seat + 1, seat + 2],
            now,
            until: now + TimeDelta::hours(1),
        };
        match self.way {
            Way::Transaction => transaction(&mut self.connection, &reservation).await,
            Way::Statement => statement(&mut self.connection, &reservation).await,
        }
        .expect("the database takes it");
        Some(Answer::default())
    }
}

type Prepared<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// The statement's first five parameters.
fn begin_with<'q>(sql: &'static str, of: &'q Reservation) -> Prepared<'q> {
    sqlx::query(sql).bind(of.id).bind(of.showtime).bind(&of.customer).bind(of.now).bind(of.until)
}

async fn transaction(connection: &mut PgConnection, of: &Reservation) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    begin_with(RESERVATION, of).execute(&mut *transaction).await?;
    let claims = sqlx::query(CLAIMS).bind(of.showtime).bind(of.seats[0]).bind(of.seats[1]).bind(of.seats[2]);
    let claims = claims.bind(of.id).bind(of.now).bind(of.until);
    let claimed = claims.execute(&mut *transaction).await?;
    assert_eq!(claimed.rows_affected(), 3, "all seats were free");
    let event = sqlx::query(OUTBOX).bind(of.showtime).bind(&PAYLOAD[..]).bind(of.now);
    event.execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn statement(connection: &mut PgConnection, of: &Reservation) -> Result<(), sqlx::Error> {
    let all = begin_with(ALL_OF_IT, of).bind(of.seats[0]).bind(of.seats[1]).bind(of.seats[2]);
    let written = all.bind(&PAYLOAD[..]).execute(connection).await?;
    assert_eq!(written.rows_affected(), 1, "an event was written");
    Ok(())
}
