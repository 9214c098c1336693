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

/// Of two answers that are never taken, the small one holds no place, and the large one not for ever.
#[tokio::test]
async fn an_answer_that_nobody_takes_gives_its_place_back() {
    metrics::for_tests();
    let settings = Settings { max_requests: 1, max_request_timeout: Duration::from_secs(1), ..Settings::default() };
    let large = axum::routing::get(async || "x".repeat(1 << 20));
    let stack = stack(routes(Obedient::default()).route("/large", large), &settings);
    let status = |answer: &Response<_>| Status::from_header_map(Response::headers(answer)).map(|status| status.code());
    let ask = || stack.clone().oneshot(native(GET, framed("fine")));
    let untaken = ask().await.unwrap();
    let answer = ask().await.unwrap();
    assert_eq!(status(&answer), None, "no error in the head");
    assert_eq!(answer.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    let page = stack.clone().oneshot(Request::get("/large").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(page.body().size_hint().exact(), Some(1 << 20));
    assert_eq!(status(&ask().await.unwrap()), Some(Code::Unavailable));
    while status(&ask().await.unwrap()).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(page.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
    drop(untaken);
}
