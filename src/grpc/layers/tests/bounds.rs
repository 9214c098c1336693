//! Nothing is left untold, and nothing is held for ever.

use super::*;

#[tokio::test]
async fn what_is_sent_back_at_the_door_is_told_as_well() {
    metrics::for_tests();
    let stack = stack(routes(Obedient::default()), &Settings::default());
    let post = |kind: &str| Request::post(GET).header("content-type", kind);
    let large = post("application/grpc-web").header("content-length", "1400000");
    let huge = Request::post("/no/such/page").header("x-large", "x".repeat(20_000));
    for (request, service, status, protocol) in [
        (post("application/grpc"), "boxoffice.v1.Showtimes", "HTTP_5XX", "grpc"),
        (post("application/grpc+json"), "boxoffice.v1.Showtimes", "HTTP_4XX", "grpc"),
        (post("application/grpc-web").method("GET"), "boxoffice.v1.Showtimes", "HTTP_4XX", "grpc-web"),
        (large, "boxoffice.v1.Showtimes", "OUT_OF_RANGE", "grpc-web"),
        (post("application/json"), "http", "HTTP_4XX", "http"),
        (huge, "http", "HTTP_4XX", "http"),
    ] {
        let method = if service == "http" { "page" } else { "GetShowtime" };
        let before = counted(service, method, status, protocol);
        stack.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert!(counted(service, method, status, protocol) > before, "{service} {status} {protocol}");
    }
}
