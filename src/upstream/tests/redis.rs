//! Failures of Redis that can be tested without a Redis server.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{Demo, FRESH, advance, inception, movies_with, outage};
use crate::{
    domain::movie::Source,
    upstream::{Dependency, Movies, RedisOptions, Secret, SetupError},
};

fn redis(url: &str) -> RedisOptions {
    RedisOptions { url: Secret::new(url), timeout: Duration::from_millis(20), cooldown: Duration::from_millis(50) }
}

/// The cache in memory answers while Redis fails.
async fn without_redis(url: &str) {
    let mut demo = Demo::start().await;
    let mut options = demo.options();
    options.redis = Some(redis(url));
    let (movies, clock) = movies_with(&options);
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Live);
    for _ in 0..100 {
        assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Fresh);
    }
    assert_eq!(demo.calls().await, 1);
    assert_eq!(movies.redis_state().await, Dependency::Failing);
    demo.set(outage()).await;
    advance(&clock, FRESH);
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Stale);
}

#[tokio::test]
async fn a_refused_connection_fails_no_call() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    without_redis(&format!("redis://{free}")).await;
}

#[tokio::test]
async fn a_black_hole_fails_no_call() {
    // The kernel accepts the connection, and nothing ever reads from it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    without_redis(&format!("redis://{}", silent.local_addr().unwrap())).await;
}

#[tokio::test]
async fn an_invalid_url_is_refused_without_repeating_it() {
    let demo = Demo::start().await;
    for url in ["", "localhost", "http://:hunter2@localhost", "redis://:hunter2@localhost/notanumber"] {
        let mut options = demo.options();
        options.redis = Some(redis(url));
        let error = Movies::new(&options, crate::clock::Clock::System).err().expect("refused");
        assert!(matches!(error, SetupError::RedisUrl(_)), "{url}");
        assert!(!error.to_string().contains("hunter2"));
    }
}
