//! The rules, the ledger on SQLite, the ledger on Postgres and two instances on one Postgres answer every command as a simple
//! model does.

mod payments;
mod systems;
mod turns;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use boxoffice::{
    domain::seating::Command,
    store::planted::{self, Bug},
};
use chrono::TimeDelta;
use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::ReferenceStateMachine as _;
use tokio::runtime::Builder;

use self::{
    systems::{InMemory, OnStores, Stores},
    turns::{Progress, ShowtimeMachine, Turn},
};
use crate::harness::{Store, world::Storage};

const TURNS: std::ops::Range<usize> = 30..50;

#[test]
fn the_rules_answer_as_the_model_does() {
    on_cases(1_000, |mut progress, turns, seen| {
        let mut system = InMemory::new(&progress.scenario);
        for turn in turns {
            progress = next(progress, &turn, &seen);
            agree(&progress, &turn, &system.take(&turn));
            system.check(&progress);
        }
    });
}

#[test]
fn the_ledger_on_sqlite_answers_as_the_model_does() {
    on_stores(Store::Sqlite, 1);
}

#[test]
fn the_ledger_on_postgres_answers_as_the_model_does() {
    on_stores(Store::Postgres, 1);
}

#[test]
fn two_instances_on_one_database_answer_as_the_model_does() {
    on_stores(Store::Postgres, 2);
}

fn on_stores(store: Store, instances: usize) {
    bug_to_plant().into_iter().for_each(planted::plant);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stores = runtime.block_on(async { Stores::open(Storage::new(store).await, instances).await });
    on_cases(100, |progress, turns, seen| runtime.block_on(play(&stores, progress, turns, &seen)));
}

async fn play(stores: &Stores, mut progress: Progress, turns: Vec<Turn>, seen: &Seen) {
    let mut system = OnStores::new(stores, &progress.scenario).await;
    for turn in turns {
        progress = next(progress, &turn, seen);
        agree(&progress, &turn, &system.take(&turn, &progress).await);
    }
    system.check(&progress).await;
    let end = progress.scenario.facts.end_time + TimeDelta::hours(1);
    system.sweep(end).await;
    progress.model.execute(&Command::Expire, end);
    system.check(&progress).await;
}

/// The variable that names a bug to plant in this process, which then runs one of these tests (see `planted_payments.rs`).
pub(crate) const PLANTED_BUG: &str = "MODEL_PLANTED_BUG";

/// The bug that this process was started for, if any.
fn bug_to_plant() -> Option<Bug> {
    #[expect(clippy::disallowed_methods, reason = "the process is started with it by another test")]
    let name = std::env::var(PLANTED_BUG).unwrap_or_default();
    Bug::ALL.into_iter().find(|bug| bug.name() == name)
}

/// The number of turns that were taken. proptest removes the others when it shrinks a case.
type Seen = Option<Arc<AtomicUsize>>;

fn on_cases(cases: u32, run: impl Fn(Progress, Vec<Turn>, Seen)) {
    // A bug that was planted is known, so its case need not be shrunk.
    let max_shrink_iters = if bug_to_plant().is_some() { 0 } else { 2_000 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let result =
        TestRunner::new(config).run(&ShowtimeMachine::sequential_strategy(TURNS), |(progress, turns, seen)| {
            run(progress, turns, seen);
            Ok(())
        });
    result.unwrap_or_else(|why| panic!("{why}"));
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
