//! What a Redis stream has is compared with the feed: it may have lost its end, or have another history of the database.

use crate::harness::{
    Redis, Store, World,
    events::{change, delivered, feed},
    eventually,
    redis_stream::{entries, fields, has, start, with_sink},
    seats::showtime,
    world::Storage,
};

on_both_stores!(
    what_redis_has_lost_of_its_end_is_delivered_again,
    what_redis_has_lost_is_delivered_again_while_nothing_happens,
    after_entries_of_another_history_events_are_written_all_the_same,
    an_event_is_not_taken_for_another_one_with_its_id,
    entries_that_consumers_delete_are_not_delivered_again,
);

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
        let [id, subject, time] = ["id", "subject", "time"].map(|name| entry.attribute(name));
        let fields = ["id", id, "subject", subject, "time", time, "data", ""];
        redis.run(&[&["XADD", "boxoffice:events", &entry.id][..], &fields].concat());
    }
    let server = start(&world, &redis).await;
    change(&server, &showtime, "cem").await;
    has(&redis, &feed(&server, 10).await).await;
}

async fn what_redis_has_lost_is_delivered_again_while_nothing_happens(world: World) {
    let mut redis = Redis::start().await;
    world.stop().await;
    let server = start(&world, &redis).await;
    change(&server, &showtime(&server).await, "ada").await;
    let events = feed(&server, 4).await;
    has(&redis, &events).await;
    delivered(&server).await;
    // It keeps everything in memory, and begins with nothing.
    redis.restart().await;
    has(&redis, &events).await;
    delivered(&server).await;
    // The connection stays, and the stream is gone.
    redis.run(&["DEL", "boxoffice:events"]);
    has(&redis, &events).await;
    // Another service writes into it by mistake.
    redis.run(&["XADD", "boxoffice:events", "40-0", "id", "another/1/0", "data", ""]);
    server.console().line(&["ids go on after it"]).await;
    change(&server, &showtime(&server).await, "bob").await;
    eventually("no event is taken for one that was written", async || (fields(&redis).await.len() == 9).then_some(()))
        .await;
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

async fn an_event_is_not_taken_for_another_one_with_its_id(world: World) {
    let redis = Redis::start().await;
    let showtime = showtime(&world).await;
    world.stop().await;
    let id = format!("{}/1/0", showtime.showtime_id);
    redis.run(&["XADD", "boxoffice:events", "1-0", "id", &id, "subject", &showtime.showtime_id, "data", ""]);
    let server = start(&world, &redis).await;
    delivered(&server).await;
    let entries = entries(&redis).await;
    let found: Vec<_> = entries.iter().map(|entry| (entry.id.as_str(), entry.attribute("history"))).collect();
    assert_eq!(found, [("1-0", ""), ("2-0", "1")]);
    assert_eq!(entries[1].attribute("id"), id);
}

async fn entries_that_consumers_delete_are_not_delivered_again(world: World) {
    let redis = Redis::start().await;
    world.stop().await;
    let server = start(&world, &redis).await;
    let showtime = showtime(&server).await;
    change(&server, &showtime, "ada").await;
    let events = feed(&server, 4).await;
    let entries = has(&redis, &events).await;
    delivered(&server).await;
    server.stop().await;
    for entry in &entries {
        redis.run(&["XDEL", "boxoffice:events", &entry.id]);
    }
    let server = start(&world, &redis).await;
    change(&server, &showtime, "bob").await;
    has(&redis, &feed(&server, 7).await[4..]).await;
}

#[tokio::test]
async fn after_a_database_was_set_back_all_events_of_its_new_history_are_in_the_stream() {
    let (storage, redis) = (Storage::new(Store::Sqlite).await, Redis::start().await);
    let server = with_sink(storage.setup(), &redis).start().await;
    let showtime = showtime(&server).await;
    delivered(&server).await;
    server.stop().await;
    storage.back_up();
    let server = with_sink(storage.setup(), &redis).start().await;
    change(&server, &showtime, "ada").await;
    let before = has(&redis, &feed(&server, 4).await).await;
    server.stop().await;
    storage.set_back();
    // The same revisions at the same positions, and all of them before a sink looks.
    let server = storage.setup().start().await;
    change(&server, &showtime, "bob").await;
    let events = feed(&server, 4).await;
    server.stop().await;
    let server = with_sink(storage.setup(), &redis).start().await;
    delivered(&server).await;
    let entries = entries(&redis).await;
    assert_eq!(
        entries[..4].iter().map(|entry| &entry.event).collect::<Vec<_>>(),
        before.iter().map(|entry| &entry.event).collect::<Vec<_>>()
    );
    let new: Vec<_> = entries[4..].iter().map(|entry| Some(&entry.event)).collect();
    assert_eq!(new, events[1..].iter().map(|event| event.data.as_ref()).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_services_that_share_a_stream_by_mistake_lose_nothing() {
    let redis = Redis::start().await;
    let (one, two) = (Storage::new(Store::Sqlite).await, Storage::new(Store::Sqlite).await);
    let one = with_sink(one.setup(), &redis).start().await;
    let two = with_sink(two.setup(), &redis).start().await;
    let (of_one, of_two) = (showtime(&one).await, showtime(&two).await);
    for customer in ["ada", "bob", "cem"] {
        change(&one, &of_one, customer).await;
        delivered(&one).await;
        change(&two, &of_two, customer).await;
        delivered(&two).await;
    }
    let entries = entries(&redis).await;
    for server in [&one, &two] {
        for event in feed(server, 10).await {
            assert!(entries.iter().any(|entry| entry.attribute("id") == event.id), "{} is missing", event.id);
        }
    }
}
