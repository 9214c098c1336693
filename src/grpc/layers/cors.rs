//! CORS: which web pages may call, and which headers their scripts may send and read.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use tonic::body::Body;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{branch::Route, host::Hosts, web};

/// How long a browser may cache a preflight. Chromium caps it at two hours, too.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);

/// Sends a request through CORS if it names an origin or is a preflight, which only browsers do. It must name the server by
/// one of its names.
pub(super) fn gate(hosts: &Hosts) -> impl Fn(&mut Request<Body>) -> Route + Clone + Send + Sync + 'static {
    let hosts = hosts.clone();
    move |request| {
        if request.method() != Method::OPTIONS && !request.headers().contains_key(header::ORIGIN) {
            return Route::Direct;
        }
        match hosts.check(request) {
            Ok(()) => Route::Detour,
            Err((status, reason)) => {
                let route = web::respond(status, reason);
                web::record(request, &route);
                route
            }
        }
    }
}

/// The CORS layer. It allows pages of the server's own names, of this machine at any port, and of the configured origins. The
/// host of the request says nothing about its page, so it is not compared.
pub(super) fn layer(origins: &[String], hosts: &Hosts) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let (origins, hosts) = (origins.to_vec(), hosts.clone());
        AllowOrigin::predicate(move |origin, _| allowed(origin, &hosts, &origins))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST, Method::GET])
        .allow_headers(
            [
                "authorization",
                "connect-protocol-version",
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

fn allowed(origin: &HeaderValue, hosts: &Hosts, configured: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if configured.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    // `null` and everything else that is no web origin has no authority, or another scheme.
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    !authority.as_str().contains('@') && hosts.allows(authority, &[default_port])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_local_and_configured_origins_are_allowed() {
        let names = ["tickets.example:8080", "web.example:443"].map(str::to_owned);
        let hosts = Hosts::new("192.0.2.7:80".parse().ok(), &names);
        let configured = ["https://shop.example".to_owned()];
        for (origin, expected) in [
            ("http://localhost:3000", true),
            ("https://127.0.0.1", true),
            ("http://[::1]:5173", true),
            ("http://tickets.example:8080", true),
            ("https://shop.example", true),
            ("http://192.0.2.7", true),
            ("https://192.0.2.7", false),
            ("https://web.example", true),
            ("http://web.example", false),
            ("http://shop.example", false),
            ("http://tickets.example", false),
            ("http://localhost.evil.example", false),
            ("http://localhost@evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("file://localhost", false),
            ("null", false),
        ] {
            let value = HeaderValue::from_static(origin);
            assert_eq!(allowed(&value, &hosts, &configured), expected, "{origin}");
        }
    }
}
