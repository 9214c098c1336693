//! The public port: gRPC, gRPC-Web and plain HTTP, and the limits on each request.

use boxoffice::pb::boxoffice::v1::{
    CreateAuditoriumRequest, GetMovieRequest, GetMovieResponse, GetShowtimeRequest, ListAuditoriumsRequest,
    ListAuditoriumsResponse,
};
use bytes::Bytes;
use futures_util::{
    future::join_all,
    stream::{self, StreamExt as _},
};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, Status, body::Body};
use tower::{BoxError, ServiceExt as _};

use crate::harness::{
    Provider, Server, Store, World, assert_not_found, assert_refused, assert_violates, attacker::Attacker,
    create_auditorium, eventually, grpc_web, http, new_auditorium, process::free_port, raw, refusals::assert_retryable,
    request_id, requests::INCEPTION, server::Setup, supervisor,
};

const LIST: &str = "/boxoffice.v1.Auditoriums/ListAuditoriums";

#[tokio::test]
async fn an_unknown_path_is_unimplemented_and_an_unknown_page_is_404() {
    let world = World::start(Store::Sqlite).await;
    for path in [
        "/boxoffice.v1.Showtimes/SellEverything",
        "/boxoffice.v1.Showtimes/",
        "/boxoffice.v1.Showtimes",
        "/no.such.Service/Method",
        "//boxoffice.v1.Showtimes/GetShowtime",
        "/nothing",
    ] {
        let refused = raw::call(world.channel(), path, vec![]).await.expect_err("there is no such method");
        assert_refused(&refused, Code::Unimplemented, "METHOD_UNKNOWN");
        assert!(refused.message().contains(path), "{refused:?}");
        let refused =
            grpc_web::call(world.address(), path, &(), &[]).await.result.expect_err("there is no such method");
        assert_refused(&refused, Code::Unimplemented, "METHOD_UNKNOWN");
        assert_eq!(http::get(world.address(), path).await.status, 404, "{path}");
    }
    assert_eq!(world.admin("/nothing").await.status, 404);
    // A message has a limit, because it travels in headers.
    let long = format!("/no.such.Service/{}", "x".repeat(4_000));
    let refused = raw::call(world.channel(), &long, vec![]).await.expect_err("there is no such method");
    assert_refused(&refused, Code::Unimplemented, "METHOD_UNKNOWN");
    assert!(refused.message().contains("/no.such.Service/xxx") && refused.message().len() < 300, "{refused:?}");
}

#[tokio::test]
async fn grpc_web_answers_over_http_1() {
    let world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await;
    let web = grpc_web::call(world.address(), LIST, &ListAuditoriumsRequest::default(), &[]).await;
    let answer = ListAuditoriumsResponse::decode(&*web.result.expect("a list")).expect("the answer decodes");
    assert_eq!(answer.auditoriums[0].auditorium_id, auditorium.auditorium_id);
}

#[tokio::test]
async fn grpc_web_answers_over_http_2() {
    let world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await;
    let web = grpc_web::call_over_http_2(world.channel(), LIST, &ListAuditoriumsRequest::default()).await;
    let answer = ListAuditoriumsResponse::decode(&*web.result.expect("a list")).expect("the answer decodes");
    assert_eq!(answer.auditoriums[0].auditorium_id, auditorium.auditorium_id);
    let (path, unknown) = ("/boxoffice.v1.Showtimes/GetShowtime", request_id());
    let request = GetShowtimeRequest { showtime_id: unknown.clone(), at_least_revision: 0, include_sales: false };
    let web = grpc_web::call_over_http_2(world.channel(), path, &request).await;
    assert_not_found(&web.result.expect_err("there is no such showtime"), "SHOWTIME_NOT_FOUND", &unknown);
}

/// The test writes the bytes itself, because clients do not show the settings that they receive.
#[tokio::test]
async fn a_connection_announces_its_limits() {
    let limited = |setup: Setup| setup.with("--max-concurrent-streams", "7").with("--max-header-bytes", "9999");
    let world = World::with(Store::Sqlite, limited).await;
    let mut stream = TcpStream::connect(world.address()).await.expect("a connection");
    // The connection preface of HTTP/2, and an empty SETTINGS frame.
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    stream.write_all(&preface).await.expect("the preface is sent");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3..5], [4, 0], "the first frame is SETTINGS without ACK");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.expect("the rest of the frame");
    let setting = |id: u16| {
        let found = settings.chunks_exact(6).find(|setting| setting[..2] == id.to_be_bytes());
        found.map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
    };
    assert_eq!(setting(3), Some(7), "MAX_CONCURRENT_STREAMS");
    assert_eq!(setting(6), Some(9999), "MAX_HEADER_LIST_SIZE");
}

#[tokio::test]
async fn grpc_web_refusals_have_all_their_details() {
    let world = World::start(Store::Sqlite).await;
    let path = "/boxoffice.v1.Showtimes/GetShowtime";
    let unknown = request_id();
    let request = GetShowtimeRequest { showtime_id: unknown.clone(), at_least_revision: 0, include_sales: false };
    let web = grpc_web::call(world.address(), path, &request, &[]).await;
    assert_not_found(&web.result.expect_err("there is no such showtime"), "SHOWTIME_NOT_FOUND", &unknown);
    let web = grpc_web::call(world.address(), path, &GetShowtimeRequest::default(), &[]).await;
    assert_violates(&web.result.expect_err("an empty id is malformed"), &["showtime_id"]);
}

#[tokio::test]
async fn browsers_may_call_from_the_same_origin_and_from_localhost() {
    let world = World::start(Store::Sqlite).await;
    let own = format!("http://{}", world.address());
    for origin in [&*own, "http://localhost:5173", "http://127.0.0.1:8080", "https://localhost"] {
        assert_eq!(allowed(&world, origin).await.as_deref(), Some(origin));
    }
    for other in ["https://shop.example", "http://localhost.shop.example", "http://evil-localhost", "null"] {
        assert_eq!(allowed(&world, other).await, None, "{other}");
    }
}

#[tokio::test]
async fn other_origins_are_allowed_by_configuration() {
    let configured = "https://shop.example";
    let world = World::with(Store::Sqlite, |setup| setup.with("--cors-origin", configured)).await;
    assert_eq!(allowed(&world, configured).await.as_deref(), Some(configured));
    assert!(allowed(&world, "http://localhost:5173").await.is_some());
    assert_eq!(allowed(&world, "https://shop.example.evil").await, None);
    let open = World::with(Store::Sqlite, |setup| setup.with("--cors-origin", "*")).await;
    assert!(allowed(&open, "https://anything.example").await.is_some());
}

/// Returns the origin that the preflight and the call itself allow. Both must agree, and a page of an allowed origin must be
/// able to send and read every header that it needs.
async fn allowed(server: &Server, origin: &str) -> Option<String> {
    // `connect-protocol-version` is not needed, but without it a Connect client does not see why it is refused.
    let headers = "authorization,connect-protocol-version,content-type,grpc-timeout,idempotency-key,traceparent,\
        x-grpc-web,x-user-agent";
    let requested =
        [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", headers)];
    let preflight = http::request(server.address(), "OPTIONS", LIST, &requested, &[]).await;
    assert!((200..300).contains(&preflight.status) || preflight.status == 403, "{preflight:?}");
    let answer =
        grpc_web::call(server.address(), LIST, &ListAuditoriumsRequest::default(), &[("origin", origin)]).await;
    let origin = preflight.header("access-control-allow-origin");
    assert_eq!(origin, answer.http.header("access-control-allow-origin"), "{preflight:?} {:?}", answer.http);
    if origin.is_some() {
        let allowed = preflight.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
        assert!(allowed == "*" || headers.split(',').all(|header| allowed.contains(header)), "{preflight:?}");
        let exposed = answer.http.header("access-control-expose-headers").unwrap_or_default().to_lowercase();
        for header in ["grpc-status", "grpc-message", "grpc-status-details-bin", "idempotent-replayed"] {
            assert!(exposed.contains(header), "{header}: {:?}", answer.http);
        }
    }
    origin
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--max-message-bytes", "65536")).await;
    let sized = |bytes: usize| CreateAuditoriumRequest { name: "x".repeat(bytes), ..new_auditorium() };
    let status = world.auditoriums().create_auditorium(sized(60_000)).await.expect_err("the name is too long");
    assert_violates(&status, &["name"]);
    let status = world.auditoriums().create_auditorium(sized(70_000)).await.expect_err("the message is too large");
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let path = "/boxoffice.v1.Auditoriums/CreateAuditorium";
    let status =
        grpc_web::call(world.address(), path, &sized(70_000), &[]).await.result.expect_err("the message is too large");
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    create_auditorium(world.auditoriums()).await;
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let world = World::start(Store::Sqlite).await;
    let mut request = Request::new(ListAuditoriumsRequest::default());
    request.metadata_mut().insert("x-much", "x".repeat(40_000).parse().expect("metadata"));
    world.auditoriums().list_auditoriums(request).await.expect_err("the headers are too large");
    let mut stream = TcpStream::connect(world.address()).await.expect("a connection");
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Much: {}\r\n\r\n", "x".repeat(500_000));
    let mut answer = Vec::new();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    // A new connection, because the server may have closed the first one.
    let channel = world.connect().await.expect("a connection");
    raw::call(channel, LIST, vec![]).await.expect("the server answers");
}

/// The provider does not answer, so only the deadline ends the call. The test writes the request itself, because the client
/// of tonic would end the call by its own clock.
#[tokio::test]
async fn a_callers_deadline_is_kept() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("deadline-"));
    let server = server_without_provider_answers(&provider, &folder).start().await;
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let web = grpc_web::call(server.address(), GET_MOVIE, &request, &[("grpc-timeout", "100m")]).await;
    assert_eq!(web.result.expect_err("the provider does not answer").code(), Code::DeadlineExceeded);
    // The call that ended early does not take the answer from later calls.
    provider.resume();
    let web = grpc_web::call(server.address(), GET_MOVIE, &request, &[]).await;
    let answer =
        GetMovieResponse::decode(&*web.result.expect("the provider answers again")).expect("the answer decodes");
    assert_eq!(answer.movie.map(|movie| movie.title).as_deref(), Some("Inception"));
}

#[tokio::test]
async fn a_call_without_a_deadline_gets_one() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("deadline-"));
    let server = server_without_provider_answers(&provider, &folder).with("--request-timeout", "100ms").start().await;
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let status = server.movies().get_movie(request).await.expect_err("the provider does not answer");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn a_deadline_beyond_the_maximum_is_shortened() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("deadline-"));
    let setup = server_without_provider_answers(&provider, &folder).with("--request-timeout", "100ms");
    let server = setup.with("--max-request-timeout", "100ms").start().await;
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let web = grpc_web::call(server.address(), GET_MOVIE, &request, &[("grpc-timeout", "1H")]).await;
    assert_eq!(web.result.expect_err("the provider does not answer").code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_request_over_the_limit_of_requests_is_refused_at_once() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("deadline-"));
    let server = server_without_provider_answers(&provider, &folder).with("--max-requests", "1").start().await;
    let mut client = server.movies();
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let first = tokio::spawn(async move { client.get_movie(request).await });
    eventually("the first request is in flight", async || {
        server.metrics().await.sum("boxoffice_request_active", &[]).filter(|active| *active >= 1.0)
    })
    .await;
    // Over another connection: the limit counts all connections together.
    let channel = server.connect().await.expect("a connection");
    let status = raw::call(channel, LIST, vec![]).await.expect_err("the limit is one request");
    assert_retryable(&status, "OVERLOADED");
    provider.resume();
    first.await.expect("no panic").expect("the first request is answered");
    server.auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await.expect("the limit is free again");
}

/// The provider does not answer, so the sample cannot be made.
#[tokio::test]
async fn a_connection_that_is_not_read_is_closed_before_the_start_is_complete() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("start-"));
    let address = format!("127.0.0.1:{}", free_port());
    let setup = server_without_provider_answers(&provider, &folder).with("--delivery-timeout", "200ms");
    let process = setup.with("--sample", "on").with("--listen", &address).spawn();
    eventually("the port is open", async || TcpStream::connect(&address).await.ok()).await;
    let mut attacker = Attacker::connect(&address, 0).await;
    let request = grpc_web::frame(&ListAuditoriumsRequest::default());
    assert!(attacker.begin(LIST, "30S", request.into(), true).await);
    process.console().line(&["kind=not_read"]).await;
    assert!(!process.console().to_string().contains("Boxoffice is ready"), "{}", process.console());
}

const GET_MOVIE: &str = "/boxoffice.v1.Movies/GetMovie";

/// A server whose provider accepts calls but answers none of them until it is resumed.
fn server_without_provider_answers(provider: &Provider, folder: &tempfile::TempDir) -> Setup {
    provider.pause();
    let setup = Setup::new(folder.path()).with("--provider-url", provider.url());
    setup.with("--provider-timeout", "25s").with("--request-timeout", "25s")
}

#[tokio::test]
async fn a_message_that_does_not_decode_is_a_bad_request() {
    let world = World::start(Store::Sqlite).await;
    for garbage in [&b"\xff"[..], b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"] {
        for path in [LIST, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
            let status = raw::call(world.channel(), path, garbage.to_vec()).await.expect_err("this is not a message");
            assert_refused(&status, Code::InvalidArgument, "MALFORMED_MESSAGE");
            assert!(status.message().contains("failed to decode Protobuf message"), "{path}: {status:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_one_message_is_a_bad_request() {
    let world = World::start(Store::Sqlite).await;
    let whole = grpc_web::frame(&ListAuditoriumsRequest { page_size: 1, ..Default::default() });
    let listed = native(&world, Full::from(whole.clone())).await;
    assert_eq!(listed.code(), Code::Ok, "{listed:?}");
    let flag = |flag: u8| [&[flag], &whole[1..]].concat();
    for (body, what) in [
        (whole[..3].to_vec(), "a part of the prefix"),
        (whole[..whole.len() - 1].to_vec(), "a part of the message"),
        (Vec::new(), "nothing"),
        ([&whole[..], &whole].concat(), "two messages"),
        (flag(1), "a message marked as compressed"),
        (flag(7), "a wrong flag"),
    ] {
        let status = native(&world, Full::from(body)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert_refused(&status, Code::InvalidArgument, "MALFORMED_MESSAGE");
    }
    // A message that is too large is refused when its length is read. Its bytes are not waited for.
    let large = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(&[0, 0x7f, 0, 0, 0])))]);
    let status = native(&world, StreamBody::new(large.chain(stream::pending()))).await;
    assert_refused(&status, Code::OutOfRange, "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn a_compressed_message_is_refused_with_the_encodings_that_are_accepted() {
    let world = World::start(Store::Sqlite).await;
    let whole = grpc_web::frame(&ListAuditoriumsRequest { page_size: 1, ..Default::default() });
    // The request may name an encoding that its message does not use.
    let listed = native_with(&world, Full::from(whole.clone()), &[("grpc-encoding", "gzip")]).await;
    assert_eq!(listed.code(), Code::Ok, "{listed:?}");
    let compressed = [&[1], &whole[1..]].concat();
    let status = native_with(&world, Full::from(compressed), &[("grpc-encoding", "gzip")]).await;
    assert_refused(&status, Code::Unimplemented, "ENCODING_UNSUPPORTED");
    assert_eq!(status.metadata().get("grpc-accept-encoding").expect("the encodings"), "identity");
    for (encoding, reason) in [(&[][..], "names no grpc-encoding"), (&[("grpc-encoding", "identity")], "is identity")] {
        let status = native_with(&world, Full::from([&[1], &whole[1..]].concat()), encoding).await;
        assert_refused(&status, Code::InvalidArgument, "MALFORMED_MESSAGE");
        assert!(status.message().contains(reason), "{status:?}");
    }
}

#[tokio::test]
async fn calls_without_a_message_take_no_place_from_others() {
    let world =
        World::with(Store::Sqlite, |setup| setup.with("--max-requests", "4").with("--body-timeout", "3s")).await;
    let silent = || native(&world, StreamBody::new(stream::pending::<Result<Frame<Bytes>, Status>>()));
    let silent: Vec<_> = (0..40).map(|_| silent()).collect();
    let honest = async {
        eventually("the silent calls are open", async || {
            let active = world.metrics().await.sum("boxoffice_request_active", &[]);
            active.is_some_and(|active| active >= 40.0).then_some(())
        })
        .await;
        for _ in 0..20 {
            let listed = world.auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await;
            listed.expect("it is admitted");
        }
    };
    let (silent, ()) = tokio::join!(join_all(silent), honest);
    for status in silent {
        assert_refused(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert!(status.message().contains("not complete within 3s"), "{status:?}");
    }
}

/// The status of a native call of `ListAuditoriums` with this body.
async fn native<B>(world: &World, body: B) -> Status
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    native_with(world, body, &[]).await
}

async fn native_with<B>(world: &World, body: B, headers: &[(&str, &str)]) -> Status
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let request = ::http::Request::post(LIST).header("content-type", "application/grpc").header("te", "trailers");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = world.channel().oneshot(request.body(Body::new(body)).expect("a request")).await.expect("an answer");
    let (head, body) = answer.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return status;
    }
    let body = body.collect().await.expect("the whole body");
    Status::from_header_map(body.trailers().expect("trailers")).expect("a status")
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let world = World::start(Store::Sqlite).await;
    for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
        let reply = http::request(world.address(), "POST", LIST, &[("content-type", content_type)], b"{}").await;
        assert!((400..500).contains(&reply.status), "{content_type}: {reply:?}");
    }
    let reply = http::request(world.address(), "POST", LIST, &[], b"").await;
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert!(world.is_alive().await);
}
