//! The client of the movie provider: a deadline for each attempt, a bounded number of attempts, a circuit breaker.
//!
//! A request ends within `attempts × timeout` plus the backoff between attempts. Retries are limited to a share of all
//! requests, however many fail. "No such movie" is an answer, not a failure. Answers are not stored here: the cache does
//! that.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tower::retry::budget::{Budget as _, TpsBudget};
use tracing::{Instrument as _, debug, field, info, info_span, warn};

use super::{
    breaker::{Breaker, BreakerState, Permit, Settings},
    entry::{Content, Key},
    options::{ProviderOptions, SetupError},
    wire::{self, AttemptError},
};
use crate::{
    clock::Clock,
    pb::movies::{Empty, IdRequest, ResponseModel, SearchRequest, movies_api_client::MoviesApiClient},
    remote::{
        self,
        channel::{self, ChannelOptions},
    },
    telemetry::metrics,
};

/// The largest answer in bytes. A thousand movies take about 300 KB.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// A provider that fails half of its calls at random rarely opens the breaker. One that fails nearly all opens it soon.
const BREAKER: Settings = Settings { failures: 8, window: 10, open_for: Duration::from_secs(2) };
/// The upper bound of the wait after the first attempt. It doubles with every attempt.
const BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The provider did not answer the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unavailable {
    /// When another request may succeed: when the breaker admits a probe, or after 1 s.
    pub(super) retry_after: Duration,
}

impl Default for Unavailable {
    fn default() -> Self {
        Self { retry_after: Duration::from_secs(1) }
    }
}

/// The client of the movie provider.
pub(super) struct Provider {
    client: MoviesApiClient<Channel>,
    api_key: Option<MetadataValue<Ascii>>,
    timeout: Duration,
    attempts: u32,
    budget: TpsBudget,
    breaker: Mutex<Breaker>,
    clock: Clock,
}

impl Provider {
    pub(super) fn new(options: &ProviderOptions, clock: Clock) -> Result<Self, SetupError> {
        let channel = channel::open(&ChannelOptions {
            url: &options.url,
            ca_pem: options.ca_pem.as_deref(),
            insecure: options.insecure,
            timeout: options.timeout,
        })?;
        let client = MoviesApiClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let api_key = options.api_key.as_ref().map(|key| remote::header(key).ok_or(SetupError::ApiKey));
        metrics::breaker("provider", BreakerState::Closed.gauge());
        Ok(Self {
            client,
            api_key: api_key.transpose()?,
            timeout: options.timeout,
            attempts: options.attempts.max(1),
            // Over 10 s: one retry for every two requests, and another 100 for times with few requests.
            budget: TpsBudget::new(Duration::from_secs(10), 10, 0.5),
            breaker: Mutex::new(Breaker::new(BREAKER)),
            clock,
        })
    }

    /// Whether all calls are admitted.
    pub(super) fn is_up(&self) -> bool {
        self.with_breaker(|breaker| breaker.state()) == BreakerState::Closed
    }

    /// Fetches what the key names, with retries.
    pub(super) async fn fetch(&self, key: &Key) -> Result<Content, Unavailable> {
        self.budget.deposit();
        let mut attempt = 1;
        loop {
            let permit = self.admit()?;
            let answer = self.attempt(key, attempt).await;
            self.record(&permit, answer.as_ref().is_err_and(AttemptError::is_outage));
            let error = match answer {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            if attempt == self.attempts || !error.is_retryable() || !self.budget.withdraw() {
                warn!(%error, attempt, "request to the movie provider failed");
                return Err(Unavailable::default());
            }
            debug!(%error, attempt, "attempt at the movie provider failed, retrying");
            time::sleep(self.backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// The wait before the next attempt, with full jitter: a random share of the bound, so that requests that failed
    /// together are not retried together.
    fn backoff(&self, attempt: u32) -> Duration {
        let bound = BACKOFF.saturating_mul(1 << (attempt - 1).min(16)).min(MAX_BACKOFF);
        bound.mul_f64(self.clock.fraction())
    }

    async fn attempt(&self, key: &Key, attempt: u32) -> Result<Content, AttemptError> {
        let method = method(key);
        let span = info_span!(
            "provider_call",
            otel.kind = "client",
            rpc.system = "grpc",
            rpc.service = "movies.MoviesApi",
            rpc.method = method,
            attempt,
            outcome = field::Empty,
        );
        let start = Instant::now();
        let answer = match time::timeout(self.timeout, self.call(key).instrument(span.clone())).await {
            Ok(Ok(answer)) => wire::from_answer(key, &answer),
            Ok(Err(status)) => wire::from_status(key, &status, self.timeout),
            Err(_) => Err(AttemptError::TimedOut(self.timeout)),
        };
        let outcome = match &answer {
            Ok(Content::Absent) => "not_found",
            Ok(Content::Movie(_) | Content::Movies(_)) => "ok",
            Err(error) => error.label(),
        };
        span.record("outcome", outcome);
        metrics::provider_call(method, outcome, start.elapsed());
        answer
    }

    async fn call(&self, key: &Key) -> Result<ResponseModel, tonic::Status> {
        let mut client = self.client.clone();
        let answer = match key {
            Key::Movie(id) => client.get_by_id(self.request(IdRequest { id: id.as_str().to_owned() })).await,
            Key::Search(text) if text.is_empty() => client.get_all(self.request(Empty {})).await,
            Key::Search(text) => client.search(self.request(SearchRequest { text: text.as_ref().to_owned() })).await,
        };
        answer.map(tonic::Response::into_inner)
    }

    /// A gRPC request with the deadline, the API key and the trace context in its metadata.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let metadata = request.metadata_mut();
        if let Some(key) = &self.api_key {
            metadata.insert("x-apikey", key.clone());
        }
        remote::add_trace(metadata);
        request
    }

    fn admit(&self) -> Result<Permit, Unavailable> {
        let admitted = self.with_breaker(|breaker| breaker.admit(Instant::now()));
        admitted.map_err(|wait| Unavailable { retry_after: wait.max(Duration::from_millis(1)) })
    }

    fn record(&self, permit: &Permit, failed: bool) {
        self.with_breaker(|breaker| breaker.record(permit, failed, Instant::now()));
    }

    /// Runs a step of the breaker. A change of its state is logged and counted.
    fn with_breaker<T>(&self, step: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = step(&mut breaker);
        let after = breaker.state();
        if before != after {
            metrics::breaker("provider", after.gauge());
            match after {
                BreakerState::Open => {
                    warn!("the movie provider failed, circuit breaker open for {:?}", BREAKER.open_for);
                }
                BreakerState::HalfOpen => debug!("circuit breaker of the movie provider half open, sending one probe"),
                BreakerState::Closed => info!("the movie provider recovered, circuit breaker closed"),
            }
        }
        result
    }
}

fn method(key: &Key) -> &'static str {
    match key {
        Key::Movie(_) => "GetById",
        Key::Search(text) if text.is_empty() => "GetAll",
        Key::Search(_) => "Search",
    }
}
