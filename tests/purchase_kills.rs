//! Instances, Postgres and the payment gateway are killed while many customers buy. In the end each purchase is complete or undone,
//! and its events say so, once and without a gap.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::Showtime;

use crate::harness::{
    Postgres, Server, Store,
    fleet::schedule,
    history::History,
    money::assert_balanced,
    purchases::Gateway,
    requests::layout,
    server::Setup,
    shop::{audit, audit_of},
    shoppers::{ROWS, Shoppers},
    supervisor,
    world::{Storage, connect},
};

/// Purchases on Postgres. The kills are spread over them, and each hits all that are under way.
const PURCHASES: usize = 10_000;
/// Purchases on `SQLite`, where one instance does everything.
const PURCHASES_ON_SQLITE: usize = 400;
/// Customers at once. Most of the time they wait: for a slow gateway, or for a lease to end.
const CALLERS: usize = 128;
const CALLERS_ON_SQLITE: usize = 16;
/// How long seats are held: longer than the test takes.
const HOLD_SECONDS: i64 = 1_800;

/// A setup with a gateway from which answers are not waited for long, and payments that must be decided soon.
fn quick(setup: Setup, gateway: &Gateway) -> Setup {
    setup
        .with("--payment-gateway-url", gateway.url())
        .with("--payment-gateway-timeout", "500ms")
        .with("--pay-time", "8s")
        .with("--pay-action-time", "20s")
        .with("--sweep-interval", "500ms")
}

/// Showtimes with enough seats for most, and one that is sold out soon. The history records them.
async fn showtimes(server: &Server, large: usize, history: &History) -> Vec<Showtime> {
    let mut showtimes = Vec::new();
    for at in 0..=large {
        let rows = if at == 0 { &ROWS[..2] } else { &ROWS };
        let (showtime, auditorium) = schedule(server.channel(), layout(rows), HOLD_SECONDS).await;
        history.record(&showtime, &auditorium);
        showtimes.push(showtime);
    }
    showtimes
}

/// The random purchases were not in vain.
fn assert_everything_occurred(states: &BTreeMap<&str, usize>, purchases: usize) {
    let of = |state| states.get(state).copied().unwrap_or_default();
    let (completed, compensated) = (of("PURCHASE_STATE_COMPLETED"), of("PURCHASE_STATE_COMPENSATED"));
    assert_eq!(states.values().sum::<usize>(), completed + compensated, "{states:?}");
    assert!(completed > purchases / 5 && compensated > purchases / 10, "{states:?}");
}

#[tokio::test]
async fn purchases_while_instances_and_postgres_and_the_gateway_are_killed_are_complete_or_undone() {
    let folder = supervisor::folder("purchases-");
    let mut postgres = Postgres::start(supervisor::root().join("postgres-of-purchases")).await;
    let mut gateway = Gateway::start(folder.path()).await;
    let setup = quick(Setup::new(folder.path()).with("--database-url", postgres.url()), &gateway);
    let servers = vec![setup.clone().start().await, setup.start().await];
    let history = History::default();
    let showtimes = showtimes(&servers[0], 60, &history).await;
    let shoppers = Shoppers::new(servers, gateway.url(), showtimes, PURCHASES);
    let kills = async {
        for round in 0..6 {
            let (start, instance) = (2 + 16 * round, round % 2);
            shoppers.wait_for(start).await;
            shoppers.kill(instance);
            shoppers.wait_for(start + 2).await;
            shoppers.restart(instance).await;
            shoppers.wait_for(start + 6).await;
            gateway.kill();
            shoppers.wait_for(start + 7).await;
            gateway.restart().await;
            shoppers.wait_for(start + 11).await;
            postgres.crash().await;
            postgres.restart().await;
        }
    };
    tokio::join!(shoppers.run(CALLERS), kills);
    let states = shoppers.settle().await;
    let (events, connection) = (shoppers.assert_events_agree().await, connect(postgres.url()).await);
    history.assert_purchases_hold(&connection, &events, &gateway.payments().await).await;
    assert_balanced(&connection, &gateway).await;
    assert_everything_occurred(&states, PURCHASES);
    let (code, printed) = audit_of(postgres.url(), &gateway).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn purchases_on_sqlite_while_the_service_and_the_gateway_are_killed_are_complete_or_undone() {
    let storage = Storage::new(Store::Sqlite).await;
    let mut gateway = Gateway::start(storage.folder()).await;
    let server = quick(storage.setup(), &gateway).start().await;
    let history = History::default();
    let showtimes = showtimes(&server, 3, &history).await;
    let shoppers = Shoppers::new(vec![server], gateway.url(), showtimes, PURCHASES_ON_SQLITE);
    let kills = async {
        for start in [10, 50] {
            shoppers.wait_for(start).await;
            shoppers.kill(0);
            shoppers.restart(0).await;
            shoppers.wait_for(start + 20).await;
            gateway.kill();
            gateway.restart().await;
        }
    };
    tokio::join!(shoppers.run(CALLERS_ON_SQLITE), kills);
    let states = shoppers.settle().await;
    let (events, connection) = (shoppers.assert_events_agree().await, storage.connect().await);
    history.assert_purchases_hold(&connection, &events, &gateway.payments().await).await;
    assert_balanced(&connection, &gateway).await;
    assert_everything_occurred(&states, PURCHASES_ON_SQLITE);
    shoppers.kill(0);
    let (code, printed) = audit(&storage, &gateway).await;
    assert_eq!(code, Some(0), "{printed}");
}
