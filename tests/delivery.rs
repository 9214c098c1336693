//! Every event reaches every sink and every subscriber, those of a showtime in their order, while instances, the database and
//! the brokers are killed. What consumers make of the events equals the database.

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, pin::pin, sync::Arc};

use boxoffice::pb::boxoffice::{
    events::v1::{Event, event::Payload},
    v1::{
        EventSink, FeedEvent, GetEventFeedRequest, SubscribeEventsRequest, SubscribeEventsResponse,
        events_client::EventsClient, subscribe_events_request::Start, subscribe_events_response::Message,
    },
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, JsonValue, Statement};
use serde_json::json;
use tokio::time::timeout;
use tonic::Streaming;

use crate::harness::{
    DEADLINE, Postgres, Redis, Store,
    brokers::{Broker, taken},
    events::assert_complete,
    eventually,
    fleet::Fleet,
    history::History,
    load::{self, Load},
    process::Process,
    proxy::Proxy,
    redis_stream,
    reporting::Reporting,
    server::Setup,
    supervisor, within,
    world::connect,
};

/// The seats of a reservation and its state, by its id.
type Model = BTreeMap<String, (usize, &'static str)>;

/// What the instances use.
struct Servers {
    postgres: Postgres,
    nats: Broker,
    rabbitmq: Broker,
    kafka: Broker,
    redis: Redis,
}

impl Servers {
    async fn start() -> Self {
        let (nats, rabbitmq, kafka) =
            tokio::join!(Box::pin(Broker::nats()), Box::pin(Broker::rabbitmq()), Box::pin(Broker::kafka()));
        let postgres = Postgres::start(supervisor::root().join("postgres-of-deliveries")).await;
        Self { postgres, nats, rabbitmq, kafka, redis: Redis::start().await }
    }

    /// Kills each of them and each instance, and starts it again, while calls are made.
    async fn kill_in_turn(&mut self, load: &Load, fleet: &Fleet, projector: &mut Projector) {
        load.wait_for_calls(1_000).await;
        self.nats.kill();
        load.wait_for_calls(1_500).await;
        self.nats.restart().await;
        load.wait_for_calls(2_000).await;
        fleet.kill(1);
        load.wait_for_calls(2_500).await;
        fleet.restart(1).await;
        self.rabbitmq.kill();
        load.wait_for_calls(3_500).await;
        self.rabbitmq.restart().await;
        for calls in [4_000, 8_000] {
            load.wait_for_calls(calls).await;
            self.postgres.crash().await;
            load.pause();
            self.postgres.restart().await;
            load.resume();
        }
        projector.restart();
        self.redis.kill();
        self.kafka.pause();
        load.wait_for_calls(8_500).await;
        self.redis.restart().await;
        self.kafka.resume();
        for at in [0, 2] {
            fleet.kill(at);
            load.wait_for_calls(9_000 + at * 100).await;
            fleet.restart(at).await;
        }
        projector.follow(fleet);
        self.nats.kill();
        self.rabbitmq.kill();
        load.wait_for_calls(9_800).await;
        self.nats.restart().await;
        self.rabbitmq.restart().await;
    }
}

/// A projector of the first instance, with its reporting database.
struct Projector {
    reports: Reporting,
    proxy: Proxy,
    process: Process,
}

impl Projector {
    async fn start(fleet: &Fleet) -> Self {
        let (reports, proxy) = (Reporting::new(Store::Postgres).await, Proxy::to(&fleet.address(0)).await);
        let process = reports.start(proxy.url(), &[]);
        Self { reports, proxy, process }
    }

    fn restart(&mut self) {
        self.process.kill();
        self.process = self.reports.start(self.proxy.url(), &[]);
    }

    /// Lets it find the instance where it was started again.
    fn follow(&self, fleet: &Fleet) {
        self.proxy.move_to(&format!("x@{}/x", fleet.address(0)));
    }

    /// The seats of each reservation and its state, as the tables have them.
    async fn projected(&self) -> Option<BTreeMap<String, (usize, String)>> {
        // A sale has ended once all of its seats were returned.
        let rows = "SELECT reservation_id, seats, outcome, (SELECT bool_and(s.return_time IS NOT NULL) FROM sales s \
            WHERE s.reservation_id = h.reservation_id) AS returned FROM holds h";
        let of = |row: JsonValue| {
            let state = if row["returned"] == true { &json!("cancelled") } else { &row["outcome"] };
            let seats = usize::try_from(row["seats"].as_u64()?).ok()?;
            Some((row["reservation_id"].as_str()?.to_owned(), (seats, state.as_str()?.to_owned())))
        };
        self.reports.rows(rows).await.into_iter().map(of).collect()
    }
}

/// 10,000 random calls by 32 callers on three instances, which deliver to four brokers. Each of the instances, the database and
/// each broker are killed and started again, and so is a projector. The broker that keeps everything in memory is paused instead.
#[tokio::test]
async fn ten_thousand_random_calls_reach_every_sink_whatever_is_killed() {
    let mut servers = Servers::start().await;
    let folder = supervisor::folder("deliveries-");
    let Servers { postgres, nats, rabbitmq, kafka, redis } = &servers;
    let sinks = [nats.url(), rabbitmq.url(), kafka.url(), redis.url()].join(",");
    let setup = Setup::new(folder.path())
        .with("--database-url", postgres.url())
        .with("--sink", sinks)
        .with("--watch-heartbeat", "1s");
    let fleet = Arc::new(Fleet::start(3, load::options(setup)).await);
    let history = Arc::new(History::default());
    let showtimes = load::showtimes(&fleet).await;
    let mut projector = Projector::start(&fleet).await;
    let read_events = RefCell::default();
    let mut subscriber = pin!(read(&fleet, &read_events));
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(10_000, 32);
    tokio::select! {
        never = &mut subscriber => match never {},
        _ = async { tokio::join!(all, servers.kill_in_turn(&load, &fleet, &mut projector)) } => {}
    }
    history.settle(fleet.channel(0)).await;
    let Servers { postgres, nats, rabbitmq, kafka, redis } = &servers;
    let connection = connect(postgres.url()).await;
    // What a till pays out ends by itself a moment after the call, with an event.
    let pending = "SELECT count(*)::text AS id FROM refunds WHERE due_time IS NOT NULL";
    eventually("no refund is under way", async || {
        let found = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, pending)).await;
        let count: String = found.ok()??.try_get("", "id").ok()?;
        (count == "0").then_some(())
    })
    .await;
    let wanted = delivered(&fleet, &connection).await;
    tokio::select! {
        never = &mut subscriber => match never {},
        () = eventually("the subscriber has every event", async || {
            (read_events.borrow().len() >= wanted.len()).then_some(())
        }) => {}
    }
    assert_eq!(
        read_events.borrow().iter().map(|event| &event.id).collect::<Vec<_>>(),
        wanted.iter().map(|event| &event.id).collect::<Vec<_>>()
    );
    assert_complete(&wanted);
    let wanted: Vec<_> = wanted.into_iter().filter_map(|event| event.data).collect();
    let stored = stored(&connection).await;
    assert!(stored.len() > 500, "{} reservations", stored.len());
    within(3 * DEADLINE, "the reporting database equals the database", async || {
        (projector.projected().await.as_ref() == Some(&stored)).then_some(())
    })
    .await;
    // It had lost everything when it was killed, and may have got that again after the last call.
    let redis: Vec<_> = eventually("the stream has every event", async || {
        let entries = redis_stream::entries(redis).await;
        (entries.len() >= wanted.len()).then(|| entries.into_iter().map(|entry| entry.event).collect())
    })
    .await;
    assert_same("redis", redis, &wanted, &stored);
    for broker in [nats, rabbitmq, kafka] {
        let events = broker.messages().await.into_iter().map(|message| message.event).collect();
        assert_same(broker.name(), events, &wanted, &stored);
    }
}

/// The seats of each reservation and its state, as the database has them.
async fn stored(connection: &DatabaseConnection) -> BTreeMap<String, (usize, String)> {
    let rows = connection.query_all_raw(Statement::from_string(
        DbBackend::Postgres,
        "SELECT reservation_id::text AS id, seat_count::int4 AS seats, state FROM reservations",
    ));
    rows.await
        .expect("reservations are read")
        .into_iter()
        .map(|row| {
            let seats: i32 = row.try_get("", "seats").expect("seats");
            (
                row.try_get("", "id").expect("an id"),
                (seats.unsigned_abs() as usize, row.try_get("", "state").expect("a state")),
            )
        })
        .collect()
}

/// Checks that a consumer of these messages has had every event of each showtime in its order, and has made the same of them.
fn assert_same(name: &str, events: Vec<Event>, wanted: &[Event], stored: &BTreeMap<String, (usize, String)>) {
    let count = events.len();
    let taken = taken(events);
    let (taken_of, wanted_of) = (by_showtime(&taken), by_showtime(wanted));
    for (showtime, wanted) in wanted_of {
        let taken = taken_of.get(showtime).map_or(&[][..], Vec::as_slice);
        let same = taken.iter().zip(&wanted).take_while(|(taken, wanted)| taken == wanted).count();
        assert!(
            same == taken.len() && same == wanted.len(),
            "{name} has {count} messages, and of {showtime} {} events instead of {}; after {same} come {:?} instead of {:?}",
            taken.len(),
            wanted.len(),
            taken.get(same),
            wanted.get(same)
        );
    }
    let model: BTreeMap<_, _> =
        model(&taken).into_iter().map(|(id, (seats, state))| (id, (seats, state.to_owned()))).collect();
    assert_eq!(&model, stored, "what a consumer of {name} makes of the events is not the database");
}

/// Waits until nothing is written any more and everything is delivered. Returns the whole feed.
async fn delivered(fleet: &Fleet, connection: &DatabaseConnection) -> Vec<FeedEvent> {
    let lapsing =
        "SELECT 1 FROM reservations WHERE state = 'held' AND expire_time < now() + interval '1 minute' LIMIT 1";
    let lapsing = || Statement::from_string(DbBackend::Postgres, lapsing);
    eventually("all holds have lapsed that will", async || {
        connection.query_one_raw(lapsing()).await.expect("reservations are read").is_none().then_some(())
    })
    .await;
    // From now on every commit has its position.
    let from_now = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    EventsClient::new(fleet.channel(0)).subscribe_events(from_now).await.expect("a stream");
    within(3 * DEADLINE, "everything is delivered", async || {
        let feed = EventsClient::new(fleet.channel(0)).get_event_feed(GetEventFeedRequest {}).await.ok()?.into_inner();
        let is_delivered = |sink: &EventSink| sink.lag == 0 && sink.dead_letters == 0 && sink.waiting_events == 0;
        (feed.sinks.len() == 4 && feed.sinks.iter().all(is_delivered)).then_some(())
    })
    .await;
    let request = SubscribeEventsRequest::default();
    let stream = EventsClient::new(fleet.channel(0)).subscribe_events(request).await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut events = Vec::new();
    // A heartbeat comes when there is nothing more.
    while let Message::Event(event) = message(&mut stream).await.expect("the stream goes on") {
        events.push(event);
    }
    events
}

async fn message(stream: &mut Streaming<SubscribeEventsResponse>) -> Option<Message> {
    timeout(DEADLINE, stream.message()).await.ok()?.ok()??.message
}

/// Reads all events, and resumes after the last one at another instance whenever a stream ends.
async fn read(fleet: &Fleet, events: &RefCell<Vec<FeedEvent>>) -> Infallible {
    let (mut at, mut token) = (0, None);
    loop {
        // Without a database no instance has a stream.
        let stream = eventually("a stream begins", async || {
            at += 1;
            let start = token.clone().map(Start::ResumeToken);
            let request = SubscribeEventsRequest { start, ..Default::default() };
            let mut client = EventsClient::new(fleet.channel(at));
            timeout(DEADLINE, client.subscribe_events(request)).await.ok()?.ok()
        });
        let mut stream = stream.await.into_inner();
        while let Some(message) = message(&mut stream).await {
            token = Some(match message {
                Message::Event(event) => {
                    let token = event.resume_token.clone();
                    events.borrow_mut().push(event);
                    token
                }
                Message::Heartbeat(heartbeat) => heartbeat.resume_token,
                Message::Draining(draining) => draining.resume_token,
            });
        }
    }
}

fn by_showtime(events: &[Event]) -> BTreeMap<&str, Vec<(i64, i32)>> {
    let mut by_showtime: BTreeMap<&str, Vec<(i64, i32)>> = BTreeMap::new();
    for event in events {
        by_showtime.entry(&event.aggregate_id).or_default().push((event.revision, event.ordinal));
    }
    by_showtime
}

fn model(events: &[Event]) -> Model {
    let mut model = Model::new();
    for event in events {
        let ended = match event.payload.as_ref().expect("an event says what happened") {
            Payload::ReservationCreated(made) => {
                model.insert(made.reservation_id.clone(), (made.seats.len(), "held"));
                continue;
            }
            Payload::ReservationConfirmed(sold) => (&sold.reservation_id, "confirmed"),
            Payload::ReservationCancelled(cancelled) => (&cancelled.reservation_id, "cancelled"),
            Payload::ReservationExpired(expired) => (&expired.reservation_id, "expired"),
            _ => continue,
        };
        model.get_mut(ended.0).expect("it was created before").1 = ended.1;
    }
    model
}
