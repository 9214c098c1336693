//! The queues of the store's readers and of the ledger's writers: a request that finds its queue full is refused by name and
//! at once, without an effect, and every request in the queue is answered.
//!
//! The service runs in this process, on a runtime with one thread. Nothing is taken from a queue until the test waits, so the
//! test fills a queue exactly.

use std::{convert::Infallible, net::Ipv4Addr, pin::Pin, sync::Arc, task::Poll, time::Duration};

use boxoffice::{
    app::{App, PaymentOptions, Rules},
    clock::Clock,
    domain::seating::{self, AccessibleSeats, OrphanRule},
    feed::Feed,
    grpc::{
        self, Watching,
        connections::{Connections, Limits},
        layers,
    },
    ledger::{self, Ledger, TimeSource, WatchQuota},
    payments::{self, Gateway},
    pb::boxoffice::v1::{
        GetShowtimeRequest, Reservation, ReserveSeatsRequest, Showtime, reservations_client::ReservationsClient,
        showtimes_client::ShowtimesClient,
    },
    store::{self, Database, Store},
    upstream::{self, Movies},
};
use futures_util::{future::join_all, poll};
use http::{Request, Response};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use crate::harness::{
    self, World, in_hours,
    refusals::assert_retryable,
    seats::{assert_unavailable, names, showtime_with, these},
};

/// The requests that each of these queues has room for, as the documentation says.
const QUEUE: usize = 8_192;
/// Longer than the test takes, so that no request ends by its deadline.
const TIMEOUT: Duration = Duration::from_mins(1);

type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;
type Call<T> = Pin<Box<dyn Future<Output = Result<T, Status>>>>;

#[tokio::test]
async fn a_read_beyond_the_queue_of_reads_is_refused_at_once() {
    let (world, showtime) = World::with_showtime().await;
    let stack = stack(&world).await;
    let read = || get(&stack, &showtime);
    let waiting = fill((0..QUEUE).map(|_| read())).await;
    for _ in 0..3 {
        assert_retryable(&at_once(read()).await.expect_err("the queue is full"), "OVERLOADED");
    }
    for answer in join_all(waiting).await {
        assert_eq!(answer.expect("it was in the queue"), showtime);
    }
    assert_eq!(read().await.expect("the queue is empty"), showtime);
}

#[tokio::test]
async fn a_command_beyond_the_queue_of_a_writer_is_refused_at_once_and_without_effect() {
    let (world, showtime) = World::with_showtime().await;
    let stack = stack(&world).await;
    // The showtime's facts are then in memory, so that a command goes to the queue without reading them.
    get(&stack, &showtime).await.expect("the showtime exists");
    let wanted = |customer: usize| these(&showtime, &format!("customer {customer}"), &format!("A{}", customer % 8 + 1));
    reserve(&stack, ReserveSeatsRequest { validate_only: true, ..wanted(0) }).await.expect("the seat is free");

    let waiting = fill((0..QUEUE).map(|customer| reserve(&stack, wanted(customer)))).await;
    // Without a request id, so that it takes effect as often as it is carried out.
    let late = these(&showtime, "late", "B1");
    for _ in 0..3 {
        let status = at_once(reserve(&stack, late.clone())).await.expect_err("the queue is full");
        assert_retryable(&status, "OVERLOADED");
    }
    // Each of the first eight wants another seat. The others are refused by the rules and not for want of room.
    for (customer, answer) in join_all(waiting).await.into_iter().enumerate() {
        match answer {
            Ok(held) => assert_eq!((customer < 8, names(&held.seats)), (true, format!("A{}", customer % 8 + 1))),
            Err(status) => {
                assert!(customer >= 8, "{customer}: {status:?}");
                assert_unavailable(&status, "SEATS_UNAVAILABLE");
            }
        }
    }
    let held =
        reserve(&stack, late).await.expect("the queue is empty, and the refused requests have not taken the seat");
    assert_eq!(names(&held.seats), "B1");
    let now = get(&stack, &showtime).await.expect("the showtime exists");
    assert_eq!((now.available_count, now.revision - showtime.revision), (0, 9));
}

impl World {
    /// A server on SQLite that has stopped, and its showtime with the seats A1 to A8 and B1.
    async fn with_showtime() -> (Self, Showtime) {
        let world = Self::start(harness::Store::Sqlite).await;
        let showtime = showtime_with(&world, &[("A", "ssssssss"), ("B", "s")], in_hours(0), |request| request).await;
        world.stop().await;
        (world, showtime)
    }
}

fn get(stack: &Stack, showtime: &Showtime) -> Call<Showtime> {
    let mut client = ShowtimesClient::new(stack.clone());
    let request =
        GetShowtimeRequest { showtime_id: showtime.showtime_id.clone(), at_least_revision: 0, include_sales: false };
    Box::pin(async move {
        let answer = client.get_showtime(request).await?.into_inner();
        Ok(answer.showtime.expect("the answer has the showtime"))
    })
}

fn reserve(stack: &Stack, request: ReserveSeatsRequest) -> Call<Reservation> {
    let mut client = ReservationsClient::new(stack.clone());
    Box::pin(async move {
        let answer = client.reserve_seats(request).await?.into_inner();
        Ok(answer.reservation.expect("the answer has the reservation"))
    })
}

/// Begins these calls, each of which must find room in its queue.
async fn fill<T>(calls: impl Iterator<Item = Call<T>>) -> Vec<Call<T>> {
    let mut waiting = Vec::new();
    for mut call in calls {
        // Without a budget, whose end would let a call wait for its next turn before it has come to the queue.
        if let Poll::Ready(answer) = unconstrained(async { poll!(&mut call) }).await {
            panic!("answered before it was taken from the queue, call {}: {:?}", waiting.len(), answer.err());
        }
        waiting.push(call);
    }
    waiting
}

/// The answer to a call that does not wait for anything.
async fn at_once<T>(mut call: Call<T>) -> Result<T, Status> {
    match unconstrained(async { poll!(&mut call) }).await {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits instead of being refused"),
    }
}

/// A payment gateway that nobody asks.
fn no_payments() -> PaymentOptions {
    let url = "http://127.0.0.1:9".to_owned();
    let options = payments::Options { url, api_key: None, ca_pem: None, insecure: false, timeout: TIMEOUT };
    let gateway = Gateway::new(&options).expect("a gateway's address");
    PaymentOptions { gateway, gateway_timeout: TIMEOUT, pay_time: TIMEOUT, action_time: TIMEOUT }
}

/// The service on the data of this world, whose own server has stopped: the layers, the services, the ledger and the store.
async fn stack(world: &World) -> Stack {
    let database = Database::Sqlite(world.storage.file());
    let options =
        store::Options { database, connections: 2, timeout: TIMEOUT, migrate: false, cached_showtimes: 1_000 };
    let store = Store::open(&options).await.expect("the server has stopped");
    let seating = seating::Rules {
        max_seats: 10,
        max_customer_seats: 10,
        closing: Duration::ZERO,
        extension: Duration::from_mins(5),
        orphan_rule: OrphanRule::Allow,
        accessible_seats: AccessibleSeats::Open,
    };
    let watchers = WatchQuota { total: 1, per_caller: 1 };
    let options =
        ledger::Options { rules: seating.clone(), writers: 1, memory: 1 << 24, watchers, delta_channel: None };
    let ledger = Ledger::start(store.clone(), TimeSource::Database(Clock::System), &options);
    let feed = Feed::new(store.clone());
    let movies = Movies::new(&no_provider(), Clock::System).expect("a provider's address");
    let rules = Rules {
        hold_duration: Duration::from_mins(10),
        turnaround: Duration::ZERO,
        doors_open: Duration::ZERO,
        seating,
    };
    let parts = (store, movies, ledger, feed);
    let app = App::new(parts, None, no_payments(), Clock::System, rules).await.expect("the store is read");
    let watching = Watching { heartbeat: TIMEOUT, shutdown: CancellationToken::new() };
    let health = tonic_health::server::health_reporter().1;
    let settings = layers::Settings { request_timeout: TIMEOUT, ..layers::Settings::default() };
    let services = grpc::services(app, health, settings.max_message_bytes, watching).expect("the descriptors are read");
    // The other limits are out of the way.
    let connections = Connections::new(Limits { max_bytes: 1 << 30, max_requests: 1 << 20, ..Limits::default() });
    let connection = connections.open(Some((Ipv4Addr::LOCALHOST, 1).into()));
    let stack = layers::stack(services, &settings).map_response(|response| response.map(Body::new));
    BoxCloneSyncService::new(stack.map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(Arc::clone(&connection));
        request
    }))
}

/// The options of a provider that is never called.
fn no_provider() -> upstream::Options {
    let provider = upstream::ProviderOptions {
        url: "http://127.0.0.1:1".to_owned(),
        api_key: None,
        ca_pem: None,
        insecure: false,
        timeout: TIMEOUT,
        attempts: 1,
    };
    upstream::Options { provider, redis: None, fresh: TIMEOUT, stale: TIMEOUT, absent: TIMEOUT }
}
