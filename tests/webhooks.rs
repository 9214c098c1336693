//! Events are delivered to HTTP endpoints, signed, at least once, and those of a showtime in their order.

use boxoffice::pb::boxoffice::v1::{FeedEvent, GetEventFeedRequest, Showtime, SubscribeEventsRequest};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Server, Store, World,
    events::{next_event, subscribe},
    eventually,
    seats::{best, cancel, extend, reserve, showtime},
    webhooks::{Receiver, Request, Webhooks},
};

on_both_stores!(
    every_endpoint_gets_what_it_wants_once_and_in_order,
    an_event_that_is_refused_until_it_is_given_up_delays_its_showtime_alone,
    an_endpoint_that_is_gone_is_disabled_and_goes_on_when_it_is_enabled,
    events_survive_a_kill_at_any_moment_and_keep_their_order,
);
on_both_stores!(
    with |setup| setup.with("--event-cap", "3").with("--event-retention", "1m");
    an_endpoint_whose_next_event_was_deleted_is_named_and_goes_on_with_the_oldest_one,
);

/// The kind of database in which a test keeps its state: the same as that of the server.
fn store(world: &World) -> Store {
    if world.storage.is_postgres() { Store::Postgres } else { Store::Sqlite }
}

/// Holds a seat, and extends the hold: two commits with an event each.
async fn hold(server: &Server, showtime: &Showtime, customer: &str) {
    let held = reserve(server, best(showtime, customer, 1)).await.expect("there are seats");
    extend(server, &held).await.expect("the seats are held");
}

/// Every event of the feed, of which there are so many.
async fn feed(server: &Server, count: usize) -> Vec<FeedEvent> {
    let mut events = subscribe(server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let mut read = Vec::new();
    while read.len() < count {
        read.push(next_event(&mut events).await);
    }
    read
}

fn ids(requests: &[Request]) -> Vec<String> {
    requests.iter().map(Request::event_id).collect()
}

async fn every_endpoint_gets_what_it_wants_once_and_in_order(world: World) {
    let showtime = showtime(&world).await;
    for customer in ["ada", "bob"] {
        hold(&world, &showtime, customer).await;
    }
    let held = reserve(&world, best(&showtime, "cem", 2)).await.expect("there are seats");
    cancel(&world, &held).await.expect("the seats are held");
    let events = feed(&world, 8).await;
    let (all, extensions) = (Receiver::start().await, Receiver::start().await);
    let webhooks = Webhooks::of(&world, store(&world)).await;
    webhooks.local("all", &all, "");
    webhooks.local("extensions", &extensions, "types = ['ReservationExtended']");
    webhooks.once(&[]).await;
    let requests = all.requests();
    let expected: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids(&requests), expected);
    for (request, event) in requests.iter().zip(&events) {
        assert_eq!(request.content_type, "application/cloudevents+json; charset=utf-8");
        let body = request.event();
        assert_eq!(body["specversion"], "1.0");
        assert_eq!([&body["source"], &body["type"], &body["subject"]], [&event.source, &event.r#type, &event.subject]);
        assert_eq!(body["partitionkey"], showtime.showtime_id);
        let data = event.data.as_ref().expect("an event has data");
        assert_eq!(body["data"]["revision"], data.revision.to_string());
        assert_eq!(body["data"]["traceparent"].as_str().unwrap_or_default(), data.traceparent);
    }
    assert_eq!(requests[1].event()["data"]["reservationCreated"]["customerId"], "ada");
    let extended = events.iter().filter(|event| event.r#type.ends_with("ReservationExtended"));
    assert_eq!(ids(&extensions.requests()), extended.map(|event| event.id.clone()).collect::<Vec<_>>());
    // Nothing comes again, and what is new does.
    webhooks.once(&[]).await;
    assert_eq!(all.requests().len(), 8);
    hold(&world, &showtime, "dan").await;
    webhooks.once(&[]).await;
    assert_eq!((all.requests().len(), extensions.requests().len()), (10, 3));
    assert_eq!((webhooks.counts("all"), webhooks.counts("extensions")), ([10, 0, 0], [3, 0, 0]));
}

async fn an_event_that_is_refused_until_it_is_given_up_delays_its_showtime_alone(world: World) {
    let (one, two) = (showtime(&world).await, showtime(&world).await);
    let receiver = Receiver::start().await;
    let refused = one.showtime_id.clone();
    receiver.answer(move |request| {
        let is_refused = request.is_of(&refused) && request.is("ReservationCreated");
        if is_refused { (500, None) } else { (204, None) }
    });
    for at in [&one, &two] {
        hold(&world, at, "ada").await;
    }
    let webhooks = Webhooks::of(&world, store(&world)).await;
    webhooks.local("crm", &receiver, "");
    let process = webhooks.spawn(&["--retry-schedule=1ms,1ms"]);
    let requests = receiver.received(6).await;
    let of = |showtime: &Showtime| -> Vec<String> {
        ids(&requests.iter().filter(|request| request.is_of(&showtime.showtime_id)).cloned().collect::<Vec<_>>())
    };
    let id = |showtime: &Showtime, revision: i32| format!("{}/{revision}/0", showtime.showtime_id);
    // Three attempts, and only then the event behind it.
    assert_eq!(of(&one), [1, 2, 2, 2, 3].map(|revision| id(&one, revision)));
    assert_eq!(of(&two), [1, 2, 3].map(|revision| id(&two, revision)));
    let attempts: Vec<_> = requests.iter().filter(|request| request.event_id() == id(&one, 2)).collect();
    assert!(attempts.iter().all(|attempt| attempt.id == attempts[0].id && attempt.body == attempts[0].body));
    process.console().line(&["a delivery is given up", "crm", "HTTP 500 Internal Server Error"]).await;
    eventually("everything is settled", async || (webhooks.counts("crm") == [5, 0, 1]).then_some(())).await;
    let failed = webhooks.list().pop().expect("a delivery that was given up");
    assert_eq!(failed["event_id"], id(&one, 2));
    assert_eq!(failed["webhook_id"], attempts[0].id);
    assert_eq!((&failed["attempts"], &failed["last_answer"]), (&json!(3), &json!("HTTP 500 Internal Server Error")));
    process.signal(Signal::TERM);
    assert_eq!(process.exit().await.code(), Some(0));
    receiver.answer(|_| (200, None));
    webhooks.once(&["--redeliver", "crm"]).await;
    assert_eq!(receiver.requests().last().map(|last| last.id.clone()), Some(attempts[0].id.clone()));
    assert_eq!((webhooks.counts("crm"), webhooks.list().len()), ([6, 0, 0], 1));
}

async fn an_endpoint_that_is_gone_is_disabled_and_goes_on_when_it_is_enabled(world: World) {
    let showtime = showtime(&world).await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    receiver.answer(|request| if request.is("ShowtimeCreated") { (204, None) } else { (410, None) });
    let webhooks = Webhooks::of(&world, store(&world)).await;
    webhooks.local("crm", &receiver, "");
    webhooks.local("other", &other, "");
    hold(&world, &showtime, "ada").await;
    let printed = webhooks.once(&[]).await;
    assert!(printed.contains("the endpoint has answered 410 and is disabled"), "{printed}");
    assert!(webhooks.list()[0]["disabled_time"].is_string(), "{:?}", webhooks.list());
    hold(&world, &showtime, "bob").await;
    webhooks.once(&[]).await;
    assert_eq!((receiver.requests().len(), other.requests().len()), (2, 5));
    receiver.answer(|_| (204, None));
    let refused = webhooks.run(&["--once", "--enable", "cms"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("--enable cms: there is no such endpoint"), "{why}");
    webhooks.once(&["--enable", "crm"]).await;
    assert_eq!(receiver.event_ids(), other.event_ids());
    assert_eq!(webhooks.list()[0]["disabled_time"], Value::Null);
}

async fn an_endpoint_whose_next_event_was_deleted_is_named_and_goes_on_with_the_oldest_one(world: World) {
    const DELETED: &str = "events were deleted before they were queued; the oldest one that is kept is next";
    let showtime = showtime(&world).await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let webhooks = Webhooks::of(&world, store(&world)).await;
    webhooks.local("crm", &receiver, "");
    webhooks.once(&[]).await;
    // The process is away for more commits than are kept.
    for customer in ["ada", "bob", "cem"] {
        hold(&world, &showtime, customer).await;
    }
    eventually("the next event is deleted", async || {
        let feed = world.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read");
        (feed.into_inner().compacted_position == 4).then_some(())
    })
    .await;
    // One that is new has missed nothing, and is not named.
    webhooks.local("other", &other, "");
    let process = webhooks.spawn(&[]);
    receiver.received(4).await;
    other.received(3).await;
    hold(&world, &showtime, "dan").await;
    receiver.received(6).await;
    other.received(5).await;
    process.signal(Signal::TERM);
    assert_eq!(process.exit().await.code(), Some(0), "{}", process.console());
    let console = process.console().lines();
    let named: Vec<_> = console.iter().filter(|line| line.contains(DELETED)).collect();
    assert!(named.len() == 1 && named[0].contains("crm"), "{console:?}");
    let id = |revision: i32| format!("{}/{revision}/0", showtime.showtime_id);
    assert_eq!(ids(&receiver.requests()), [1, 5, 6, 7, 8, 9].map(id));
    assert_eq!(ids(&other.requests()), [5, 6, 7, 8, 9].map(id));
    assert_eq!((webhooks.counts("crm"), webhooks.counts("other")), ([6, 0, 0], [5, 0, 0]));
}

async fn events_survive_a_kill_at_any_moment_and_keep_their_order(world: World) {
    let showtimes = [showtime(&world).await, showtime(&world).await];
    let receiver = Receiver::start().await;
    let webhooks = Webhooks::of(&world, store(&world)).await;
    webhooks.local("crm", &receiver, "");
    let rounds = if world.storage.is_postgres() { 1 } else { 4 };
    for round in 0..rounds {
        // Attempts are under way, and what came of them is unknown, when the process is killed.
        receiver.open(false);
        let before = receiver.requests().len();
        let mut process = webhooks.spawn(&[]);
        for at in &showtimes {
            hold(&world, at, &format!("customer-{round}")).await;
        }
        eventually("attempts are under way", async || (receiver.requests().len() >= before + 2).then_some(())).await;
        process.kill();
        receiver.open(true);
    }
    let process = webhooks.spawn(&[]);
    let events = feed(&world, 2 + rounds * 4).await;
    receiver.received(events.len()).await;
    process.signal(Signal::TERM);
    assert_eq!(process.exit().await.code(), Some(0), "{}", process.console());
    let first: Vec<_> = receiver.event_ids();
    for at in &showtimes {
        let of = |ids: Vec<String>| -> Vec<String> {
            ids.into_iter().filter(|id| id.starts_with(&at.showtime_id)).collect()
        };
        assert_eq!(of(first.clone()), of(events.iter().map(|event| event.id.clone()).collect()));
    }
    // What came again had the same id.
    let requests = receiver.requests();
    for request in &requests {
        let same = |other: &&Request| other.event_id() == request.event_id();
        assert!(requests.iter().filter(same).all(|other| other.id == request.id && other.body == request.body));
    }
    assert_eq!(webhooks.counts("crm"), [events.len() as u64, 0, 0]);
}

#[tokio::test]
async fn an_endpoint_that_begins_now_gets_what_comes_after_it_was_first_seen() {
    let world = World::start(Store::Sqlite).await;
    showtime(&world).await;
    let receiver = Receiver::start().await;
    let webhooks = Webhooks::of(&world, Store::Sqlite).await;
    webhooks.local("crm", &receiver, "begin = 'now'");
    webhooks.once(&[]).await;
    let showtime = showtime(&world).await;
    webhooks.once(&[]).await;
    assert_eq!(receiver.event_ids(), [format!("{}/1/0", showtime.showtime_id)]);
}
