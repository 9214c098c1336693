//! Redis, kept on a short leash.
//!
//! It promises that no call takes longer than its timeout, that nobody waits for a reconnect, and that after a failure
//! Redis is left alone for a while, so that a dead one costs its timeout once for those under way and then nothing. A
//! connection that failed is thrown away: one into a black hole would otherwise look alive for a quarter of an hour.
//! A connection is made in the background, first when the room is furnished and then on demand after the rest.

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

/// Nobody waits for it, so it may take longer than a call: name, connect, TLS, greeting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Commands that may wait to be written.
const PIPELINE: usize = 1_024;
/// Ten years, in milliseconds: Redis refuses what overflows its clock.
const LONGEST_KEEP: u64 = 10 * 365 * 86_400_000;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Not within the timeout.
    TimedOut,
    /// An error.
    Failed,
    /// Not asked: it failed a moment ago.
    LeftAlone,
}

impl Silence {
    /// As the metric has it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::LeftAlone => "left_alone",
        }
    }
}

/// The connection's life.
enum Link {
    /// A connection is being made. Calls wait for the first one, within their timeout, so that a service that has just
    /// started finds what Redis holds.
    Connecting { first: bool },
    /// In order. The number tells one connection from the next.
    Up { connection: MultiplexedConnection, number: u64 },
    /// Left alone.
    Resting { until: Instant },
}

impl Link {
    fn gauge(&self) -> u64 {
        match self {
            Self::Up { .. } => 0,
            Self::Connecting { .. } => 1,
            Self::Resting { .. } => 2,
        }
    }
}

/// A Redis server, seen from here.
#[derive(Clone)]
pub(super) struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    timeout: Duration,
    rest: Duration,
    link: watch::Sender<Link>,
    numbers: AtomicU64,
    /// Whether the log has been told already.
    complained: AtomicBool,
}

impl Redis {
    /// Begins to connect; must be called on a runtime.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, SetupError> {
        let unclear = |error: RedisError| {
            SetupError::RedisUrl(match error.kind() {
                ErrorKind::InvalidClientConfig => "an unsupported scheme or setting",
                _ => "not a redis:// or rediss:// address",
            })
        };
        let info = options.url.expose().into_connection_info().map_err(unclear)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(unclear)?;
        let link = watch::Sender::new(Link::Connecting { first: true });
        let (numbers, complained) = (AtomicU64::new(0), AtomicBool::new(false));
        let (timeout, rest) = (options.timeout, options.rest);
        let redis = Self(Arc::new(Inner { client, timeout, rest, link, numbers, complained }));
        tokio::spawn(redis.clone().connect());
        Ok(redis)
    }

    /// The value under this key.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Silence> {
        self.call("GET", Cmd::new().arg("GET").arg(key)).await
    }

    /// Keeps the value for so long, at least a millisecond.
    pub(super) async fn put(&self, key: &str, value: &[u8], keep: Duration) -> Result<(), Silence> {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_KEEP);
        self.call("SET", Cmd::new().arg("SET").arg(key).arg(value).arg("PX").arg(keep)).await
    }

    /// Whether it answers now.
    pub(super) async fn ping(&self) -> bool {
        self.call::<()>("PING", Cmd::new().arg("PING")).await.is_ok()
    }

    async fn call<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, Silence> {
        let span = info_span!(
            "cache_call",
            otel.kind = "client",
            db.system = "redis",
            db.operation = name,
            outcome = field::Empty
        );
        let result = self.bounded(command).instrument(span.clone()).await;
        span.record("outcome", result.as_ref().err().map_or("ok", |silence| silence.label()));
        result
    }

    /// One timeout for the wait and the call together.
    async fn bounded<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Silence> {
        let deadline = time::Instant::now() + self.0.timeout;
        let (mut connection, number) = self.connection(deadline).await.ok_or(Silence::LeftAlone)?;
        match time::timeout_at(deadline, command.query_async(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if speaks_against_the_server(&error) {
                    self.fail(number, error.category());
                } else {
                    debug!(error = error.category(), "Redis refuses a command");
                }
                Err(Silence::Failed)
            }
            Err(_) => {
                self.fail(number, "no answer in time");
                Err(Silence::TimedOut)
            }
        }
    }

    /// The connection, if Redis is not to be left alone.
    async fn connection(&self, deadline: time::Instant) -> Option<(MultiplexedConnection, u64)> {
        let first = |link: &Link| matches!(link, Link::Connecting { first: true });
        if first(&self.0.link.borrow()) {
            let mut link = self.0.link.subscribe();
            let settled = time::timeout_at(deadline, link.wait_for(|link| !first(link))).await;
            if settled.is_err() {
                // Nobody else shall wait for it.
                self.turn(|link| first(link).then_some(Link::Connecting { first: false }));
            }
        }
        let now = Instant::now();
        let due = match &*self.0.link.borrow() {
            Link::Up { connection, number } => return Some((connection.clone(), *number)),
            Link::Connecting { .. } => false,
            Link::Resting { until } => *until <= now,
        };
        let begin = |link: &Link| match link {
            Link::Resting { until } if *until <= now => Some(Link::Connecting { first: false }),
            _ => None,
        };
        if due && self.turn(begin) {
            tokio::spawn(self.clone().connect());
        }
        None
    }

    /// Makes a connection and sees that it is answered.
    async fn connect(self) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            .set_pipeline_buffer_size(PIPELINE);
        let attempt = async {
            let mut connection = self.0.client.get_multiplexed_async_connection_with_config(&config).await?;
            Cmd::new().arg("PING").exec_async(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        let error = match time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
                self.turn(|_| Some(Link::Up { connection, number }));
                self.0.complained.store(false, Ordering::Relaxed);
                info!("Redis is in order and holds the cache");
                return;
            }
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => "no answer in time".to_owned(),
        };
        let until = Instant::now() + self.0.rest;
        self.turn(|_| Some(Link::Resting { until }));
        if self.0.complained.swap(true, Ordering::Relaxed) {
            debug!(error, "Redis cannot be reached");
        } else {
            warn!(error, "Redis cannot be reached and is tried again from time to time; the cache is in memory");
        }
    }

    fn fail(&self, failed: u64, error: &str) {
        let until = Instant::now() + self.0.rest;
        let down = self.turn(|link| match link {
            // A straggler on an older connection says nothing about this one.
            Link::Up { number, .. } if *number == failed => Some(Link::Resting { until }),
            _ => None,
        });
        if down {
            self.0.complained.store(true, Ordering::Relaxed);
            warn!(error, "Redis fails and is left alone for {:?}; the cache is in memory", self.0.rest);
        }
    }

    /// Changes the link if `step` wants to; whether it did.
    fn turn(&self, step: impl FnOnce(&Link) -> Option<Link>) -> bool {
        self.0.link.send_if_modified(|link| {
            let Some(next) = step(link) else { return false };
            metrics::breaker("redis", next.gauge());
            *link = next;
            true
        })
    }
}

/// What one command or one value is to blame for leaves the connection alone: no memory left to write, a key that holds
/// something else.
fn speaks_against_the_server(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::UnexpectedReturnType
        | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm) => false,
        // Codes that the library has no name for: OOM, WRONGTYPE, MISCONF, and the one that a new connection may mend.
        ErrorKind::Extension => error.code() == Some("NOAUTH"),
        _ => true,
    }
}
