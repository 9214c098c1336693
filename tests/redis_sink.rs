//! Events in a Redis stream: each is there once, in the order of the feed, whatever fails.

use boxoffice::pb::boxoffice::{
    events::v1::Event,
    v1::{
        EventSink, EventSinkState, FeedEvent, GetEventFeedRequest, Showtime, SubscribeEventsRequest,
        subscribe_events_request::Start,
    },
};
use prost::Message as _;
use redis::{FromRedisValue as _, aio::MultiplexedConnection};
use rustix::process::Signal;

use crate::harness::{
    Redis, Server, Store, World,
    events::{assert_complete, next_event, subscribe},
    eventually,
    seats::{best, cancel, confirm, reserve, showtime},
    server::Setup,
    world::Storage,
};

on_both_stores!(
    events_are_in_the_stream_once_in_the_order_of_the_feed,
    while_redis_is_down_a_sink_is_paused_and_nothing_is_lost,
    what_redis_has_lost_of_its_end_is_delivered_again,
    a_restarted_server_goes_on_where_it_was,
    events_that_a_sink_has_not_delivered_are_kept_beyond_their_time,
    events_beyond_the_cap_are_given_up_and_counted,
    after_entries_of_another_history_events_are_written_all_the_same,
);

fn with_sink(setup: Setup, redis: &Redis) -> Setup {
    setup.with("--sink", redis.url())
}

async fn start(world: &World, redis: &Redis) -> Server {
    with_sink(world.setup().clone(), redis).start().await
}

/// An entry of the stream.
#[derive(Debug)]
struct Entry {
    id: String,
    attributes: Vec<(String, String)>,
    event: Event,
}

impl Entry {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

async fn connect(redis: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("Redis listens")
}

/// The ids of all entries of the stream, and their fields.
async fn fields(redis: &Redis) -> Vec<(String, Vec<(String, redis::Value)>)> {
    let mut connection = connect(redis).await;
    let mut read = redis::cmd("XRANGE");
    read.arg("boxoffice:events").arg("-").arg("+");
    read.query_async(&mut connection).await.expect("a stream")
}

/// All entries of the stream.
async fn entries(redis: &Redis) -> Vec<Entry> {
    let read = fields(redis).await;
    let text = |value| String::from_redis_value(value).expect("a text");
    read.into_iter()
        .map(|(id, mut fields)| {
            let (name, data) = fields.pop().expect("an entry has fields");
            assert_eq!(name, "data");
            let data = Vec::<u8>::from_redis_value(data).expect("bytes");
            let attributes = fields.into_iter().map(|(name, value)| (name, text(value))).collect();
            Entry { id, attributes, event: Event::decode(data.as_slice()).expect("an event") }
        })
        .collect()
}

async fn sinks(server: &Server) -> Vec<EventSink> {
    server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner().sinks
}

/// Waits until the sink is in this state.
async fn in_state(server: &Server, state: EventSinkState) -> EventSink {
    eventually("the sink is in its state", async || sinks(server).await.into_iter().find(|sink| sink.state() == state))
        .await
}

/// Waits until everything that was committed is delivered.
async fn delivered(server: &Server) {
    // After this, everything that was committed has its position.
    let now = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    subscribe(server, now).await.expect("the feed is read");
    eventually("everything is delivered", async || {
        sinks(server).await.iter().all(|sink| sink.lag == 0 && sink.position > 0).then_some(())
    })
    .await;
}

/// The first events of the feed.
async fn feed(server: &Server, count: usize) -> Vec<FeedEvent> {
    let mut events = subscribe(server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let mut read = Vec::new();
    for _ in 0..count {
        read.push(next_event(&mut events).await);
    }
    read
}

/// Waits until the stream has these events and no others.
async fn has(redis: &Redis, events: &[FeedEvent]) -> Vec<Entry> {
    let entries = eventually("the stream has every event", async || {
        let entries = entries(redis).await;
        (entries.len() >= events.len()).then_some(entries)
    })
    .await;
    let ids: Vec<_> = entries.iter().map(|entry| entry.attribute("id")).collect();
    assert_eq!(ids, events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>());
    entries
}

/// Reserves a seat for this customer, and cancels the reservation: two commits with three events.
async fn change(server: &Server, showtime: &Showtime, customer: &str) {
    let held = reserve(server, best(showtime, customer, 1)).await.expect("there are seats");
    cancel(server, &held).await.expect("the seat is held");
}

async fn events_are_in_the_stream_once_in_the_order_of_the_feed(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    for customer in ["ada", "bob", "cem"] {
        change(&server, &showtime, customer).await;
    }
    let held = reserve(&server, best(&showtime, "dan", 2)).await.expect("there are seats");
    confirm(&server, &held).await.expect("the seats are held");
    let events = feed(&server, 12).await;
    assert_complete(&events);
    let entries = has(&redis, &events).await;
    for (entry, event) in entries.iter().zip(&events) {
        assert_eq!(Some(&entry.event), event.data.as_ref());
        let of_feed = [&event.source, &event.r#type, &event.subject].map(String::as_str);
        assert_eq!(["source", "type", "subject"].map(|name| entry.attribute(name)), of_feed);
        assert_eq!(entry.attribute("specversion"), "1.0");
        assert_eq!(entry.attribute("datacontenttype"), "application/protobuf");
        assert_eq!(entry.attribute("partitionkey"), showtime.showtime_id);
        assert_eq!(entry.attribute("traceparent"), entry.event.traceparent);
    }
    // A commit has its position, and its events follow each other.
    let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["1-0", "2-0", "3-0", "3-1", "4-0", "5-0", "5-1", "6-0", "7-0", "7-1", "8-0", "9-0"]);
    let sink = in_state(&server, EventSinkState::Running).await;
    assert_eq!((sink.name.as_str(), sink.problem.as_str()), ("redis", ""));
    delivered(&server).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("boxoffice_sink_published_total", &["sink=\"redis\""]), Some(12.0));
    assert_eq!(metrics.sum("boxoffice_sink_lag", &["sink=\"redis\""]), Some(0.0));
}

async fn while_redis_is_down_a_sink_is_paused_and_nothing_is_lost(world: World) {
    let mut redis = Redis::start().await;
    world.stop().await;
    let server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    has(&redis, &feed(&server, 1).await).await;
    redis.kill();
    change(&server, &showtime, "ada").await;
    let paused = in_state(&server, EventSinkState::Paused).await;
    assert!(paused.problem.starts_with("Redis"), "{}", paused.problem);
    assert_eq!(paused.position, 1);
    eventually("both commits have positions", async || {
        let sink = sinks(&server).await.remove(0);
        (sink.lag == 2 && sink.lag_time.is_some()).then_some(())
    })
    .await;
    // What was in the memory of Redis is lost with it, and is delivered again.
    redis.restart().await;
    has(&redis, &feed(&server, 4).await).await;
    let running = in_state(&server, EventSinkState::Running).await;
    assert_eq!((running.problem.as_str(), running.lag, running.lag_time), ("", 0, None));
    assert!(server.metrics().await.sum("boxoffice_sink_retried_total", &[]).is_some_and(|retried| retried >= 1.0));
}

async fn what_redis_has_lost_of_its_end_is_delivered_again(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let mut server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    for customer in ["ada", "bob"] {
        change(&server, &showtime, customer).await;
    }
    let events = feed(&server, 7).await;
    has(&redis, &events).await;
    delivered(&server).await;
    server.kill();
    // Redis has written its file a while before it ended: of the last four entries it has none, as an id that was deleted
    // cannot be written again.
    let kept = entries(&redis).await;
    redis.run(&["DEL", "boxoffice:events"]);
    for entry in &kept[..3] {
        redis.run(&["XADD", "boxoffice:events", &entry.id, "id", entry.attribute("id"), "data", ""]);
    }
    let server = start(&world, &redis).await;
    change(&server, &showtime, "cem").await;
    has(&redis, &feed(&server, 10).await).await;
}

async fn a_restarted_server_goes_on_where_it_was(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let mut server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    change(&server, &showtime, "ada").await;
    delivered(&server).await;
    server.kill();
    let server = start(&world, &redis).await;
    change(&server, &showtime, "bob").await;
    has(&redis, &feed(&server, 7).await).await;
}

async fn events_that_a_sink_has_not_delivered_are_kept_beyond_their_time(world: World) {
    let mut redis = Redis::start().await;
    world.stop().await;
    let server = with_sink(world.setup().clone(), &redis).with("--event-retention", "1s").start().await;
    let showtime = showtime(&server).await;
    has(&redis, &feed(&server, 1).await).await;
    redis.kill();
    in_state(&server, EventSinkState::Running).await;
    change(&server, &showtime, "ada").await;
    in_state(&server, EventSinkState::Paused).await;
    // The first commit was delivered, and is deleted. The others are older than a second as well, when it is known to be.
    eventually("what was delivered is deleted", async || {
        let feed = server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        let waiting = feed.sinks[0].lag_time.is_some_and(|time| time.seconds >= 3);
        (feed.compacted_position >= 1 && waiting).then_some(())
    })
    .await;
    redis.restart().await;
    let entries = eventually("the stream has every event", async || {
        let entries = entries(&redis).await;
        (entries.len() >= 3).then_some(entries)
    })
    .await;
    let ids: Vec<_> = entries.iter().map(|entry| entry.attribute("id").to_owned()).collect();
    assert_eq!(ids, ["2/0", "3/0", "3/1"].map(|of| format!("{}/{of}", showtime.showtime_id)));
}

async fn events_beyond_the_cap_are_given_up_and_counted(world: World) {
    let mut redis = Redis::start().await;
    world.stop().await;
    let setup = with_sink(world.setup().clone(), &redis).with("--event-retention", "1s").with("--event-cap", "3");
    let mut server = setup.clone().start().await;
    let showtime = showtime(&server).await;
    has(&redis, &feed(&server, 1).await).await;
    redis.kill();
    for customer in ["ada", "bob", "cem"] {
        change(&server, &showtime, customer).await;
    }
    eventually("events are deleted", async || {
        let feed = server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        (feed.compacted_position == 4).then_some(())
    })
    .await;
    // What the server had in memory it would still deliver.
    server.kill();
    let server = setup.start().await;
    redis.restart().await;
    eventually("the sink is complete", async || (sinks(&server).await[0].lag == 0).then_some(())).await;
    let ids: Vec<_> = entries(&redis).await.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["5-0", "5-1", "6-0", "7-0", "7-1"]);
    assert_eq!(server.metrics().await.sum("boxoffice_sink_skipped_total", &["sink=\"redis\""]), Some(3.0));
}

async fn after_entries_of_another_history_events_are_written_all_the_same(world: World) {
    let redis = Redis::start().await;
    redis.run(&["XADD", "boxoffice:events", "40-1", "id", "another/1/0", "data", ""]);
    world.stop().await;
    let mut server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    change(&server, &showtime, "ada").await;
    let ids = async |count| {
        eventually("the stream has every event", async || {
            let read = fields(&redis).await;
            (read.len() >= count).then(|| read.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
        })
        .await
    };
    assert_eq!(ids(5).await, ["40-1", "41-0", "42-0", "43-0", "43-1"]);
    server.kill();
    let server = start(&world, &redis).await;
    change(&server, &showtime, "bob").await;
    assert_eq!(ids(8).await[5..], ["44-0", "45-0", "45-1"]);
}

#[tokio::test]
async fn another_instance_goes_on_when_the_one_that_delivers_has_stopped_or_was_killed() {
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let one = with_sink(storage.setup(), &redis).start().await;
    let showtime = showtime(&one).await;
    delivered(&one).await;
    let mut two = with_sink(storage.setup(), &redis).start().await;
    one.stop().await;
    change(&two, &showtime, "ada").await;
    delivered(&two).await;
    let three = with_sink(storage.setup(), &redis).start().await;
    two.kill();
    change(&three, &showtime, "bob").await;
    has(&redis, &feed(&three, 7).await).await;
}

#[tokio::test]
async fn an_instance_that_was_taken_for_dead_writes_nothing_when_it_wakes_up() {
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let sleeper = with_sink(storage.setup(), &redis).start().await;
    let showtime = showtime(&sleeper).await;
    delivered(&sleeper).await;
    let other = with_sink(storage.setup(), &redis).start().await;
    sleeper.signal(Signal::STOP);
    change(&other, &showtime, "ada").await;
    other.console().line(&["delivering events", "sink=\"redis\""]).await;
    delivered(&other).await;
    sleeper.signal(Signal::CONT);
    sleeper.console().line(&["another instance delivers events now"]).await;
    change(&sleeper, &showtime, "bob").await;
    let events = feed(&other, 7).await;
    has(&redis, &events).await;
}

#[tokio::test]
async fn a_server_whose_memory_is_full_pauses_its_sink() {
    let (storage, redis) = (Storage::new(Store::Sqlite).await, Redis::start().await);
    let server = with_sink(storage.setup(), &redis).start().await;
    let showtime = showtime(&server).await;
    has(&redis, &feed(&server, 1).await).await;
    redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    change(&server, &showtime, "ada").await;
    let paused = in_state(&server, EventSinkState::Paused).await;
    assert!(paused.problem.contains("OOM"), "{}", paused.problem);
    redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    has(&redis, &feed(&server, 4).await).await;
}

#[tokio::test]
async fn a_server_that_evicts_keys_is_refused_as_a_sink() {
    let (storage, redis) = (Storage::new(Store::Sqlite).await, Redis::start().await);
    redis.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let (code, console) = with_sink(storage.setup(), &redis).failed_start().await;
    assert_eq!(code, Some(1));
    assert!(console.contains("--sink redis: the server deletes keys when its memory is full"), "{console}");
}
