//! CORS: which web pages may call, and which headers their scripts may send and read.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Uri, header, request::Parts};
use tonic::body::Body;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::branch::Route;

/// How long a browser may cache a preflight. Chromium caps it at two hours, too.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);

/// Sends a request through CORS if it names an origin or is a preflight, which only browsers do.
pub(super) fn gate(request: &mut Request<Body>) -> Route {
    if request.method() == Method::OPTIONS || request.headers().contains_key(header::ORIGIN) {
        Route::Detour
    } else {
        Route::Direct
    }
}

/// The CORS layer. It allows pages of the server's own origin, of this machine at any port, and of the configured origins.
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
        .max_age(PREFLIGHT_MAX_AGE)
}

fn allowed(origin: &HeaderValue, request: &Parts, configured: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if configured.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    // `null` and everything else that is no web origin has no authority, or another scheme.
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    if matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]") {
        return true;
    }
    // HTTP/2 names the server in the URI, HTTP/1.1 in the `host` header.
    let server = request.uri.authority().map(http::uri::Authority::as_str);
    let server = server.or_else(|| request.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    server.is_some_and(|server| server.eq_ignore_ascii_case(authority.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_local_and_configured_origins_are_allowed() {
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
