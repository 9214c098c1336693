//! How soon and how fast subscribers receive events over gRPC, and how fast they are delivered to each broker, with NATS beside the
//! usual way to it.
//!
//! The service, Postgres, the load and the subscribers are processes of their own and share the machine. The latency of an event
//! is the time from its decision to its arrival, so it contains the commit.
//!
//! `cargo bench --bench events`; `docs/benchmarks.md` explains the figures, which also go to `target/bench/events.json`.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench says what it expected by panicking")]

#[path = "../tests"]
mod tests {
    #[macro_use]
    #[expect(dead_code, unused_imports, unused_macros, reason = "the tests use all of it")]
    pub(crate) mod harness;
}
#[expect(dead_code, reason = "another bench uses the rest")]
mod contention;
#[expect(dead_code, reason = "another bench uses the rest")]
mod wire;
mod events {
    //! What receives the events.

    pub(crate) mod brokers;
    pub(crate) mod subscribers;
}

use std::time::Duration;

use boxoffice::pb::boxoffice::v1::{ReserveSeatsRequest, Seat, reservations_client::ReservationsClient};
use contention::{
    deployment::{Prices, schedule, seed},
    load::{self, LoadResult, Workload},
    messages::SEATS_PER_ROW,
};
use events::{
    brokers::{self, Broker},
    subscribers::{self, Plan},
};
use harness::{Store, world::Storage};
use serde_json::json;
use tests::harness;
use tokio::time::{MissedTickBehavior, interval};
use wire::{
    options::Options,
    service::{Program, Service},
    table::{self, Key, Ratio, Table, median},
    tally::Outcome,
};

const SHOWTIMES: usize = 2_000;
const AUDITORIUMS: usize = 100;
/// The steady load: so many reservations in each period, 1,000 a second.
const STEADY_PERIOD: Duration = Duration::from_millis(10);
const RESERVATIONS_OF_A_PERIOD: usize = 10;
const IN_FLIGHT: usize = 256;
/// Commits with an event that are there when a subscriber catches up.
const BACKLOG: u64 = 1_000_000;

const RESERVE: Key = ("ReserveSeats, nobody reads", IN_FLIGHT);
const RESERVE_READ: Key = ("ReserveSeats, 1 subscriber", IN_FLIGHT);
const RECEIVED: Key = ("1 subscriber, most events", IN_FLIGHT);
const CATCH_UP: Key = ("catching up", 1);
const DELIVERED: [(Key, &str); 4] = [
    (("delivered to NATS", 1), "NATS"),
    (("delivered to RabbitMQ", 1), "RabbitMQ"),
    (("delivered to Kafka", 1), "Kafka"),
    (("delivered to Redis", 1), "Redis"),
];
const USUAL: Key = ("the usual way to NATS", 1);
const STEADY: [(Key, Store, usize); 3] = [
    (("steady, Postgres", 1), Store::Postgres, 1),
    (("steady, Postgres", 100), Store::Postgres, 100),
    (("steady, SQLite", 1), Store::Sqlite, 1),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("contend") => runtime.block_on(load::run(&arguments[1])),
        Some("subscribe") => runtime.block_on(subscribers::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(measure(&Options::parse(&arguments)))),
    }
}

async fn measure(options: &Options) {
    for program in options.programs() {
        let mut table = Table::default();
        for round in 1..=options.rounds {
            eprintln!("round {round} of {}", options.rounds);
            for (key, store, subscribers) in STEADY {
                if options.selects(&key) {
                    let mut bench = Bench::start(&program, store).await;
                    table.add(key, Box::pin(bench.steady(subscribers, options.seconds)).await);
                }
            }
            if options.selects(&RECEIVED) {
                let mut bench = Bench::start(&program, Store::Postgres).await;
                table.add(RESERVE, bench.reserve(options.seconds));
                let subscriber = bench.subscribe(1, None).start();
                table.add(RESERVE_READ, bench.reserve(options.seconds));
                table.add(RECEIVED, subscriber.finish());
            }
            for (key, broker) in DELIVERED {
                if options.selects(&key) {
                    let bench = Bench::start(&program, Store::Postgres).await;
                    let (delivered, usual) = Box::pin(bench.deliver(&program, broker)).await;
                    table.add(key, delivered);
                    if let Some(usual) = usual {
                        table.add(USUAL, usual);
                    }
                }
            }
            if options.selects(&CATCH_UP) {
                let bench = Bench::start(&program, Store::Postgres).await;
                table.add(CATCH_UP, Box::pin(bench.catch_up()).await);
            }
        }
        report(&table, options);
    }
}

fn report(table: &Table, options: &Options) {
    let of = |key, field: fn(&Outcome) -> f64| median(table.of(key).iter().map(field).collect());
    let rate = |key| of(key, |outcome| outcome.rate);
    let results = table.print();
    let ratios = table::print_ratios(
        "events",
        &[
            Ratio::at_most("subscriber_p99_ms", of(STEADY[0].0, |outcome| outcome.p99), 50.0, 25.0),
            Ratio::at_least("feed_vs_usual", rate(DELIVERED[0].0) / rate(USUAL), 2.0, 5.0),
            Ratio::at_least("catch_up_thousands", of(CATCH_UP, |outcome| outcome.rate / 1_000.0), 100.0, 200.0),
        ],
    );
    if options.is_complete() {
        table::write("events", &json!({ "results": results, "ratios": ratios }));
    }
}

/// A service with showtimes, of which some seats are used.
struct Bench {
    // The service ends before its storage is removed.
    service: Service,
    storage: Storage,
    showtimes: Vec<String>,
    used: usize,
}

impl Bench {
    async fn start(program: &Program, store: Store) -> Self {
        let storage = Storage::new(store).await;
        let service = Service::start(program, storage.setup()).await;
        let showtimes = schedule(&service, AUDITORIUMS, SHOWTIMES, Prices::One).await;
        Self { service, storage, showtimes, used: 0 }
    }

    fn subscribe(&self, subscribers: usize, events: Option<u64>) -> Plan {
        Plan { address: self.service.address.clone(), subscribers, events }
    }

    /// Makes 1,000 reservations a second, each with an event, and returns what the subscribers have received.
    async fn steady(&mut self, subscribers: usize, seconds: f64) -> Outcome {
        let subscribers = self.subscribe(subscribers, None).start();
        let mut ticks = interval(STEADY_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut calls = Vec::new();
        for _ in 0..Duration::from_secs_f64(seconds).as_micros() / STEADY_PERIOD.as_micros() {
            ticks.tick().await;
            for _ in 0..RESERVATIONS_OF_A_PERIOD {
                let (number, seat) = (self.used % SHOWTIMES, self.used / SHOWTIMES);
                self.used += 1;
                let request = ReserveSeatsRequest {
                    showtime_id: self.showtimes[number].clone(),
                    customer_id: format!("customer {}", self.used),
                    seats: vec![Seat {
                        row: char::from(b'A' + (seat / SEATS_PER_ROW) as u8).to_string(),
                        number: (seat % SEATS_PER_ROW) as i32 + 1,
                    }],
                    ..Default::default()
                };
                let mut client = ReservationsClient::new(self.service.channel.clone());
                calls.push(tokio::spawn(async move { client.reserve_seats(request).await.expect("a free seat") }));
            }
        }
        for call in calls {
            call.await.expect("a call ends");
        }
        subscribers.finish()
    }

    /// Makes as many reservations as the service takes.
    fn reserve(&mut self, seconds: f64) -> Outcome {
        let plan = load::Plan {
            workload: Workload::ReserveWithoutId,
            addresses: vec![self.service.address.clone()],
            echo: false,
            showtimes: self.showtimes.clone(),
            first: self.used,
            in_flight: IN_FLIGHT,
            seconds,
            seed: seed(),
        };
        let LoadResult { outcome, used } = plan.run();
        self.used = used;
        outcome
    }

    /// Has a subscriber read a million events. Their ids and times are made up. They are stored in the order of their times, as
    /// events are.
    async fn catch_up(&self) -> Outcome {
        self.make_events(BACKLOG).await;
        self.subscribe(1, Some(BACKLOG)).start().finish()
    }

    /// Delivers events that are there to a broker, and to NATS in the usual way as well.
    async fn deliver(self, program: &Program, broker: &str) -> (Outcome, Option<Outcome>) {
        self.make_events(brokers::BACKLOG).await;
        let Self { service, storage, .. } = self;
        drop(service);
        let (broker, connection) = (Broker::start(broker).await, storage.connect().await);
        let usual = if let Broker::Nats(nats) = &broker {
            brokers::prepare_usual(&connection).await;
            Some(Box::pin(brokers::usual(&connection, &nats.url())).await)
        } else {
            None
        };
        let service = Service::start(program, storage.setup().with("--sink", broker.url())).await;
        let delivered = brokers::delivered(&connection).await;
        drop(service);
        if let Broker::Nats(nats) = &broker {
            brokers::assert_stored(&nats.url()).await;
        }
        (delivered, usual)
    }

    /// Writes so many commits with an event each, and waits until they have their positions. They are copies of 1,000 events with
    /// another revision each, so that NATS does not drop them as events that come again. The revision follows the 36 characters of
    /// the showtime's id and the byte with its tag.
    async fn make_events(&self, count: u64) {
        let rows = format!(
            "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
             SELECT gen_random_uuid(), 1, 1, \
                set_byte(events, position(convert_to(aggregate::text, 'UTF8') IN events) + 36, 1 + second % 127), \
                create_time + second * interval '1 second' \
             FROM (SELECT * FROM outbox LIMIT 1000) o, generate_series(1, {count} / 1000) second ORDER BY second"
        );
        self.storage.sql(&rows).await.expect("the events are written");
        let head = format!("SELECT 1 FROM feed_head WHERE position > {count}");
        while self.storage.sql(&head).await.expect("the feed is read").rows_affected() == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.storage.sql("VACUUM ANALYZE").await.expect("the tables are ready");
    }
}
