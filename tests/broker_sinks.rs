//! Events are delivered to NATS, RabbitMQ and Kafka, those of a showtime in their order, whatever fails.

use boxoffice::pb::boxoffice::v1::{EventSinkState, FeedEvent};

use crate::harness::{
    Store, World,
    brokers::Broker,
    events::{assert_complete, attempted, change, delivered, feed, in_state, sinks},
    eventually,
    seats::{best, confirm, reserve, showtime},
    world::Storage,
};

on_all_brokers!(
    every_event_is_delivered_with_the_attributes_of_its_cloud_event,
    while_a_broker_does_not_answer_its_sink_is_paused_and_nothing_is_lost,
    after_a_kill_of_the_service_nothing_is_missing,
);

async fn every_event_is_delivered_with_the_attributes_of_its_cloud_event(broker: Broker) {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::with(store, |setup| setup.with("--sink", broker.url())).await;
        let showtime = showtime(&world).await;
        for customer in ["ada", "bob", "cem"] {
            change(&world, &showtime, customer).await;
        }
        let held = reserve(&world, best(&showtime, "dan", 2)).await.expect("there are seats");
        confirm(&world, &held).await.expect("the seats are held");
        // Twelve of the showtime, and three of the purchase that the sale is.
        let events = feed(&world, 15).await;
        assert_complete(&events);
        delivered(&world).await;
        let messages = broker.messages().await;
        let of = |event: &FeedEvent| event.data.as_ref().expect("an event has data").aggregate_id.clone();
        let own = |of_event: &str| [&showtime.showtime_id, &held.reservation_id].iter().any(|id| *id == of_event);
        let mut own: Vec<_> = messages.iter().filter(|message| own(&message.event.aggregate_id)).collect();
        assert_eq!(own.len(), events.len());
        // The order is that of each aggregate.
        own.sort_by_key(|message| message.event.aggregate_id.clone());
        let mut events = events;
        events.sort_by_key(of);
        for (message, event) in own.into_iter().zip(&events) {
            let aggregate = of(event);
            assert_eq!(Some(&message.event), event.data.as_ref());
            let header = |name: &str| message.header(&format!("{}{name}", broker.prefix()));
            let of_feed = [&event.id, &event.source, &event.r#type, &event.subject].map(String::as_str);
            assert_eq!(["id", "source", "type", "subject"].map(header), of_feed);
            assert_eq!(header("specversion"), "1.0");
            assert_eq!(header("partitionkey"), aggregate);
            assert_eq!(header("traceparent"), message.event.traceparent);
            assert!(!header("time").is_empty());
            assert_eq!(message.header("content-type"), "application/protobuf");
            let key = match &broker {
                Broker::Nats(_) => event.r#type.replace("boxoffice.v1", "boxoffice.events"),
                Broker::RabbitMq(_) => event.r#type.clone(),
                Broker::Kafka(_) => aggregate,
            };
            assert_eq!(message.key, key);
        }
        let sink = in_state(&world, EventSinkState::Running).await;
        assert_eq!((sink.name.as_str(), sink.problem.as_str()), (broker.name(), ""));
        let metrics = world.metrics().await;
        let label = format!("sink=\"{}\"", broker.name());
        assert_eq!(metrics.sum("boxoffice_sink_published_total", &[&label]), Some(15.0));
    }
}

async fn while_a_broker_does_not_answer_its_sink_is_paused_and_nothing_is_lost(mut broker: Broker) {
    let world = World::with(Store::Sqlite, |setup| setup.with("--sink", broker.url())).await;
    let showtime = showtime(&world).await;
    delivered(&world).await;
    // It accepts connections, and answers nothing.
    broker.pause();
    change(&world, &showtime, "ada").await;
    let paused = in_state(&world, EventSinkState::Paused).await;
    assert!(!paused.problem.is_empty());
    broker.resume();
    broker.has(&feed(&world, 4).await).await;
    if matches!(broker, Broker::Kafka(_)) {
        // This one forgets everything with its process.
        return;
    }
    broker.kill();
    change(&world, &showtime, "bob").await;
    // More often than a broker may refuse an event before it is a dead letter.
    attempted(&world, 6.0).await;
    broker.restart().await;
    broker.has(&feed(&world, 7).await).await;
    eventually("the sink is running", async || {
        let sink = sinks(&world).await.remove(0);
        (sink.lag == 0 && sink.problem.is_empty() && sink.dead_letters == 0).then_some(())
    })
    .await;
}

async fn after_a_kill_of_the_service_nothing_is_missing(broker: Broker) {
    let storage = Storage::new(Store::Postgres).await;
    let mut server = storage.setup().with("--sink", broker.url()).start().await;
    let showtime = showtime(&server).await;
    for customer in ["ada", "bob", "cem", "dan"] {
        change(&server, &showtime, customer).await;
        // In the middle of a delivery, or after it.
        server.kill();
        server = storage.setup().with("--sink", broker.url()).start().await;
    }
    broker.has(&feed(&server, 13).await).await;
    // Between the confirmation and the position, which cannot be written.
    delivered(&server).await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$; \
                  CREATE TRIGGER refuse BEFORE UPDATE ON sinks FOR EACH ROW WHEN (NEW.position > OLD.position) \
                  EXECUTE FUNCTION refuse()";
    storage.sql(refuse).await.expect("a trigger is made");
    change(&server, &showtime, "eve").await;
    let before = broker.has(&feed(&server, 16).await).await.len();
    server.kill();
    storage.sql("DROP TRIGGER refuse ON sinks").await.expect("the trigger is removed");
    let server = storage.setup().with("--sink", broker.url()).start().await;
    delivered(&server).await;
    let after = broker.has(&feed(&server, 16).await).await.len();
    // NATS drops what comes again.
    assert_eq!(after > before, !matches!(broker, Broker::Nats(_)), "{before} messages, then {after}");
}
