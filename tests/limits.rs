//! Limits of requests: what exceeds one is refused or shortened, and the server needs little memory for it.

use boxoffice::pb::boxoffice::v1::{
    CreateAuditoriumRequest, Layout, ListAuditoriumsRequest, ListShowtimesRequest, Row, SearchMoviesRequest,
};
use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{
    Store, World, assert_violates, create_auditorium, in_hours, layout, new_auditorium, new_showtime,
};

#[tokio::test]
async fn a_page_size_has_a_default_and_a_maximum() {
    let world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    // One more than the largest page.
    for slot in 0..201 {
        let request = new_showtime(&auditorium, in_hours(3 * slot));
        world.showtimes().create_showtime(request).await.expect("the slot is free");
    }
    for (page_size, expected) in [(0, 50), (200, 200), (201, 200), (i32::MAX, 200)] {
        let request = ListShowtimesRequest { page_size, ..Default::default() };
        let page = world.showtimes().list_showtimes(request).await.expect("a page").into_inner();
        assert_eq!(page.showtimes.len(), expected, "page_size {page_size}");
        assert!(!page.next_page_token.is_empty());
    }
    let negative = ListShowtimesRequest { page_size: i32::MIN, ..Default::default() };
    let status = world.showtimes().list_showtimes(negative).await.expect_err("a page size is not negative");
    assert_violates(&status, &["page_size"]);
}

/// Every text field is given a text that is too long. The refusal names the field and does not repeat the text.
#[tokio::test]
async fn too_long_texts_are_refused_and_their_field_named() {
    let world = World::start(Store::Sqlite).await;
    let long = "ñ".repeat(30_000);
    let good = new_auditorium();
    for (request, field) in [
        (CreateAuditoriumRequest { name: long.clone(), ..good.clone() }, "name"),
        (CreateAuditoriumRequest { cinema: long.clone(), ..good.clone() }, "cinema"),
        (CreateAuditoriumRequest { time_zone: long.clone(), ..good.clone() }, "time_zone"),
        (CreateAuditoriumRequest { request_id: long.clone(), ..good.clone() }, "request_id"),
        (CreateAuditoriumRequest { layout: Some(layout(&[(&long, "s")])), ..good.clone() }, "layout.rows[0].label"),
        (CreateAuditoriumRequest { layout: Some(layout(&[("A", &long)])), ..good.clone() }, "layout.rows[0].places"),
    ] {
        let status = world.auditoriums().create_auditorium(request).await.expect_err("too long");
        assert_violates(&status, &[field]);
        assert!(!status.message().contains('ñ') && status.details().len() < 1_000, "{status:?}");
    }
    let request = ListAuditoriumsRequest { cinema: long.clone(), ..Default::default() };
    assert_violates(&world.auditoriums().list_auditoriums(request).await.expect_err("too long"), &["cinema"]);
    let request = ListAuditoriumsRequest { page_token: long.clone(), ..Default::default() };
    assert_violates(&world.auditoriums().list_auditoriums(request).await.expect_err("too long"), &["page_token"]);
    let request = SearchMoviesRequest { text: long.clone(), ..Default::default() };
    assert_violates(&world.movies().search_movies(request).await.expect_err("too long"), &["text"]);
    for request in [
        ListShowtimesRequest { auditorium_id: long.clone(), ..Default::default() },
        ListShowtimesRequest { movie_id: long.clone(), ..Default::default() },
        ListShowtimesRequest { local_date: long.clone(), ..Default::default() },
    ] {
        let status = world.showtimes().list_showtimes(request).await.expect_err("too long");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(!status.message().contains('ñ'), "{status:?}");
    }
}

/// Many invalid messages at once, each about as large as allowed, take memory while they are decoded.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn large_invalid_messages_take_little_memory() {
    // Decoding a million items takes seconds in a build without optimisation.
    let world = World::with(Store::Sqlite, |setup| {
        setup.with("--request-timeout", "25s").with("--body-timeout", "25s").with("--max-message-bytes", "1048576")
    })
    .await;
    let row = Row { label: "A".to_owned(), places: "s".to_owned(), numbers: vec![] };
    // A row takes 8 bytes on the wire and ten times as many in memory.
    let rows = CreateAuditoriumRequest { layout: Some(Layout { rows: vec![row.clone(); 60_000] }), ..new_auditorium() };
    let numbered = Row { numbers: vec![1; 500_000], ..row };
    let numbers = CreateAuditoriumRequest { layout: Some(Layout { rows: vec![numbered] }), ..new_auditorium() };
    for request in [rows, numbers] {
        let answers = join_all((0..8).map(|_| {
            let (mut client, request) = (world.auditoriums(), request.clone());
            async move { client.create_auditorium(request).await }
        }));
        for answer in answers.await {
            let status = answer.expect_err("invalid");
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        }
    }
    let peak = world.peak_memory();
    assert!(peak < 512, "{peak} MiB");
}
