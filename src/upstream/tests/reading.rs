//! Reading through the cache: live, fresh, stale and absent answers, and one call for many callers.

use std::time::Duration;

use futures_util::future::join_all;

use super::{ABSENT, Demo, FRESH, STALE, advance, inception, movies_with, no_faults, outage, unknown};
use crate::{
    domain::movie::Source,
    pb::boxoffice::demo::v1::FaultSettings,
    upstream::{Dependency, Failure, Options},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_movie_is_live_then_fresh_then_live_again() {
    let mut demo = Demo::start().await;
    let (movies, clock) = demo.movies();
    let live = movies.movie(&inception()).await.unwrap();
    assert_eq!((live.source, live.value.title.as_str(), live.value.year), (Source::Live, "Inception", Some(2010)));
    assert_eq!((live.value.rating, live.value.rating_count, live.value.rank), (Some(8.8), Some(2_410_000), Some(12)));

    advance(&clock, FRESH.saturating_sub(SECOND));
    let fresh = movies.movie(&inception()).await.unwrap();
    assert_eq!((fresh.source, fresh.fetch_time), (Source::Fresh, live.fetch_time));
    assert_eq!(fresh.value, live.value);
    assert_eq!(demo.calls().await, 1);

    advance(&clock, SECOND);
    let again = movies.movie(&inception()).await.unwrap();
    assert_eq!(again.source, Source::Live);
    assert!(again.fetch_time > live.fetch_time);
    assert_eq!(demo.calls().await, 2);
    assert_eq!(movies.provider_state(), Dependency::Up);
    assert_eq!(movies.redis_state().await, Dependency::NotConfigured);
}

#[tokio::test]
async fn during_an_outage_cached_answers_are_served_until_they_are_too_old() {
    let mut demo = Demo::start().await;
    let (movies, clock) = demo.movies();
    let live = movies.movie(&inception()).await.unwrap();
    demo.set(outage()).await;
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Fresh);

    advance(&clock, STALE.saturating_sub(SECOND));
    let stale = movies.movie(&inception()).await.unwrap();
    assert_eq!((stale.source, stale.fetch_time), (Source::Stale, live.fetch_time));

    advance(&clock, SECOND);
    assert!(matches!(movies.movie(&inception()).await, Err(Failure::Unavailable { .. })));
}

#[tokio::test]
async fn without_a_fresh_window_the_provider_is_always_asked_first() {
    let mut demo = Demo::start().await;
    let (movies, _) = movies_with(&Options { fresh: Duration::ZERO, ..demo.options() });
    for _ in 0..3 {
        assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Live);
        assert_eq!(movies.movie(&unknown()).await.unwrap_err(), Failure::NotFound);
    }
    assert_eq!(demo.calls().await, 6);
    demo.set(outage()).await;
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Stale);
    assert_eq!(movies.movie(&unknown()).await.unwrap_err(), Failure::NotFound);
}

#[tokio::test]
async fn not_found_is_an_answer_and_is_cached_for_a_short_time() {
    let mut demo = Demo::start().await;
    let (movies, clock) = demo.movies();
    for _ in 0..3 {
        assert_eq!(movies.movie(&unknown()).await.unwrap_err(), Failure::NotFound);
    }
    assert_eq!(demo.calls().await, 1);
    advance(&clock, ABSENT);
    assert_eq!(movies.movie(&unknown()).await.unwrap_err(), Failure::NotFound);
    assert_eq!(demo.calls().await, 2);
    // Beyond its window it is not served when the provider fails.
    advance(&clock, ABSENT);
    demo.set(outage()).await;
    assert!(matches!(movies.movie(&unknown()).await, Err(Failure::Unavailable { .. })));
    // "Not found" never opens the circuit breaker.
    demo.set(no_faults()).await;
    let (movies, _) = demo.movies();
    for n in 0..30 {
        let id = crate::domain::movie::MovieId::parse(&format!("none-{n}")).unwrap();
        assert_eq!(movies.movie(&id).await.unwrap_err(), Failure::NotFound);
    }
    assert_eq!(movies.provider_state(), Dependency::Up);
}

#[tokio::test]
async fn two_hundred_callers_make_one_call() {
    let mut demo = Demo::start().await;
    demo.set(FaultSettings { latency: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }), ..no_faults() })
        .await;
    let (movies, _) = demo.movies();
    let callers = (0..200).map(|_| {
        let movies = movies.clone();
        tokio::spawn(async move { movies.movie(&inception()).await })
    });
    for answer in join_all(callers).await {
        assert_eq!(answer.unwrap().unwrap().value.title, "Inception");
    }
    assert_eq!(demo.calls().await, 1);
}

#[tokio::test]
async fn a_call_goes_on_when_its_first_caller_has_gone_away() {
    let mut demo = Demo::start().await;
    demo.set(FaultSettings { latency: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }), ..no_faults() })
        .await;
    let (movies, _) = demo.movies();
    let id = inception();
    // Polled once, so that the call is in flight, and dropped.
    assert!(futures_util::poll!(Box::pin(movies.movie(&id))).is_pending());
    let answer = movies.movie(&id).await.unwrap();
    assert_eq!(answer.source, Source::Live);
    assert_eq!(demo.calls().await, 1);
}

#[tokio::test]
async fn searches_are_cached_too() {
    let mut demo = Demo::start().await;
    let (movies, _) = demo.movies();
    let found = movies.search("  DARK  knight ").await.unwrap();
    assert_eq!((found.source, found.value.len()), (Source::Live, 1));
    assert_eq!(found.value[0].title, "The Dark Knight");
    assert_eq!(movies.search("DARK knight").await.unwrap().source, Source::Fresh);
    let all = movies.search("").await.unwrap();
    assert_eq!((all.source, all.value.len()), (Source::Live, 25));
    assert!(movies.search("no film is called this").await.unwrap().value.is_empty());
    assert_eq!(demo.calls().await, 3);
}
