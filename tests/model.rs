//! The rules, the ledger on SQLite, the ledger on Postgres and two instances on one Postgres answer every command as a simple
//! model does.

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
    turns::{Progress, ShowtimeMachine, Turn},
};
use crate::harness::{Store, world::Ground};

const TURNS: std::ops::Range<usize> = 30..50;

#[test]
fn the_rules_do_as_the_model_does() {
    on_cases(1_000, |mut progress, turns, seen| {
        let mut system = InMemory::new(&progress.scene);
        for turn in turns {
            progress = next(progress, &turn, &seen);
            agree(&progress, &turn, &system.take(&turn));
            system.check(&progress);
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
    on_cases(100, |progress, turns, seen| runtime.block_on(play(&stores, progress, turns, &seen)));
}

async fn play(stores: &Stores, mut progress: Progress, turns: Vec<Turn>, seen: &Seen) {
    let mut system = OnStores::new(stores, &progress.scene).await;
    for turn in turns {
        progress = next(progress, &turn, seen);
        agree(&progress, &turn, &system.take(&turn, &progress).await);
    }
    system.check(&progress).await;
    let end = progress.scene.facts.end_time + TimeDelta::hours(1);
    system.sweep(end).await;
    progress.model.ask(&Command::Expire, end);
    system.check(&progress).await;
}

/// Counts the turns that were taken, so that proptest can shrink the others away.
type Seen = Option<Arc<AtomicUsize>>;

fn on_cases(cases: u32, try_it: impl Fn(Progress, Vec<Turn>, Seen)) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let tried = TestRunner::new(config).run(&ShowtimeMachine::sequential_strategy(TURNS), |(progress, turns, seen)| {
        try_it(progress, turns, seen);
        Ok(())
    });
    tried.unwrap_or_else(|why| panic!("{why}"));
}

fn next(progress: Progress, turn: &Turn, seen: &Seen) -> Progress {
    if let Some(seen) = seen {
        seen.fetch_add(1, Ordering::SeqCst);
    }
    ShowtimeMachine::apply(progress, turn)
}

fn agree(progress: &Progress, turn: &Turn, answer: &crate::harness::model::Answer) {
    assert_eq!(Some(answer), progress.answer.as_ref(), "left: the system, right: the model; after {turn:?}");
}
