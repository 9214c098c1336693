//! Redis is optional: instances share it while it works, and no call fails because it does not.

use boxoffice::pb::boxoffice::{
    demo::v1::FaultSettings,
    v1::{GetMovieRequest, Movie, MovieSource},
};
use tempfile::TempDir;

use crate::harness::{Provider, Redis, Server, eventually, no_faults, requests::INCEPTION, server::Setup, supervisor};

const OTHERS: [&str; 2] = ["tt0111161", "tt0068646"];

fn setup(folder: &TempDir, provider: &Provider, redis: &Redis) -> Setup {
    let setup = Setup::new(folder.path()).with("--provider-url", provider.url());
    setup.with("--redis-url", redis.url()).with("--redis-rest", "100ms")
}

#[tokio::test]
async fn two_servers_share_what_one_has_fetched() {
    let (provider, redis) = (Provider::start(&[]).await, Redis::start().await);
    let folders = [supervisor::folder("redis-world-"), supervisor::folder("redis-world-")];
    let one = setup(&folders[0], &provider, &redis).start().await;
    let other = setup(&folders[1], &provider, &redis).start().await;
    let live = movie(&one, INCEPTION).await;
    assert_eq!(live.source(), MovieSource::Live);
    // The answer may come before Redis has stored it.
    eventually("Redis has the movie", async || redis.run(&["DBSIZE"]).contains('1').then_some(())).await;
    let shared = movie(&other, INCEPTION).await;
    assert_eq!(shared, Movie { source: MovieSource::Fresh.into(), ..live });
    assert_eq!(provider.faults().call_count().await, 1);
}

#[tokio::test]
async fn a_cached_movie_survives_a_restart_of_the_server() {
    let (provider, redis) = (Provider::start(&[]).await, Redis::start().await);
    let folder = supervisor::folder("redis-world-");
    let server = setup(&folder, &provider, &redis).start().await;
    let live = movie(&server, INCEPTION).await;
    eventually("Redis has the movie", async || redis.run(&["DBSIZE"]).contains('1').then_some(())).await;
    let server = server.restart().await;
    assert_eq!(movie(&server, INCEPTION).await.fetch_time, live.fetch_time);
    assert_eq!(provider.faults().call_count().await, 1);
}

#[tokio::test]
async fn no_call_fails_while_redis_is_killed_and_restarted() {
    let (provider, mut redis) = (Provider::start(&[]).await, Redis::start().await);
    let folder = supervisor::folder("redis-world-");
    let server = setup(&folder, &provider, &redis).start().await;
    movie(&server, INCEPTION).await;
    redis.kill();
    all_answer(&server).await;
    redis.restart().await;
    all_answer(&server).await;
    eventually("Redis is used again", async || {
        all_answer(&server).await;
        redis.run(&["DBSIZE"]).contains('3').then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_call_fails_while_redis_does_not_answer() {
    let (provider, redis) = (Provider::start(&[]).await, Redis::start().await);
    let folder = supervisor::folder("redis-world-");
    let server = setup(&folder, &provider, &redis).start().await;
    movie(&server, INCEPTION).await;
    redis.pause();
    all_answer(&server).await;
    let timed_out = async || {
        all_answer(&server).await;
        server.metrics().await.sum("boxoffice_cache_duration_seconds_count", &["backend=\"redis\"", "timed_out"])
    };
    eventually("the timeout is counted", timed_out).await;
    eventually("Redis is skipped", async || {
        all_answer(&server).await;
        server.metrics().await.sum("boxoffice_cache_duration_seconds_count", &["backend=\"redis\"", "left_alone"])
    })
    .await;
    redis.resume();
    eventually("Redis is used again", async || {
        all_answer(&server).await;
        redis.run(&["DBSIZE"]).contains('3').then_some(())
    })
    .await;
}

/// Only the calls in flight when Redis stops answering wait for the timeout.
#[tokio::test]
async fn a_silent_redis_costs_its_timeout_once_and_then_nothing() {
    let (provider, redis) = (Provider::start(&[]).await, Redis::start().await);
    let folder = supervisor::folder("redis-world-");
    let server = setup(&folder, &provider, &redis).with("--redis-rest", "30s").start().await;
    movie(&server, INCEPTION).await;
    eventually("Redis has the movie", async || redis.run(&["DBSIZE"]).contains('1').then_some(())).await;
    redis.pause();
    for _ in 0..200 {
        movie(&server, INCEPTION).await;
    }
    let metrics = server.metrics().await;
    let gets = |outcome: &str| {
        let labels = ["backend=\"redis\"", "call=\"get\"", outcome];
        metrics.sum("boxoffice_cache_duration_seconds_count", &labels)
    };
    let timed_out = gets("outcome=\"timed_out\"").expect("the timeout is counted");
    let left_alone = gets("outcome=\"left_alone\"").expect("calls that skip Redis are counted");
    assert!(timed_out <= 3.0, "{timed_out} calls waited");
    assert!(left_alone >= 197.0, "{left_alone} calls of 200 did not wait");
    assert_eq!(provider.faults().call_count().await, 1, "the movie is cached in memory");
}

#[tokio::test]
async fn a_server_starts_without_redis_and_uses_it_once_it_is_there() {
    let (provider, mut redis) = (Provider::start(&[]).await, Redis::start().await);
    redis.kill();
    let folder = supervisor::folder("redis-world-");
    let server = setup(&folder, &provider, &redis).start().await;
    all_answer(&server).await;
    let readiness = server.admin("/readyz").await;
    assert_eq!(readiness.status, 200, "{readiness:?}");
    assert!(readiness.text().contains("redis"), "{readiness:?}");
    redis.restart().await;
    eventually("Redis is used", async || {
        all_answer(&server).await;
        redis.run(&["DBSIZE"]).contains('3').then_some(())
    })
    .await;
}

/// When Redis and the provider are both down, the cache in memory answers.
#[tokio::test]
async fn stale_answers_survive_the_loss_of_redis() {
    let (provider, mut redis) = (Provider::start(&[]).await, Redis::start().await);
    let folder = supervisor::folder("redis-world-");
    let server = setup(&folder, &provider, &redis).with("--provider-fresh", "0s").start().await;
    let live = movie(&server, INCEPTION).await;
    provider.faults().set(FaultSettings { outage: true, ..no_faults() }).await;
    let stale = movie(&server, INCEPTION).await;
    assert_eq!((stale.source(), stale.fetch_time), (MovieSource::Stale, live.fetch_time));
    redis.kill();
    let stale = movie(&server, INCEPTION).await;
    assert_eq!((stale.source(), stale.fetch_time), (MovieSource::Stale, live.fetch_time));
}

/// A value that is no entry is a miss, not a failure.
#[tokio::test]
async fn garbage_in_redis_is_a_miss() {
    let (provider, redis) = (Provider::start(&[]).await, Redis::start().await);
    let folder = supervisor::folder("redis-world-");
    let setup = setup(&folder, &provider, &redis);
    let server = setup.start().await;
    movie(&server, INCEPTION).await;
    eventually("Redis has the movie", async || redis.run(&["DBSIZE"]).contains('1').then_some(())).await;
    let key = redis.run(&["KEYS", "*"]);
    assert!(key.contains(INCEPTION), "{key}");
    redis.run(&["SET", key.trim(), "garbage"]);
    let server = server.restart().await;
    assert_eq!(movie(&server, INCEPTION).await.source(), MovieSource::Live);
}

async fn all_answer(server: &Server) {
    for id in [INCEPTION, OTHERS[0], OTHERS[1]] {
        movie(server, id).await;
    }
}

async fn movie(server: &Server, movie_id: &str) -> Movie {
    let answer = server.movies().get_movie(GetMovieRequest { movie_id: movie_id.to_owned() }).await;
    answer.expect("no call fails because of Redis").into_inner().movie.expect("the answer has the movie")
}
