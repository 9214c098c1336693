//! A broker that is not set up for events pauses its sink. No event is lost or passed over meanwhile.

use boxoffice::pb::boxoffice::v1::EventSinkState;

use crate::harness::{
    Server, Store, World,
    brokers::{Broker, Delivered},
    events::{attempted, change, delivered, feed, in_state, sinks},
    kafka::Kafka,
    nats::Nats,
    rabbitmq::RabbitMq,
    seats::showtime,
    world::Storage,
};

on_both_stores!(
    an_exchange_without_a_queue_pauses_its_sink,
    an_event_that_no_queue_takes_is_not_overtaken_by_the_next_one_of_its_showtime,
    what_is_confirmed_beside_an_event_that_no_queue_takes_is_sent_once_and_the_sink_stays_paused,
    a_queue_that_is_full_pauses_its_sink_and_its_event_is_neither_overtaken_nor_a_dead_letter,
    a_subject_that_no_stream_takes_pauses_its_sink,
);

/// Starts the server anew, with this sink.
async fn with_sink(world: &World, url: String) -> Server {
    world.stop().await;
    world.setup().clone().with("--sink", url).start().await
}

async fn an_exchange_without_a_queue_pauses_its_sink(world: World) {
    let broker = RabbitMq::start("").await;
    let server = with_sink(&world, broker.url()).await;
    let showtime = showtime(&server).await;
    let paused = in_state(&server, EventSinkState::Paused).await;
    assert!(paused.problem.contains("no queue is bound to the exchange boxoffice.events"), "{}", paused.problem);
    assert_eq!((paused.position, paused.dead_letters), (0, 0));
    change(&server, &showtime, "ada").await;
    broker.bind("boxoffice.#").await;
    Broker::RabbitMq(broker).has(&feed(&server, 4).await).await;
}

/// Makes four events of a showtime, and then starts a server that delivers them together. The test's queue takes all of them but
/// the second one.
async fn without_the_second_event(world: &World, broker: &RabbitMq) -> Server {
    for kind in ["ShowtimeCreated", "ReservationCancelled", "SeatsReleased"] {
        broker.bind(&format!("boxoffice.v1.{kind}")).await;
    }
    let showtime = showtime(world).await;
    change(world, &showtime, "ada").await;
    with_sink(world, broker.url()).await
}

async fn an_event_that_no_queue_takes_is_not_overtaken_by_the_next_one_of_its_showtime(world: World) {
    let broker = RabbitMq::start("").await;
    let server = without_the_second_event(&world, &broker).await;
    in_state(&server, EventSinkState::Paused).await;
    broker.bind("boxoffice.#").await;
    let events = feed(&server, 4).await;
    let messages = Broker::RabbitMq(broker).has(&events).await;
    let ids: Vec<_> = messages.iter().map(Delivered::id_of_event).collect();
    let mut first = Vec::new();
    for id in ids {
        if !first.contains(&id) {
            first.push(id);
        }
    }
    assert_eq!(first, events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>());
}

async fn what_is_confirmed_beside_an_event_that_no_queue_takes_is_sent_once_and_the_sink_stays_paused(world: World) {
    let broker = RabbitMq::start("").await;
    broker.bind("boxoffice.v1.ShowtimeCreated").await;
    let server = with_sink(&world, broker.url()).await;
    let first = showtime(&server).await;
    delivered(&server).await;
    server.stop().await;
    let server = world.setup().clone().start().await;
    // No queue takes the events of this change. They are sent together with those of other showtimes.
    change(&server, &first, "ada").await;
    for _ in 0..5 {
        showtime(&server).await;
    }
    server.stop().await;
    let server = world.setup().clone().with("--sink", broker.url()).start().await;
    in_state(&server, EventSinkState::Paused).await;
    attempted(&server, 6.0).await;
    let sink = sinks(&server).await.remove(0);
    assert_eq!((sink.state(), sink.problem.is_empty()), (EventSinkState::Paused, false), "{sink:?}");
    let messages = broker.messages().await;
    let mut ids: Vec<_> = messages.iter().map(Delivered::id_of_event).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), messages.len()), (6, 6));
    broker.bind("boxoffice.#").await;
    Broker::RabbitMq(broker).has(&feed(&server, 9).await).await;
}

async fn a_queue_that_is_full_pauses_its_sink_and_its_event_is_neither_overtaken_nor_a_dead_letter(world: World) {
    let broker = RabbitMq::start("").await;
    broker.bind_full_queue("boxoffice.v1.ReservationCreated").await;
    let server = without_the_second_event(&world, &broker).await;
    attempted(&server, 6.0).await;
    let paused = in_state(&server, EventSinkState::Paused).await;
    assert!(paused.problem.contains("it is full, or has failed"), "{}", paused.problem);
    assert_eq!(paused.position, 1);
    broker.remove_full_queue().await;
    broker.bind("boxoffice.#").await;
    delivered(&server).await;
    assert_eq!(sinks(&server).await[0].dead_letters, 0);
    Broker::RabbitMq(broker).has(&feed(&server, 4).await).await;
}

#[tokio::test]
async fn an_exchange_of_another_kind_is_refused_at_the_start() {
    let broker = RabbitMq::start("").await;
    broker.make_exchange(lapin::ExchangeKind::Direct).await;
    let storage = Storage::new(Store::Sqlite).await;
    let (code, console) = storage.setup().with("--sink", broker.url()).failed_start().await;
    assert_eq!(code, Some(1));
    assert!(console.contains("--sink rabbitmq: the exchange boxoffice.events is there and is no durable"), "{console}");
}

async fn a_subject_that_no_stream_takes_pauses_its_sink(world: World) {
    let broker = Nats::start("").await;
    broker.make_stream("other.>", -1).await;
    let server = with_sink(&world, broker.url()).await;
    let showtime = showtime(&server).await;
    let paused = in_state(&server, EventSinkState::Paused).await;
    assert!(
        paused.problem.contains("no stream takes the subject boxoffice.events.ShowtimeCreated"),
        "{}",
        paused.problem
    );
    change(&server, &showtime, "ada").await;
    broker.make_stream("boxoffice.events.>", -1).await;
    Broker::Nats(broker).has(&feed(&server, 4).await).await;
}

#[tokio::test]
async fn a_topic_that_the_broker_makes_when_it_is_asked_for_is_used() {
    let broker = Kafka::start().await;
    let world = World::with(Store::Sqlite, |setup| setup.with("--sink", broker.url())).await;
    let showtime = showtime(&world).await;
    change(&world, &showtime, "ada").await;
    delivered(&world).await;
    Broker::Kafka(broker).has(&feed(&world, 4).await).await;
}
