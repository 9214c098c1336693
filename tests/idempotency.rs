//! A repeated request has one effect, if it has a `request_id` or the metadata key `idempotency-key`, which means the same.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, CreateAuditoriumRequest, CreateShowtimeRequest, CreateShowtimeResponse,
    ListAuditoriumsRequest, ListShowtimesRequest, ShowtimeState,
};
use futures_util::future::join_all;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    Server, World, assert_refused, assert_violates, create_auditorium, euros, in_hours, new_auditorium, new_showtime,
    request_id,
};

on_both_stores!(
    a_repeated_create_answers_as_the_first_did,
    a_repeated_auditorium_is_made_once,
    a_repeated_cancel_answers_as_the_first_did,
    an_id_used_with_other_content_is_refused,
    an_id_belongs_to_its_method,
    an_idempotency_key_is_a_request_id,
    two_different_ids_are_refused,
    a_refusal_that_may_change_is_not_stored,
    concurrent_repeats_have_one_effect,
    answers_survive_a_restart,
);

async fn a_repeated_create_answers_as_the_first_did(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let first = create(&world, request.clone()).await.expect("the slot is free");
    assert!(!is_repeated(&first), "{first:?}");
    let showtime = first.into_inner().showtime.expect("the answer has the showtime");
    let second = create(&world, request.clone()).await.expect("a repeated request is answered");
    assert!(is_repeated(&second), "{second:?}");
    assert_eq!(second.into_inner().showtime.as_ref(), Some(&showtime));
    // Later changes do not change the answer.
    let cancel = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        request_id: String::new(),
        force: false,
        expected_revision: 0,
    };
    world.showtimes().cancel_showtime(cancel).await.expect("the showtime is cancelled");
    let third = create(&world, request).await.expect("a repeated request is answered");
    assert!(is_repeated(&third), "{third:?}");
    assert_eq!(third.into_inner().showtime, Some(showtime));
    assert_eq!(count(&world).await, 1);
}

async fn a_repeated_auditorium_is_made_once(world: World) {
    let request = CreateAuditoriumRequest { request_id: request_id(), ..new_auditorium() };
    let first = world.auditoriums().create_auditorium(request.clone()).await.expect("it is created");
    let second = world.auditoriums().create_auditorium(request.clone()).await.expect("a repeated request is answered");
    assert!(!is_repeated(&first) && is_repeated(&second));
    assert_eq!(first.into_inner(), second.into_inner());
    let list = ListAuditoriumsRequest { cinema: request.cinema.clone(), ..Default::default() };
    let listed = world.auditoriums().list_auditoriums(list).await.expect("a list").into_inner();
    assert_eq!(listed.auditoriums.len(), 1);
    let other = CreateAuditoriumRequest { name: "Screen 2".to_owned(), ..request };
    let status = world.auditoriums().create_auditorium(other).await.expect_err("it is another request");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

async fn a_repeated_cancel_answers_as_the_first_did(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let created = create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    let showtime_id = created.into_inner().showtime.expect("the answer has the showtime").showtime_id;
    let request = CancelShowtimeRequest { showtime_id, request_id: request_id(), force: false, expected_revision: 0 };
    let first = world.showtimes().cancel_showtime(request.clone()).await.expect("the showtime is cancelled");
    let second = world.showtimes().cancel_showtime(request).await.expect("a repeated request is answered");
    assert!(!is_repeated(&first) && is_repeated(&second));
    assert_eq!(first.into_inner(), second.into_inner());
}

async fn an_id_used_with_other_content_is_refused(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    create(&world, request.clone()).await.expect("the slot is free");
    for other in [
        CreateShowtimeRequest { price: Some(euros(9, 0)), ..request.clone() },
        CreateShowtimeRequest { start_time: new_showtime("", in_hours(9)).start_time, ..request.clone() },
        CreateShowtimeRequest { hold_duration: request.duration, ..request.clone() },
    ] {
        let status = create(&world, other).await.expect_err("it is another request");
        assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    }
    assert_eq!(count(&world).await, 1);
}

async fn an_id_belongs_to_its_method(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let created = create(&world, request.clone()).await.expect("the slot is free");
    let showtime_id = created.into_inner().showtime.expect("the answer has the showtime").showtime_id;
    let cancel =
        CancelShowtimeRequest { showtime_id, request_id: request.request_id, force: false, expected_revision: 0 };
    let answer = world.showtimes().cancel_showtime(cancel).await.expect("the id counts for each method");
    assert!(!is_repeated(&answer));
    let state = answer.into_inner().showtime.map(|showtime| showtime.state());
    assert_eq!(state, Some(ShowtimeState::Cancelled));
}

async fn an_idempotency_key_is_a_request_id(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let key = request_id();
    let by_metadata = new_showtime(&auditorium, in_hours(0));
    let by_field = CreateShowtimeRequest { request_id: key.clone(), ..by_metadata.clone() };
    let first = create(&world, with_key(by_metadata.clone(), &key)).await.expect("the slot is free");
    let second = create(&world, with_key(by_metadata, &key)).await.expect("a repeated request is answered");
    let third = create(&world, by_field.clone()).await.expect("the field means the same");
    let both = create(&world, with_key(by_field, &key)).await.expect("equal ids are accepted");
    assert!(!is_repeated(&first) && is_repeated(&second) && is_repeated(&third) && is_repeated(&both));
    let ids: BTreeSet<String> = [first, second, third, both].into_iter().map(id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

async fn two_different_ids_are_refused(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let status = create(&world, with_key(request.clone(), &request_id())).await.expect_err("the ids differ");
    assert_violates(&status, &["request_id"]);
    let without_id = CreateShowtimeRequest { request_id: String::new(), ..request };
    let status = create(&world, with_key(without_id, "not-a-uuid")).await.expect_err("the id is malformed");
    assert_violates(&status, &["idempotency-key"]);
    assert_eq!(count(&world).await, 0);
}

async fn a_refusal_that_may_change_is_not_stored(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    // An outage of the provider does not become the answer to the request.
    let faults = world.embedded_provider().await;
    faults.outage().await;
    let status = create(&world, request.clone()).await.expect_err("the provider is down");
    assert_refused(&status, Code::Unavailable, "PROVIDER_UNAVAILABLE");
    faults.clear().await;
    crate::harness::eventually("the provider is called again", async || create(&world, request.clone()).await.ok())
        .await;
    assert_eq!(count(&world).await, 1);
}

async fn concurrent_repeats_have_one_effect(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let answers = join_all((0..30).map(|_| create(&world, request.clone()))).await;
    let mut ids = BTreeSet::new();
    let mut originals = 0;
    for answer in answers {
        match answer {
            Ok(answer) => {
                originals += u32::from(!is_repeated(&answer));
                ids.insert(id(answer));
            }
            // A repetition may be refused with a retry hint while the first request is under way.
            Err(status) => {
                assert_eq!(status.code(), Code::Aborted, "{status:?}");
                assert!(status.get_details_retry_info().is_some(), "{status:?}");
            }
        }
    }
    assert_eq!((ids.len(), originals), (1, 1));
    assert_eq!(count(&world).await, 1);
}

async fn answers_survive_a_restart(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let first = create(&world, request.clone()).await.expect("the slot is free");
    let world = world.restart().await;
    let second = create(&world, request).await.expect("a repeated request is answered");
    assert!(is_repeated(&second));
    assert_eq!(first.into_inner(), second.into_inner());
}

type Answer = Result<Response<CreateShowtimeResponse>, Status>;

async fn create(server: &Server, request: impl tonic::IntoRequest<CreateShowtimeRequest>) -> Answer {
    server.showtimes().create_showtime(request).await
}

fn with_key(request: CreateShowtimeRequest, key: &str) -> Request<CreateShowtimeRequest> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("idempotency-key", key.parse().expect("metadata"));
    request
}

fn id(answer: Response<CreateShowtimeResponse>) -> String {
    answer.into_inner().showtime.expect("the answer has the showtime").showtime_id
}

fn is_repeated<T>(answer: &Response<T>) -> bool {
    let mark = answer.metadata().get("idempotent-replayed");
    assert!(mark.is_none_or(|mark| mark == "true"), "{mark:?}");
    mark.is_some()
}

async fn count(server: &Server) -> usize {
    let request = ListShowtimesRequest { include_cancelled: true, ..Default::default() };
    server.showtimes().list_showtimes(request).await.expect("a list").into_inner().showtimes.len()
}
