//! A subscriber to events.

use std::collections::HashMap;

use boxoffice::pb::boxoffice::{
    events::v1::AggregateType,
    v1::{
        EventSink, EventSinkState, FeedEvent, GetEventFeedRequest, Showtime, SubscribeEventsRequest,
        SubscribeEventsResponse, subscribe_events_request::Start, subscribe_events_response::Message,
    },
};
use tonic::{Status, Streaming};

use super::{
    DEADLINE, Server, eventually,
    seats::{best, cancel, reserve},
};

pub(crate) type Events = Streaming<SubscribeEventsResponse>;

pub(crate) async fn subscribe(server: &Server, request: SubscribeEventsRequest) -> Result<Events, Status> {
    Ok(server.events().subscribe_events(request).await?.into_inner())
}

/// Subscribes at each of these servers, from the oldest event on.
pub(crate) async fn subscribe_at_each(servers: &[Server]) -> Vec<Events> {
    let mut streams = Vec::new();
    for server in servers {
        streams.push(subscribe(server, SubscribeEventsRequest::default()).await.expect("the feed is read"));
    }
    streams
}

/// Reads each stream up to the creation of this showtime, which was committed after everything else, and checks that all have the same
/// events, each showtime's complete and in order. Returns them.
pub(crate) async fn read_alike(streams: Vec<Events>, last: &Showtime) -> Vec<FeedEvent> {
    let mut first: Option<Vec<FeedEvent>> = None;
    for mut stream in streams {
        let read = until(&mut stream, &last.showtime_id, 1, "ShowtimeCreated").await;
        assert_complete(&read);
        assert_eq!(ids(&read), ids(first.get_or_insert_with(|| read.clone())));
    }
    first.expect("there is a stream")
}

pub(crate) fn after(token: &str) -> SubscribeEventsRequest {
    SubscribeEventsRequest { start: Some(Start::ResumeToken(token.to_owned())), ..Default::default() }
}

pub(crate) async fn next(events: &mut Events) -> Message {
    let message = tokio::time::timeout(DEADLINE, events.message()).await.expect("a message comes in time");
    message.expect("the stream works").expect("the stream has not ended").message.expect("the message is something")
}

/// The next event, which comes in time whatever heartbeats come before it.
pub(crate) async fn next_event(events: &mut Events) -> FeedEvent {
    let event = async {
        loop {
            if let Message::Event(event) = next(events).await {
                return event;
            }
        }
    };
    tokio::time::timeout(DEADLINE, event).await.expect("an event comes in time")
}

/// The next events of showtimes up to the one of this revision.
pub(crate) async fn until(events: &mut Events, showtime_id: &str, revision: i64, kind: &str) -> Vec<FeedEvent> {
    let mut read = Vec::new();
    loop {
        let event = next_event(events).await;
        let data = event.data.as_ref().expect("an event has data");
        let last = data.showtime_id == showtime_id && data.revision == revision && event.r#type.ends_with(kind);
        if is_of_showtime(&event) {
            read.push(event);
        }
        if last {
            return read;
        }
    }
}

/// Whether an event is about a showtime and its reservations, and not about a purchase or a refund.
fn is_of_showtime(event: &FeedEvent) -> bool {
    event.data.as_ref().is_some_and(|data| data.aggregate_type() == AggregateType::Showtime)
}

pub(crate) fn ids(events: &[FeedEvent]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

pub(crate) async fn sinks(server: &Server) -> Vec<EventSink> {
    server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner().sinks
}

/// Waits until everything that was committed is delivered to the sinks.
pub(crate) async fn delivered(server: &Server) {
    // After this, everything that was committed has its position.
    let now = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    subscribe(server, now).await.expect("the feed is read");
    eventually("everything is delivered", async || {
        let sinks = sinks(server).await;
        (!sinks.is_empty() && sinks.iter().all(|sink| sink.lag == 0 && sink.position > 0)).then_some(())
    })
    .await;
}

/// Checks that each aggregate's events have all revisions and all ordinals in order.
pub(crate) fn assert_complete(events: &[FeedEvent]) {
    // The next revision and ordinal of each aggregate.
    let mut next: HashMap<&str, (i64, i32)> = HashMap::new();
    for event in events {
        let data = event.data.as_ref().expect("an event has data");
        let wanted = next.get(data.aggregate_id.as_str()).copied().unwrap_or((1, 0));
        assert_eq!((data.revision, data.ordinal), wanted, "{}", event.id);
        let is_last = data.ordinal + 1 == data.revision_events;
        let follows = if is_last { (data.revision + 1, 0) } else { (data.revision, data.ordinal + 1) };
        next.insert(&data.aggregate_id, follows);
    }
}

/// Waits until deliveries to sinks were attempted so often without success.
pub(crate) async fn attempted(server: &Server, times: f64) {
    eventually("events were attempted several times", async || {
        let retried = server.metrics().await.sum("boxoffice_sink_retried_total", &[])?;
        (retried >= times).then_some(())
    })
    .await;
}

/// Waits until the sink is in this state.
pub(crate) async fn in_state(server: &Server, state: EventSinkState) -> EventSink {
    eventually("the sink is in its state", async || sinks(server).await.into_iter().find(|sink| sink.state() == state))
        .await
}

/// The first events of the feed.
pub(crate) async fn feed(server: &Server, count: usize) -> Vec<FeedEvent> {
    let mut events = subscribe(server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let mut read = Vec::new();
    for _ in 0..count {
        read.push(next_event(&mut events).await);
    }
    read
}

/// Reserves a seat for this customer, and cancels the reservation: two commits with three events.
pub(crate) async fn change(server: &Server, showtime: &Showtime, customer: &str) {
    let held = reserve(server, best(showtime, customer, 1)).await.expect("there are seats");
    cancel(server, &held).await.expect("the seat is held");
}

/// A statement that writes a row of another showtime with a copy of some event. The feed orders rows, and does not read them.
pub(crate) fn insert_row(aggregate: u128) -> String {
    format!(
        "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
         SELECT '{aggregate:032x}', 1, 1, events, create_time FROM outbox LIMIT 1"
    )
}
