//! An instance that delivers to NATS, RabbitMQ or Kafka stands still for so long that another one takes over, and wakes up in the
//! middle of a delivery.

use rustix::process::Signal;
use sea_orm::ConnectionTrait as _;

use crate::harness::{
    Server, Store,
    brokers::Broker,
    events::{change, delivered, feed, sinks},
    seats::showtime,
    world::Storage,
};

/// Notes each time that what is stored of a sink goes back.
const NOTE: &str = "CREATE TABLE went_back (was text, became text); \
     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN INSERT INTO went_back VALUES (OLD::text, NEW::text); RETURN NEW; END $$; \
     CREATE TRIGGER note BEFORE UPDATE ON sinks FOR EACH ROW \
     WHEN (NEW.position < OLD.position OR NEW.fence < OLD.fence) EXECUTE FUNCTION note()";

on_all_brokers!(
    an_instance_that_was_taken_for_dead_in_the_middle_of_a_delivery_neither_sets_the_sink_back_nor_goes_on_with_it,
);

async fn published(server: &Server) -> Option<f64> {
    server.metrics().await.sum("boxoffice_sink_published_total", &[])
}

async fn an_instance_that_was_taken_for_dead_in_the_middle_of_a_delivery_neither_sets_the_sink_back_nor_goes_on_with_it(
    broker: Broker,
) {
    let storage = Storage::new(Store::Postgres).await;
    let setup = || storage.setup().with("--sink", broker.url());
    let sleeper = setup().start().await;
    let (one, two) = (showtime(&sleeper).await, showtime(&sleeper).await);
    delivered(&sleeper).await;
    storage.sql(NOTE).await.expect("a trigger is made");
    let other = setup().start().await;
    // All of them get their positions at once, and are one delivery. The sleeper sends the first ones, and hears nothing of them,
    // as the broker stands still.
    let unordered = storage.transaction("SELECT * FROM feed_head FOR UPDATE").await;
    change(&sleeper, &one, "ada").await;
    change(&sleeper, &two, "ada").await;
    broker.pause();
    unordered.execute_unprepared("ROLLBACK").await.expect("the transaction ends");
    feed(&sleeper, 8).await;
    sleeper.pause().await;
    broker.resume();
    change(&other, &one, "bob").await;
    other.console().line(&["delivering events"]).await;
    delivered(&other).await;
    let before = sinks(&other).await.remove(0).position;
    sleeper.signal(Signal::CONT);
    sleeper.console().line(&["another instance delivers events now"]).await;
    assert!(sinks(&other).await.remove(0).position >= before);
    let (of_sleeper, of_other) = (published(&sleeper).await, published(&other).await);
    assert!(of_sleeper.is_some() && of_other.is_some());
    change(&sleeper, &one, "cem").await;
    change(&other, &two, "cem").await;
    delivered(&other).await;
    assert_eq!(published(&sleeper).await, of_sleeper, "{}", sleeper.console());
    assert_eq!(published(&other).await, of_other.map(|before| before + 6.0), "{}", other.console());
    broker.has(&feed(&other, 17).await).await;
    let went_back = storage.sql("SELECT 1 FROM went_back").await.expect("the notes are read").rows_affected();
    assert_eq!(went_back, 0);
}
