//! Events and what subscribers ask for.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;

use super::{
    common::{at_most, finish},
    values::duration,
};
use crate::{
    app::{EVENT_KINDS, Entry, EventFeed, EventFilter, EventSink, EventStart, NAMESPACE},
    domain::{ids::ShowtimeId, violations::Violations},
    pb::boxoffice::v1::{self as pb, subscribe_events_request::Start},
};

/// The most types or cinemas of a request.
const MOST_NAMES: usize = 100;
/// The most showtimes of a request.
const MOST_SHOWTIMES: usize = 1_000;
/// The most characters of a cinema's name.
const LONGEST_CINEMA: usize = 100;

/// `SubscribeEventsResponse` with an event.
#[derive(Clone, PartialEq, prost::Message)]
struct SubscribedEvent {
    #[prost(message, optional, tag = "1")]
    event: Option<StoredFeedEvent>,
}

/// `FeedEvent`, with its data as it is stored. A message and its bytes are encoded the same.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredFeedEvent {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(string, tag = "3")]
    r#type: String,
    #[prost(string, tag = "4")]
    subject: String,
    #[prost(message, optional, tag = "5")]
    time: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
    #[prost(string, tag = "7")]
    resume_token: String,
}

pub(crate) fn subscribe_events(request: pb::SubscribeEventsRequest) -> Result<(EventStart, EventFilter), Violations> {
    let mut violations = Violations::new();
    let start = match request.start {
        None | Some(Start::FromNow(false)) => EventStart::Oldest,
        Some(Start::FromNow(true)) => EventStart::Now,
        Some(Start::ResumeToken(token)) => {
            at_most(&mut violations, "resume_token", &token, 200);
            EventStart::Token(token)
        }
    };
    let lengths = [
        ("types", request.types.len(), MOST_NAMES),
        ("showtime_ids", request.showtime_ids.len(), MOST_SHOWTIMES),
        ("cinemas", request.cinemas.len(), MOST_NAMES),
    ];
    for (field, length, most) in lengths {
        if length > most {
            violations.add(field, format!("must have at most {most} items"));
        }
    }
    let mut filter = EventFilter { cinemas: HashSet::new(), ..EventFilter::default() };
    for (at, name) in request.types.iter().take(MOST_NAMES).enumerate() {
        let kind = name.strip_prefix(NAMESPACE).unwrap_or(name);
        if EVENT_KINDS.contains(&kind) {
            filter.kinds.insert(kind.to_owned());
        } else {
            violations.add(format!("types[{at}]"), format!("must be one of {}", EVENT_KINDS.join(", ")));
        }
    }
    for (at, id) in request.showtime_ids.iter().take(MOST_SHOWTIMES).enumerate() {
        filter.showtimes.extend(violations.take(&format!("showtime_ids[{at}]"), ShowtimeId::parse(id)));
    }
    for (at, cinema) in request.cinemas.into_iter().take(MOST_NAMES).enumerate() {
        at_most(&mut violations, &format!("cinemas[{at}]"), &cinema, LONGEST_CINEMA);
        filter.cinemas.insert(cinema);
    }
    finish(violations, Some((start, filter)))
}

/// The message to subscribers, as its bytes.
pub(crate) fn feed_event(entry: &Entry, resume_token: String) -> Bytes {
    let event = StoredFeedEvent {
        id: entry.id(),
        source: entry.source(),
        r#type: entry.event_type().to_owned(),
        subject: entry.subject().to_owned(),
        time: entry.time(),
        data: entry.data(),
        resume_token,
    };
    SubscribedEvent { event: Some(event) }.encode_to_vec().into()
}

pub(crate) fn event_feed(feed: EventFeed) -> pb::GetEventFeedResponse {
    pb::GetEventFeedResponse {
        oldest_token: feed.oldest,
        newest_token: feed.newest,
        position: feed.position,
        compacted_position: feed.compacted,
        sinks: feed.sinks.into_iter().map(event_sink).collect(),
    }
}

fn event_sink(EventSink { sink, is_running, lag, lag_time, letters }: EventSink) -> pb::EventSink {
    let state = match (is_running, sink.problem.is_empty()) {
        (false, _) => pb::EventSinkState::Stopped,
        (true, false) => pb::EventSinkState::Paused,
        (true, true) => pb::EventSinkState::Running,
    };
    pb::EventSink {
        name: sink.name,
        position: sink.position,
        lag: lag.cast_signed(),
        lag_time: lag_time.map(duration),
        state: state.into(),
        problem: if is_running { sink.problem } else { String::new() },
        dead_letters: letters.dead.cast_signed(),
        waiting_events: letters.waiting.cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::boxoffice::events::v1::Event;

    #[test]
    fn an_event_is_the_message_of_the_contract() {
        let time = Some(Timestamp { seconds: 5, nanos: 6 });
        let data = Event { showtime_id: "a".to_owned(), revision: 3, ordinal: 2, time, ..Event::default() };
        let entry = Entry::decode(&data.encode_to_vec()).unwrap();
        let read = pb::SubscribeEventsResponse::decode(feed_event(&entry, "t".to_owned())).unwrap();
        let event = pb::FeedEvent {
            id: "a/3/2".to_owned(),
            source: "/showtimes/a".to_owned(),
            r#type: NAMESPACE.to_owned(),
            subject: "a".to_owned(),
            time,
            data: Some(data),
            resume_token: "t".to_owned(),
        };
        assert_eq!(read.message, Some(pb::subscribe_events_response::Message::Event(event)));
    }
}
