//! Every request is recorded, and no permit and no stream is held forever.

use tokio_util::sync::CancellationToken;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::*;

#[tokio::test]
async fn a_request_that_the_gate_refuses_is_recorded() {
    metrics::for_tests();
    let stack = connected(stack(routes(ScriptedService::default()), &Settings::default()), Limits::default());
    let post = |kind: &str| Request::post(GET).header("content-type", kind).header("host", "localhost");
    let large = post("application/grpc-web").header("content-length", "1400000");
    let huge = Request::post("/no/such/page").header("host", "localhost").header("x-large", "x".repeat(20_000));
    for (request, service, status, protocol) in [
        (post("application/grpc"), "boxoffice.v1.Showtimes", "HTTP_5XX", "grpc"),
        (post("application/grpc+json"), "boxoffice.v1.Showtimes", "HTTP_4XX", "grpc"),
        (post("application/grpc-web").method("GET"), "boxoffice.v1.Showtimes", "HTTP_4XX", "grpc-web"),
        (large, "boxoffice.v1.Showtimes", "OUT_OF_RANGE", "grpc-web"),
        (post("application/json"), "http", "HTTP_4XX", "http"),
        (huge, "http", "HTTP_4XX", "http"),
        (Request::post(GET).header("content-type", "application/grpc"), "boxoffice.v1.Showtimes", "HTTP_4XX", "grpc"),
    ] {
        let method = if service == "http" { "page" } else { "GetShowtime" };
        let before = counted(service, method, status, protocol);
        stack.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert!(counted(service, method, status, protocol) > before, "{service} {status} {protocol}");
    }
}

/// An answer that is not delivered is charged to its connection, and holds no permit.
#[tokio::test]
async fn an_answer_that_nobody_reads_releases_its_permit() {
    metrics::for_tests();
    let large = axum::routing::get(async || "x".repeat(1 << 20));
    let limits = Limits { max_requests: 1, max_bytes: 3 << 20, ..Limits::default() };
    let stack =
        connected(stack(routes(ScriptedService::default()).route("/large", large), &Settings::default()), limits);
    let call = || stack.clone().oneshot(native(GET, framed("fine")));
    let page = || {
        let request = Request::get("/large").header("host", "localhost").body(Body::empty()).unwrap();
        stack.clone().oneshot(request)
    };
    let unread = (call().await.unwrap(), page().await.unwrap());
    assert_eq!(unread.1.body().size_hint().exact(), Some(1 << 20));
    // The connection holds more than a third of the memory, so another page is more than is left for it.
    assert_eq!(page().await.unwrap().status(), 503);
    // Until there is room for such a page, no request is served whose answer might be refused after its work.
    assert_eq!(call().await.unwrap().headers()["grpc-status"], "14");
    assert_eq!(unread.1.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
    let answer = call().await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    assert_eq!(page().await.unwrap().status(), 200);
    drop(unread.0);
}

/// Reflection reads its requests in a task of its own, which does not end with its response stream.
#[tokio::test]
async fn streams_end_when_the_server_does() {
    metrics::for_tests();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(crate::pb::DESCRIPTORS)
        .build_v1()
        .unwrap();
    let routes = Routes::from(routes(ScriptedService::default())).add_service(reflection).into_axum_router();
    let streams_end = CancellationToken::new();
    let limits = Limits { streams_end: streams_end.clone(), ..Limits::default() };
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", incoming.local_addr().unwrap())).unwrap();
    let stack = connected(stack(routes, &Settings::default()), limits);
    let ending = streams_end.clone().cancelled_owned();
    let serving = tokio::spawn(Server::builder().serve_with_incoming_shutdown(stack, incoming, ending));
    let channel = endpoint.connect().await.unwrap();

    let mut watch = HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let (ask, questions) = tokio::sync::mpsc::channel(1);
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    ask.send(question).await.unwrap();
    let questions = tokio_stream::wrappers::ReceiverStream::new(questions);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(questions).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();

    streams_end.cancel();
    for status in [watch.message().await.unwrap_err(), answers.message().await.unwrap_err()] {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "DRAINING");
    }
    // The caller has not ended its request stream, and the server stops nevertheless.
    serving.await.unwrap().unwrap();
    drop(ask);
}
