//! The database goes away and comes back.

use boxoffice::pb::boxoffice::v1::{GetMovieRequest, ListAuditoriumsRequest};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::harness::{
    Store, World, create_auditorium, eventually, in_hours, new_auditorium, new_showtime, refusals::assert_try_again,
    requests::INCEPTION,
};

#[tokio::test]
async fn without_its_database_the_service_says_so_and_recovers() {
    let world = World::with(Store::Postgres, |setup| setup.with("--database-timeout", "1s")).await;
    let auditorium = create_auditorium(world.auditoriums()).await;
    let movie = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    world.movies().get_movie(movie.clone()).await.expect("the provider is up");
    world.ground.database().lock_out();
    let list = ListAuditoriumsRequest::default();
    let status = world.auditoriums().list_auditoriums(list.clone()).await.expect_err("no database");
    assert_try_again(&status, "STORE_UNAVAILABLE");
    assert!(!status.message().to_lowercase().contains("connect"), "what happens inside stays inside: {status:?}");
    let create = new_showtime(&auditorium.auditorium_id, in_hours(0));
    let status = world.showtimes().create_showtime(create.clone()).await.expect_err("no database");
    assert_try_again(&status, "STORE_UNAVAILABLE");
    let status = world.auditoriums().create_auditorium(new_auditorium()).await.expect_err("no database");
    assert_try_again(&status, "STORE_UNAVAILABLE");
    world.movies().get_movie(movie).await.expect("movies need no database");
    eventually("it is not ready", async || (world.admin("/readyz").await.status == 503).then_some(())).await;
    assert_eq!(world.admin("/healthz").await.status, 200, "it lives all the same");
    eventually("health says so", async || (health(&world).await == ServingStatus::NotServing).then_some(())).await;
    world.ground.database().let_in();
    eventually("it recovers", async || world.auditoriums().list_auditoriums(list.clone()).await.ok()).await;
    world.showtimes().create_showtime(create).await.expect("the slot is free");
    eventually("it is ready", async || (world.admin("/readyz").await.status == 200).then_some(())).await;
    eventually("health says so", async || (health(&world).await == ServingStatus::Serving).then_some(())).await;
}

async fn health(world: &World) -> ServingStatus {
    world.health().check(HealthCheckRequest::default()).await.expect("an answer").into_inner().status()
}
