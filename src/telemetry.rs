//! How the service is seen: metrics, the console, traces. A leaf: any room but `domain` may record here.
//!
//! `init` sets up everything once for the process; the guard it returns flushes on every exit, and never waits for longer
//! than a few seconds. Deliberately absent: logs over OTLP (the console is the log), span names on console lines.

mod access;
mod console;
pub mod metrics;
pub mod panics;
pub mod request;
pub mod traces;

use std::{
    fmt,
    io::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider};
use prometheus::Registry;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    registry::LookupSpan,
};

use self::{console::Console, traces::Traces};
use crate::clock::Clock;

/// What the rest of the spans may take at exit, and what the rest of the lines may.
const SPANS: Duration = Duration::from_secs(2);
const LINES: Duration = Duration::from_secs(1);

/// How console lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// For machines: one JSON object on each line.
    Json,
}

/// How the service is to be seen.
#[derive(Clone, Debug)]
pub struct Options {
    /// How console lines are written.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of tracing's `EnvFilter` (fields of spans excepted).
    pub log_level: String,
    /// The collector that traces go to.
    pub otlp_endpoint: Option<String>,
    /// Tells this process from its siblings.
    pub instance: String,
}

/// Why the service cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log level does not parse.
    #[error("log-level: not a filter that can be understood")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Nothing can be exported there.
    #[error("otlp-endpoint: {endpoint}: {reason}")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The metrics cannot be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] OTelSdkError),
    /// The system gives no thread.
    #[error("no thread for telemetry")]
    Thread(#[from] io::Error),
    /// Set up before.
    #[error("telemetry is set up already in this process")]
    Twice,
}

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// Sets up the console, metrics and traces of this process. Works inside a runtime and outside one.
///
/// # Errors
/// Names the option that is wrong.
pub fn init(options: &Options) -> Result<Guard, Error> {
    let filter = EnvFilter::builder().parse(&options.log_level)?;
    // Asked once, of the filter alone: as one filter among several it would say yes for the others too.
    let alone = tracing_subscriber::registry().with(EnvFilter::builder().parse(&options.log_level)?);
    let wants_access_lines =
        tracing::subscriber::with_default(alone, || tracing::enabled!(target: access::TARGET, Level::INFO));
    let resource = Resource::builder()
        .with_service_name("boxoffice")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", options.instance.clone()))
        .build();
    let (meters, registry) = metrics::provider(resource.clone())?;
    metrics::install(&meters);
    opentelemetry::global::set_meter_provider(meters.clone());
    let traces = options.otlp_endpoint.as_deref().map(|endpoint| Traces::start(endpoint, resource)).transpose()?;
    let (console, writer) = Console::start(io::stdout())?;

    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.provider.tracer("boxoffice"))
            .with_location(false)
            .with_threads(false)
            // Ours only: the exporter's own calls would breed spans without end.
            .with_filter(filter_fn(of_ours).with_max_level_hint(LevelFilter::INFO))
    });
    // The levels are said aloud because a function says nothing about them: without that, every trace event of the HTTP
    // library would be asked about, hundreds of times a request.
    let level = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let lines = lines(options.log_format, console.clone())
        .with_filter(filter.and(filter_fn(no_span).with_max_level_hint(level)));
    let subscriber = tracing_subscriber::registry().with(lines);
    // Without traces nobody wants spans, so opening one costs nothing. A layer that is `None` would want them all.
    match spans {
        Some(spans) => tracing::subscriber::set_global_default(subscriber.with(spans)),
        None => tracing::subscriber::set_global_default(subscriber),
    }
    .map_err(|_| Error::Twice)?;
    panics::install();
    if wants_access_lines {
        access::install(console.clone(), options.log_format);
    }
    CONSOLE.get_or_init(|| console);
    if traces.is_some() {
        Traces::switch_on();
    }
    Ok(Guard { traces, meters, registry, writer: Some(writer) })
}

fn of_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("boxoffice")
}

fn no_span(metadata: &Metadata<'_>) -> bool {
    !metadata.is_span()
}

fn lines<S>(format: LogFormat, console: Console) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_timer(Time).with_ansi(false).with_writer(console);
    match format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    }
}

/// Says something to whoever started the service, in order with the log and whatever the log level.
pub fn say(text: &str) {
    match CONSOLE.get() {
        Some(console) => console.push(format!("{text}\n").as_bytes()),
        // Whoever cannot read it cannot be told so either.
        None => drop(writeln!(io::stdout(), "{text}")),
    }
}

struct Time;

impl FormatTime for Time {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        access::timestamp(&mut text, Clock::System.now());
        out.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Flushes when dropped or shut down.
#[derive(Debug)]
#[must_use = "dropping it ends telemetry"]
pub struct Guard {
    traces: Option<Traces>,
    meters: SdkMeterProvider,
    registry: Registry,
    writer: Option<console::Writer>,
}

impl Guard {
    /// What `/metrics` shows.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Sends the last spans and writes the last lines: at most 3 seconds. Blocks, so it is best called outside the runtime.
    pub fn shutdown(mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        if let Some(traces) = self.traces.take() {
            traces.shutdown(SPANS);
        }
        if let Some(writer) = self.writer.take() {
            let _ = self.meters.shutdown();
            writer.close(LINES);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush();
    }
}
