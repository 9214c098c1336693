//! The layers around services, mostly over real sockets.

mod bounds;
mod panics;

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use futures_util::future::{join_all, pending};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};
use tonic::{
    Code, Request as Call, Response as Answer, Status,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{ServiceExt as _, util::MapRequest};

use super::*;
use crate::{
    grpc::{
        connections::{Connections, Limits},
        ready::Ready,
    },
    pb::boxoffice::v1::{
        BlockSeatsRequest, BlockSeatsResponse, CancelShowtimeRequest, CancelShowtimeResponse, CreateShowtimeRequest,
        CreateShowtimeResponse, GetSeatMapRequest, GetShowtimeRequest, GetShowtimeResponse, ListSeatBlocksRequest,
        ListSeatBlocksResponse, ListShowtimesRequest, UnblockSeatsRequest, UnblockSeatsResponse, WatchSeatMapRequest,
        showtimes_client::ShowtimesClient,
        showtimes_server::{Showtimes, ShowtimesServer},
    },
    telemetry::metrics,
};

const GET: &str = "/boxoffice.v1.Showtimes/GetShowtime";

/// A service whose `GetShowtime` panics, waits or fails if the id of the request says so. While it waits, `waiting` is
/// notified.
#[derive(Clone, Default)]
struct ScriptedService {
    waiting: Arc<Notify>,
}

#[tonic::async_trait]
impl Showtimes for ScriptedService {
    async fn get_showtime(&self, call: Call<GetShowtimeRequest>) -> Result<Answer<Ready>, Status> {
        let context = *RequestContext::of(call.extensions()).expect("every request has one");
        assert!(context.deadline.is_some());
        match call.get_ref().showtime_id.as_str() {
            "panic" => panic!("on request"),
            "wait" => {
                self.waiting.notify_one();
                pending().await
            }
            "missing" => Err(Status::with_error_details(
                Code::NotFound,
                "no such showtime",
                ErrorDetails::with_error_info("SHOWTIME_NOT_FOUND", "boxoffice", [("key".to_owned(), "v".to_owned())]),
            )),
            _ => Ok(Answer::new(Ready::default())),
        }
    }
    async fn create_showtime(&self, _: Call<CreateShowtimeRequest>) -> Result<Answer<CreateShowtimeResponse>, Status> {
        Err(Status::aborted(""))
    }
    async fn list_showtimes(&self, _: Call<ListShowtimesRequest>) -> Result<Answer<Ready>, Status> {
        Err(Status::aborted(""))
    }
    async fn block_seats(&self, _: Call<BlockSeatsRequest>) -> Result<Answer<BlockSeatsResponse>, Status> {
        Err(Status::aborted(""))
    }
    async fn unblock_seats(&self, _: Call<UnblockSeatsRequest>) -> Result<Answer<UnblockSeatsResponse>, Status> {
        Err(Status::aborted(""))
    }
    async fn list_seat_blocks(&self, _: Call<ListSeatBlocksRequest>) -> Result<Answer<ListSeatBlocksResponse>, Status> {
        Err(Status::aborted(""))
    }
    async fn cancel_showtime(&self, _: Call<CancelShowtimeRequest>) -> Result<Answer<CancelShowtimeResponse>, Status> {
        Err(Status::aborted(""))
    }
    async fn get_seat_map(&self, _: Call<GetSeatMapRequest>) -> Result<Answer<Ready>, Status> {
        Err(Status::aborted(""))
    }
    type WatchSeatMapStream = futures_util::stream::Empty<Result<Ready, Status>>;
    async fn watch_seat_map(&self, _: Call<WatchSeatMapRequest>) -> Result<Answer<Self::WatchSeatMapStream>, Status> {
        Err(Status::aborted(""))
    }
}

struct Running {
    address: SocketAddr,
    channel: Channel,
    waiting: Arc<Notify>,
}

fn routes(service: ScriptedService) -> Router {
    let health = tonic_health::server::health_reporter().1;
    Routes::from(Router::new())
        .add_service(ShowtimesServer::new(service).max_decoding_message_size(256 << 10))
        .add_service(health)
        .into_axum_router()
        .fallback(unknown_path)
        .route("/page-that-panics", axum::routing::get(async || -> &'static str { panic!("on request") }))
}

/// The stack as one connection sees it.
fn connected<S>(stack: S, limits: Limits) -> MapRequest<S, impl Fn(Request<Body>) -> Request<Body> + Clone> {
    let connection = Connections::new(limits).open(None);
    MapRequest::new(stack, move |mut request: Request<Body>| {
        request.extensions_mut().insert(Arc::clone(&connection));
        request
    })
}

async fn run(settings: Settings) -> Running {
    run_limited(settings, Limits::default()).await
}

async fn run_limited(settings: Settings, limits: Limits) -> Running {
    metrics::for_tests();
    let service = ScriptedService::default();
    let waiting = Arc::clone(&service.waiting);
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    let stack = connected(stack(routes(service), &settings), limits);
    tokio::spawn(Server::builder().accept_http1(true).serve_with_incoming(stack, incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { address, channel, waiting }
}

impl Running {
    async fn get(&self, id: &str) -> Result<(), Status> {
        let request = GetShowtimeRequest { showtime_id: id.to_owned(), ..Default::default() };
        ShowtimesClient::new(self.channel.clone()).get_showtime(request).await.map(drop)
    }

    /// Sends an HTTP/1.1 request as it is written. Returns headers and body of the answer in lower case.
    async fn raw(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head =
            format!("{head}host: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", self.address, body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).to_lowercase()
    }

    async fn web(&self, id: &str, headers: &str) -> String {
        let head =
            format!("POST {GET} HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n{headers}");
        self.raw(&head, &framed(id)).await
    }
}

fn framed(id: &str) -> Vec<u8> {
    let message = GetShowtimeRequest { showtime_id: id.to_owned(), ..Default::default() }.encode_to_vec();
    [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat()
}

fn native(path: &str, body: Vec<u8>) -> Request<Body> {
    Request::post(path)
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(http_body_util::Full::new(Bytes::from(body))))
        .unwrap()
}

fn counted(service: &str, method: &str, status: &str, protocol: &str) -> u64 {
    let wanted = [("service", service), ("method", method), ("status", status), ("protocol", protocol)];
    let families = metrics::for_tests().gather();
    let family = families.iter().find(|family| family.name() == "boxoffice_request_duration_seconds");
    let matches = |series: &&prometheus::proto::Metric| {
        wanted.iter().all(|(name, value)| {
            series.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
        })
    };
    family
        .into_iter()
        .flat_map(prometheus::proto::MetricFamily::get_metric)
        .filter(matches)
        .map(|series| series.get_histogram().get_sample_count())
        .sum()
}

#[tokio::test]
async fn a_panic_is_internal_with_an_id_and_the_server_lives() {
    let server = run(Settings::default()).await;
    let status = server.get("panic").await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INTERNAL", "boxoffice"));
    assert_eq!(info.metadata["request_id"].len(), 16);
    assert!(!status.message().contains("on request"));
    server.get("fine").await.unwrap();
    let page = server.raw("GET /page-that-panics HTTP/1.1\r\n", b"").await;
    assert!(page.starts_with("http/1.1 500"), "{page}");
}

#[tokio::test]
async fn an_unknown_path_is_refused_in_the_callers_protocol() {
    let server = run(Settings::default()).await;
    for path in ["/no.such.Service/Method", "/boxoffice.v1.Showtimes/NoSuchMethod"] {
        let mut client = tonic::client::Grpc::new(server.channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<GetShowtimeRequest, GetShowtimeResponse>::default();
        let call = Call::new(GetShowtimeRequest::default());
        let status = client.unary(call, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    let page = server.raw("GET /no/such/page HTTP/1.1\r\n", b"").await;
    assert!(page.starts_with("http/1.1 404") && page.contains("text/plain"), "{page}");
    let json = server.raw(&format!("POST {GET} HTTP/1.1\r\ncontent-type: application/json\r\n"), b"{}").await;
    assert!(json.starts_with("http/1.1 415"), "{json}");
    let old = server.raw(&format!("POST {GET} HTTP/1.1\r\ncontent-type: application/grpc\r\n"), &framed("x")).await;
    assert!(old.starts_with("http/1.1 505"), "{old}");
    let large = server.raw(&format!("GET / HTTP/1.1\r\nx-large: {}\r\n", "x".repeat(20_000)), b"").await;
    assert!(large.starts_with("http/1.1 431"), "{large}");
}

#[tokio::test]
async fn a_deadline_is_answered_by_the_layer_and_not_by_the_transport() {
    let server = run(Settings { request_timeout: Duration::from_millis(30), ..Settings::default() }).await;
    let status = server.get("wait").await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    // tonic's transport reads the same header, and would answer CANCELLED (1).
    let server = run(Settings::default()).await;
    for answer in join_all((1..60).map(|millis| {
        let server = &server;
        async move { server.web("wait", &format!("grpc-timeout: {millis}m\r\n")).await }
    }))
    .await
    {
        assert!(answer.contains("grpc-status: 4"), "{answer}");
    }
    let answer = server.web("fine", "grpc-timeout: soon\r\n").await;
    assert!(answer.contains("grpc-status: 3"), "{answer}");
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_that_has_begun() {
    let server = run(Settings { request_timeout: Duration::from_millis(1), ..Settings::default() }).await;
    // A `HealthCheckRequest` for "" is empty.
    let head =
        "POST /grpc.health.v1.Health/Watch HTTP/1.1\r\ncontent-type: application/grpc-web\r\ngrpc-timeout: 100m\r\n";
    let answer = server.raw(head, &[0; 5]).await;
    let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!headers.contains("grpc-status"), "the stream began: {answer}");
    assert!(body.contains("grpc-status:4"), "{answer}");
    // Without a deadline of its own, a stream outlives the default of calls.
    let mut watch =
        HealthClient::new(server.channel.clone()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), watch.message()).await.is_err());
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_with_a_retry_hint() {
    let server = Arc::new(run_limited(Settings::default(), Limits { max_requests: 1, ..Limits::default() }).await);
    let held = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.get("wait").await })
    };
    server.waiting.notified().await;
    let status = server.get("fine").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "OVERLOADED");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() >= Duration::from_millis(100));
    assert!(status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse::<u64>().unwrap() >= 100);
    let web = server.web("fine", "").await;
    assert!(web.contains("grpc-status: 14") && web.contains("grpc-retry-pushback-ms"), "{web}");
    // Health checks are answered all the same.
    HealthClient::new(server.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    held.abort();
    assert!(held.await.is_err());
    // The server releases the permit when it reads the cancellation.
    let mut last = server.get("fine").await;
    while last.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
        tokio::task::yield_now().await;
        last = server.get("fine").await;
    }
    last.unwrap();
}

#[tokio::test]
async fn a_browser_can_read_the_status_in_headers_and_in_the_body() {
    let server = run(Settings::default()).await;
    let refused = server.web("missing", "origin: http://localhost:3000\r\n").await;
    assert!(refused.starts_with("http/1.1 200"), "{refused}");
    for part in [
        "content-type: application/grpc-web+proto",
        "grpc-status: 5",
        "grpc-status-details-bin: ",
        "access-control-allow-origin: http://localhost:3000",
    ] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    let exposed = refused.lines().find(|line| line.starts_with("access-control-expose-headers")).unwrap();
    assert!(exposed.contains("grpc-status-details-bin") && exposed.contains("idempotent-replayed"), "{exposed}");
    let fine = server.web("fine", "").await;
    let (headers, body) = fine.split_once("\r\n\r\n").unwrap();
    assert!(!headers.contains("grpc-status") && body.contains("grpc-status:0"), "{fine}");
    assert!(counted("boxoffice.v1.Showtimes", "GetShowtime", "NOT_FOUND", "grpc-web") >= 1);
}

#[tokio::test]
async fn text_and_parameters_are_accepted_and_a_long_message_is_not_read() {
    let server = run(Settings::default()).await;
    let head =
        format!("POST {GET} HTTP/1.1\r\ncontent-type: application/grpc-web-text; charset=utf-8\r\naccept: */*\r\n");
    // An empty message with its prefix of five bytes, in base64.
    let answer = server.raw(&head, b"AAAAAAA=").await;
    assert!(answer.contains("content-type: application/grpc-web-text+proto"), "{answer}");
    assert!(answer.contains("\r\n\r\n") && !answer.contains("grpc-status"), "all in base64: {answer}");
    let json = server.raw(&format!("POST {GET} HTTP/1.1\r\ncontent-type: application/grpc-web+json\r\n"), b"").await;
    assert!(json.starts_with("http/1.1 415"), "{json}");
    for kind in ["application/grpc-web", "application/grpc-web-text"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST {GET} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: 1400000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.contains("grpc-status: 11"), "{kind}: {answer}");
    }
}

#[tokio::test]
async fn a_preflight_allows_known_origins_only() {
    let server = run(Settings::default()).await;
    let preflight = |origin: &str| {
        let head = format!(
            "OPTIONS {GET} HTTP/1.1\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type,x-grpc-web\r\n"
        );
        let server = &server;
        async move { server.raw(&head, b"").await }
    };
    let known = preflight("http://127.0.0.1:5173").await;
    assert!(known.contains("access-control-allow-origin: http://127.0.0.1:5173"), "{known}");
    assert!(known.contains("access-control-max-age: 7200") && known.contains("idempotency-key"), "{known}");
    let unknown = preflight("https://evil.example").await;
    assert!(!unknown.contains("access-control-allow-origin"), "{unknown}");
    let server = run(Settings { cors_origins: vec!["*".to_owned()], ..Settings::default() }).await;
    let anyone = server.web("fine", "origin: https://evil.example\r\n").await;
    assert!(anyone.contains("access-control-allow-origin: *"), "{anyone}");
}

#[tokio::test]
async fn a_request_is_recorded_once_and_as_cancelled_if_it_is_dropped() {
    metrics::for_tests();
    let stack = connected(stack(routes(ScriptedService::default()), &Settings::default()), Limits::default());
    let watches = |status| counted("grpc.health.v1.Health", "Watch", status, "grpc");
    let before = watches("CANCELLED");
    let answer = stack.clone().oneshot(native("/grpc.health.v1.Health/Watch", vec![0; 5])).await.unwrap();
    let mut body = Box::pin(answer.into_body());
    body.frame().await.unwrap().unwrap();
    assert_eq!(watches("CANCELLED"), before);
    drop(body);
    assert_eq!(watches("CANCELLED"), before + 1);
    // Dropped before the answer began.
    let cancelled = || counted("boxoffice.v1.Showtimes", "GetShowtime", "CANCELLED", "grpc");
    let before = cancelled();
    let mut call = Box::pin(stack.clone().oneshot(native(GET, framed("wait"))));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    assert!(cancelled() > before);
    // Answered to its end.
    let unknown = || counted("unknown", "unknown", "UNIMPLEMENTED", "grpc");
    let before = unknown();
    let answer = stack.oneshot(native("/made.up/Name", vec![])).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    drop(answer);
    assert!(unknown() > before);
}
