//! What the service prints when it is ready: where it listens, what it runs on, and commands to paste.

use std::net::SocketAddr;

use chrono::{DurationRound as _, SecondsFormat, TimeDelta};

use crate::{
    app::{App, Caller, PageRequest},
    config::{Config, DatabaseLocation, LogFormat},
    domain::{auditorium::Auditorium, showtime::Filter},
    telemetry,
};

/// Where the ports are.
pub(super) struct Addresses {
    pub(super) grpc: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    pub(super) demo: Option<SocketAddr>,
    pub(super) demo_gateway: Option<SocketAddr>,
}

pub(super) async fn show(config: &Config, app: &App, addresses: &Addresses) {
    if config.observability.log_format == LogFormat::Json {
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let (admin, demo, demo_gateway) = (text(addresses.admin), text(addresses.demo), text(addresses.demo_gateway));
        tracing::info!(grpc = %addresses.grpc, admin, demo, demo_gateway, "Boxoffice is ready");
        return;
    }
    let mut lines = vec![format!("Boxoffice is ready: gRPC and grpc-web on http://{}", addresses.grpc)];
    if let Some(admin) = addresses.admin {
        lines.push(format!("  health and metrics on http://{admin} (/healthz, /readyz, /metrics)"));
    }
    lines.push(format!("  state in {}", database(config)));
    lines.push(format!(
        "  movies cached in {}",
        if config.cache.redis_url.is_some() { "Redis" } else { "this process" }
    ));
    match (addresses.demo, &config.provider.provider_url) {
        (Some(demo), _) => lines.push(format!("  demo provider on http://{demo}")),
        (None, Some(url)) => lines.push(format!("  movies from {url}")),
        (None, None) => {}
    }
    match (addresses.demo_gateway, &config.payments.payment_gateway_url) {
        (Some(demo), _) => lines.push(format!("  demo gateway on http://{demo}")),
        (None, Some(url)) => lines.push(format!("  payments by {url}")),
        (None, None) => {}
    }
    lines.push(String::new());
    lines.extend(examples(app, addresses.grpc).await);
    telemetry::print(&lines.join("\n"));
}

fn database(config: &Config) -> String {
    match config.database.location() {
        DatabaseLocation::Sqlite(path) => format!("SQLite, {}", path.display()),
        DatabaseLocation::Postgres(url) => format!("Postgres, {url}"),
    }
}

/// Commands that work as they are printed, with grpcurl and without.
async fn examples(app: &App, address: SocketAddr) -> Vec<String> {
    let mut calls = vec![("Showtimes/ListShowtimes", "{}".to_owned())];
    calls.push(("Movies/GetMovie", r#"{"movie_id": "tt1375666"}"#.to_owned()));
    if let Some(call) = create_call(app).await {
        calls.push(("Showtimes/CreateShowtime", call));
    }
    if let Some(call) = reserve_call(app).await {
        calls.push(("Reservations/ReserveSeats", call));
    }
    let mut lines = vec!["Try, in another terminal:".to_owned()];
    for (method, message) in &calls {
        lines.push(format!("  grpcurl -plaintext -d '{message}' {address} boxoffice.v1.{method}"));
    }
    lines.push("Or, with npm instead of grpcurl:".to_owned());
    for (method, message) in &calls {
        lines.push(format!(
            "  npx --yes @bufbuild/buf curl --protocol grpc --http2-prior-knowledge -d '{message}' \
             http://{address}/boxoffice.v1.{method}"
        ));
    }
    lines.push("Stop with Ctrl-C. The data is still there at the next start.".to_owned());
    lines
}

/// A showtime that can be scheduled now, in the first auditorium, if there is one.
async fn create_call(app: &App) -> Option<String> {
    let service = Caller::service().into();
    let one = PageRequest { size: 1, token: String::new() };
    let auditorium = app.auditoriums(&service, "", &one).await.ok()?.auditoriums.into_iter().next()?;
    let Auditorium { auditorium_id, .. } = auditorium;
    let free = app.free_from(&service, auditorium_id).await.ok()?;
    let hour = TimeDelta::hours(1);
    let start = free.max(app.clock().now() + TimeDelta::days(7)).duration_trunc(hour).ok()? + hour;
    let start = start.to_rfc3339_opts(SecondsFormat::Secs, true);
    Some(format!(
        r#"{{"movie_id": "tt1375666", "auditorium_id": "{auditorium_id}", "start_time": "{start}", "duration": "8880s", "price": {{"currency_code": "EUR", "units": 12}}, "request_id": "{}"}}"#,
        // With a request id, pasting the command twice gives the same answer twice.
        app.clock().new_id()
    ))
}

/// Two seats of the next showtime that has two free seats, if there is one.
async fn reserve_call(app: &App) -> Option<String> {
    let coming = Filter { start_after: Some(app.clock().now()), ..Filter::default() };
    let some = PageRequest { size: 20, token: String::new() };
    let page = app.showtimes(&Caller::service().into(), &coming, &some).await.ok()?;
    let showtime = page.showtimes.iter().find(|showtime| showtime.standing.available_count > 1)?;
    let tickets = match &showtime.facts.prices.ticket_types[..] {
        [first, second, ..] => {
            let of = |code| format!(r#"{{"code": "{code}", "count": 1}}"#);
            format!(r#""ticket_types": [{}, {}], "#, of(&first.code), of(&second.code))
        }
        _ => String::new(),
    };
    Some(format!(
        r#"{{"showtime_id": "{}", "seat_count": 2, {tickets}"customer_id": "ada", "request_id": "{}"}}"#,
        showtime.facts.showtime_id,
        app.clock().new_id()
    ))
}
