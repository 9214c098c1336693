//! NATS answers to each message by itself, and some of the answers do not come. What was answered is not sent again, and the rest
//! is, in its order.

use boxoffice::pb::boxoffice::v1::{EventSinkState, FeedEvent};

use crate::harness::{
    Store,
    brokers::Broker,
    events::{change, delivered, feed, in_state},
    nats::Nats,
    nats_proxy::{Lost, NatsProxy, Passed},
    seats::showtime,
    world::Storage,
};

/// A storage with four events of each of three showtimes. A sink that is new delivers all of them at once.
async fn twelve_events() -> (Storage, Vec<FeedEvent>) {
    let storage = Storage::new(Store::Sqlite).await;
    let server = storage.setup().start().await;
    let showtimes = [showtime(&server).await, showtime(&server).await, showtime(&server).await];
    for showtime in &showtimes {
        change(&server, showtime, "ada").await;
    }
    let events = feed(&server, 12).await;
    server.stop().await;
    (storage, events)
}

fn showtime_of(id: &str) -> &str {
    id.split('/').next().unwrap_or_default()
}

async fn only_what_is_lost_is_sent_again(lost: Lost) {
    let nats = Nats::start("").await;
    let proxy = NatsProxy::to(&nats).await;
    let (storage, events) = twelve_events().await;
    let first = showtime_of(&events[0].id);
    let (of_first, of_others): (Vec<_>, Vec<_>) =
        events.iter().map(|event| event.id.clone()).partition(|id| showtime_of(id) == first);
    proxy.lose(&of_first[1], lost);
    let server = storage.setup().with("--sink", proxy.url()).start().await;
    delivered(&server).await;
    let sent = proxy.sent();
    let (before, after) = sent.split_at(10.min(sent.len()));
    let mut before = before.to_vec();
    before.sort();
    let mut wanted = [&of_first[..2], &of_others].concat();
    wanted.sort();
    assert_eq!(before, wanted, "the other showtimes do not wait for it, and its own does");
    assert_eq!(after, &of_first[1..]);
    let messages = Broker::Nats(nats).has(&events).await;
    // NATS drops what comes again.
    assert_eq!(messages.len(), events.len());
    server.console().line(&["events are not delivered", "NATS does not answer"]).await;
    let sink = in_state(&server, EventSinkState::Running).await;
    assert_eq!((sink.lag, sink.dead_letters, sink.problem.as_str()), (0, 0, ""));
    assert_eq!(server.metrics().await.sum("boxoffice_sink_published_total", &[]), Some(12.0));
}

#[tokio::test]
async fn an_event_whose_answer_is_lost_while_later_ones_are_answered_is_sent_again_and_holds_up_its_showtime_alone() {
    only_what_is_lost_is_sent_again(Lost::Answer).await;
}

#[tokio::test]
async fn an_event_that_is_lost_while_later_ones_are_answered_is_sent_again_and_holds_up_its_showtime_alone() {
    only_what_is_lost_is_sent_again(Lost::Message).await;
}

#[tokio::test]
async fn while_few_answers_come_in_time_the_sink_makes_progress_and_what_was_answered_is_not_sent_again() {
    let nats = Nats::start("").await;
    let proxy = NatsProxy::to(&nats).await;
    let (storage, events) = twelve_events().await;
    // Each delivery ends with its deadline, and a part of its events is confirmed.
    proxy.limit_answers(4);
    let server = storage.setup().with("--sink", proxy.url()).start().await;
    delivered(&server).await;
    let passed = proxy.passed();
    for event in &events {
        let answers: Vec<_> =
            passed.iter().enumerate().filter(|(_, one)| **one == Passed::Answered(event.id.clone())).collect();
        let last_sent = passed.iter().rposition(|one| *one == Passed::Sent(event.id.clone()));
        assert_eq!(answers.len(), 1, "{}: {passed:?}", event.id);
        assert!(last_sent.is_some_and(|last| last < answers[0].0), "{}: {passed:?}", event.id);
    }
    let messages = Broker::Nats(nats).has(&events).await;
    assert_eq!(messages.len(), events.len());
    let sink = in_state(&server, EventSinkState::Running).await;
    assert_eq!((sink.lag, sink.dead_letters, sink.problem.as_str()), (0, 0, ""));
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("boxoffice_sink_published_total", &[]), Some(12.0));
    assert!(metrics.sum("boxoffice_sink_retried_total", &[]).is_some_and(|retried| retried >= 2.0));
}
