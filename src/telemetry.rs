//! Telemetry: metrics, the console, traces. A leaf: every room but `domain` may record here.
//!
//! `init` sets up everything once for the process. The guard that it returns flushes on every exit, and waits at most
//! 3 seconds for that. Deliberately absent: logs over OTLP (the console is the log), span names on console lines.

mod access;
pub mod cause;
pub mod connection_errors;
mod console;
pub mod metrics;
pub mod network;
pub mod notices;
mod options;
pub mod panics;
mod purchases;
pub mod request;
mod sinks;
pub mod trace_parent;
pub mod traces;

use std::{
    fmt,
    io::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::Registry;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, LevelFilter, ParseError, filter_fn},
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    registry::LookupSpan,
};

use self::{console::Console, metrics::RequestSeries, request::Ended, traces::Traces};
use crate::clock::Clock;

pub use options::{Error, LogFormat, Options};

/// Longest wait at exit for the last spans to be sent.
const FLUSH_SPANS: Duration = Duration::from_secs(2);
/// Longest wait at exit for the last console lines to be written.
const FLUSH_LINES: Duration = Duration::from_secs(1);

/// The HTTP/2 library warns of each connection that an attacker breaks, without the peer. `connection_errors` logs the same
/// by the second and with the peer. The libraries of brokers log each attempt; a sink logs when trouble begins and ends.
const SILENCED: &str = "h2=off,async_nats=off,lapin=off,rskafka=off";

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// Sets up the console, metrics and traces of this process, inside a runtime or outside one.
///
/// # Errors
/// An option is wrong, or telemetry is already set up.
pub fn init(options: &Options) -> Result<Guard, Error> {
    let filter = filter(&options.log_level)?;
    // The filter is asked once, and alone: as one filter among several it would answer for the others too.
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
            // The exporter's own calls would open spans that are exported in turn, without end.
            .with_filter(filter_fn(is_own_span).with_max_level_hint(LevelFilter::INFO))
    });
    // A function as a filter has no level of its own. Without the hint the filter would be called for every trace event of
    // the HTTP library, hundreds of times per request.
    let level = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let lines = lines(options.log_format, console.clone())
        .with_filter(filter.and(filter_fn(is_event).with_max_level_hint(level)));
    let subscriber = tracing_subscriber::registry().with(lines).with(notices::layer());
    // Without a layer for spans, opening a span costs nothing. A layer that is `None` would enable all of them.
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
        Traces::enable();
    }
    Ok(Guard { traces, meters, registry, writer: Some(writer) })
}

/// The filter of this log level, in which a later directive for a target replaces an earlier one.
fn filter(log_level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{SILENCED},{log_level}"))
}

fn is_own_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("boxoffice")
}

fn is_event(metadata: &Metadata<'_>) -> bool {
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

/// Writes text to the console, in order with the log and at any log level.
pub fn print(text: &str) {
    match CONSOLE.get() {
        Some(console) => console.push(format!("{text}\n").as_bytes()),
        // Without a readable standard output there is no place to report the failure either.
        None => drop(writeln!(io::stdout(), "{text}")),
    }
}

/// Counts a request that has ended, and writes its console line.
pub fn request_ended(request: &Ended<'_>, series: &RequestSeries) {
    series.ended(request.status, request.protocol, request.elapsed);
    access::write_line(request);
}

struct Time;

impl FormatTime for Time {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        access::timestamp(&mut text, Clock::System.now());
        out.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Keeps telemetry running, and flushes it when dropped or shut down.
#[derive(Debug)]
#[must_use = "dropping it ends telemetry"]
pub struct Guard {
    traces: Option<Traces>,
    meters: SdkMeterProvider,
    registry: Registry,
    writer: Option<console::Writer>,
}

impl Guard {
    /// The metrics that `/metrics` shows.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Sends the last spans and writes the last lines, for at most 3 seconds. It blocks, so call it outside the runtime.
    pub fn shutdown(mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        if let Some(traces) = self.traces.take() {
            traces.shutdown(FLUSH_SPANS);
        }
        if let Some(writer) = self.writer.take() {
            let _ = self.meters.shutdown();
            writer.close(FLUSH_LINES);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// Whether this log level shows warnings of the HTTP/2 library, and our own.
    fn shown(log_level: &str) -> (bool, bool) {
        let subscriber = tracing_subscriber::registry().with(filter(log_level).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            let library = tracing::enabled!(target: "h2::proto::streams::recv", Level::WARN);
            (library, tracing::enabled!(target: "boxoffice::server", Level::WARN))
        })
    }

    #[test]
    fn the_http_2_library_is_logged_only_if_it_is_named() {
        assert_eq!(shown("info"), (false, true));
        assert_eq!(shown("debug,boxoffice::store=trace"), (false, true));
        assert_eq!(shown("info,h2=warn"), (true, true));
        assert_eq!(shown("off,h2::proto=debug"), (true, false));
        assert_eq!(filter("off").unwrap().max_level_hint(), Some(LevelFilter::OFF));
    }
}
