//! What operators and tools see of the service: health, reflection, access log, metrics.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{GetShowtimeRequest, ListAuditoriumsRequest};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use serde_json::Value;
use tokio_stream::once;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{
    Redis, Server, Store, World, events::delivered, eventually, grpc_web, request_id, seats::showtime,
};

const SERVICES: [&str; 10] = [
    "boxoffice.v1.Auditoriums",
    "boxoffice.v1.Events",
    "boxoffice.v1.Movies",
    "boxoffice.v1.Operations",
    "boxoffice.v1.Payments",
    "boxoffice.v1.Purchases",
    "boxoffice.v1.Reports",
    "boxoffice.v1.Reservations",
    "boxoffice.v1.Showtimes",
    "boxoffice.v1.Tickets",
];
/// What is written in expressions of the alert rules besides metrics and labels.
const WORDS: [&str; 6] = ["and", "by", "increase", "max", "rate", "sum"];
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn health_is_reported_for_the_server_and_for_each_service() {
    let world = World::start(Store::Sqlite).await;
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        world.health().check(request).await.map(|answer| answer.into_inner().status())
    };
    for service in ["", SERVICES[0], SERVICES[1], SERVICES[2]] {
        assert_eq!(check(service).await.expect("an answer"), ServingStatus::Serving, "{service}");
    }
    assert_eq!(check("no.such.Service").await.expect_err("there is none").code(), Code::NotFound);
}

#[tokio::test]
async fn the_admin_port_reports_health_by_dependency() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        assert_eq!(world.admin("/healthz").await.status, 200);
        let ready = world.admin("/readyz").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        for dependency in ["database", "provider"] {
            assert!(ready.text().contains(dependency), "{ready:?}");
        }
    }
}

#[tokio::test]
async fn reflection_lists_and_describes_what_is_served() {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::start(Store::Sqlite).await;
    let reflect = async |request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut client = ServerReflectionClient::new(world.channel());
        let mut answers = client.server_reflection_info(once(request)).await.expect("a stream").into_inner();
        answers.message().await.expect("a message").and_then(|answer| answer.message_response).expect("an answer")
    };
    let MessageResponse::ListServicesResponse(list) = reflect(MessageRequest::ListServices(String::new())).await else {
        panic!("not a list of services");
    };
    let names: BTreeSet<_> = list.service.iter().map(|service| &*service.name).collect();
    let more = ["health.v1.Health", "reflection.v1.ServerReflection", "reflection.v1alpha.ServerReflection"];
    let more = more.map(|name| format!("grpc.{name}"));
    assert_eq!(
        names,
        SERVICES.into_iter().chain(more.iter().map(|name| &**name)).collect(),
        "these services and no others"
    );
    // The file of each service, and the files that it imports, including the validation rules.
    for symbol in SERVICES {
        let MessageResponse::FileDescriptorResponse(files) =
            reflect(MessageRequest::FileContainingSymbol(symbol.to_owned())).await
        else {
            panic!("no file for {symbol}");
        };
        let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).expect("a descriptor");
        assert!(file.dependency.iter().any(|import| import == "buf/validate/validate.proto"), "{:?}", file.dependency);
        for import in file.dependency {
            let answer = reflect(MessageRequest::FileByFilename(import.clone())).await;
            assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{import}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn reflection_has_its_older_version_too() {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::start(Store::Sqlite).await;
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut client = ServerReflectionClient::new(world.channel());
    let mut answers = client.server_reflection_info(once(request)).await.expect("a stream").into_inner();
    let answer = answers.message().await.expect("a message").and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("not a list: {answer:?}") };
    assert!(list.service.iter().any(|service| service.name == SERVICES[2]), "{list:?}");
}

/// Makes a call that fails, with a trace of the caller.
async fn traced_call(server: &Server) {
    let request = GetShowtimeRequest { showtime_id: request_id(), at_least_revision: 0, include_sales: false };
    let mut request = Request::new(request);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("metadata"));
    server.showtimes().get_showtime(request).await.expect_err("there is none");
}

#[tokio::test]
async fn each_request_is_logged_with_the_callers_trace() {
    let world = World::start(Store::Sqlite).await;
    traced_call(&world).await;
    world.console().line(&[TRACE, "boxoffice.v1.Showtimes", "GetShowtime", "NOT_FOUND", "127.0.0.1"]).await;
    grpc_web::call(
        world.address(),
        "/boxoffice.v1.Auditoriums/ListAuditoriums",
        &ListAuditoriumsRequest::default(),
        &[("traceparent", "00-11111111111111111111111111111111-2222222222222222-01")],
    )
    .await;
    let line = world.console().line(&["11111111111111111111111111111111", "ListAuditoriums", "OK"]).await;
    assert_eq!(world.console().lines().iter().filter(|each| **each == line).count(), 1);
}

#[tokio::test]
async fn a_request_without_a_trace_is_given_one() {
    let world = World::start(Store::Sqlite).await;
    world.auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await.expect("a list");
    let line = world.console().line(&["boxoffice.v1.Auditoriums", "ListAuditoriums", "OK"]).await;
    let words = line.split(|c: char| !c.is_ascii_alphanumeric());
    let ids = words.filter(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(ids.count(), 1, "{line}");
}

#[tokio::test]
async fn console_lines_are_json_when_asked_for() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--log-format", "json")).await;
    traced_call(&world).await;
    let line = world.console().line(&[TRACE]).await;
    world.stop().await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let fields = line.get("fields").unwrap_or(&line);
    assert_eq!(fields["service"], "boxoffice.v1.Showtimes", "{line}");
    assert_eq!(fields["method"], "GetShowtime", "{line}");
    assert_eq!(fields["status"], "NOT_FOUND", "{line}");
    assert_eq!(fields["trace"], TRACE, "{line}");
    assert!(fields["ms"].is_number(), "{line}");
    for line in world.console().lines() {
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
    }
}

#[tokio::test]
async fn latency_is_counted_by_method_and_status() {
    let world = World::start(Store::Sqlite).await;
    traced_call(&world).await;
    for _ in 0..3 {
        world.auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await.expect("a list");
    }
    let metrics = world.metrics().await;
    let count = |labels: &[&str]| metrics.sum("boxoffice_request_duration_seconds_count", labels);
    assert_eq!(
        count(&["service=\"boxoffice.v1.Showtimes\"", "method=\"GetShowtime\"", "status=\"NOT_FOUND\""]),
        Some(1.0)
    );
    assert_eq!(count(&["method=\"ListAuditoriums\"", "status=\"OK\""]), Some(3.0));
    assert!(metrics.sum("boxoffice_transaction_duration_seconds_count", &[]).is_some_and(|count| count > 0.0));
    assert!(metrics.sum("boxoffice_pool_wait_seconds_count", &[]).is_some_and(|count| count > 0.0));
}

/// Method names that do not exist must not take memory.
#[tokio::test]
async fn unknown_methods_share_one_series() {
    let world = World::start(Store::Sqlite).await;
    for index in 0..20 {
        let path = format!("/made.up.Service{index}/Method{index}");
        crate::harness::raw::call(world.channel(), &path, vec![]).await.expect_err("there is no such method");
    }
    let page = world.admin("/metrics").await.text();
    assert!(!page.contains("Service7") && !page.contains("Method7"), "{page}");
}

/// The metrics in an expression of an alert rule, each with the labels that it must have. A word that is none of [`WORDS`] is taken
/// for a metric.
fn metrics_of(expression: &str) -> Vec<(String, Vec<String>)> {
    let words: Vec<_> = expression.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    let is_word = |word: &str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    let after_by = |at: usize| at > 0 && words[at - 1] == "by";
    let grouped = words.iter().enumerate().filter(|(at, _)| after_by(*at)).map(|(_, label)| format!("{label}=\""));
    let grouped: Vec<_> = grouped.collect();
    let metrics =
        words.iter().enumerate().filter(|(at, word)| is_word(word) && !WORDS.contains(word) && !after_by(*at));
    let metric = |word: &str| {
        let (name, rest) = word.split_once(['[', '{']).unwrap_or((word, ""));
        let asked = rest.split_once('}').map_or("", |(asked, _)| asked).split(',');
        let asked = asked.filter(|label| !label.is_empty()).map(str::to_owned);
        (name.to_owned(), grouped.iter().cloned().chain(asked).collect())
    };
    metrics.map(|(_, word)| metric(word)).collect()
}

#[tokio::test]
async fn every_metric_of_the_alert_rules_is_shown_by_a_server_with_a_sink() {
    let redis = Redis::start().await;
    let world = World::with(Store::Sqlite, |setup| setup.with("--sink", redis.url())).await;
    showtime(&world).await;
    delivered(&world).await;
    let rules = include_str!("../deploy/alerts.yaml");
    let lines = |key: &'static str| rules.lines().filter_map(move |line| line.trim().strip_prefix(key));
    let expressions: Vec<_> = lines("expr: ").collect();
    assert!(!expressions.is_empty() && expressions.len() == lines("- alert: ").count(), "{expressions:?}");
    for expression in expressions {
        let metrics = metrics_of(expression);
        assert!(!metrics.is_empty(), "{expression} has no metric");
        for (name, labels) in metrics {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            let shown = async || world.metrics().await.sum(&name, &labels);
            eventually(&format!("{name} with {labels:?} is shown"), shown).await;
        }
    }
}
