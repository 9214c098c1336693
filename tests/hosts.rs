//! Browsers may call the service by its own names only. A page that gives the server's address a name of its own gets nothing.

use boxoffice::pb::boxoffice::v1::{
    ListAuditoriumsRequest, ReserveSeatsRequest, auditoriums_client::AuditoriumsClient,
};
use tonic::{Code, transport::Endpoint};

use crate::harness::{
    Store, World, assert_refused, grpc_web,
    http::{self, Reply},
    raw,
    seats::{best, showtime, showtime_now},
};

const LIST: &str = "/boxoffice.v1.Auditoriums/ListAuditoriums";
const RESERVE: &str = "/boxoffice.v1.Reservations/ReserveSeats";
const FOREIGN: &str = "rebind.test:50051";

/// A call over gRPC-Web as the page at this host would make it.
async fn call_as_page(world: &World, host: &str, path: &str, message: &impl prost::Message) -> Reply {
    let origin = format!("http://{host}");
    let headers = [&grpc_web::HEADERS[..], &[("Host", host), ("Origin", &origin)]].concat();
    http::request_with_headers(world.address(), "POST", path, &headers, &grpc_web::frame(message)).await
}

#[tokio::test]
async fn a_page_on_a_rebound_name_is_refused() {
    let world = World::start(Store::Sqlite).await;
    let showtime = showtime(&world).await;
    let reserve: ReserveSeatsRequest = best(&showtime, "ada", 1);
    for reply in [
        call_as_page(&world, FOREIGN, LIST, &ListAuditoriumsRequest::default()).await,
        call_as_page(&world, FOREIGN, RESERVE, &reserve).await,
    ] {
        assert_eq!(reply.status, 421, "{reply:?}");
        assert!(reply.text().contains(FOREIGN) && reply.text().contains("--allowed-host"), "{reply:?}");
    }
    assert_eq!(showtime_now(&world, &showtime).await.revision, showtime.revision, "nothing was reserved");
    let preflight =
        [("Host", FOREIGN), ("Origin", "http://rebind.test:50051"), ("Access-Control-Request-Method", "POST")];
    let preflight = http::request_with_headers(world.address(), "OPTIONS", LIST, &preflight, &[]).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (421, None));
    // The names of this machine and the address that the service listens on are its own.
    let port = world.address().rsplit(':').next().expect("a port").to_owned();
    for host in [world.address().to_owned(), format!("localhost:{port}")] {
        let reply = call_as_page(&world, &host, LIST, &ListAuditoriumsRequest::default()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[tokio::test]
async fn an_allowed_name_is_served() {
    let names = "tickets.example,rebind.test:50051,web.example:443";
    let world = World::with(Store::Sqlite, |setup| setup.with("--allowed-host", names)).await;
    for (host, status) in [
        ("tickets.example", 200),
        ("tickets.example:8443", 200),
        (FOREIGN, 200),
        ("rebind.test", 421),
        // Browsers leave out the port of https.
        ("web.example", 200),
        ("web.example:8443", 421),
    ] {
        let reply = call_as_page(&world, host, LIST, &ListAuditoriumsRequest::default()).await;
        assert_eq!(reply.status, status, "{host}: {reply:?}");
    }
}

#[tokio::test]
async fn http_1_without_a_host_or_with_two_is_refused() {
    let world = World::start(Store::Sqlite).await;
    let own = world.address();
    for hosts in [&[][..], &[("Host", own), ("Host", own)], &[("Host", "a b")]] {
        let headers = [&grpc_web::HEADERS[..], hosts].concat();
        let body = grpc_web::frame(&ListAuditoriumsRequest::default());
        let reply = http::request_with_headers(own, "POST", LIST, &headers, &body).await;
        assert_eq!(reply.status, 400, "{hosts:?}: {reply:?}");
    }
}

#[tokio::test]
async fn native_grpc_may_call_by_any_name_and_takes_post_only() {
    let world = World::start(Store::Sqlite).await;
    let endpoint = Endpoint::try_from(format!("http://{}", world.address())).expect("an address");
    let origin = "http://boxoffice.internal:50051".parse().expect("a URI");
    let channel = endpoint.origin(origin).connect().await.expect("a connection");
    let listed = AuditoriumsClient::new(channel).list_auditoriums(ListAuditoriumsRequest::default()).await;
    listed.expect("a client on a network calls the service by the name that it has there");
    let get = http_2_get(&world, RESERVE).await;
    assert_eq!(get, 405);
    let refused = raw::call(world.channel(), RESERVE, vec![]).await.expect_err("nothing is asked for");
    assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
}

/// The status of a native gRPC request with the method GET.
async fn http_2_get(world: &World, path: &str) -> u16 {
    use tower::ServiceExt as _;
    let request =
        ::http::Request::get(path).header("content-type", "application/grpc").body(tonic::body::Body::empty());
    let answer = world.channel().oneshot(request.expect("a request")).await.expect("an answer");
    answer.status().as_u16()
}
