//! Events are delivered to a Redis stream in the order of the feed, whatever fails.

use boxoffice::pb::boxoffice::v1::{EventSinkState, GetEventFeedRequest};
use rustix::process::Signal;

use crate::harness::{
    Redis, Store, World,
    events::{assert_complete, change, delivered, feed, in_state, sinks},
    eventually,
    redis_stream::{entries, has, start, with_sink},
    seats::{best, extend, reserve, showtime},
    world::Storage,
};

on_both_stores!(
    events_are_in_the_stream_once_in_the_order_of_the_feed,
    while_redis_is_down_a_sink_is_paused_and_nothing_is_lost,
    a_restarted_server_goes_on_where_it_was,
    events_that_a_sink_has_not_delivered_are_kept_beyond_their_time,
    events_beyond_the_cap_are_given_up_and_counted,
    after_a_long_stop_nothing_is_deleted_that_was_not_delivered,
    a_server_whose_memory_is_full_pauses_its_sink,
);

async fn events_are_in_the_stream_once_in_the_order_of_the_feed(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    for customer in ["ada", "bob", "cem"] {
        change(&server, &showtime, customer).await;
    }
    let held = reserve(&server, best(&showtime, "dan", 2)).await.expect("there are seats");
    extend(&server, &held).await.expect("the seats are held");
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
    // Two commits have three events.
    eventually("the sink lags by three events", async || {
        let sink = sinks(&server).await.remove(0);
        let measured = server.metrics().await.sum("boxoffice_sink_lag", &["sink=\"redis\""]);
        (sink.lag == 3 && sink.lag_time.is_some() && measured == Some(3.0)).then_some(())
    })
    .await;
    // What was in the memory of Redis is lost with it, and is delivered again.
    redis.restart().await;
    has(&redis, &feed(&server, 4).await).await;
    let running = in_state(&server, EventSinkState::Running).await;
    assert_eq!((running.problem.as_str(), running.lag, running.lag_time), ("", 0, None));
    assert!(server.metrics().await.sum("boxoffice_sink_retried_total", &[]).is_some_and(|retried| retried >= 1.0));
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
    assert_eq!(sinks(&server).await[0].lag, 5, "deleted events are not waited for");
    redis.restart().await;
    eventually("the sink is complete", async || (sinks(&server).await[0].lag == 0).then_some(())).await;
    let ids: Vec<_> = entries(&redis).await.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["5-0", "5-1", "6-0", "7-0", "7-1"]);
    assert_eq!(server.metrics().await.sum("boxoffice_sink_skipped_total", &["sink=\"redis\""]), Some(3.0));
}

async fn after_a_long_stop_nothing_is_deleted_that_was_not_delivered(world: World) {
    let mut redis = Redis::start().await;
    world.stop().await;
    let mut server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    delivered(&server).await;
    redis.kill();
    change(&server, &showtime, "ada").await;
    in_state(&server, EventSinkState::Paused).await;
    // Another instance on Postgres would wait ten seconds before it delivers.
    server.kill();
    // As if everything had been two days ago.
    let long_ago = if world.storage.is_postgres() {
        "now() - interval '2 days'"
    } else {
        "strftime('%Y-%m-%dT%H:%M:%S', 'now', '-2 days') || '+00:00'"
    };
    for (table, column) in [("sinks", "seen_time"), ("outbox", "create_time")] {
        let aged = world.storage.sql(&format!("UPDATE {table} SET {column} = {long_ago}")).await;
        assert!(aged.expect("the rows are changed").rows_affected() > 0);
    }
    let server = with_sink(world.setup().clone(), &redis).with("--event-retention", "1d").start().await;
    // The first commit was delivered, and is deleted.
    eventually("what was delivered is deleted", async || {
        let feed = server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        (feed.compacted_position == 1).then_some(())
    })
    .await;
    redis.restart().await;
    has(&redis, &feed(&server, 3).await).await;
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

async fn a_server_whose_memory_is_full_pauses_its_sink(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let server = start(&world, &redis).await;
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
