//! Dead letters and what operators ask for.

use prost::Message as _;

use super::{
    common::{at_most, finish},
    values::timestamp,
};
use crate::{
    app::{DeadLetter, DeadLetters, PageRequest},
    domain::violations::Violations,
    pb::boxoffice::{
        events::v1::Event,
        v1::{self as pb, drop_dead_letters_request, redrive_dead_letters_request},
    },
};

/// The most characters of the name of a sink, and of the id of a letter.
const LONGEST_SINK: usize = 40;
const LONGEST_ID: usize = 80;

pub(crate) fn list_dead_letters(
    request: pb::ListDeadLettersRequest,
) -> Result<((String, bool), PageRequest), Violations> {
    let mut violations = Violations::new();
    at_most(&mut violations, "sink", &request.sink, LONGEST_SINK);
    if request.page_size < 0 {
        violations.add("page_size", "must not be negative");
    }
    let page = PageRequest { size: request.page_size, token: request.page_token };
    finish(violations, Some(((request.sink, request.dead_only), page)))
}

pub(crate) fn redrive_dead_letters(request: pb::RedriveDeadLettersRequest) -> Result<DeadLetters, Violations> {
    use redrive_dead_letters_request::DeadLetters::{AllOfSink, DeadLetterId};
    letters(request.dead_letters.map(|letters| match letters {
        DeadLetterId(id) => DeadLetters::One(id),
        AllOfSink(sink) => DeadLetters::OfSink(sink),
    }))
}

pub(crate) fn drop_dead_letters(request: pb::DropDeadLettersRequest) -> Result<DeadLetters, Violations> {
    use drop_dead_letters_request::DeadLetters::{AllOfSink, DeadLetterId};
    letters(request.dead_letters.map(|letters| match letters {
        DeadLetterId(id) => DeadLetters::One(id),
        AllOfSink(sink) => DeadLetters::OfSink(sink),
    }))
}

fn letters(letters: Option<DeadLetters>) -> Result<DeadLetters, Violations> {
    let mut violations = Violations::new();
    match &letters {
        None => violations.add("dead_letters", "must be dead_letter_id or all_of_sink"),
        Some(DeadLetters::One(id)) => at_most(&mut violations, "dead_letter_id", id, LONGEST_ID),
        Some(DeadLetters::OfSink(sink)) => at_most(&mut violations, "all_of_sink", sink, LONGEST_SINK),
    }
    finish(violations, letters)
}

pub(crate) fn dead_letter(letter: DeadLetter) -> pb::DeadLetter {
    let id = letter.id();
    let DeadLetter { stored, entry } = letter;
    let state = if stored.letter.refused.is_some() { pb::DeadLetterState::Dead } else { pb::DeadLetterState::Waiting };
    pb::DeadLetter {
        dead_letter_id: id,
        sink: stored.sink,
        state: state.into(),
        reason: stored.letter.refused.unwrap_or_default(),
        attempts: stored.letter.attempts,
        create_time: Some(timestamp(stored.write_time)),
        event_id: entry.id(),
        r#type: entry.event_type().to_owned(),
        data: Event::decode(&*entry.data()).ok(),
    }
}
