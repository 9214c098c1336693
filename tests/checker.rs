//! The checker earns trust by what it finds: the crowd of `crashes.rs`, at servers with a bug in them.

use std::sync::Arc;

use crate::harness::{
    Store,
    fleet::Fleet,
    history::History,
    load::{self, Load},
    world::Ground,
};

#[tokio::test]
async fn decisions_without_a_lock_are_found() {
    assert_found("no-lock", &["decided under it"]).await;
}

#[tokio::test]
async fn a_time_from_before_the_lock_is_found() {
    assert_found("time-before-lock", &["decided under it"]).await;
}

#[tokio::test]
async fn answers_before_their_commit_are_found() {
    assert_found("answer-before-commit", &["was known before it began", "as was known", "it was there"]).await;
}

/// Something is said to be wrong in one of these words.
async fn assert_found(bug: &str, words: &[&str]) {
    let ground = Ground::new(Store::Postgres).await;
    let fleet = Arc::new(Fleet::start(3, load::options(ground.setup()).with_bug(bug)).await);
    let history = Arc::new(History::default());
    let connection = ground.connect().await;
    let showtimes = load::showtimes(&fleet).await;
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(2_000, 32);
    tokio::join!(all, load.interfere(&connection));
    history.settle(fleet.channel(0)).await;
    let wrong = history.check(&connection, &fleet.channels()).await;
    let names_it = |what: &String| words.iter().any(|words| what.contains(words));
    assert!(wrong.iter().any(names_it), "{bug} is not found, but {wrong:?}");
}
