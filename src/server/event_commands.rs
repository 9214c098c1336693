//! `boxoffice events`: what operators ask a running service about its sinks.

use std::{fmt::Write as _, net::SocketAddr};

use tonic::{Status, transport::Channel};

use super::{
    failure::Failure,
    operator_calls::{PAGE, print_answer},
};
use crate::{
    config::{DeadLetters, EventAction},
    pb::boxoffice::v1::{
        DeadLetter, DeadLetterState, DropDeadLettersRequest, EventSink, EventSinkState, GetEventFeedRequest,
        ListDeadLettersRequest, RedriveDeadLettersRequest, drop_dead_letters_request, events_client::EventsClient,
        operations_client::OperationsClient, redrive_dead_letters_request,
    },
};

/// Asks the service, and prints its answer.
pub(super) fn run(address: SocketAddr, action: EventAction) -> Result<(), Failure> {
    print_answer(address, async |channel| ask(channel, action).await)
}

async fn ask(channel: Channel, action: EventAction) -> Result<String, Status> {
    let mut operations = OperationsClient::new(channel.clone());
    Ok(match action {
        EventAction::Lag => {
            let feed = EventsClient::new(channel).get_event_feed(GetEventFeedRequest {}).await?.into_inner();
            lag(&feed.sinks)
        }
        EventAction::List { sink } => {
            let mut request = ListDeadLettersRequest {
                sink: sink.unwrap_or_default(),
                page_size: PAGE,
                ..ListDeadLettersRequest::default()
            };
            let mut text = String::new();
            loop {
                let page = operations.list_dead_letters(request.clone()).await?.into_inner();
                page.dead_letters.iter().for_each(|letter| write_letter(&mut text, letter));
                if page.next_page_token.is_empty() {
                    break if text.is_empty() { "no dead letters\n".to_owned() } else { text };
                }
                request.page_token = page.next_page_token;
            }
        }
        EventAction::Redrive(letters) => {
            use redrive_dead_letters_request::DeadLetters::{AllOfSink, DeadLetterId};
            let letters = match letters {
                DeadLetters::One(id) => DeadLetterId(id),
                DeadLetters::OfSink(sink) => AllOfSink(sink),
            };
            let request = RedriveDeadLettersRequest { dead_letters: Some(letters) };
            let count = operations.redrive_dead_letters(request).await?.into_inner().count;
            format!("{count} dead letters are sent again\n")
        }
        EventAction::Drop(letters) => {
            use drop_dead_letters_request::DeadLetters::{AllOfSink, DeadLetterId};
            let letters = match letters {
                DeadLetters::One(id) => DeadLetterId(id),
                DeadLetters::OfSink(sink) => AllOfSink(sink),
            };
            let request = DropDeadLettersRequest { dead_letters: Some(letters) };
            let count = operations.drop_dead_letters(request).await?.into_inner().count;
            format!("{count} dead letters are dropped\n")
        }
    })
}

fn lag(sinks: &[EventSink]) -> String {
    if sinks.is_empty() {
        return "the service has no sinks\n".to_owned();
    }
    let mut text = format!(
        "{:<16} {:<8} {:>10} {:>8} {:>9} {:>6} {:>8}\n",
        "sink", "state", "position", "lag", "age", "dead", "waiting"
    );
    for sink in sinks {
        let state = match sink.state() {
            EventSinkState::Running => "running",
            EventSinkState::Paused => "paused",
            EventSinkState::Stopped | EventSinkState::Unspecified => "stopped",
        };
        let age = format!("{} s", sink.lag_time.map_or(0, |time| time.seconds));
        let EventSink { name, position, lag, dead_letters, waiting_events, problem, .. } = sink;
        let _ = write!(
            text,
            "{name:<16} {state:<8} {position:>10} {lag:>8} {age:>9} {dead_letters:>6} {waiting_events:>8}"
        );
        text += if problem.is_empty() { "" } else { "  " };
        text += problem;
        text += "\n";
    }
    text
}

fn write_letter(text: &mut String, letter: &DeadLetter) {
    let state = if letter.state() == DeadLetterState::Dead { "dead" } else { "waiting" };
    let DeadLetter { dead_letter_id, event_id, reason, .. } = letter;
    let _ = write!(text, "{dead_letter_id:<20} {state:<8} {event_id} {}", letter.r#type);
    text.push_str(if reason.is_empty() { "" } else { ": " });
    text.push_str(reason);
    text.push('\n');
}
