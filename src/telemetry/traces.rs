//! Traces over OTLP, only when configured.
//!
//! The exporter lives on a small runtime of its own: it neither borrows the service's threads nor can it deadlock with
//! them on the way out. Without a collector spans are lost, and nothing waits for longer than its limit.

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

use super::Error;

/// Reaching the collector, and one export.
const CONNECT: Duration = Duration::from_secs(1);
const EXPORT: Duration = Duration::from_secs(2);

/// Asked on every request: without traces no span is opened at all.
static ON: AtomicBool = AtomicBool::new(false);

/// The pipeline to the collector.
#[derive(Debug)]
pub(super) struct Traces {
    pub(super) provider: SdkTracerProvider,
    runtime: Option<Runtime>,
}

impl Traces {
    /// Connects when there is something to send, not now.
    pub(super) fn start(endpoint: &str, resource: Resource) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Endpoint { endpoint: endpoint.to_owned(), reason };
        if !endpoint.starts_with("http://") {
            return Err(wrong("must be http://host:port, the OTLP/gRPC port of a collector nearby".to_owned()));
        }
        let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| wrong(error.to_string()))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build()?;
        let inside = runtime.enter();
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel.connect_timeout(CONNECT).timeout(EXPORT).connect_lazy())
            .with_timeout(EXPORT)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(8192)
            .with_max_export_batch_size(512)
            .with_scheduled_delay(Duration::from_secs(1))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // The caller decides; without a caller everything is kept.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource)
            .build();
        drop(inside);
        Ok(Self { provider, runtime: Some(runtime) })
    }

    /// From here on requests open spans.
    pub(super) fn switch_on() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        ON.store(true, Ordering::Relaxed);
    }

    /// Sends what is left, for at most this long.
    pub(super) fn shutdown(mut self, limit: Duration) {
        ON.store(false, Ordering::Relaxed);
        let (done, finished) = mpsc::sync_channel(1);
        let provider = self.provider.clone();
        // On a thread of its own: a collector that accepts and never answers holds up that thread, not the exit.
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

/// A runtime must not be dropped where tasks run, so it is let go.
impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether spans go anywhere.
#[must_use]
pub fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The span of a request that has come in, with the caller's as its parent, and the trace that it belongs to.
#[must_use]
pub fn request_span(headers: &HeaderMap, service: &str, method: &str) -> (Span, u128) {
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
    // Refused only where the span goes nowhere.
    let _ = span.set_parent(parent);
    let trace = u128::from_be_bytes(span.context().span().span_context().trace_id().to_bytes());
    (span, trace)
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

    /// Sends spans there and leaves; a hang would never return.
    fn come_and_go(endpoint: &str) {
        let traces = Traces::start(endpoint, Resource::builder_empty().build()).unwrap();
        let spans = traces.provider.tracer("test");
        for _ in 0..1_000 {
            spans.in_span("work", |_| ());
        }
        traces.shutdown(Duration::from_millis(300));
    }

    #[test]
    fn a_closed_port_holds_nothing_up() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        come_and_go(&format!("http://127.0.0.1:{port}"));
    }

    #[test]
    fn a_black_hole_holds_nothing_up() {
        // Accepted by the kernel, never answered.
        let hole = TcpListener::bind("127.0.0.1:0").unwrap();
        come_and_go(&format!("http://{}", hole.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn nor_does_it_where_tasks_run() {
        let hole = TcpListener::bind("127.0.0.1:0").unwrap();
        come_and_go(&format!("http://{}", hole.local_addr().unwrap()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_callers_trace_goes_through_us_to_the_collector() {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = format!("http://{}", incoming.local_addr().unwrap());
        let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
        // All that matters of a collector: it hears what it is sent.
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
            assert_eq!(found, trace);
        });
        tokio::task::spawn_blocking(|| traces.shutdown(Duration::from_secs(10))).await.unwrap();
        let sent = receiver.recv().await.unwrap();
        let holds = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
        assert!(holds(&trace.to_be_bytes()) && holds(&parent.to_be_bytes()));
        assert!(holds(b"boxoffice.v1.Showtimes/GetShowtime"));
    }

    #[test]
    fn an_endpoint_that_cannot_work_is_refused_by_name() {
        for endpoint in ["https://collector:4317", "collector:4317", "http://"] {
            let error = Traces::start(endpoint, Resource::builder_empty().build()).unwrap_err();
            assert!(error.to_string().contains(endpoint), "{error}");
        }
    }
}
