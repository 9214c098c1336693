//! The database is set back, restored or promoted: NATS, RabbitMQ and Kafka get the events of its new history, also those that have
//! the ids of events that were undone.

use boxoffice::pb::boxoffice::{
    events::v1::Event,
    v1::{FeedEvent, SubscribeEventsRequest},
};
use sea_orm::ConnectionTrait as _;

use crate::harness::{
    Postgres, Store,
    brokers::{Broker, Delivered, consumed, taken},
    events::{change, delivered, feed, ids, next_event, subscribe},
    eventually,
    proxy::Proxy,
    seats::{best, cancel, reserve, showtime},
    server::Setup,
    supervisor,
    world::{Storage, connect},
};

on_all_brokers!(
    after_a_file_was_set_back_events_are_delivered_that_have_the_ids_of_others,
    after_a_restore_a_consumer_that_begins_anew_with_the_epoch_takes_every_event_of_the_new_history,
);

fn data(events: &[FeedEvent]) -> Vec<&Event> {
    events.iter().map(|event| event.data.as_ref().expect("an event has data")).collect()
}

/// The messages before another epoch begins, and those after it.
fn epochs<'m>(broker: &Broker, messages: &'m [Delivered]) -> (&'m [Delivered], &'m [Delivered]) {
    let epoch = |message: &Delivered| message.header(&format!("{}epoch", broker.prefix())).to_owned();
    let first = epoch(&messages[0]);
    let (before, after) = messages.split_at(messages.iter().take_while(|message| epoch(message) == first).count());
    assert!(!first.is_empty() && after.iter().all(|message| epoch(message) == epoch(&after[0])), "{messages:?}");
    (before, after)
}

async fn after_a_file_was_set_back_events_are_delivered_that_have_the_ids_of_others(broker: Broker) {
    let storage = Storage::new(Store::Sqlite).await;
    let with_sink = || storage.setup().with("--sink", broker.url());
    let server = with_sink().start().await;
    let showtime = showtime(&server).await;
    delivered(&server).await;
    server.stop().await;
    storage.back_up();
    let server = with_sink().start().await;
    change(&server, &showtime, "ada").await;
    let undone = feed(&server, 4).await;
    delivered(&server).await;
    server.stop().await;
    storage.set_back();
    // The same revisions at the same positions, and all of them before a sink looks.
    let server = storage.setup().start().await;
    change(&server, &showtime, "bob").await;
    let events = feed(&server, 4).await;
    server.stop().await;
    let server = with_sink().start().await;
    delivered(&server).await;
    assert_eq!(ids(&undone), ids(&events));
    let messages = broker.messages().await;
    let found: Vec<_> = messages.iter().map(|message| &message.event).collect();
    assert_eq!(found, [data(&undone), data(&events[1..])].concat());
}

async fn after_a_restore_a_consumer_that_begins_anew_with_the_epoch_takes_every_event_of_the_new_history(
    broker: Broker,
) {
    let storage = Storage::new(Store::Postgres).await;
    let with_sink = || storage.setup().with("--sink", broker.url());
    let server = with_sink().start().await;
    let showtime = showtime(&server).await;
    change(&server, &showtime, "cem").await;
    delivered(&server).await;
    server.stop().await;
    let copy = storage.database().copy();
    let server = with_sink().start().await;
    change(&server, &showtime, "ada").await;
    let undone = feed(&server, 7).await;
    delivered(&server).await;
    server.stop().await;
    // What the broker had confirmed just before the backup was not noted.
    let connection = connect(copy.url()).await;
    connection.execute_unprepared("UPDATE sinks SET position = 1").await.expect("the row is changed");
    connection.close().await.expect("a connection closes");
    let server = with_sink().with("--database-url", copy.url()).start().await;
    change(&server, &showtime, "bob").await;
    let events = feed(&server, 7).await;
    delivered(&server).await;
    server.stop().await;
    assert_eq!(ids(&undone), ids(&events));
    let messages = broker.messages().await;
    let (before, after) = epochs(&broker, &messages);
    assert_eq!(consumed(before), ids(&undone));
    let taken = taken(after.iter().map(|message| message.event.clone()));
    // NATS has dropped those of the first three that came again: they are the same events.
    assert!(taken.len() >= 3 && taken.iter().eq(data(&events)[7 - taken.len()..].iter().copied()), "{taken:?}");
    for event in data(&events) {
        assert!(messages.iter().any(|message| message.event == *event), "{event:?} is missing");
    }
}

#[tokio::test]
async fn after_a_promotion_a_service_that_runs_delivers_the_events_of_the_new_history_to_every_sink() {
    let folder = supervisor::folder("promotion-");
    let primary = Postgres::start(supervisor::root().join("postgres-of-sinks")).await;
    let proxy = Proxy::start(&primary.url()).await;
    let brokers = [Broker::nats().await, Broker::rabbitmq().await, Broker::kafka().await];
    let sinks = brokers.each_ref().map(Broker::url).join(",");
    let setup = Setup::new(folder.path()).with("--database-url", proxy.url()).with("--database-timeout", "1s");
    let server = setup.with("--sink", sinks).start().await;
    let showtime = showtime(&server).await;
    delivered(&server).await;
    let standby = primary.standby(supervisor::root().join("postgres-of-sinks-promoted")).await;
    let connection = connect(standby.url()).await;
    // What happens from now on the standby does not have.
    for statement in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
        connection.execute_unprepared(statement).await.expect("a superuser may do this");
    }
    eventually("the standby is alone", async || {
        let receiver = connection.execute_unprepared("SELECT 1 FROM pg_stat_wal_receiver").await;
        (receiver.expect("a view").rows_affected() == 0).then_some(())
    })
    .await;
    change(&server, &showtime, "ada").await;
    delivered(&server).await;
    let undone = feed(&server, 4).await;
    proxy.move_to(&standby.url());
    primary.crash().await;
    connection.execute_unprepared("SELECT pg_promote()").await.expect("the standby is promoted");
    connection.close().await.expect("a connection closes");
    // Each connection to the primary fails once.
    let request = best(&showtime, "bob", 1);
    let held = eventually("the service goes on", async || reserve(&server, request.clone()).await.ok()).await;
    eventually("a change succeeds", async || cancel(&server, &held).await.ok()).await;
    let mut read =
        eventually("the feed is read", async || subscribe(&server, SubscribeEventsRequest::default()).await.ok()).await;
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(next_event(&mut read).await);
    }
    assert_eq!(ids(&undone), ids(&events));
    for broker in brokers {
        let messages = eventually("the broker has the new events", async || {
            let messages = broker.messages().await;
            let last = data(&events)[3];
            messages.iter().any(|message| message.event == *last).then_some(messages)
        })
        .await;
        let (before, after) = epochs(&broker, &messages);
        assert_eq!(consumed(before), ids(&undone), "{}", broker.name());
        let taken = taken(after.iter().map(|message| message.event.clone()));
        assert_eq!(taken.iter().collect::<Vec<_>>(), data(&events[1..]), "{}", broker.name());
    }
}
