//! Every option of the program.

use std::time::Duration;

use super::options::{Group, Kind, Row};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

const fn row(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    Row { scope: "", name, kind, default, help }
}

const fn scoped(scope: &'static str, name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    Row { scope, name, kind, default, help }
}

pub(super) const CONFIG: Row =
    row("config", Kind::Path, "", "TOML file with options, their names written like max_message_bytes");

const LISTEN: Row =
    row("listen", Kind::Address, "127.0.0.1:50051", "Address for gRPC and grpc-web; port 0 picks a free one");

const TRUSTED_NETWORK: Row = row(
    "trusted-network",
    Kind::Switch,
    "false",
    "Allow an address that other machines can reach, although callers are not authenticated",
);

const OBSERVABILITY: Group = Group {
    heading: "Observability",
    rows: &[
        row("log-format", Kind::Choice("human|json"), "human", "How the console is written"),
        row("log-level", Kind::Text, "info", "Least level logged, or per target: info,boxoffice::store=debug"),
        row("otlp-endpoint", Kind::Url, "", "OpenTelemetry collector that takes traces over gRPC; none: no traces"),
    ],
};

/// What `serve`, `migrate` and `check-config` take.
pub(super) const SERVICE: &[Group] = &[
    Group {
        heading: "Listening",
        rows: &[
            LISTEN,
            row(
                "admin-listen",
                Kind::AddressOrOff,
                "127.0.0.1:9464",
                "Address for /healthz, /readyz and /metrics, or \"off\"",
            ),
            TRUSTED_NETWORK,
            row(
                "cors-origin",
                Kind::Origins,
                "",
                "Web origin allowed besides the same origin and localhost, like https://cinema.example; several with \
                 commas, or given repeatedly; \"*\" allows any",
            ),
        ],
    },
    Group {
        heading: "Database",
        rows: &[
            row("data-dir", Kind::Path, "./boxoffice-data", "Folder for what the service keeps; made when missing"),
            row(
                "database-url",
                Kind::Url,
                "",
                "postgres://user:password@host/name or sqlite:///path/to/file; none: the SQLite file boxoffice.db in the \
                 data folder",
            ),
            row(
                "migrate",
                Kind::Choice("auto|manual"),
                "auto",
                "Bring the schema up to date at each start, or only by the subcommand migrate",
            ),
            row("database-connections", Kind::Count(1, 1000), "16", "Connections in the pool"),
            row(
                "database-timeout",
                Kind::Duration(MILLISECOND, HOUR),
                "3s",
                "Longest wait for a connection, and for a statement",
            ),
        ],
    },
    Group {
        heading: "Cache",
        rows: &[
            row(
                "redis-url",
                Kind::Url,
                "",
                "redis:// or rediss:// (TLS): for movies, and between instances; none: movies are cached in the process",
            ),
            row("redis-timeout", Kind::Duration(MILLISECOND, MINUTE), "20ms", "Longest wait for an answer from Redis"),
            row("redis-rest", Kind::Duration(Duration::ZERO, HOUR), "1s", "How long a failing Redis is left alone"),
            row(
                "showtime-cache",
                Kind::Count(0, 10_000_000),
                "10000",
                "Showtimes whose unchanging facts are kept in memory; 0: none",
            ),
        ],
    },
    PROVIDER,
    Group {
        heading: "Cinema",
        rows: &[
            row(
                "hold-duration",
                Kind::Duration(SECOND, DAY),
                "10m",
                "How long seats are held, where a showtime says nothing else",
            ),
            row(
                "turnaround",
                Kind::Duration(Duration::ZERO, DAY),
                "15m",
                "Time that an auditorium stays empty between two showtimes",
            ),
            row("max-seats", Kind::Count(1, 100), "10", "Seats of one reservation, at most"),
            row("max-customer-seats", Kind::Count(1, 2_000), "10", "Seats of one customer in one showtime, at most"),
            row(
                "sales-closing",
                Kind::Duration(Duration::ZERO, DAY),
                "0s",
                "How long before its start a showtime is no longer sold",
            ),
            row(
                "hold-extension",
                Kind::Duration(SECOND, DAY),
                "5m",
                "How much longer a hold lasts when it is prolonged",
            ),
            row(
                "orphan-seats",
                Kind::Choice("allow|refuse"),
                "allow",
                "Whether a choice of seats may leave a single free seat where another choice would not",
            ),
            row(
                "sample",
                Kind::Choice("auto|on|off"),
                "auto",
                "Create sample auditoriums and showtimes; auto: when neither database-url nor provider-url is given",
            ),
        ],
    },
    LEDGER,
    LIMITS,
    OBSERVABILITY,
    Group { heading: "File", rows: &[CONFIG] },
];

const LEDGER: Group = Group {
    heading: "Seats",
    rows: &[
        row(
            "ledger-writers",
            Kind::Count(1, 16),
            "2",
            "Writers of seats, each with showtimes and a database connection of its own; SQLite has one, whatever is said here",
        ),
        row("ledger-memory", Kind::Count(1, 1_048_576), "512", "MiB for the seats of showtimes in use, about"),
        row("sweep", Kind::Switch, "true", "Write holds that are over down as such; they are over anyhow"),
        row(
            "sweep-interval",
            Kind::Duration(Duration::from_millis(100), HOUR),
            "1s",
            "Pause between two looks for holds that are over",
        ),
        row("max-watchers", Kind::Count(1, 1_000_000), "10000", "Watchers of seat maps at once, over all connections"),
        row(
            "max-caller-watchers",
            Kind::Count(1, 1_000_000),
            "1000",
            "Watchers from one address (IPv6: one /64) at once",
        ),
        row(
            "watch-heartbeat",
            Kind::Duration(Duration::from_millis(100), HOUR),
            "10s",
            "Silence after which a watcher of a seat map gets a sign of life",
        ),
    ],
};

const PROVIDER: Group = Group {
    heading: "Movie provider",
    rows: &[
        row("provider-url", Kind::Url, "", "http:// or https://; none: the demo provider, in the process, on loopback"),
        row("provider-api-key", Kind::Secret, "", "Key sent with each call; better not given as a flag: others see it"),
        row("provider-ca-file", Kind::Path, "", "PEM file of the authority that signed the provider's certificate"),
        row("provider-insecure", Kind::Switch, "false", "Do not verify the provider's certificate: for development"),
        row("provider-timeout", Kind::Duration(MILLISECOND, MINUTE), "1s", "Longest wait for one attempt"),
        row("provider-attempts", Kind::Count(1, 10), "3", "Attempts for one movie, the first included"),
        row(
            "provider-fresh",
            Kind::Duration(Duration::ZERO, YEAR),
            "10m",
            "Age up to which a cached movie is answered without a call; 0s: always call",
        ),
        row(
            "provider-stale",
            Kind::Duration(Duration::ZERO, YEAR),
            "7d",
            "Age up to which a cached movie is answered when the call fails",
        ),
        row(
            "provider-absent",
            Kind::Duration(Duration::ZERO, DAY),
            "30s",
            "How long \"no such movie\" is remembered; 0s: not at all",
        ),
    ],
};

const LIMITS: Group = Group {
    heading: "Limits",
    rows: &[
        row(
            "request-timeout",
            Kind::Duration(MILLISECOND, HOUR),
            "5s",
            "Deadline of a request whose caller states none",
        ),
        row("max-request-timeout", Kind::Duration(MILLISECOND, HOUR), "30s", "Latest deadline that a caller may state"),
        row("max-message-bytes", Kind::Count(1024, 67_108_864), "1048576", "Largest message taken"),
        row("max-concurrent-streams", Kind::Count(1, 1_000_000), "1024", "Requests in flight on one connection"),
        row("max-connections", Kind::Count(1, 1_000_000), "10000", "Open connections"),
        row(
            "max-requests",
            Kind::Count(1, 1_000_000),
            "4096",
            "Requests in flight over all connections; a further one is answered UNAVAILABLE",
        ),
        row("max-header-bytes", Kind::Count(1024, 1_048_576), "16384", "Largest set of headers taken"),
        row("keepalive-interval", Kind::Duration(SECOND, HOUR), "30s", "Silence after which a connection is probed"),
        row("keepalive-timeout", Kind::Duration(SECOND, HOUR), "10s", "Wait for the answer to a probe"),
        row(
            "drain-timeout",
            Kind::Duration(Duration::ZERO, HOUR),
            "20s",
            "Longest wait, when shutting down, for requests in flight",
        ),
    ],
};

/// What `demo-provider` takes.
pub(super) const DEMO: &[Group] = &[
    Group {
        heading: "Listening",
        rows: &[
            scoped("demo", "listen", Kind::Address, "127.0.0.1:50061", "Address; port 0 picks a free one"),
            TRUSTED_NETWORK,
            scoped("demo", "api-key", Kind::Secret, "", "Key that callers must send; none: every caller is served"),
            scoped("demo", "tls-cert", Kind::Path, "", "PEM file with the certificate; none: no TLS"),
            scoped("demo", "tls-key", Kind::Path, "", "PEM file with the certificate's private key"),
        ],
    },
    Group {
        heading: "Faults (they can be changed while it runs, too)",
        rows: &[
            scoped("demo", "latency", Kind::Duration(Duration::ZERO, HOUR), "0s", "Every answer is this late"),
            scoped("demo", "jitter", Kind::Duration(Duration::ZERO, HOUR), "0s", "And up to this much later"),
            scoped(
                "demo",
                "failure-percent",
                Kind::Count(0, 100),
                "0",
                "Per cent of calls that fail with a gRPC error",
            ),
            scoped(
                "demo",
                "in-band-percent",
                Kind::Count(0, 100),
                "0",
                "Per cent of calls that are OK and say in their answer that they failed",
            ),
            scoped("demo", "outage", Kind::Switch, "false", "Every call fails at once with UNAVAILABLE"),
            scoped("demo", "black-hole", Kind::Switch, "false", "Every call is taken and never answered"),
        ],
    },
    OBSERVABILITY,
    Group { heading: "File", rows: &[CONFIG] },
];

/// What `healthcheck` takes.
pub(super) const HEALTHCHECK: &[Group] = &[
    Group {
        heading: "What is asked",
        rows: &[
            scoped("healthcheck", "address", Kind::Address, "", "Address of the service; none: the one in --listen"),
            LISTEN,
            scoped("healthcheck", "service", Kind::Text, "", "Service by its full name; none: the server as a whole"),
        ],
    },
    Group { heading: "File", rows: &[CONFIG] },
];

/// What `descriptors` takes.
pub(super) const DESCRIPTORS: &[Group] = &[Group {
    heading: "Output",
    rows: &[scoped("descriptors", "out", Kind::Path, "", "File to write; none: standard output")],
}];

/// Every option there is; one that several subcommands share comes once.
pub(super) fn all() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in [SERVICE, DEMO, HEALTHCHECK, DESCRIPTORS].into_iter().flatten().flat_map(|group| group.rows) {
        if !rows.iter().any(|known| known.key() == row.key()) {
            rows.push(*row);
        }
    }
    rows
}
