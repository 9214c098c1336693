//! The connection to Redis, with bounded delays.
//!
//! No call takes longer than its timeout, and no call waits for a reconnect. After a failure Redis is not called for the
//! cooldown: a dead Redis delays the calls in flight by their timeout and later calls not at all. A connection that failed
//! is dropped, because one that leads into a black hole would otherwise look alive for about 15 minutes. Connections are
//! opened in the background, the first one by [`Redis::new`], the others by the first call after the cooldown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError,
    ServerErrorKind, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::{sync::watch, time};
use tracing::{Instrument as _, debug, field, info, info_span, warn};

use super::options::{RedisOptions, SetupError};
use crate::telemetry::metrics;

/// The deadline for opening a connection: name lookup, TCP, TLS and handshake. Only the first calls wait for it, no longer
/// than their own timeout, so it may be longer than that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of commands that may be queued for writing.
const PIPELINE_CAPACITY: usize = 1_024;
/// Ten years, in milliseconds. Redis refuses a time to live that overflows its clock.
const MAX_TTL: u64 = 10 * 365 * 86_400_000;

/// Why a call to Redis has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Redis did not answer within the timeout.
    TimedOut,
    /// Redis or the connection returned an error.
    Failed,
    /// Redis was not called, because there is no connection: it failed a short time ago, or one is being opened.
    NotCalled,
}

impl Failure {
    /// The value of the metric's label `outcome`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::NotCalled => "left_alone",
        }
    }
}

/// The state of the connection.
enum Link {
    /// A connection is being opened. Calls wait for the first one, within their timeout, so that a service that has just
    /// started finds what Redis holds.
    Connecting { first: bool },
    /// Redis works. Each connection has its own `number`.
    Up { connection: MultiplexedConnection, number: u64 },
    /// Redis failed, and is not called before `until`.
    CoolingDown { until: Instant },
}

impl Link {
    /// The value of the metric `boxoffice_breaker_state`.
    fn gauge(&self) -> u64 {
        match self {
            Self::Up { .. } => 0,
            Self::Connecting { .. } => 1,
            Self::CoolingDown { .. } => 2,
        }
    }
}

/// A client of one Redis server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    timeout: Duration,
    cooldown: Duration,
    link: watch::Sender<Link>,
    next_number: AtomicU64,
    /// Whether the present failure has been logged as a warning.
    warned: AtomicBool,
}

impl Redis {
    /// Starts to connect. Must be called on a Tokio runtime.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, SetupError> {
        let invalid = |error: RedisError| {
            SetupError::RedisUrl(match error.kind() {
                ErrorKind::InvalidClientConfig => "it has a scheme or a setting that is not supported",
                _ => "it must be redis://host:port or rediss://host:port",
            })
        };
        let info = options.url.expose().into_connection_info().map_err(invalid)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(invalid)?;
        let link = watch::Sender::new(Link::Connecting { first: true });
        let (next_number, warned) = (AtomicU64::new(0), AtomicBool::new(false));
        let (timeout, cooldown) = (options.timeout, options.cooldown);
        let redis = Self(Arc::new(Inner { client, timeout, cooldown, link, next_number, warned }));
        tokio::spawn(redis.clone().connect());
        Ok(redis)
    }

    /// The value under this key.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.call("GET", Cmd::new().arg("GET").arg(key)).await
    }

    /// Stores the value for `ttl`, at least 1 ms.
    pub(super) async fn put(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), Failure> {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_TTL);
        self.call("SET", Cmd::new().arg("SET").arg(key).arg(value).arg("PX").arg(ttl)).await
    }

    /// Whether Redis answers now.
    pub(super) async fn ping(&self) -> bool {
        self.call::<()>("PING", Cmd::new().arg("PING")).await.is_ok()
    }

    async fn call<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, Failure> {
        let span = info_span!(
            "cache_call",
            otel.kind = "client",
            db.system = "redis",
            db.operation = name,
            outcome = field::Empty
        );
        let result = self.bounded(command).instrument(span.clone()).await;
        span.record("outcome", result.as_ref().err().map_or("ok", |failure| failure.label()));
        result
    }

    /// One timeout covers the wait for a connection and the call.
    async fn bounded<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let deadline = time::Instant::now() + self.0.timeout;
        let (mut connection, number) = self.connection(deadline).await.ok_or(Failure::NotCalled)?;
        match time::timeout_at(deadline, command.query_async(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_connection_failure(&error) {
                    self.fail(number, error.category());
                } else {
                    debug!(error = error.category(), "Redis refused a command");
                }
                Err(Failure::Failed)
            }
            Err(_) => {
                self.fail(number, "it did not answer in time");
                Err(Failure::TimedOut)
            }
        }
    }

    /// The connection, or `None` if there is none at present. The first call after the cooldown starts to open one.
    async fn connection(&self, deadline: time::Instant) -> Option<(MultiplexedConnection, u64)> {
        let first = |link: &Link| matches!(link, Link::Connecting { first: true });
        if first(&self.0.link.borrow()) {
            let mut link = self.0.link.subscribe();
            let settled = time::timeout_at(deadline, link.wait_for(|link| !first(link))).await;
            if settled.is_err() {
                // Later calls do not wait for it.
                self.change(|link| first(link).then_some(Link::Connecting { first: false }));
            }
        }
        let now = Instant::now();
        let due = match &*self.0.link.borrow() {
            Link::Up { connection, number } => return Some((connection.clone(), *number)),
            Link::Connecting { .. } => false,
            Link::CoolingDown { until } => *until <= now,
        };
        let connecting = |link: &Link| match link {
            Link::CoolingDown { until } if *until <= now => Some(Link::Connecting { first: false }),
            _ => None,
        };
        if due && self.change(connecting) {
            tokio::spawn(self.clone().connect());
        }
        None
    }

    /// Opens a connection and checks with a PING that Redis answers.
    async fn connect(self) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            .set_pipeline_buffer_size(PIPELINE_CAPACITY);
        let attempt = async {
            let mut connection = self.0.client.get_multiplexed_async_connection_with_config(&config).await?;
            Cmd::new().arg("PING").exec_async(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        let error = match time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                let number = self.0.next_number.fetch_add(1, Ordering::Relaxed);
                self.change(|_| Some(Link::Up { connection, number }));
                self.0.warned.store(false, Ordering::Relaxed);
                info!("connected to Redis, which now holds the cache of movies");
                return;
            }
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        let until = Instant::now() + self.0.cooldown;
        self.change(|_| Some(Link::CoolingDown { until }));
        if self.0.warned.swap(true, Ordering::Relaxed) {
            debug!(error, "cannot connect to Redis");
        } else {
            warn!(
                error,
                "cannot connect to Redis, retrying at most every {:?}; movies are cached in memory", self.0.cooldown
            );
        }
    }

    fn fail(&self, failed: u64, error: &str) {
        let until = Instant::now() + self.0.cooldown;
        let down = self.change(|link| match link {
            // The failure of an older connection says nothing about this one.
            Link::Up { number, .. } if *number == failed => Some(Link::CoolingDown { until }),
            _ => None,
        });
        if down {
            self.0.warned.store(true, Ordering::Relaxed);
            warn!(error, "Redis failed and is not called for {:?}; movies are cached in memory", self.0.cooldown);
        }
    }

    /// Replaces the link by what `step` returns, if anything. Returns whether it did.
    fn change(&self, step: impl FnOnce(&Link) -> Option<Link>) -> bool {
        self.0.link.send_if_modified(|link| {
            let Some(next) = step(link) else { return false };
            metrics::breaker("redis", next.gauge());
            *link = next;
            true
        })
    }
}

/// Whether the error concerns the connection or the server as a whole. An error that concerns one command or one value
/// does not: a write without memory left, a key that holds another type.
fn is_connection_failure(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::UnexpectedReturnType
        | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm) => false,
        // Codes without a name in the library, such as OOM, WRONGTYPE and MISCONF. A new connection may resolve NOAUTH.
        ErrorKind::Extension => error.code() == Some("NOAUTH"),
        _ => true,
    }
}
