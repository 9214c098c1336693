//! Each way in which the provider fails, and its recovery.

use std::time::Duration;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt as _;

use super::{Demo, FRESH, advance, black_hole, inception, movies_with, no_faults, outage, until_live};
use crate::{
    clock::Clock,
    domain::movie::Source,
    pb::boxoffice::demo::v1::FaultSettings,
    upstream::{Dependency, Failure, Options, ProviderOptions, Secret, SetupError, demo, provider::Provider},
};

fn with_short_timeout(options: &Options) -> Options {
    let provider = ProviderOptions { timeout: Duration::from_millis(100), ..options.provider.clone() };
    Options { provider, ..options.clone() }
}

#[tokio::test]
async fn failures_are_retried_a_bounded_number_of_times() {
    let mut demo = Demo::start().await;
    let (movies, _) = demo.movies();
    for (faults, calls) in [
        (FaultSettings { in_band_percent: 100, ..no_faults() }, 3),
        (FaultSettings { failure_percent: 100, ..no_faults() }, 6),
    ] {
        demo.set(faults).await;
        let Err(Failure::Unavailable { retry_after }) = movies.movie(&inception()).await else {
            panic!("not a failure")
        };
        assert!(!retry_after.is_zero());
        assert_eq!(demo.calls().await, calls);
    }
    demo.set(no_faults()).await;
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Live);
}

#[tokio::test]
async fn a_black_hole_costs_the_deadline_of_each_attempt() {
    let mut demo = Demo::start().await;
    let (movies, clock) = movies_with(&with_short_timeout(&demo.options()));
    demo.set(black_hole()).await;
    assert!(matches!(movies.movie(&inception()).await, Err(Failure::Unavailable { .. })));
    assert_eq!(demo.calls().await, 3);
    demo.set(no_faults()).await;
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Live);
    demo.set(black_hole()).await;
    advance(&clock, FRESH);
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Stale);
}

#[tokio::test]
async fn the_breaker_opens_and_answers_at_once_and_closes_again() {
    let mut demo = Demo::start().await;
    let (movies, clock) = demo.movies();
    movies.movie(&inception()).await.unwrap();
    advance(&clock, FRESH);
    demo.set(outage()).await;
    while movies.provider_state() == Dependency::Up {
        assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Stale);
    }
    let calls = demo.calls().await;
    assert!(calls <= 12, "it opened after {calls} calls");
    for _ in 0..100 {
        assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Stale);
    }
    assert!(demo.calls().await <= calls + 1, "called while open");
    assert_eq!(movies.provider_state(), Dependency::Failing);

    demo.set(no_faults()).await;
    until_live(&movies).await;
    assert_eq!(movies.provider_state(), Dependency::Up);
}

#[tokio::test]
async fn a_refused_connection_is_a_failure_like_any_other() {
    let demo = Demo::start().await;
    let mut options = demo.options();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    options.provider.url = format!("http://{free}");
    let (movies, _) = movies_with(&options);
    assert!(matches!(movies.movie(&inception()).await, Err(Failure::Unavailable { .. })));
}

#[tokio::test]
async fn the_connection_is_reopened_after_a_restart_of_the_provider() {
    let mut demo = Demo::start().await;
    let (movies, clock) = demo.movies();
    movies.movie(&inception()).await.unwrap();
    demo.shutdown.cancel();
    (&mut demo.serving).await.unwrap().unwrap();
    advance(&clock, FRESH);
    assert_eq!(movies.movie(&inception()).await.unwrap().source, Source::Stale);
    let again = Demo::at(demo.address, demo::Options::default()).await;
    until_live(&movies).await;
    drop(again);
}

#[tokio::test]
async fn the_api_key_is_sent_and_a_wrong_one_is_a_failure() {
    let key = || Some(Secret::new("let me in"));
    let mut demo = Demo::with(demo::Options { api_key: key(), ..demo::Options::default() }).await;
    let keyed = |api_key| {
        let options = demo.options();
        movies_with(&Options { provider: ProviderOptions { api_key, ..options.provider.clone() }, ..options }).0
    };
    for wrong in [None, Some(Secret::new("let me in, please"))] {
        assert!(matches!(keyed(wrong).movie(&inception()).await, Err(Failure::Unavailable { .. })));
    }
    assert_eq!(keyed(key()).movie(&inception()).await.unwrap().source, Source::Live);
    // Reading the faults needs no key.
    assert_eq!(demo.calls().await, 1);
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let demo = Demo::start().await;
    let refused = |change: fn(&mut ProviderOptions)| {
        let mut options = demo.options();
        change(&mut options.provider);
        crate::upstream::Movies::new(&options, Clock::System).err().expect("refused")
    };
    for url in ["", "localhost:1", "ftp://localhost", "/x"] {
        let mut options = demo.options();
        options.provider.url = url.to_owned();
        let error = crate::upstream::Movies::new(&options, Clock::System).err();
        assert!(matches!(error, Some(SetupError::ProviderUrl)), "{url}");
    }
    assert!(matches!(refused(|it| it.api_key = Some(Secret::new("a\nb"))), SetupError::ApiKey));
    let no_pem = |it: &mut ProviderOptions| {
        it.url = "https://localhost:1".to_owned();
        it.ca_pem = Some(b"no certificate".to_vec());
    };
    assert!(matches!(refused(no_pem), SetupError::CaFile));
}

#[tokio::test]
async fn the_callers_trace_is_passed_on() {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let subscriber = tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _guard = tracing::subscriber::set_default(subscriber);
    let provider = Provider::new(&Demo::start().await.options().provider, Clock::System).unwrap();
    let request = tracing::info_span!("caller").in_scope(|| provider.request(()));
    let parent = request.metadata().get("traceparent").expect("a W3C trace context").to_str().unwrap();
    assert!(parent.starts_with("00-") && parent.len() == 55, "{parent}");
}
