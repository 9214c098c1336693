//! Movies over gRPC: read by id and searched by title, each with its source and fetch time.

use boxoffice::pb::boxoffice::v1::{GetMovieRequest, Movie, MovieSource, SearchMoviesRequest};
use tonic::Status;

use crate::harness::{
    World, assert_not_found, assert_violates, no_faults, refusals::assert_retryable, requests::INCEPTION,
};

on_both_stores!(
    a_movie_says_where_it_comes_from_and_when_it_was_fetched,
    an_unknown_movie_is_not_found_by_name,
    a_malformed_movie_id_is_refused_by_field,
    a_search_finds_titles_and_lists_all_without_text,
    pages_of_a_search_join_to_the_whole_list,
    a_search_is_refused_by_field,
    without_provider_and_cache_a_movie_is_unavailable,
);

async fn a_movie_says_where_it_comes_from_and_when_it_was_fetched(world: World) {
    let live = get(&world, INCEPTION).await.expect("it is in the catalogue");
    assert_eq!((&*live.movie_id, &*live.title), (INCEPTION, "Inception"));
    assert_eq!(live.full_title, "Inception (2010)");
    assert_eq!(live.year, Some(2010));
    assert!(live.crew.contains("Nolan"), "{live:?}");
    assert!(live.rating.is_some_and(|rating| (0.0..=10.0).contains(&rating)), "{live:?}");
    assert!(live.rating_count.is_some_and(|count| count > 0), "{live:?}");
    assert!(live.rank.is_some_and(|rank| rank > 0), "{live:?}");
    assert_eq!(live.source(), MovieSource::Live);
    assert!(live.fetch_time.is_some());
    let again = get(&world, INCEPTION).await.expect("it is in the cache");
    assert_eq!(again, Movie { source: MovieSource::Fresh.into(), ..live });
}

async fn an_unknown_movie_is_not_found_by_name(world: World) {
    let status = get(&world, "tt0000000").await.expect_err("there is none");
    assert_not_found(&status, "MOVIE_NOT_FOUND", "tt0000000");
}

async fn a_malformed_movie_id_is_refused_by_field(world: World) {
    for malformed in ["", "tt 1", "../etc", "ttñ", &"t".repeat(65)] {
        assert_violates(&get(&world, malformed).await.expect_err("the id is malformed"), &["movie_id"]);
    }
}

async fn a_search_finds_titles_and_lists_all_without_text(world: World) {
    let (found, _) = search(&world, request("incep", 0, "")).await.expect("an answer");
    assert!(found.iter().any(|movie| movie.movie_id == INCEPTION), "{found:?}");
    assert!(found.iter().all(|movie| movie.fetch_time.is_some() && movie.source() != MovieSource::Unspecified));
    let (all, token) = search(&world, request("", 0, "")).await.expect("an answer");
    assert!(all.len() > found.len(), "{all:?}");
    assert_eq!(token, "");
    let (none, _) = search(&world, request("no such title at all", 0, "")).await.expect("an empty answer");
    assert_eq!(none, []);
}

async fn pages_of_a_search_join_to_the_whole_list(world: World) {
    let (all, _) = search(&world, request("", 0, "")).await.expect("an answer");
    let mut joined = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = search(&world, request("", 3, &token)).await.expect("a page");
        assert!(page.len() == 3 || next.is_empty(), "{page:?}");
        joined.extend(page);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    let ids = |movies: &[Movie]| movies.iter().map(|movie| movie.movie_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&joined), ids(&all));
}

async fn a_search_is_refused_by_field(world: World) {
    for (bad, field) in [
        (request(&"x".repeat(101), 0, ""), "text"),
        (request("", -1, ""), "page_size"),
        (request("", 0, "nonsense"), "page_token"),
    ] {
        assert_violates(&search(&world, bad).await.expect_err("that is refused"), &[field]);
    }
    let (_, token) = search(&world, request("", 1, "")).await.expect("a page");
    let status = search(&world, request("incep", 1, &token)).await.expect_err("the token is for another text");
    assert_violates(&status, &["page_token"]);
}

async fn without_provider_and_cache_a_movie_is_unavailable(world: World) {
    let faults = world.embedded_provider().await;
    faults.outage().await;
    let status = get(&world, INCEPTION).await.expect_err("it is not cached");
    assert_retryable(&status, "PROVIDER_UNAVAILABLE");
    let status = search(&world, request("", 0, "")).await.expect_err("it is not cached");
    assert_retryable(&status, "PROVIDER_UNAVAILABLE");
    faults.set(no_faults()).await;
}

async fn get(world: &World, movie_id: &str) -> Result<Movie, Status> {
    let answer = world.movies().get_movie(GetMovieRequest { movie_id: movie_id.to_owned() }).await?;
    Ok(answer.into_inner().movie.expect("the answer has the movie"))
}

fn request(text: &str, page_size: i32, page_token: &str) -> SearchMoviesRequest {
    SearchMoviesRequest { text: text.to_owned(), page_size, page_token: page_token.to_owned() }
}

async fn search(world: &World, request: SearchMoviesRequest) -> Result<(Vec<Movie>, String), Status> {
    let answer = world.movies().search_movies(request).await?.into_inner();
    Ok((answer.movies, answer.next_page_token))
}
