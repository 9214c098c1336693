//! Traces: the spans of a request reach the collector in the caller's trace, and the call to the provider has the same trace.

use axum::{Router, body::Body};
use boxoffice::pb::{
    boxoffice::v1::Showtime,
    movies::{
        Empty, IdRequest, ResponseModel, SearchRequest, ShowResponse,
        movies_api_server::{MoviesApi, MoviesApiServer},
    },
};
use bytes::Bytes;
use prost::Message;
use prost_types::Any;
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status,
    metadata::AsciiMetadataValue,
    transport::server::{Server as Transport, TcpIncoming},
};

use crate::harness::{
    Redis, Server, Store, create_auditorium, in_hours, new_showtime, requests::INCEPTION, seats::these, world::Storage,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The message that a collector receives, with only the fields that the test reads.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<Scope>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
}

/// A provider that has one movie and reports the trace of each call.
struct RecordingProvider(mpsc::Sender<String>);

#[tonic::async_trait]
impl MoviesApi for RecordingProvider {
    async fn get_by_id(&self, request: Request<IdRequest>) -> Result<Response<ResponseModel>, Status> {
        let parent = request.metadata().get("traceparent").and_then(|parent| parent.to_str().ok()).unwrap_or_default();
        self.0.send(parent.to_owned()).await.expect("the test listens");
        let movie = ShowResponse { id: request.into_inner().id, title: "Inception".to_owned(), ..Default::default() };
        let type_url = "type.googleapis.com/movies.showResponse".to_owned();
        let data = Some(Any { type_url, value: movie.encode_to_vec() });
        Ok(Response::new(ResponseModel { success: true, data, exceptions: vec![] }))
    }

    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<ResponseModel>, Status> {
        Err(Status::unimplemented("not called here"))
    }

    async fn get_all(&self, _: Request<Empty>) -> Result<Response<ResponseModel>, Status> {
        Err(Status::unimplemented("not called here"))
    }
}

/// Serves these routes for as long as the test runs, and returns their URL.
fn serve(routes: Router) -> String {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = incoming.local_addr().expect("an address");
    tokio::spawn(Transport::builder().serve_with_incoming(routes, incoming));
    format!("http://{address}")
}

#[tokio::test]
async fn a_request_is_traced_from_its_caller_to_the_provider_and_the_database() {
    let (spans, mut exported) = mpsc::channel(64);
    let collector = serve(Router::new().fallback(async move |body: Bytes| {
        // The body is one gRPC message, behind a flag and a length.
        spans.send(body.slice(5..)).await.expect("the test listens");
        Status::ok("").into_http::<Body>()
    }));
    let (calls, mut traceparents) = mpsc::channel(8);
    let provider =
        serve(tonic::service::Routes::new(MoviesApiServer::new(RecordingProvider(calls))).into_axum_router());
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let setup = storage.setup().with("--otlp-endpoint", collector).with("--provider-url", provider);
    let server = setup.with("--redis-url", redis.url()).with("--redis-timeout", "5s").start().await;
    let auditorium = create_auditorium(server.auditoriums()).await.auditorium_id;
    let showtime = create_in_trace(&server, &auditorium).await;
    let mut request = Request::new(these(&showtime, "ada", "A1"));
    request.metadata_mut().insert("traceparent", parent());
    server.reservations().reserve_seats(request).await.expect("the seat is free");
    let traceparent = traceparents.recv().await.expect("the provider is called");
    // A stop sends the spans that are left.
    server.stop().await;
    drop(server);
    let mut spans = Vec::new();
    while let Ok(export) = exported.try_recv() {
        let export = Export::decode(export).expect("an export");
        let scopes = export.resources.into_iter().flat_map(|resource| resource.scopes);
        spans.extend(scopes.flat_map(|scope| scope.spans).filter(|span| hex(&span.trace_id) == TRACE));
    }
    let named = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found
            .unwrap_or_else(|| panic!("{name} is not in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
    };
    let request = named("boxoffice.v1.Showtimes/CreateShowtime");
    assert_eq!(hex(&request.parent_id), PARENT, "the caller's span is the parent");
    for name in ["transaction", "cache_call", "provider_call"] {
        assert!(is_below(named(name), request, &spans), "{name} is not below the request: {spans:#?}");
    }
    let reserving = named("boxoffice.v1.Reservations/ReserveSeats");
    assert!(is_below(named("decide"), reserving, &spans), "the wait for a decision is not below: {spans:#?}");
    let provider_call = hex(&named("provider_call").id);
    assert_eq!(traceparent, format!("00-{TRACE}-{provider_call}-01"), "the parent of the provider's span is the call");
}

async fn create_in_trace(server: &Server, auditorium: &str) -> Showtime {
    let mut request = Request::new(new_showtime(auditorium, in_hours(0)));
    assert_eq!(request.get_ref().movie_id, INCEPTION);
    request.metadata_mut().insert("traceparent", parent());
    let answer = server.showtimes().create_showtime(request).await.expect("the slot is free");
    answer.into_inner().showtime.expect("the answer has the showtime")
}

fn parent() -> AsciiMetadataValue {
    format!("00-{TRACE}-{PARENT}-01").parse().expect("metadata")
}

/// Whether `top` is an ancestor of `span`.
fn is_below(span: &Span, top: &Span, spans: &[Span]) -> bool {
    let parent = spans.iter().find(|each| each.id == span.parent_id);
    parent.is_some_and(|parent| parent.id == top.id || is_below(parent, top, spans))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
        text
    })
}
