//! What callers see when the movie provider is slow or fails.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::{
    demo::v1::FaultSettings,
    v1::{GetMovieRequest, Movie, MovieSource},
};
use futures_util::future::join_all;
use tonic::Status;

use crate::harness::{
    Provider, Server, assert_not_found, eventually, no_faults, refusals::assert_retryable, requests::INCEPTION,
    server::Setup, supervisor,
};

/// A server with this provider and a timeout that suits a test. Its data is in the folder.
fn with_provider(provider: &Provider, folder: &tempfile::TempDir) -> Setup {
    Setup::new(folder.path()).with("--provider-url", provider.url()).with("--provider-timeout", "300ms")
}

/// The same with a fresh window of zero: every read calls the provider first.
async fn never_fresh(provider: &Provider, folder: &tempfile::TempDir) -> Server {
    with_provider(provider, folder).with("--provider-fresh", "0s").start().await
}

#[tokio::test]
async fn a_warm_cache_makes_no_calls_to_the_provider() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = with_provider(&provider, &folder).start().await;
    let live = movie(&server).await.expect("the provider is up");
    assert_eq!(live.source(), MovieSource::Live);
    provider.faults().outage().await;
    for _ in 0..20 {
        let fresh = movie(&server).await.expect("the cache is warm");
        assert_eq!(fresh, Movie { source: MovieSource::Fresh.into(), ..live.clone() });
    }
    assert_eq!(provider.faults().call_count().await, 1);
}

#[tokio::test]
async fn two_hundred_callers_for_one_cold_movie_make_one_call() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = with_provider(&provider, &folder).with("--provider-timeout", "5s").start().await;
    // Slow enough for all calls to arrive while the first is in flight.
    provider.faults().set(FaultSettings { latency: Some(milliseconds(1000)), ..no_faults() }).await;
    let answers = join_all((0..200).map(|_| movie(&server))).await;
    let fetched: BTreeSet<String> = answers
        .into_iter()
        .map(|answer| format!("{:?}", answer.expect("the provider is up").fetch_time.expect("it was fetched")))
        .collect();
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert_eq!(provider.faults().call_count().await, 1);
}

/// While the provider fails, a cached movie is served as STALE, and one that is not cached is UNAVAILABLE. Once it has
/// recovered, answers are live again.
async fn stale_while_it_fails(faults: FaultSettings) {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = never_fresh(&provider, &folder).await;
    let live = movie(&server).await.expect("the provider is up");
    assert_eq!(live.source(), MovieSource::Live);
    provider.faults().set(faults).await;
    for _ in 0..3 {
        let stale = movie(&server).await.expect("the cache has it");
        assert_eq!(stale, Movie { source: MovieSource::Stale.into(), ..live.clone() });
    }
    assert_retryable(&get(&server, "tt0111161").await.expect_err("it is not cached"), "PROVIDER_UNAVAILABLE");
    provider.faults().clear().await;
    let back = eventually("a live answer", async || live_answer(&server).await).await;
    assert_eq!((back.title, back.year), (live.title, live.year));
    get(&server, "tt0111161").await.expect("the provider is back");
}

#[tokio::test]
async fn a_failing_provider_leaves_the_cache() {
    stale_while_it_fails(FaultSettings { failure_percent: 100, ..no_faults() }).await;
}

#[tokio::test]
async fn a_provider_that_fails_in_band_leaves_the_cache() {
    stale_while_it_fails(FaultSettings { in_band_percent: 100, ..no_faults() }).await;
}

#[tokio::test]
async fn a_provider_that_is_out_leaves_the_cache() {
    stale_while_it_fails(FaultSettings { outage: true, ..no_faults() }).await;
}

#[tokio::test]
async fn a_provider_that_never_answers_leaves_the_cache() {
    stale_while_it_fails(FaultSettings { black_hole: true, ..no_faults() }).await;
}

#[tokio::test]
async fn a_provider_that_is_too_slow_leaves_the_cache() {
    stale_while_it_fails(FaultSettings { latency: Some(milliseconds(20_000)), ..no_faults() }).await;
}

#[tokio::test]
async fn a_provider_that_was_killed_is_called_again_after_its_restart() {
    let (mut provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = never_fresh(&provider, &folder).await;
    let live = movie(&server).await.expect("the provider is up");
    provider.kill();
    let stale = movie(&server).await.expect("the cache has it");
    assert_eq!((stale.source(), stale.fetch_time), (MovieSource::Stale, live.fetch_time));
    provider.restart().await;
    let back = eventually("a live answer", async || live_answer(&server).await).await;
    assert_ne!(back.fetch_time, live.fetch_time);
}

#[tokio::test]
async fn a_server_starts_without_its_provider() {
    let (mut provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    provider.kill();
    let server = with_provider(&provider, &folder).start().await;
    assert_retryable(&movie(&server).await.expect_err("it is not cached"), "PROVIDER_UNAVAILABLE");
    provider.restart().await;
    eventually("a live answer", async || live_answer(&server).await).await;
}

#[tokio::test]
async fn a_movie_beyond_the_stale_window_is_not_served() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let setup = with_provider(&provider, &folder).with("--provider-fresh", "0s").with("--provider-stale", "0s");
    let server = setup.start().await;
    movie(&server).await.expect("the provider is up");
    provider.faults().outage().await;
    assert_retryable(&movie(&server).await.expect_err("too old"), "PROVIDER_UNAVAILABLE");
}

#[tokio::test]
async fn with_a_warm_cache_no_call_fails_because_of_a_flaky_provider() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = never_fresh(&provider, &folder).await;
    movie(&server).await.expect("the provider is up");
    let flaky = FaultSettings { failure_percent: 30, in_band_percent: 30, ..no_faults() };
    provider.faults().set(flaky).await;
    for _ in 0..100 {
        let found = movie(&server).await.expect("the provider or the cache");
        assert!(matches!(found.source(), MovieSource::Live | MovieSource::Stale), "{found:?}");
    }
}

#[tokio::test]
async fn a_failed_attempt_is_retried() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = with_provider(&provider, &folder).with("--provider-attempts", "3").start().await;
    provider.faults().outage().await;
    movie(&server).await.expect_err("it is not cached");
    let calls = provider.faults().call_count().await;
    assert!((1..=3).contains(&calls), "{calls} calls");
    let counted = server.metrics().await.sum("boxoffice_provider_duration_seconds_count", &[]);
    assert_eq!(counted.map(|counted| counted as i64), Some(calls));
}

#[tokio::test]
async fn the_breaker_opens_limits_calls_to_the_provider_and_closes() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = never_fresh(&provider, &folder).await;
    movie(&server).await.expect("the provider is up");
    assert!(matches!(breaker(&server).await, None | Some(0.0)));
    provider.faults().outage().await;
    eventually("the breaker opens", async || {
        movie(&server).await.expect("the cache has it");
        (breaker(&server).await == Some(2.0)).then_some(())
    })
    .await;
    let readiness = server.admin("/readyz").await;
    assert_eq!(readiness.status, 200, "a provider that is down does not stop sales: {readiness:?}");
    assert!(readiness.text().contains("provider"), "{readiness:?}");
    // While it is open, only probes call the provider.
    let before = provider.faults().call_count().await;
    for _ in 0..200 {
        movie(&server).await.expect("the cache has it");
    }
    let probes = provider.faults().call_count().await - before;
    assert!(probes < 20, "{probes} calls");
    provider.faults().clear().await;
    eventually("a live answer", async || live_answer(&server).await).await;
    eventually("the breaker closes", async || {
        movie(&server).await.expect("the provider is back");
        (breaker(&server).await == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn not_found_is_an_answer_and_is_cached() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = with_provider(&provider, &folder).start().await;
    for _ in 0..5 {
        let status = get(&server, "tt0000000").await.expect_err("there is none");
        assert_not_found(&status, "MOVIE_NOT_FOUND", "tt0000000");
    }
    assert_eq!(provider.faults().call_count().await, 1);
}

#[tokio::test]
async fn not_found_is_cached_for_a_short_time() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("provider-"));
    let server = with_provider(&provider, &folder).with("--provider-absent", "0s").start().await;
    for calls in 1..=3 {
        get(&server, "tt0000000").await.expect_err("there is none");
        assert_eq!(provider.faults().call_count().await, calls);
    }
}

async fn live_answer(server: &Server) -> Option<Movie> {
    movie(server).await.ok().filter(|movie| movie.source() == MovieSource::Live)
}

async fn breaker(server: &Server) -> Option<f64> {
    server.metrics().await.sum("boxoffice_breaker_state", &[])
}

async fn movie(server: &Server) -> Result<Movie, Status> {
    get(server, INCEPTION).await
}

async fn get(server: &Server, movie_id: &str) -> Result<Movie, Status> {
    let answer = server.movies().get_movie(GetMovieRequest { movie_id: movie_id.to_owned() }).await?;
    Ok(answer.into_inner().movie.expect("the answer has the movie"))
}

fn milliseconds(milliseconds: i32) -> prost_types::Duration {
    let (seconds, remainder) = (milliseconds / 1000, milliseconds % 1000);
    prost_types::Duration { seconds: seconds.into(), nanos: remainder * 1_000_000 }
}
