//! How fast a backlog of events is delivered to a broker, and the usual way to do that: poll for rows that are not published,
//! publish them, and mark them.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, message::PublishMessage};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, FromQueryResult, Statement, TransactionTrait as _};

use crate::{
    harness::{Redis, kafka::Kafka, nats::Nats, rabbitmq::RabbitMq},
    wire::tally::Outcome,
};

/// Events that are there when the delivery begins.
pub(crate) const BACKLOG: u64 = 100_000;
/// The rows that the usual way publishes together.
const BATCH: u64 = 100;
/// How often the progress of the delivery is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A broker that runs for a measurement.
pub(crate) enum Broker {
    Redis(Redis),
    RabbitMq(RabbitMq),
    Nats(Nats),
    Kafka(Kafka),
}

impl Broker {
    pub(crate) async fn start(name: &str) -> Self {
        match name {
            "Redis" => Self::Redis(Redis::start().await),
            "RabbitMQ" => {
                let broker = RabbitMq::start("").await;
                broker.bind("boxoffice.#").await;
                Self::RabbitMq(broker)
            }
            "Kafka" => {
                let broker = Kafka::start().await;
                broker.create_topic().await;
                Self::Kafka(broker)
            }
            _ => Self::Nats(Nats::start("").await),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Redis(broker) => broker.url(),
            Self::RabbitMq(broker) => broker.url(),
            Self::Nats(broker) => broker.url(),
            Self::Kafka(broker) => broker.url(),
        }
    }
}

#[derive(FromQueryResult)]
struct Progress {
    position: i64,
    last: i64,
    problem: String,
}

/// Waits until the service has delivered the backlog, and returns the rate after the first events. One row of the database is looked
/// at: `GetEventFeed` reads several, and so often that delivery would be slower.
pub(crate) async fn delivered(connection: &DatabaseConnection) -> Outcome {
    let look = "SELECT position, problem, (SELECT position FROM feed_head) AS last FROM sinks";
    let mut first: Option<(Instant, i64)> = None;
    loop {
        let look = Progress::find_by_statement(Statement::from_string(DbBackend::Postgres, look));
        if let Some(Progress { position, last, problem }) = look.one(connection).await.expect("the row is read") {
            assert_eq!(problem, "", "the sink works");
            match first {
                None if position > 0 => first = Some((Instant::now(), position)),
                Some((begin, from)) if position == last => return outcome((position - from) as f64, begin),
                _ => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Checks that NATS has stored every event of the backlog, and has dropped none as one that came before.
pub(crate) async fn assert_stored(nats: &str) {
    let context = jetstream::new(async_nats::connect(nats).await.expect("NATS listens"));
    let mut stream = context.get_stream("BOXOFFICE").await.expect("the stream of the service");
    let stored = stream.info().await.expect("its state").state.messages;
    assert!(stored >= BACKLOG, "{stored} messages");
}

#[derive(FromQueryResult)]
struct Unpublished {
    id: i64,
    events: Vec<u8>,
}

/// Makes a table of the same events with a mark for those that are published.
pub(crate) async fn prepare_usual(connection: &DatabaseConnection) {
    let table = "CREATE TABLE usual (id bigserial PRIMARY KEY, events bytea NOT NULL, published boolean NOT NULL DEFAULT false); \
                 INSERT INTO usual (events) SELECT events FROM outbox ORDER BY create_time; \
                 CREATE INDEX usual_unpublished ON usual (id) WHERE NOT published; VACUUM ANALYZE usual";
    for statement in table.split(';') {
        connection.execute_unprepared(statement).await.expect("the table is made");
    }
}

/// Publishes the backlog in the usual way: rows that are not published are locked, published with their acknowledgements awaited
/// together, and marked, in one transaction.
pub(crate) async fn usual(connection: &DatabaseConnection, nats: &str) -> Outcome {
    let context = jetstream::new(async_nats::connect(nats).await.expect("NATS listens"));
    let config = jetstream::stream::Config {
        name: "USUAL".to_owned(),
        subjects: vec!["usual.>".to_owned()],
        ..Default::default()
    };
    context.create_stream(config).await.expect("a stream");
    let select =
        format!("SELECT id, events FROM usual WHERE NOT published ORDER BY id LIMIT {BATCH} FOR UPDATE SKIP LOCKED");
    let begin = Instant::now();
    let mut count = 0;
    loop {
        let tx = connection.begin().await.expect("a transaction begins");
        let select = Statement::from_string(DbBackend::Postgres, select.as_str());
        let rows = Unpublished::find_by_statement(select).all(&tx).await.expect("rows are read");
        if rows.is_empty() {
            return outcome(count as f64, begin);
        }
        let mut acknowledgements = Vec::with_capacity(rows.len());
        for row in &rows {
            let message = PublishMessage::build().payload(row.events.clone().into()).message_id(row.id.to_string());
            acknowledgements.push(context.send_publish("usual.event", message).await.expect("it is sent"));
        }
        for acknowledged in join_all(acknowledgements.into_iter().map(IntoFuture::into_future)).await {
            acknowledged.expect("it is stored");
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let mark = "UPDATE usual SET published = true WHERE id = ANY ($1)";
        let mark = Statement::from_sql_and_values(DbBackend::Postgres, mark, [ids.into()]);
        tx.execute_raw(mark).await.expect("rows are marked");
        tx.commit().await.expect("it commits");
        count += rows.len();
    }
}

fn outcome(events: f64, begin: Instant) -> Outcome {
    Outcome { rate: events / begin.elapsed().as_secs_f64(), p50: 0.0, p99: 0.0, bytes: 0, failed: 0 }
}
