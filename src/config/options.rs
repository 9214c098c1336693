//! Every option of the program. `config.rs` says how to add one.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    choices::{AccessibleSeats, LogFormat, Migrate, OrphanSeats, Sample},
    declare::{Section, options, sections},
    demos::{DemoGateway, DemoProvider, Faults, GatewayFaults},
    row::Row,
    secret::{Secret, SecretUrl},
    sinks::Sinks,
    sources::Settings,
    values::{Cors, EndpointNames, Hosts, Listen, Pauses, Value},
};

const ZERO: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

sections! {
    /// What `serve`, `migrate` and `check-config` take.
    pub struct Config {
        /// The port for gRPC.
        grpc: Grpc,
        /// The ports and callers that speak plain HTTP.
        http: Http,
        /// Who may reach the ports.
        exposure: Exposure,
        /// The database.
        database: Database,
        /// Redis, and caches in memory.
        cache: Cache,
        /// The movie provider.
        provider: Provider,
        /// The payment gateway.
        payments: Payments,
        /// The rules of the deployment.
        cinema: Cinema,
        /// The ledger, the sweep, and seat maps.
        seats: Seats,
        /// The feed of events.
        events: Events,
        /// The reporting database.
        reports: Reports,
        /// What is refused, and how long the service waits.
        limits: Limits,
        /// Logs and traces.
        observability: Observability,
    }

    /// What `demo-provider` takes.
    pub struct DemoConfig {
        /// The port, and who is served.
        provider: DemoProvider,
        /// Who may reach the port.
        exposure: Exposure,
        /// How it misbehaves.
        faults: Faults,
        /// Logs and traces.
        observability: Observability,
    }

    /// What `demo-gateway` takes.
    pub struct DemoGatewayConfig {
        /// The port, the file, and who is served.
        gateway: DemoGateway,
        /// Who may reach the port.
        exposure: Exposure,
        /// How it misbehaves.
        faults: GatewayFaults,
        /// Logs and traces.
        observability: Observability,
    }

    /// What `events` takes.
    pub(super) struct EventsConfig {
        /// What is asked.
        asked: OfEvents,
        /// Where the service listens, if `asked` gives no address.
        grpc: Grpc,
    }

    /// What `project` takes.
    pub struct ProjectConfig {
        /// The service, and the reporting database.
        projector: Projector,
        /// Logs and traces.
        observability: Observability,
    }

    /// What `webhooks` takes.
    pub struct WebhooksConfig {
        /// What is delivered, and where to.
        webhooks: Webhooks,
        /// Logs and traces.
        observability: Observability,
    }

    /// What `healthcheck` takes.
    pub(super) struct HealthcheckConfig {
        /// What is asked.
        probe: Probe,
        /// Where the service listens, if `probe` gives no address.
        grpc: Grpc,
    }
}

options! {
    /// The file with options, for all subcommands that read one.
    pub(super) struct File under "File" {
        /// TOML file with options, their names written like `max_message_bytes`.
        config: Option<PathBuf>,
    }

    /// The port for gRPC.
    pub struct Grpc under "Listening" {
        /// Address for gRPC and grpc-web; port 0 picks a free one.
        listen: SocketAddr = "127.0.0.1:50051",
    }

    /// The ports and callers that speak plain HTTP.
    pub struct Http under "Listening" {
        /// Address for `/healthz`, `/readyz` and `/metrics`, or "off".
        admin_listen: Listen = "127.0.0.1:9464",
        /// Web origin that may call besides the same origin and localhost, such as `https://cinema.example`; several with
        /// commas, or given repeatedly; "*" allows any.
        cors_origin: Cors,
        /// Name by which web pages may call the service, besides localhost and the address in `--listen`, such as
        /// `tickets.example` or `tickets.example:8443`; several with commas, or given repeatedly; "*" allows any.
        allowed_host: Hosts,
    }

    /// Who may reach the ports.
    pub struct Exposure under "Listening" {
        /// Allow an address that other machines can reach, although callers are not authenticated.
        trusted_network: bool = false,
    }

    /// The database.
    pub struct Database under "Database" {
        /// Folder for the files of the service; created if it is missing.
        data_dir: PathBuf = "./boxoffice-data",
        /// `postgres://user:password@host/name` or `sqlite:///path/to/file`; none: the SQLite file `boxoffice.db` in the
        /// data folder.
        database_url: Option<SecretUrl>,
        /// Bring the schema up to date at each start, or only by the subcommand `migrate`.
        migrate: Migrate = "auto",
        /// Connections in the pool.
        database_connections: u32 = 16 in 1..=1000,
        /// Longest wait for a connection, and for a statement.
        database_timeout: Duration = "3s" in MILLISECOND..=HOUR,
    }

    /// Redis, and caches in memory.
    pub struct Cache under "Cache" {
        /// `redis://` or `rediss://` (TLS), for cached movies and for seat map updates between instances; none: movies are
        /// cached in the process.
        redis_url: Option<SecretUrl>,
        /// Longest wait for an answer from Redis.
        redis_timeout: Duration = "20ms" in MILLISECOND..=MINUTE,
        /// How long Redis is not called again after it failed.
        redis_rest: Duration = "1s" in ZERO..=HOUR,
        /// Showtimes whose unchanging facts are kept in memory; 0: none.
        showtime_cache: u64 = 10_000 in 0..=10_000_000,
    }

    /// The movie provider.
    pub struct Provider under "Movie provider" {
        /// `http://` or `https://`; none: the demo provider, in the process, on loopback.
        provider_url: Option<SecretUrl>,
        /// Key sent with each call. Prefer the environment or the file: other users of the machine can read flags.
        provider_api_key: Option<Secret>,
        /// PEM file with the authority that signed the provider's certificate.
        provider_ca_file: Option<PathBuf>,
        /// Do not verify the provider's certificate; for development.
        provider_insecure: bool = false,
        /// Longest wait for one attempt.
        provider_timeout: Duration = "1s" in MILLISECOND..=MINUTE,
        /// Attempts per movie, including the first.
        provider_attempts: u32 = 3 in 1..=10,
        /// Age up to which a cached movie is returned without a call; 0s: always call.
        provider_fresh: Duration = "10m" in ZERO..=YEAR,
        /// Age up to which a cached movie is returned when the call fails.
        provider_stale: Duration = "7d" in ZERO..=YEAR,
        /// How long "no such movie" is cached; 0s: not at all.
        provider_absent: Duration = "30s" in ZERO..=DAY,
    }

    /// The payment gateway.
    pub struct Payments under "Payment gateway" {
        /// `http://` or `https://`; none: the demo gateway, in the process, on loopback.
        payment_gateway_url: Option<SecretUrl>,
        /// Key sent with each call. Prefer the environment or the file: other users of the machine can read flags.
        payment_gateway_key: Option<Secret>,
        /// PEM file with the authority that signed the gateway's certificate.
        payment_gateway_ca_file: Option<PathBuf>,
        /// Do not verify the gateway's certificate; for development.
        payment_gateway_insecure: bool = false,
        /// Longest wait for one call.
        payment_gateway_timeout: Duration = "10s" in MILLISECOND..=MINUTE,
        /// How long a payment may take; its seats are kept until then, and never past the close of the sale.
        pay_time: Duration = "2m" in SECOND..=HOUR,
        /// How long a payment may take that waits for its customer.
        pay_action_time: Duration = "10m" in SECOND..=HOUR,
    }

    /// The rules of the deployment.
    pub struct Cinema under "Cinema" {
        /// How long seats are held, unless the showtime has a hold duration of its own.
        hold_duration: Duration = "10m" in SECOND..=DAY,
        /// Time for which an auditorium must stay empty after a showtime.
        turnaround: Duration = "15m" in ZERO..=DAY,
        /// How long before the start of a showtime its tickets admit their holders.
        doors_open: Duration = "2h" in ZERO..=DAY,
        /// Most seats per reservation.
        max_seats: u16 = 10 in 1..=100,
        /// Most seats per customer in one showtime.
        max_customer_seats: u16 = 10 in 1..=2_000,
        /// How long before its start the sale of a showtime closes.
        sales_closing: Duration = "0s" in ZERO..=DAY,
        /// Time that an extension adds to a hold.
        hold_extension: Duration = "5m" in SECOND..=DAY,
        /// Whether a reservation may leave a free seat without a free neighbour where another choice would not.
        orphan_seats: OrphanSeats = "allow",
        /// Who may have accessible seats, and the companion seats beside them: everybody, or those who ask for them.
        accessible_seats: AccessibleSeats = "open",
        /// How long before the start of a showtime accessible seats that are kept on request are open to everybody.
        accessible_seats_open_before: Duration = "1h" in ZERO..=YEAR,
        /// Create sample auditoriums and showtimes; auto: when neither `database-url` nor `provider-url` is given.
        sample: Sample = "auto",
    }

    /// The ledger, the sweep, and seat maps.
    pub struct Seats under "Seats" {
        /// Writers of the ledger, each with a share of the showtimes and a database connection of its own; SQLite always has
        /// one.
        ledger_writers: u32 = 2 in 1..=16,
        /// MiB of memory, approximately, for the seats of showtimes in use.
        ledger_memory: usize = 512 in 1..=1_048_576,
        /// Record holds that have lapsed as EXPIRED; their seats are free from the lapse on in any case.
        sweep: bool = true,
        /// Pause between two sweeps.
        sweep_interval: Duration = "1s" in TENTH..=HOUR,
        /// Most watchers of seat maps and doors at once, over all connections.
        max_watchers: usize = 10_000 in 1..=1_000_000,
        /// Most watchers at once from one address (IPv6: from one /64).
        max_caller_watchers: usize = 1_000 in 1..=1_000_000,
        /// Silence after which a watcher of a seat map is sent a heartbeat.
        watch_heartbeat: Duration = "10s" in TENTH..=HOUR,
    }

    /// The feed of events.
    pub struct Events under "Events" {
        /// How long events are kept for subscribers.
        event_retention: Duration = "7d" in SECOND..=YEAR,
        /// Most commits whose events are kept; the oldest ones are deleted before their time.
        event_cap: u32 = 10_000_000 in 1..=1_000_000_000,
        /// Broker to which events are delivered: `redis`, `amqp`, `nats` or `kafka` for one on this machine, or a URL as in
        /// `nats://host:4222?stream=BOXOFFICE`; several with commas, or given repeatedly; in the file also as tables `[[sinks]]`.
        sink: Sinks,
    }

    /// The reporting database, from which reports are read.
    pub struct Reports under "Reports" {
        /// `postgres://user:password@host/name` or `sqlite:///path/to/file`, which `boxoffice project` fills; none: no reports.
        reports_url: Option<SecretUrl>,
        /// Most connections to it.
        reports_connections: u32 = 4 in 1..=100,
        /// Longest wait for a report.
        reports_timeout: Duration = "3s" in MILLISECOND..=HOUR,
    }

    /// What is refused, and how long the service waits.
    pub struct Limits under "Limits" {
        /// Deadline of a request whose caller states none.
        request_timeout: Duration = "5s" in MILLISECOND..=HOUR,
        /// Latest deadline that a caller may state.
        max_request_timeout: Duration = "30s" in MILLISECOND..=HOUR,
        /// Longest time until the message of a request is complete.
        body_timeout: Duration = "5s" in MILLISECOND..=HOUR,
        /// Longest time until a client has taken an answer; its connection is closed after it, or up to a quarter later.
        delivery_timeout: Duration = "10s" in TENTH..=HOUR,
        /// MiB of memory, approximately, for messages that are not complete and answers that are not delivered, over all
        /// connections.
        connection_memory: usize = 16 in 1..=1_048_576,
        /// Largest message accepted.
        max_message_bytes: usize = 262_144 in 1024..=67_108_864,
        /// Requests in flight on one connection.
        max_concurrent_streams: u32 = 1_024 in 1..=1_000_000,
        /// Open connections.
        max_connections: usize = 10_000 in 1..=1_000_000,
        /// Requests in flight over all connections; a further one is answered UNAVAILABLE.
        max_requests: usize = 4_096 in 1..=1_000_000,
        /// Largest set of headers accepted.
        max_header_bytes: u32 = 16_384 in 1024..=1_048_576,
        /// Silence after which a connection is probed.
        keepalive_interval: Duration = "30s" in SECOND..=HOUR,
        /// Longest wait for the answer to a probe.
        keepalive_timeout: Duration = "10s" in SECOND..=HOUR,
        /// Join the small writes of an HTTP/2 connection, which saves system calls.
        coalesce_writes: bool = true,
        /// Longest wait, when shutting down, for requests in flight.
        drain_timeout: Duration = "20s" in ZERO..=HOUR,
    }

    /// Logs and traces.
    pub struct Observability under "Observability" {
        /// How console lines are written.
        log_format: LogFormat = "human",
        /// Least level logged, or levels per target: `info,boxoffice::store=debug`.
        log_level: String = "info",
        /// OpenTelemetry collector that accepts traces over gRPC; none: no traces.
        otlp_endpoint: Option<SecretUrl>,
    }

    /// The service whose events are projected, and the database with the tables.
    pub struct Projector under "Projection" for "project" {
        /// The service, `http://` or `https://`.
        from: Option<SecretUrl>,
        /// PEM file with the authorities that sign the service's certificate; none: those that browsers trust.
        from_ca_file: Option<PathBuf>,
        /// Longest wait for a connection to the service.
        from_timeout: Duration = "5s" in MILLISECOND..=MINUTE,
        /// Silence after which the stream of events is opened anew; longer than the service's `--watch-heartbeat`.
        silence_timeout: Duration = "1m" in SECOND..=DAY,
        /// The reporting database, `postgres://user:password@host/name` or `sqlite:///path/to/file`; never that of the service.
        database_url: Option<SecretUrl>,
        /// Longest wait for the reporting database.
        database_timeout: Duration = "30s" in MILLISECOND..=HOUR,
        /// Most events of one transaction.
        batch: usize = 500 in 1..=10_000,
        /// Empty the tables first, and read everything that is kept.
        rebuild: bool = false,
        /// End when everything is in the tables that was in the feed at the start.
        once: bool = false,
    }

    /// What is delivered, and where to.
    pub struct Webhooks under "Webhooks" for "webhooks" {
        /// `http://` or `https://` URL of the service whose events are delivered.
        from: SecretUrl = "http://127.0.0.1:50051",
        /// PEM file with the authority that signed the service's certificate; none: those that the web trusts.
        from_ca_file: Option<PathBuf>,
        /// TOML file with the endpoints, which `docs/webhooks.md` describes.
        endpoints: Option<PathBuf>,
        /// Folder for the file of the state; created if it is missing.
        data_dir: PathBuf = "./boxoffice-data",
        /// Database of the state, `postgres://user:password@host/name` or `sqlite:///path/to/file`; none: the SQLite file
        /// `webhooks.db` in the data folder.
        database_url: Option<SecretUrl>,
        /// Pauses between the attempts of a delivery, with commas; after the last one it is given up.
        retry_schedule: Pauses = "5s,5m,30m,2h,5h,10h,14h,20h,24h",
        /// Longest time of one attempt.
        attempt_timeout: Duration = "15s" in TENTH..=MINUTE,
        /// Most deliveries that wait for one endpoint; while there are more, the service keeps its events.
        max_waiting: usize = 10_000 in 1..=1_000_000,
        /// End when everything that was in the feed at the start was delivered, or waits for its next attempt.
        once: bool = false,
        /// Endpoint to which events are delivered again, although it has answered 410; several with commas, or given repeatedly.
        enable: EndpointNames,
        /// Endpoint to which deliveries that were given up are attempted again; several with commas, or given repeatedly.
        redeliver: EndpointNames,
        /// Print the state of the endpoints and the deliveries that were given up last, as lines of JSON, and end.
        list: bool = false,
    }

    /// What a health check asks.
    pub(super) struct Probe under "What is asked" for "healthcheck" {
        /// Address of the service; none: the one in `--listen`.
        address: Option<SocketAddr>,
        /// Service by its full name; none: the server as a whole.
        service: Option<String>,
    }

    /// What `events` looks at.
    pub(super) struct OfEvents under "What is asked" for "events" {
        /// Address of the service; none: the one in `--listen`.
        address: Option<SocketAddr>,
        /// Sink by its name.
        sink: Option<String>,
        /// Dead letter by its id, as in `nats:17-0`.
        id: Option<String>,
    }

    /// Where `descriptors` writes.
    pub(super) struct Output under "Output" for "descriptors" {
        /// File to write; none: standard output.
        out: Option<PathBuf>,
        /// Write the description of all events and channels instead, as an `AsyncAPI` document in JSON.
        asyncapi: bool = false,
    }
}
