//! The stream of events: complete and in order, resumable from every event at any instance, and filtered.

use boxoffice::pb::boxoffice::{
    events::v1::{AggregateType, SeatsReleasedReason, event::Payload},
    v1::{
        CancelReservationRequest, CancelShowtimeRequest, EventSinkState, GetEventFeedRequest, SubscribeEventsRequest,
        subscribe_events_request::Start, subscribe_events_response::Message,
    },
};
use futures_util::future::join_all;
use tonic::{Code, Request};

use crate::harness::{
    Redis, Server, World, assert_refused, assert_violates,
    events::{after, assert_complete, ids, in_state, next, next_event, subscribe, until},
    eventually,
    seats::{best, cancel, confirm, extend, reserve, showtime, these},
};

on_both_stores!(
    every_change_has_its_events_in_the_order_of_revisions,
    an_event_says_what_a_consumer_would_have_to_ask_for,
    a_stream_goes_on_after_every_event_with_any_filter,
    a_stream_from_now_has_only_what_is_committed_afterwards,
    events_are_filtered_by_type_showtime_and_cinema,
    a_slow_subscriber_gets_everything,
    a_token_that_was_changed_is_refused,
    a_bad_filter_is_refused_by_name,
    a_subscriber_beyond_the_limit_is_refused_and_a_sink_takes_no_place,
);
on_both_stores!(
    with |setup| setup.with("--watch-heartbeat", "200ms");
    heartbeats_go_on_where_a_filter_lets_nothing_through,
);

async fn every_change_has_its_events_in_the_order_of_revisions(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&world).await;
    let sold = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let sold = confirm(&world, &sold).await.expect("the seats are held");
    let freed = reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    extend(&world, &freed).await.expect("the seat is held");
    cancel(&world, &freed).await.expect("the seat is held");
    let request =
        CancelShowtimeRequest { showtime_id: showtime.showtime_id.clone(), force: true, ..Default::default() };
    world.showtimes().cancel_showtime(request).await.expect("the showtime is scheduled");
    let read = until(&mut events, &showtime.showtime_id, 7, "ShowtimeCancelled").await;
    assert_complete(&read);
    let types: Vec<_> = read.iter().map(|event| event.r#type.trim_start_matches("boxoffice.v1.")).collect();
    let expected = [
        "ShowtimeCreated",
        "ReservationCreated",
        "ReservationConfirmed",
        "ReservationCreated",
        "ReservationExtended",
        "ReservationCancelled",
        "SeatsReleased",
        "ReservationCancelled",
        "SeatsReleased",
        "ShowtimeCancelled",
    ];
    assert_eq!(types, expected);
    let confirmed = &read[2];
    assert_eq!(confirmed.id, format!("{}/3/0", showtime.showtime_id));
    assert_eq!(confirmed.source, format!("/showtimes/{}", showtime.showtime_id));
    assert_eq!(confirmed.subject, sold.reservation_id);
    let Some(Payload::ReservationConfirmed(payload)) = confirmed.data.clone().expect("an event has data").payload
    else {
        panic!("another payload: {confirmed:?}")
    };
    assert_eq!(payload.seats.len(), 2);
}

async fn an_event_says_what_a_consumer_would_have_to_ask_for(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&world).await;
    let mut request = Request::new(CancelReservationRequest::default());
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    request.get_mut().reservation_id.clone_from(&held.reservation_id);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("a header"));
    world.reservations().cancel_reservation(request).await.expect("the seats are held");
    let read = until(&mut events, &showtime.showtime_id, 3, "SeatsReleased").await;
    let data: Vec<_> = read.into_iter().map(|event| event.data.expect("an event has data")).collect();
    for event in &data {
        assert_eq!((event.aggregate_type(), &event.aggregate_id), (AggregateType::Showtime, &showtime.showtime_id));
        assert_eq!(event.revision_events, if event.revision == 3 { 2 } else { 1 });
    }
    assert_eq!(data[2].traceparent, traceparent);
    assert!(data[1].traceparent.starts_with("00-") && data[1].traceparent.ends_with("-00"), "{:?}", data[1]);
    let [Some(Payload::ShowtimeCreated(created)), _, Some(Payload::ReservationCancelled(cancelled)), last] =
        [0, 1, 2, 3].map(|at: usize| data[at].payload.clone())
    else {
        panic!("other payloads: {data:?}")
    };
    let auditorium = showtime.auditorium.clone().expect("a showtime has an auditorium");
    assert_eq!(
        [created.cinema, created.time_zone, created.auditorium_name],
        [auditorium.cinema, auditorium.time_zone, auditorium.name]
    );
    assert_eq!(created.local_date, showtime.local_date);
    assert_eq!((cancelled.seats.len(), cancelled.total_price), (2, held.total_price));
    let Some(Payload::SeatsReleased(released)) = last else { panic!("another payload: {last:?}") };
    assert_eq!(released.reason(), SeatsReleasedReason::Cancelled);
}

/// Commits with one and with several events.
async fn some_events(server: &Server) -> String {
    let showtime = showtime(server).await;
    for customer in ["ada", "bob", "cem"] {
        let held = reserve(server, best(&showtime, customer, 2)).await.expect("there are free seats");
        cancel(server, &held).await.expect("the seats are held");
    }
    showtime.showtime_id
}

async fn a_stream_goes_on_after_every_event_with_any_filter(world: World) {
    let showtime_id = some_events(&world).await;
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let all = until(&mut events, &showtime_id, 7, "SeatsReleased").await;
    assert_eq!(all.len(), 10);
    for (at, event) in all.iter().enumerate().take(all.len() - 1) {
        let mut rest = subscribe(&world, after(&event.resume_token)).await.expect("the token is of this feed");
        let rest = until(&mut rest, &showtime_id, 7, "SeatsReleased").await;
        assert_eq!(ids(&rest), ids(&all[at + 1..]), "after {}", event.id);
        let request = SubscribeEventsRequest { types: vec!["SeatsReleased".to_owned()], ..after(&event.resume_token) };
        let mut released = subscribe(&world, request).await.expect("the token is of this feed");
        let released = until(&mut released, &showtime_id, 7, "SeatsReleased").await;
        let expected = all[at + 1..].iter().filter(|event| event.r#type == "boxoffice.v1.SeatsReleased").cloned();
        assert_eq!(released, expected.collect::<Vec<_>>(), "after {}", event.id);
    }
    let world = world.restart().await;
    let mut rest = subscribe(&world, after(&all[4].resume_token)).await.expect("the token is of this feed");
    assert_eq!(ids(&until(&mut rest, &showtime_id, 7, "SeatsReleased").await), ids(&all[5..]));
}

async fn a_stream_from_now_has_only_what_is_committed_afterwards(world: World) {
    let before = some_events(&world).await;
    let request = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    let mut events = subscribe(&world, request).await.expect("the feed is read");
    let later = showtime(&world).await;
    assert_ne!(later.showtime_id, before);
    assert_eq!(next_event(&mut events).await.id, format!("{}/1/0", later.showtime_id));
    let feed = world.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
    assert_eq!((feed.position, feed.compacted_position), (8, 0));
    let mut events = subscribe(&world, after(&feed.oldest_token)).await.expect("the token is of this feed");
    assert_eq!(next_event(&mut events).await.id, format!("{before}/1/0"));
}

async fn events_are_filtered_by_type_showtime_and_cinema(world: World) {
    let showtimes = [showtime(&world).await, showtime(&world).await];
    for showtime in &showtimes {
        let held = reserve(&world, these(showtime, "ada", "A1")).await.expect("the seat is free");
        confirm(&world, &held).await.expect("the seat is held");
    }
    let [_, other] = &showtimes;
    let cinema = other.auditorium.clone().expect("a showtime has an auditorium").cinema;
    let types = vec!["boxoffice.v1.ReservationConfirmed".to_owned(), "ShowtimeCreated".to_owned()];
    let expected = [format!("{}/1/0", other.showtime_id), format!("{}/3/0", other.showtime_id)];
    for cinemas in [vec![], vec![cinema]] {
        let showtime_ids = vec![other.showtime_id.clone()];
        let request = SubscribeEventsRequest { types: types.clone(), showtime_ids, cinemas, ..Default::default() };
        let mut events = subscribe(&world, request).await.expect("the feed is read");
        assert_eq!([next_event(&mut events).await.id, next_event(&mut events).await.id], expected);
    }
}

async fn heartbeats_go_on_where_a_filter_lets_nothing_through(world: World) {
    let nowhere = SubscribeEventsRequest { cinemas: vec!["Nowhere".to_owned()], ..Default::default() };
    let mut events = subscribe(&world, nowhere).await.expect("the feed is read");
    let showtime_id = some_events(&world).await;
    let later = reserve(&world, best(&showtime(&world).await, "ada", 1)).await.expect("there are free seats");
    // The token of a heartbeat is at the end of what was looked at, so in the end nothing is left after it.
    let last = eventually("a heartbeat is behind everything", async || {
        let Message::Heartbeat(heartbeat) = next(&mut events).await else { panic!("nothing passes the filter") };
        let feed = world.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        let mut rest = subscribe(&world, after(&heartbeat.resume_token)).await.expect("the token is of this feed");
        let is_last = feed.position == 9 && matches!(next(&mut rest).await, Message::Heartbeat(_));
        is_last.then_some(heartbeat.resume_token)
    })
    .await;
    let mut rest = subscribe(&world, after(&last)).await.expect("the token is of this feed");
    confirm(&world, &later).await.expect("the seat is held");
    let event = next_event(&mut rest).await;
    assert!(event.subject == later.reservation_id && !event.id.starts_with(&showtime_id), "{event:?}");
}

async fn a_slow_subscriber_gets_everything(world: World) {
    let showtime = showtime(&world).await;
    let mut slow = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let last = join_all((0..40).map(async |caller: usize| {
        let mut last = 0;
        for round in 0..30 {
            let customer = format!("caller {caller}-{round}");
            let Ok(held) = reserve(&world, best(&showtime, &customer, 1)).await else { continue };
            last = cancel(&world, &held).await.expect("the seat is held").revision;
        }
        last
    }));
    let last = last.await.into_iter().max().expect("there are callers");
    assert!(last > 500, "{last} revisions");
    assert_complete(&until(&mut slow, &showtime.showtime_id, last, "SeatsReleased").await);
}

async fn a_token_that_was_changed_is_refused(world: World) {
    let showtime_id = some_events(&world).await;
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let token = next_event(&mut events).await.resume_token;
    let mut changed = token.clone().into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    for token in [String::from_utf8(changed).expect("it is text"), token[1..].to_owned(), "?".to_owned(), showtime_id] {
        let refused = subscribe(&world, after(&token)).await.expect_err("the token is none");
        assert_refused(&refused, Code::InvalidArgument, "TOKEN_MALFORMED");
    }
}

async fn a_bad_filter_is_refused_by_name(world: World) {
    let request = SubscribeEventsRequest {
        types: vec!["ReservationConfirmed".to_owned(), "Nothing".to_owned()],
        showtime_ids: vec!["7".to_owned()],
        cinemas: vec![String::new(); 101],
        ..after(&"a".repeat(201))
    };
    let refused = subscribe(&world, request).await.expect_err("the request is bad");
    assert_violates(&refused, &["resume_token", "cinemas", "types[1]", "showtime_ids[0]"]);
}

async fn a_subscriber_beyond_the_limit_is_refused_and_a_sink_takes_no_place(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let world = world.setup().clone().with("--sink", redis.url()).start().await;
    in_state(&world, EventSinkState::Running).await;
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(world.events());
    }
    let mut open = Vec::new();
    for number in 0..boxoffice::app::MAX_SUBSCRIBERS {
        let request = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
        let events = channels[number % 4].subscribe_events(request).await.expect("there is room for it");
        open.push(events.into_inner());
    }
    let refused = subscribe(&world, SubscribeEventsRequest::default()).await.expect_err("there is no room");
    assert_refused(&refused, Code::ResourceExhausted, "TOO_MANY_SUBSCRIBERS");
    drop(open);
    eventually("there is room again", async || subscribe(&world, SubscribeEventsRequest::default()).await.ok()).await;
}
