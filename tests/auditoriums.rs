//! Auditoriums are created, read and listed over the wire.

use boxoffice::pb::boxoffice::v1::{
    Auditorium, CreateAuditoriumRequest, GetAuditoriumRequest, Layout, ListAuditoriumsRequest, Row,
};
use futures_util::{StreamExt as _, stream};
use tonic::Status;

use crate::harness::{
    World, assert_not_found, assert_violates, create_auditorium, layout, new_auditorium, refusals::violations,
    request_id, tampered,
};

on_both_stores!(
    a_created_auditorium_is_read_back_whole,
    an_unknown_auditorium_is_not_found_by_name,
    a_malformed_id_is_refused_by_field,
    lists_go_by_cinema_and_name_and_leave_layouts_out,
    a_list_can_be_for_one_cinema,
    pages_join_to_the_whole_list,
    a_page_has_a_cap,
    a_token_is_valid_for_its_own_list_only,
);

async fn a_created_auditorium_is_read_back_whole(world: World) {
    let request = new_auditorium();
    let created = create(&world, request.clone()).await.expect("it is created");
    assert_eq!((&created.name, &created.cinema), (&request.name, &request.cinema));
    assert_eq!(created.time_zone, "Europe/Madrid");
    assert_eq!(created.seat_count, 11);
    assert!(created.create_time.is_some());
    let request = GetAuditoriumRequest { auditorium_id: created.auditorium_id.clone() };
    let read = world.auditoriums().get_auditorium(request).await.expect("it is found").into_inner();
    assert_eq!(read.auditorium, Some(created));
}

async fn an_unknown_auditorium_is_not_found_by_name(world: World) {
    let unknown = request_id();
    let request = GetAuditoriumRequest { auditorium_id: unknown.clone() };
    let status = world.auditoriums().get_auditorium(request).await.expect_err("there is none");
    assert_not_found(&status, "AUDITORIUM_NOT_FOUND", &unknown);
}

async fn a_malformed_id_is_refused_by_field(world: World) {
    for malformed in
        ["", "7", "not-a-uuid", "{01890a5d-ac96-774b-bcce-b302099a8057}", "01890a5dac96774bbcceb302099a8057"]
    {
        let request = GetAuditoriumRequest { auditorium_id: malformed.to_owned() };
        let status = world.auditoriums().get_auditorium(request).await.expect_err("the id is malformed");
        assert_violates(&status, &["auditorium_id"]);
    }
}

async fn lists_go_by_cinema_and_name_and_leave_layouts_out(world: World) {
    for (cinema, name) in [("Roxy", "2"), ("Grand", "b"), ("Roxy", "1"), ("Grand", "a")] {
        let request = CreateAuditoriumRequest { cinema: cinema.to_owned(), name: name.to_owned(), ..new_auditorium() };
        create(&world, request).await.expect("it is created");
    }
    let (listed, token) = list(&world, ListAuditoriumsRequest::default()).await.expect("a list");
    let names: Vec<_> = listed.iter().map(|each| (&*each.cinema, &*each.name)).collect();
    assert_eq!(names, [("Grand", "a"), ("Grand", "b"), ("Roxy", "1"), ("Roxy", "2")]);
    assert!(listed.iter().all(|each| each.layout.is_none() && each.seat_count == 11), "{listed:?}");
    assert_eq!(token, "");
}

async fn a_list_can_be_for_one_cinema(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await;
    create_auditorium(world.auditoriums()).await;
    let request = ListAuditoriumsRequest { cinema: auditorium.cinema.clone(), ..Default::default() };
    let (listed, _) = list(&world, request).await.expect("a list");
    assert_eq!(listed, [Auditorium { layout: None, ..auditorium }]);
    let unknown = ListAuditoriumsRequest { cinema: "Nowhere".to_owned(), ..Default::default() };
    assert_eq!(list(&world, unknown).await.expect("an empty list").0, []);
}

async fn pages_join_to_the_whole_list(world: World) {
    let template = new_auditorium();
    for name in ["c", "a", "e", "b", "d", "a"] {
        create(&world, CreateAuditoriumRequest { name: name.to_owned(), ..template.clone() })
            .await
            .expect("it is created");
    }
    let page = |page_token| ListAuditoriumsRequest { cinema: template.cinema.clone(), page_size: 4, page_token };
    let (first, token) = list(&world, page(String::new())).await.expect("a page");
    // An auditorium that is created before the end of the first page must not shift the next page.
    create(&world, CreateAuditoriumRequest { name: "0".to_owned(), ..template.clone() }).await.expect("it is created");
    let (second, end) = list(&world, page(token)).await.expect("a page");
    let names: Vec<_> = first.iter().chain(&second).map(|each| &*each.name).collect();
    assert_eq!(names, ["a", "a", "b", "c", "d", "e"]);
    assert_eq!(end, "");
}

async fn a_page_has_a_cap(world: World) {
    let one_seat = CreateAuditoriumRequest { layout: Some(layout(&[("A", "s")])), ..new_auditorium() };
    let creations = (0..201).map(|_| create(&world, one_seat.clone()));
    let created: Vec<_> = stream::iter(creations).buffer_unordered(32).collect().await;
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    let sized = |page_size| ListAuditoriumsRequest { page_size, ..Default::default() };
    for (requested, returned) in [(0, 50), (1, 1), (200, 200), (201, 200), (i32::MAX, 200)] {
        let (listed, token) = list(&world, sized(requested)).await.expect("a page");
        assert_eq!(listed.len(), returned, "for {requested}");
        assert_ne!(token, "", "for {requested}");
    }
    assert_violates(&list(&world, sized(-1)).await.expect_err("a page size is not negative"), &["page_size"]);
}

async fn a_token_is_valid_for_its_own_list_only(world: World) {
    let template = new_auditorium();
    for _ in 0..2 {
        create(&world, template.clone()).await.expect("it is created");
    }
    let page = |cinema: &str, page_token: &str| ListAuditoriumsRequest {
        cinema: cinema.to_owned(),
        page_size: 1,
        page_token: page_token.to_owned(),
    };
    let (_, token) = list(&world, page(&template.cinema, "")).await.expect("a page");
    let shortened = &token[..token.len() / 2];
    for (cinema, bad) in [
        ("Roxy", &*token),
        ("", &*token),
        (&*template.cinema, &*tampered(&token, 0)),
        (&*template.cinema, &*tampered(&token, token.len() / 2)),
        (&*template.cinema, shortened),
        (&*template.cinema, "0"),
        (&*template.cinema, "\u{1F3AC}"),
    ] {
        let status = list(&world, page(cinema, bad)).await.expect_err("the token is for another list");
        assert_violates(&status, &["page_token"]);
    }
    // The size of a page is not part of the filter.
    let request = ListAuditoriumsRequest { page_size: 7, ..page(&template.cinema, &token) };
    assert_eq!(list(&world, request).await.expect("the next page").0.len(), 1);
}

/// Each rule of a layout is broken alone, and the violation must name the field.
#[tokio::test]
async fn a_layout_is_refused_by_the_field_that_is_wrong() {
    let world = World::start(crate::harness::Store::Sqlite).await;
    let numbered = |numbers: &[i32]| Layout {
        rows: vec![Row { label: "A".to_owned(), places: "ss_s".to_owned(), numbers: numbers.to_vec() }],
    };
    let labels: Vec<String> = (0..101).map(|index| format!("A{index}")).collect();
    let tall: Vec<(&str, &str)> = labels.iter().map(|label| (&**label, "s")).collect();
    let wide = "s".repeat(101);
    let full = "s".repeat(100);
    let packed: Vec<(&str, &str)> = labels[..21].iter().map(|label| (&**label, &*full)).collect();
    for (layout, paths) in [
        (Layout::default(), ["layout.rows"]),
        (layout(&tall), ["layout.rows"]),
        (layout(&packed), ["layout*"]),
        (layout(&[("A", "s"), ("B", "s"), ("A", "s")]), ["layout.rows[2].label"]),
        (layout(&[("", "s")]), ["layout.rows[0].label"]),
        (layout(&[("a", "s")]), ["layout.rows[0].label"]),
        (layout(&[("1A", "s")]), ["layout.rows[0].label"]),
        (layout(&[("ABCDE", "s")]), ["layout.rows[0].label"]),
        (layout(&[("Ä", "s")]), ["layout.rows[0].label"]),
        (layout(&[("A", "s"), ("B", "")]), ["layout.rows[1].places"]),
        (layout(&[("A", &wide)]), ["layout.rows[0].places"]),
        (layout(&[("A", "sxs")]), ["layout.rows[0].places"]),
        (layout(&[("A", "s s")]), ["layout.rows[0].places"]),
        (layout(&[("A", "S")]), ["layout.rows[0].places"]),
        (layout(&[("A", "_._")]), ["layout.rows[0].places"]),
        (numbered(&[1, 2]), ["layout.rows[0].numbers"]),
        (numbered(&[1, 2, 3, 4]), ["layout.rows[0].numbers"]),
        (numbered(&[1, 2, 1]), ["layout.rows[0].numbers*"]),
        (numbered(&[0, 1, 2]), ["layout.rows[0].numbers[0]"]),
        (numbered(&[1, 2, 1000]), ["layout.rows[0].numbers[2]"]),
        (numbered(&[1, -2, 3]), ["layout.rows[0].numbers[1]"]),
    ] {
        let request = CreateAuditoriumRequest { layout: Some(layout.clone()), ..new_auditorium() };
        match create(&world, request).await {
            Err(status) => assert_violates(&status, &paths),
            Ok(created) => panic!("{paths:?} was accepted: {created:?}"),
        }
    }
}

#[tokio::test]
async fn every_violation_is_named_in_one_answer() {
    let world = World::start(crate::harness::Store::Sqlite).await;
    let invalid = CreateAuditoriumRequest {
        name: String::new(),
        cinema: "x".repeat(101),
        time_zone: "Europe/Atlantis".to_owned(),
        layout: Some(layout(&[("a", "s?"), ("B", "__"), ("B", "s")])),
        request_id: "no".to_owned(),
    };
    let status = create(&world, invalid).await.expect_err("the request is invalid");
    assert_violates(
        &status,
        &[
            "name",
            "cinema",
            "time_zone",
            "layout.rows[0].label",
            "layout.rows[0].places",
            "layout.rows[1].places",
            "layout.rows[2].label",
            "request_id",
        ],
    );
    let status = create(&world, CreateAuditoriumRequest::default()).await.expect_err("the request is empty");
    assert_violates(&status, &["name", "cinema", "time_zone", "layout"]);
}

#[tokio::test]
async fn names_are_counted_in_characters_and_printable() {
    let world = World::start(crate::harness::Store::Sqlite).await;
    let named = |name: &str| CreateAuditoriumRequest { name: name.to_owned(), ..new_auditorium() };
    let created = create(&world, named(&"ñ".repeat(100))).await.expect("100 characters are accepted");
    assert_eq!(created.name, "ñ".repeat(100));
    for bad in ["\u{7}", "a\nb", "a\0b", "   "] {
        let status = create(&world, named(bad)).await.expect_err("the name cannot be printed");
        assert_violates(&status, &["name"]);
    }
}

/// A refusal is sent in trailers, and some clients reject trailers of more than 8 KiB.
#[tokio::test]
async fn answers_to_layouts_with_thousands_of_violations_are_small() {
    let world = World::start(crate::harness::Store::Sqlite).await;
    let invalid = |rows: usize, numbers: usize| {
        let numbers = vec![-1; numbers];
        let row = Row { label: "?".to_owned(), places: "?".to_owned(), numbers };
        CreateAuditoriumRequest { layout: Some(Layout { rows: vec![row; rows] }), ..new_auditorium() }
    };
    for request in [invalid(1, 100), invalid(100, 100), invalid(100, 0), invalid(5_000, 0)] {
        let status = create(&world, request).await.expect_err("the request is invalid");
        let trailers = status.message().len() + status.details().len() * 4 / 3;
        assert!((1..7_500).contains(&trailers), "{trailers} bytes: {status:?}");
        let found = violations(&status);
        assert!(found.len() > 1 || found[0].0 == "layout.rows", "{found:?}");
    }
}

#[tokio::test]
async fn given_numbers_are_used_and_a_missing_seat_counts() {
    let world = World::start(crate::harness::Store::Sqlite).await;
    let layout = Layout {
        rows: vec![
            Row { label: "A".to_owned(), places: "ss_s".to_owned(), numbers: vec![5, 3, 999] },
            Row { label: "B".to_owned(), places: "s.s_s".to_owned(), numbers: vec![] },
        ],
    };
    let request = CreateAuditoriumRequest { layout: Some(layout), ..new_auditorium() };
    let created = create(&world, request).await.expect("it is created");
    assert_eq!(created.seat_count, 6);
    let rows = created.layout.expect("the answer has the layout").rows;
    assert_eq!(rows[0].numbers, [5, 3, 999]);
    assert!(rows[1].numbers == [1, 3, 4] || rows[1].numbers.is_empty(), "{:?}", rows[1].numbers);
}

async fn create(world: &World, request: CreateAuditoriumRequest) -> Result<Auditorium, Status> {
    let answer = world.auditoriums().create_auditorium(request).await?;
    Ok(answer.into_inner().auditorium.expect("the answer has the auditorium"))
}

async fn list(world: &World, request: ListAuditoriumsRequest) -> Result<(Vec<Auditorium>, String), Status> {
    let answer = world.auditoriums().list_auditoriums(request).await?.into_inner();
    Ok((answer.auditoriums, answer.next_page_token))
}
