//! The usual way to sell seats, a baseline: a database client that makes a transaction for each step of a purchase of three seats,
//! and calls the gateway between them. It has no gRPC, no rules and no layout, and nothing goes on with a purchase after a crash.
//!
//! Its tables are in a database of their own, on the same Postgres server as those of the service. A caller has a connection only
//! while it has a transaction, so callers that wait for the gateway do not keep others from the database.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use boxoffice::{
    clock::Clock,
    domain::money::{Currency, Money},
    payments::{Authorize, Gateway, Operation, Options},
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sqlx::{self, Connection as _, PgConnection, PgTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::{
    contention::{
        messages::{self, Random},
        usual::{PAYLOAD, connect},
    },
    wire::{
        self,
        load::{Answer, Caller, drive},
        tally::Outcome,
    },
};

const SCHEMA: &str = include_str!("usual.sql");

const RESERVATION: &str = "
    INSERT INTO reservations (reservation_id, showtime_id, customer_id, state, price_minor, create_time, expire_time)
    VALUES ($1, $2, $3, 'paying', $6, $4, $5)";
const CLAIMS: &str = "
    INSERT INTO claims (showtime_id, seat, reservation_id, expire_time)
    VALUES ($1, $2, $5, $7), ($1, $3, $5, $7), ($1, $4, $5, $7)
    ON CONFLICT (showtime_id, seat) DO UPDATE
    SET reservation_id = excluded.reservation_id, expire_time = excluded.expire_time
    WHERE claims.expire_time <= $6";
const PURCHASE: &str = "
    INSERT INTO purchases (purchase_id, customer_id, showtime_id, reservation_id, request_id, state, total_minor, create_time)
    VALUES ($1, $2, $3, $4, $5, 'authorizing', $6, $7)";
const PAYMENT: &str = "
    INSERT INTO payments (payment_id, purchase_id, method, token, state, amount_minor, create_time)
    VALUES ($1, $2, 'credit_card', 'tok_ok', 'pending', $3, $4)";
const OUTBOX: &str = "INSERT INTO outbox (aggregate, type, payload, create_time) VALUES ($1, $2, $3, $4)";
const PAYMENT_STATE: &str = "UPDATE payments SET state = $2, process_time = $3 WHERE payment_id = $1 AND state = $4";
const PURCHASE_STATE: &str = "UPDATE purchases SET state = $2, change_time = $3 WHERE purchase_id = $1 AND state = $4";
const CONFIRM: &str = "
    UPDATE reservations SET state = 'confirmed', confirm_time = $2 WHERE reservation_id = $1 AND state = 'paying'";
const ENTRIES: &str = "
    INSERT INTO money_entries (payment_id, operation, account, minor, create_time)
    VALUES ($1, 'capture', 'gateway', $2, $3), ($1, 'capture', 'sales', -$2, $3)";

/// What three seats cost, in cents.
const PRICE: i64 = 2_850;
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(10);

/// A load on the usual way.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) url: String,
    /// The URL of the gateway.
    pub(crate) gateway: String,
    pub(crate) showtimes: usize,
    pub(crate) in_flight: usize,
    /// Connections that the callers share.
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::run_role("usual-purchases", self)
    }
}

/// Drops the tables and creates them again.
pub(crate) async fn prepare(url: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.expect("the tables");
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(connect(&plan.url).await);
    }
    let options = Options { url: plan.gateway, api_key: None, ca_pem: None, insecure: false, timeout: GATEWAY_TIMEOUT };
    let mut random = Random::new(plan.seed, usize::MAX);
    let shared = Arc::new(Shared {
        showtimes: (0..plan.showtimes).map(|_| (random.uuid(), AtomicI32::new(1))).collect(),
        permits: Semaphore::new(plan.connections),
        connections: Mutex::new(connections),
        gateway: Gateway::new(&options).expect("a client of the gateway"),
        currency: Currency::parse("EUR").expect("a currency"),
    });
    let seller = |number| Seller { random: Random::new(plan.seed, number), shared: Arc::clone(&shared) };
    wire::print_result(&drive(plan.seconds, (0..plan.in_flight).map(seller).collect()).await);
}

struct Shared {
    /// Showtimes, each with its next free seat. Their seats are unlimited.
    showtimes: Vec<(Uuid, AtomicI32)>,
    permits: Semaphore,
    connections: Mutex<Vec<PgConnection>>,
    gateway: Gateway,
    currency: Currency,
}

/// A connection of the pool.
struct Pooled<'p> {
    connection: Option<PgConnection>,
    shared: &'p Shared,
    _permit: SemaphorePermit<'p>,
}

impl Shared {
    async fn connection(&self) -> Pooled<'_> {
        let permit = self.permits.acquire().await.expect("an open semaphore");
        let connection = self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Pooled { connection, shared: self, _permit: permit }
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

struct Seller {
    random: Random,
    shared: Arc<Shared>,
}

/// A purchase to be made.
struct Purchase {
    id: Uuid,
    request: Uuid,
    payment: Uuid,
    reservation: Uuid,
    showtime: Uuid,
    customer: String,
    seats: [i32; 3],
    create_time: DateTime<Utc>,
    expire_time: DateTime<Utc>,
}

impl Caller for Seller {
    async fn call(&mut self) -> Option<Answer> {
        let (showtime, next) = &self.shared.showtimes[self.random.below(self.shared.showtimes.len())];
        let seat = next.fetch_add(3, Ordering::Relaxed);
        let now = Clock::System.now();
        let purchase = Purchase {
            id: Clock::System.new_id(),
            request: self.random.uuid(),
            payment: Clock::System.new_id(),
            reservation: Clock::System.new_id(),
            showtime: *showtime,
            customer: messages::customer(&mut self.random),
            seats: [seat, seat + 1, seat + 2],
            create_time: now,
            expire_time: now + TimeDelta::hours(1),
        };
        sell(&self.shared, &purchase).await;
        Some(Answer::default())
    }
}

async fn sell(shared: &Shared, purchase: &Purchase) {
    let amount = Money { currency: shared.currency, minor: PRICE };
    let payment_key = purchase.payment.to_string();
    let operation_key = |name| format!("{payment_key}:{name}");
    step(shared, async |tx| hold(tx, purchase).await).await;
    let authorize = Authorize {
        payment_key: payment_key.clone(),
        operation_key: operation_key("authorize"),
        amount,
        method: "CREDIT_CARD".to_owned(),
        token: "tok_ok".to_owned(),
        return_uri: String::new(),
    };
    shared.gateway.authorize(&authorize).await.expect("the payment is authorised");
    step(shared, async |tx| {
        payment_state(tx, purchase, ["pending", "authorized"]).await?;
        purchase_state(tx, purchase, ["authorizing", "confirming"]).await
    })
    .await;
    step(shared, async |tx| confirm(tx, purchase).await).await;
    let capture = Operation { payment_key: payment_key.clone(), operation_key: operation_key("capture"), amount };
    shared.gateway.capture(&capture).await.expect("the money is taken");
    step(shared, async |tx| {
        payment_state(tx, purchase, ["authorized", "completed"]).await?;
        purchase_state(tx, purchase, ["capturing", "completed"]).await?;
        let entries = sqlx::query(ENTRIES).bind(purchase.payment).bind(PRICE).bind(Clock::System.now());
        entries.execute(&mut **tx).await.map(drop)
    })
    .await;
}

/// Makes a step in a transaction of its own.
async fn step(shared: &Shared, statements: impl AsyncFnOnce(&mut PgTransaction<'_>) -> Result<(), sqlx::Error>) {
    let mut pooled = shared.connection().await;
    let connection = pooled.connection.as_mut().expect("a permit is for a connection");
    let mut transaction = connection.begin().await.expect("a transaction begins");
    statements(&mut transaction).await.expect("a step is written");
    transaction.commit().await.expect("a step is committed");
}

/// Takes the seats, and says that they are about to be paid for.
async fn hold(tx: &mut PgTransaction<'_>, new: &Purchase) -> Result<(), sqlx::Error> {
    let reservation = sqlx::query(RESERVATION).bind(new.reservation).bind(new.showtime).bind(&new.customer);
    reservation.bind(new.create_time).bind(new.expire_time).bind(PRICE).execute(&mut **tx).await?;
    let claims = sqlx::query(CLAIMS).bind(new.showtime).bind(new.seats[0]).bind(new.seats[1]).bind(new.seats[2]);
    let claims = claims.bind(new.reservation).bind(new.create_time).bind(new.expire_time);
    assert_eq!(claims.execute(&mut **tx).await?.rows_affected(), 3, "claimed seats");
    let purchase = sqlx::query(PURCHASE).bind(new.id).bind(&new.customer).bind(new.showtime).bind(new.reservation);
    purchase.bind(new.request).bind(PRICE).bind(new.create_time).execute(&mut **tx).await?;
    let payment = sqlx::query(PAYMENT).bind(new.payment).bind(new.id).bind(PRICE).bind(new.create_time);
    payment.execute(&mut **tx).await?;
    event(tx, new, "ReservationCreated").await
}

async fn confirm(tx: &mut PgTransaction<'_>, purchase: &Purchase) -> Result<(), sqlx::Error> {
    let confirm = sqlx::query(CONFIRM).bind(purchase.reservation).bind(Clock::System.now());
    assert_eq!(confirm.execute(&mut **tx).await?.rows_affected(), 1, "sold reservations");
    purchase_state(tx, purchase, ["confirming", "capturing"]).await?;
    event(tx, purchase, "ReservationConfirmed").await
}

async fn payment_state(
    tx: &mut PgTransaction<'_>,
    purchase: &Purchase,
    [before, after]: [&str; 2],
) -> Result<(), sqlx::Error> {
    let update = sqlx::query(PAYMENT_STATE).bind(purchase.payment).bind(after).bind(Clock::System.now()).bind(before);
    assert_eq!(update.execute(&mut **tx).await?.rows_affected(), 1, "payments that are {after}");
    Ok(())
}

async fn purchase_state(
    tx: &mut PgTransaction<'_>,
    purchase: &Purchase,
    [before, after]: [&str; 2],
) -> Result<(), sqlx::Error> {
    let update = sqlx::query(PURCHASE_STATE).bind(purchase.id).bind(after).bind(Clock::System.now()).bind(before);
    assert_eq!(update.execute(&mut **tx).await?.rows_affected(), 1, "purchases that are {after}");
    Ok(())
}

async fn event(tx: &mut PgTransaction<'_>, purchase: &Purchase, kind: &str) -> Result<(), sqlx::Error> {
    let event = sqlx::query(OUTBOX).bind(purchase.showtime).bind(kind).bind(&PAYLOAD[..]);
    event.bind(Clock::System.now()).execute(&mut **tx).await.map(drop)
}
