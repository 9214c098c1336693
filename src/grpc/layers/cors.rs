//! Which web pages may call, and what their scripts may see.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Uri, header, request::Parts};
use tonic::body::Body;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::switch::Way;

/// Browsers forget it after two hours at the latest anyway.
const PREFLIGHT_KEPT: Duration = Duration::from_hours(2);

/// Only browsers name an origin, and only they ask beforehand.
pub(super) fn gate(request: &mut Request<Body>) -> Way {
    if request.method() == Method::OPTIONS || request.headers().contains_key(header::ORIGIN) {
        Way::Side
    } else {
        Way::On
    }
}

/// Pages of the same origin, of this machine at any port, and of the configured origins.
pub(super) fn layer(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins = origins.to_vec();
        AllowOrigin::predicate(move |origin, request| allowed(origin, request, &origins))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST, Method::GET])
        .allow_headers(
            [
                "authorization",
                "content-type",
                "grpc-timeout",
                "x-grpc-web",
                "x-user-agent",
                "traceparent",
                "tracestate",
                "idempotency-key",
            ]
            .map(HeaderName::from_static),
        )
        .expose_headers(
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "idempotent-replayed", "grpc-retry-pushback-ms"]
                .map(HeaderName::from_static),
        )
        .max_age(PREFLIGHT_KEPT)
}

fn allowed(origin: &HeaderValue, request: &Parts, configured: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if configured.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    // `null`, and anything else that is no web origin, has no authority.
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    if matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]") {
        return true;
    }
    // HTTP/2 names the server in the URI, HTTP/1.1 in a header.
    let here = request.uri.authority().map(http::uri::Authority::as_str);
    let here = here.or_else(|| request.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    here.is_some_and(|here| here.eq_ignore_ascii_case(authority.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let (request, ()) = Request::post("/x").header("host", "tickets.example:8080").body(()).unwrap().into_parts();
        let configured = ["https://shop.example".to_owned()];
        for (origin, expected) in [
            ("http://localhost:3000", true),
            ("https://127.0.0.1", true),
            ("http://[::1]:5173", true),
            ("http://tickets.example:8080", true),
            ("https://shop.example", true),
            ("http://shop.example", false),
            ("http://tickets.example", false),
            ("http://localhost.evil.example", false),
            ("http://localhost@evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("file://localhost", false),
            ("null", false),
        ] {
            let value = HeaderValue::from_static(origin);
            assert_eq!(allowed(&value, &request, &configured), expected, "{origin}");
        }
    }
}
