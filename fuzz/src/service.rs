//! The service in this process: the real layers, services, app, ledger and store, on SQLite, with the demo provider.

use std::{
    cell::{Cell, RefCell},
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use boxoffice::{
    app::{App, Rules},
    clock::Clock,
    domain::seating::{self, OrphanRule},
    grpc::{
        self, Watching,
        connections::{Connection, Connections, Limits},
        layers,
    },
    ledger::{self, Ledger, TimeSource, WatchQuota},
    store::{self, Store},
    upstream::{self, Movies, demo},
};
use http::Request;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use crate::{
    answer::{Expected, Stack, exchange},
    memory,
    names::{HELD, Names},
    request::Call,
    setup,
};

/// Requests until the service is replaced by a fresh one, so that its database stays small.
const REQUESTS: u32 = 20_000;
/// Bytes by which what a service leaves behind may grow over the whole run. Much of it is tables that fill up once.
const GROWTH: usize = 4 << 20;
/// A caller's message must be complete within this time. It is short, because a caller that stops is waited for.
const BODY_TIMEOUT: Duration = Duration::from_millis(1);

/// The service, and the names of what it has.
pub struct Service {
    runtime: Runtime,
    stack: Stack,
    connections: Connections,
    names: Names,
    requests: u32,
    _folder: TempDir,
}

thread_local! {
    static SERVICE: RefCell<Option<Service>> = const { RefCell::new(None) };
    /// How many services have ended.
    static ENDED: Cell<u32> = const { Cell::new(0) };
    /// The bytes that the first two of them left behind. The first one fills tables.
    static LEFT_BEHIND: Cell<usize> = const { Cell::new(0) };
}

static PLACEHOLDERS: OnceLock<Vec<String>> = OnceLock::new();

/// The placeholders of every service, once there was one.
pub fn placeholders() -> &'static [String] {
    PLACEHOLDERS.get_or_init(|| with(|service| service.names.placeholders()))
}

/// Runs `work` with the service.
pub fn with<T>(work: impl FnOnce(&mut Service) -> T) -> T {
    SERVICE.with_borrow_mut(|slot| {
        if slot.as_ref().is_some_and(|service| service.requests >= REQUESTS) {
            *slot = None;
            no_growth();
        }
        let service = slot.get_or_insert_with(Service::start);
        service.requests += 1;
        memory::limited(|| work(service))
    })
}

/// Fails if the services that ended left more and more memory behind.
fn no_growth() {
    let (ended, live) = (ENDED.get() + 1, memory::live());
    ENDED.set(ended);
    if ended <= 2 {
        LEFT_BEHIND.set(live);
    }
    eprintln!("service {ended} ended: {live} bytes live, {} KiB resident", memory::resident());
    assert!(live <= LEFT_BEHIND.get() + GROWTH, "memory grew from {} to {live} bytes", LEFT_BEHIND.get());
}

impl Service {
    /// Starts a service with an auditorium, showtimes and reservations.
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let connections = Connections::new(Limits::default());
        // All requests come by one connection.
        let connection = connections.open(Some((Ipv4Addr::LOCALHOST, 40_000).into()));
        let (stack, names) = runtime.block_on(async {
            let stack = stack(&folder, connection).await;
            let names = setup::fill(&stack).await;
            (stack, names)
        });
        Self { runtime, stack, connections, names, requests: 0, _folder: folder }
    }

    /// The names of what it has.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Sends a request and checks its answer. `message_only`: nothing but its message can be wrong.
    pub fn send(&mut self, call: Call, message_only: bool) {
        let expected = Expected::of(&call, message_only);
        let reserves = message_only && call.request.uri().path().ends_with("/ReserveSeats");
        let answer = self.runtime.block_on(exchange(&self.stack, call.request, call.streams));
        answer.check(&expected);
        let charged = self.connections.bytes();
        assert_eq!(charged, 0, "bytes are charged to a connection whose answers were all read: {answer:?}");
        if reserves && let Some(id) = answer.first_message().and_then(|message| setup::reserved(&message)) {
            self.names.set(HELD, &id);
        }
    }
}

async fn stack(folder: &TempDir, connection: Arc<Connection>) -> Stack {
    let options = store::Options {
        database: store::Database::Sqlite(folder.path().join("boxoffice.db")),
        connections: 2,
        timeout: Duration::from_secs(5),
        migrate: true,
        cached_showtimes: 1_000,
    };
    let store = Store::open(&options).await.expect("a store");
    let movies = Movies::new(&provider().await, Clock::System).expect("a provider");
    let ledger = Ledger::start(store.clone(), TimeSource::Database(Clock::System), &ledger_options());
    let rules = Rules {
        hold_duration: Duration::from_mins(10),
        turnaround: Duration::from_mins(15),
        seating: ledger_options().rules,
    };
    let app = App::new(store, movies, ledger, Clock::System, rules).await.expect("an app");
    let settings = layers::Settings { body_timeout: BODY_TIMEOUT, ..layers::Settings::default() };
    let watching = Watching { heartbeat: Duration::from_secs(1), shutdown: CancellationToken::new() };
    let health = tonic_health::server::health_reporter().1;
    let services = grpc::services(app, health, settings.max_message_bytes, watching).expect("services");
    let stack = layers::stack(services, &settings).map_response(|response| response.map(Body::new));
    BoxCloneSyncService::new(stack.map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(Arc::clone(&connection));
        request
    }))
}

fn ledger_options() -> ledger::Options {
    ledger::Options {
        rules: seating::Rules {
            max_seats: 10,
            max_customer_seats: 10,
            closing: Duration::ZERO,
            extension: Duration::from_mins(5),
            orphan_rule: OrphanRule::Refuse,
        },
        writers: 1,
        memory: 16 << 20,
        watchers: WatchQuota { total: 100, per_caller: 10 },
        delta_channel: None,
    }
}

/// Starts a demo provider on this runtime.
async fn provider() -> upstream::Options {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(demo::serve(listener, demo::Options::default(), CancellationToken::new()));
    upstream::Options {
        provider: upstream::ProviderOptions {
            url: format!("http://{address}"),
            api_key: None,
            ca_pem: None,
            insecure: false,
            timeout: Duration::from_secs(5),
            attempts: 1,
        },
        redis: None,
        fresh: Duration::from_mins(60),
        stale: Duration::from_mins(60),
        absent: Duration::from_mins(60),
    }
}
