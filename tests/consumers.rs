//! The consumers in `examples/consumers`: each event has its effect once, wherever the consumer or the broker begins again.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use boxoffice::pb::boxoffice::v1::Showtime;

use crate::harness::{
    Redis, Server, Store,
    brokers::Broker,
    clients::installed,
    events::delivered,
    rabbitmq::RabbitMq,
    redis_stream::connect,
    seats::{best, confirm, reserve, showtime},
    server::binary,
    world::Storage,
};

/// The id of an entry of the stream, and its fields.
type Entry = (String, Vec<(String, Vec<u8>)>);

async fn sell(server: &Server, showtime: &Showtime, customer: &str, seats: i32) {
    let held = reserve(server, best(showtime, customer, seats)).await.expect("there are seats");
    confirm(server, &held).await.expect("the seats are held");
}

/// A consumer that keeps what it counts in a folder of the test.
struct Consumer {
    program: &'static str,
    server: String,
    descriptors: PathBuf,
    database: PathBuf,
}

impl Consumer {
    fn new(program: &'static str, server: &str, storage: &Storage) -> Self {
        let descriptors = storage.folder().join("descriptors.bin");
        let written = binary().args(["descriptors", "--out"]).arg(&descriptors).status();
        assert!(written.expect("the program runs").success());
        let database = storage.folder().join("sold.db");
        Self { program, server: server.to_owned(), descriptors, database }
    }

    fn output(&self) -> Output {
        let mut consumer = Command::new(&installed().python);
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/consumers").join(self.program);
        consumer.arg(program).arg(&self.server).arg(&self.descriptors).arg(&self.database).arg("--once");
        consumer.output().expect("Python runs")
    }

    /// What the consumer has counted when it has read everything.
    fn run(&self) -> String {
        let output = self.output();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[tokio::test]
async fn a_consumer_of_the_redis_stream_counts_every_sale_once() {
    let (storage, redis) = (Storage::new(Store::Sqlite).await, Redis::start().await);
    let server = storage.setup().with("--sink", redis.url()).start().await;
    let consumer = Consumer::new("redis_stream.py", &redis.url(), &storage);
    let showtime = showtime(&server).await;
    sell(&server, &showtime, "ada", 2).await;
    delivered(&server).await;
    assert_eq!(consumer.run(), format!("{} 2\n", showtime.showtime_id));
    // The sale comes again, under an id of its own.
    let mut connection = connect(&redis).await;
    let mut all = redis::cmd("XREVRANGE");
    all.arg("boxoffice:events").arg("+").arg("-");
    let all: Vec<Entry> = all.query_async(&mut connection).await.expect("the entries");
    let is_sale = |(_, fields): &&Entry| fields.iter().any(|(_, value)| value.ends_with(b"ReservationConfirmed"));
    let (_, fields) = all.iter().find(is_sale).expect("a sale");
    let (position, index) = all[0].0.split_once('-').expect("an id has two parts");
    let next = index.parse::<u32>().expect("a number") + 1;
    let mut again = redis::cmd("XADD");
    again.arg("boxoffice:events").arg(format!("{position}-{next}"));
    for (name, value) in fields {
        again.arg(name).arg(value);
    }
    again.query_async::<String>(&mut connection).await.expect("the id is higher");
    sell(&server, &showtime, "bob", 3).await;
    delivered(&server).await;
    assert_eq!(consumer.run(), format!("{} 5\n", showtime.showtime_id));
    assert_eq!(consumer.run(), format!("{} 5\n", showtime.showtime_id));
    // The stream goes on with another history.
    let mut other = redis::cmd("XADD");
    other.arg("boxoffice:events").arg("1000-0").arg("history").arg("7").arg("data").arg("");
    other.query_async::<String>(&mut connection).await.expect("the id is higher");
    let output = consumer.output();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("count anew"), "{output:?}");
}

/// Sells seats, has them counted, delivers everything again, and has what was sold since counted.
async fn counts_every_sale_once(broker: &Broker, consumer: &Consumer, storage: &Storage) {
    let server = storage.setup().with("--sink", broker.url()).start().await;
    let showtime = showtime(&server).await;
    sell(&server, &showtime, "ada", 2).await;
    delivered(&server).await;
    assert_eq!(consumer.run(), format!("{} 2\n", showtime.showtime_id));
    sell(&server, &showtime, "bob", 3).await;
    delivered(&server).await;
    server.stop().await;
    // Under another name the sink is new, and everything comes again.
    let server = storage.setup().with("--sink", format!("{}?name=again", broker.url())).start().await;
    sell(&server, &showtime, "cem", 1).await;
    delivered_again(&server).await;
    assert_eq!(consumer.run(), format!("{} 6\n", showtime.showtime_id));
    assert_eq!(consumer.run(), format!("{} 6\n", showtime.showtime_id));
}

async fn delivered_again(server: &Server) {
    crate::harness::eventually("everything is delivered again", async || {
        let sinks = crate::harness::events::sinks(server).await;
        let again = sinks.into_iter().find(|sink| sink.name == "again")?;
        (again.lag == 0 && again.position >= 7).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_consumer_of_the_nats_stream_counts_every_sale_once() {
    let (storage, broker) = (Storage::new(Store::Sqlite).await, Broker::nats().await);
    let consumer = Consumer::new("nats_jetstream.py", &broker.url(), &storage);
    counts_every_sale_once(&broker, &consumer, &storage).await;
}

#[tokio::test]
async fn a_consumer_of_the_kafka_topic_counts_every_sale_once() {
    let (storage, broker) = (Storage::new(Store::Sqlite).await, Broker::kafka().await);
    let consumer = Consumer::new("kafka.py", broker.url().trim_start_matches("kafka://"), &storage);
    counts_every_sale_once(&broker, &consumer, &storage).await;
}

#[tokio::test]
async fn a_consumer_of_the_rabbitmq_exchange_counts_every_sale_once() {
    let (storage, broker) = (Storage::new(Store::Sqlite).await, RabbitMq::start("").await);
    let consumer = Consumer::new("rabbitmq.py", &broker.url(), &storage);
    // It makes its queue.
    assert_eq!(consumer.run(), "");
    counts_every_sale_once(&Broker::RabbitMq(broker), &consumer, &storage).await;
}
