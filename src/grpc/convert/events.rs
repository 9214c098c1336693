//! Events and what subscribers ask for.

use std::collections::HashSet;

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

pub(crate) fn feed_event(entry: &Entry, resume_token: String) -> pb::FeedEvent {
    let event = &entry.event;
    pb::FeedEvent {
        id: entry.id(),
        source: entry.source(),
        r#type: entry.event_type().to_owned(),
        subject: entry.subject().to_owned(),
        time: event.time,
        data: Some(event.clone()),
        resume_token,
    }
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
