//! Traces over OTLP, if an endpoint is configured.
//!
//! The exporter has a small runtime of its own, so that it neither uses the service's threads nor deadlocks with them at
//! exit. If the collector cannot be reached, spans are lost; nothing waits for the collector beyond its limit.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use http::{HeaderMap, HeaderName};
use opentelemetry::{
    global,
    propagation::{Extractor, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{options::Error, trace_parent::TraceParent};

/// Longest wait for a connection to the collector.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for the answer to one export.
const EXPORT: Duration = Duration::from_secs(2);

/// Whether requests open spans. Read on every request.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// The pipeline to the collector.
#[derive(Debug)]
pub(super) struct Traces {
    pub(super) provider: SdkTracerProvider,
    runtime: Option<Runtime>,
}

impl Traces {
    /// Sets up the pipeline. The first span to be sent opens the connection.
    pub(super) fn start(endpoint: &str, resource: Resource) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Endpoint { endpoint: endpoint.to_owned(), reason };
        if !endpoint.starts_with("http://") {
            return Err(unusable("must be http://host:port, the OTLP/gRPC port of a collector nearby".to_owned()));
        }
        let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| unusable(error.to_string()))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build()?;
        let inside = runtime.enter();
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel.connect_timeout(CONNECT).timeout(EXPORT).connect_lazy())
            .with_timeout(EXPORT)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(8192)
            .with_max_export_batch_size(512)
            .with_scheduled_delay(Duration::from_secs(1))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // The caller's sampling decision is taken over. A request without one is sampled.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource)
            .build();
        drop(inside);
        Ok(Self { provider, runtime: Some(runtime) })
    }

    /// Makes requests open spans.
    pub(super) fn enable() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        ENABLED.store(true, Ordering::Relaxed);
    }

    /// Sends the spans that are left, for at most `limit`.
    pub(super) fn shutdown(mut self, limit: Duration) {
        ENABLED.store(false, Ordering::Relaxed);
        let (done, finished) = mpsc::sync_channel(1);
        let provider = self.provider.clone();
        // On a thread of its own, because a collector that accepts and never answers blocks it.
        let spawned = thread::Builder::new().name("traces-exit".to_owned()).spawn(move || {
            let _ = provider.shutdown_with_timeout(limit);
            let _ = done.send(());
        });
        if spawned.is_ok() {
            let _ = finished.recv_timeout(limit);
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends the runtime without waiting: dropping a runtime inside another one panics.
impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether requests open spans.
#[must_use]
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// The span of an incoming request, whose parent is the caller's span, and its place in the trace.
#[must_use]
pub fn request_span(headers: &HeaderMap, service: &str, method: &str) -> (Span, Option<TraceParent>) {
    let span = tracing::info_span!(
        target: "boxoffice::request",
        "request",
        otel.name = format!("{service}/{method}"),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = tracing::field::Empty,
    );
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // Fails only for a span that no layer records.
    let _ = span.set_parent(parent);
    let context = span.context();
    let context = context.span().span_context().clone();
    let trace = TraceParent {
        trace: u128::from_be_bytes(context.trace_id().to_bytes()),
        span: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    };
    (span, context.is_valid().then_some(trace))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use tonic::transport::{Server, server::TcpIncoming};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Sends spans and shuts down. A shutdown without a limit would hang here.
    fn send_and_shut_down(endpoint: &str) {
        let traces = Traces::start(endpoint, Resource::builder_empty().build()).unwrap();
        let spans = traces.provider.tracer("test");
        for _ in 0..1_000 {
            spans.in_span("work", |_| ());
        }
        traces.shutdown(Duration::from_millis(300));
    }

    #[test]
    fn a_closed_port_does_not_delay_the_exit() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        send_and_shut_down(&format!("http://127.0.0.1:{port}"));
    }

    #[test]
    fn a_silent_collector_does_not_delay_the_exit() {
        // The kernel accepts the connection, and nothing answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        send_and_shut_down(&format!("http://{}", silent.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn a_silent_collector_does_not_delay_the_exit_inside_a_runtime() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        send_and_shut_down(&format!("http://{}", silent.local_addr().unwrap()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_callers_trace_reaches_the_collector() {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = format!("http://{}", incoming.local_addr().unwrap());
        let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
        // A collector that passes on what it is sent.
        let collector = axum::Router::new().fallback(async move |body: axum::body::Bytes| {
            sender.send(body).await.unwrap();
            tonic::Status::ok("").into_http::<axum::body::Body>()
        });
        tokio::spawn(Server::builder().serve_with_incoming(collector, incoming));

        let traces = Traces::start(&endpoint, Resource::builder_empty().build()).unwrap();
        let lines = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(traces.provider.tracer("test")));
        let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128;
        let parent = 0xb7ad_6b71_6920_3331_u64;
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", format!("00-{trace:032x}-{parent:016x}-01").parse().unwrap());
        tracing::subscriber::with_default(lines, || {
            let (_span, found) = request_span(&headers, "boxoffice.v1.Showtimes", "GetShowtime");
            assert_eq!(found.unwrap().trace, trace);
        });
        tokio::task::spawn_blocking(|| traces.shutdown(Duration::from_secs(10))).await.unwrap();
        let sent = receiver.recv().await.unwrap();
        let holds = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
        assert!(holds(&trace.to_be_bytes()) && holds(&parent.to_be_bytes()));
        assert!(holds(b"boxoffice.v1.Showtimes/GetShowtime"));
    }

    #[test]
    fn an_unusable_endpoint_is_named_in_the_error() {
        for endpoint in ["https://collector:4317", "collector:4317", "http://"] {
            let error = Traces::start(endpoint, Resource::builder_empty().build()).unwrap_err();
            assert!(error.to_string().contains(endpoint), "{error}");
        }
    }
}
