//! Whatever is asked, and whenever: the rules, the ledger on SQLite, the ledger on Postgres, and two instances on one
//! Postgres answer and refuse as a model does that anybody can read.

mod systems;
mod turns;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use boxoffice::domain::seating::Command;
use chrono::TimeDelta;
use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::ReferenceStateMachine as _;
use tokio::runtime::Builder;

use self::{
    systems::{InMemory, OnStores, Stores},
    turns::{Played, Showing, Turn},
};
use crate::harness::{Store, world::Ground};

const TURNS: std::ops::Range<usize> = 30..50;

#[test]
fn the_rules_do_as_the_model_does() {
    on_cases(1_000, |mut played, turns, seen| {
        let mut system = InMemory::new(&played.scene);
        for turn in turns {
            played = next(played, &turn, &seen);
            agree(&played, &turn, &system.take(&turn));
            system.check(&played);
        }
    });
}

#[test]
fn the_ledger_on_sqlite_does_as_the_model_does() {
    on_stores(Store::Sqlite, 1);
}

#[test]
fn the_ledger_on_postgres_does_as_the_model_does() {
    on_stores(Store::Postgres, 1);
}

#[test]
fn two_instances_on_one_database_do_as_the_model_does() {
    on_stores(Store::Postgres, 2);
}

fn on_stores(store: Store, instances: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stores = runtime.block_on(async { Stores::open(Ground::new(store).await, instances).await });
    on_cases(100, |played, turns, seen| runtime.block_on(play(&stores, played, turns, &seen)));
}

async fn play(stores: &Stores, mut played: Played, turns: Vec<Turn>, seen: &Seen) {
    let mut system = OnStores::new(stores, &played.scene).await;
    for turn in turns {
        played = next(played, &turn, seen);
        agree(&played, &turn, &system.take(&turn, &played).await);
    }
    system.check(&played).await;
    let end = played.scene.facts.end_time + TimeDelta::hours(1);
    system.sweep(end).await;
    played.model.ask(&Command::Expire, end);
    system.check(&played).await;
}

/// Tells which turns were taken, for shrinking.
type Seen = Option<Arc<AtomicUsize>>;

fn on_cases(cases: u32, try_it: impl Fn(Played, Vec<Turn>, Seen)) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let tried = TestRunner::new(config).run(&Showing::sequential_strategy(TURNS), |(played, turns, seen)| {
        try_it(played, turns, seen);
        Ok(())
    });
    tried.unwrap_or_else(|why| panic!("{why}"));
}

fn next(played: Played, turn: &Turn, seen: &Seen) -> Played {
    if let Some(seen) = seen {
        seen.fetch_add(1, Ordering::SeqCst);
    }
    Showing::apply(played, turn)
}

fn agree(played: &Played, turn: &Turn, said: &crate::harness::model::Said) {
    assert_eq!(Some(said), played.said.as_ref(), "the system is on the left, the model on the right, after {turn:?}");
}
