//! Asks the provider: each attempt under a deadline, few attempts, and none while the breaker is open.
//!
//! It promises that a question ends within `attempts × timeout` and some backoff, that retries stay a fraction of all
//! calls however much fails, and that "no such movie" is an answer like any other. It remembers nothing of what it is
//! told: that is the cache's.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{global, propagation::Injector};
use tokio::time;
use tonic::{
    Request,
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::Channel,
};
use tower::retry::budget::{Budget as _, TpsBudget};
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    breaker::{Breaker, Permit, Position, Settings},
    channel,
    entry::{Content, Key},
    options::{ProviderOptions, SetupError},
    wire::{self, Trouble},
};
use crate::{
    clock::Clock,
    pb::movies::{Empty, IdRequest, ResponseModel, SearchRequest, movies_api_client::MoviesApiClient},
    telemetry::metrics,
};

/// A thousand movies take some 300 KB.
const LARGEST_ANSWER: usize = 4 << 20;
/// Half of all calls failing at random rarely opens it; nearly all of them failing does at once.
const BREAKER: Settings = Settings { failures: 8, window: 10, rest: Duration::from_secs(2) };
/// Waits are spread evenly between nothing and this, doubled with every attempt.
const BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// When nothing better is known.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The provider did not answer; it may be worth asking again after this time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    pub(super) retry_after: Duration,
}

impl Default for Unanswered {
    fn default() -> Self {
        Self { retry_after: ASK_AGAIN }
    }
}

/// The provider, seen from here.
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
        let client = MoviesApiClient::new(channel::open(options)?).max_decoding_message_size(LARGEST_ANSWER);
        let api_key = options.api_key.as_ref().map(|key| {
            let mut value = MetadataValue::try_from(key.expose()).map_err(|_| SetupError::ApiKey)?;
            value.set_sensitive(true);
            Ok(value)
        });
        metrics::breaker("provider", Position::Closed.gauge());
        Ok(Self {
            client,
            api_key: api_key.transpose()?,
            timeout: options.timeout,
            attempts: options.attempts.max(1),
            // Over ten seconds: one retry for two calls, and a hundred besides for those who ask seldom.
            budget: TpsBudget::new(Duration::from_secs(10), 10, 0.5),
            breaker: Mutex::new(Breaker::new(BREAKER)),
            clock,
        })
    }

    /// Whether calls pass.
    pub(super) fn is_up(&self) -> bool {
        self.breaker(|breaker| breaker.position()) == Position::Closed
    }

    /// Asks, again if need be.
    pub(super) async fn ask(&self, key: &Key) -> Result<Content, Unanswered> {
        self.budget.deposit();
        let mut attempt = 1;
        loop {
            let permit = self.admit()?;
            let answer = self.attempt(key, attempt).await;
            self.record(&permit, answer.as_ref().is_err_and(Trouble::is_outage));
            let trouble = match answer {
                Ok(content) => return Ok(content),
                Err(trouble) => trouble,
            };
            if attempt == self.attempts || !trouble.may_pass() || !self.budget.withdraw() {
                warn!(%trouble, attempt, "the movie provider does not answer");
                return Err(Unanswered::default());
            }
            debug!(%trouble, attempt, "the movie provider is asked again");
            time::sleep(self.backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// Full jitter: those who failed together do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let most = BACKOFF.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_BACKOFF);
        most.mul_f64(self.clock.fraction())
    }

    async fn attempt(&self, key: &Key, attempt: u32) -> Result<Content, Trouble> {
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
        let begin = Instant::now();
        let answer = match time::timeout(self.timeout, self.call(key).instrument(span.clone())).await {
            Ok(Ok(answer)) => wire::answered(key, &answer),
            Ok(Err(status)) => wire::refused(key, &status, self.timeout),
            Err(_) => Err(Trouble::TimedOut(self.timeout)),
        };
        let outcome = match &answer {
            Ok(Content::Absent) => "not_found",
            Ok(Content::Movie(_) | Content::Movies(_)) => "ok",
            Err(trouble) => trouble.label(),
        };
        span.record("outcome", outcome);
        metrics::provider_call(method, outcome, begin.elapsed());
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

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let metadata = request.metadata_mut();
        if let Some(key) = &self.api_key {
            metadata.insert("x-apikey", key.clone());
        }
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Headers(metadata)));
        request
    }

    fn admit(&self) -> Result<Permit, Unanswered> {
        let admitted = self.breaker(|breaker| breaker.admit(Instant::now()));
        admitted.map_err(|wait| Unanswered { retry_after: wait.max(Duration::from_millis(1)) })
    }

    fn record(&self, permit: &Permit, failed: bool) {
        self.breaker(|breaker| breaker.record(permit, failed, Instant::now()));
    }

    /// Moves the breaker, and says so when its position has changed.
    fn breaker<T>(&self, step: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.position();
        let result = step(&mut breaker);
        let after = breaker.position();
        if before != after {
            metrics::breaker("provider", after.gauge());
            match after {
                Position::Open => warn!("the movie provider is left alone for {:?}", BREAKER.rest),
                Position::HalfOpen => debug!("one call finds out how the movie provider is"),
                Position::Closed => info!("the movie provider answers again"),
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

/// Where a propagator writes.
struct Headers<'a>(&'a mut MetadataMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (key.parse::<MetadataKey<Ascii>>(), value.parse()) {
            self.0.insert(key, value);
        }
    }
}
