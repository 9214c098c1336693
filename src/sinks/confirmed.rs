//! Delivery to a broker that confirms or refuses each message.
//!
//! An event that the broker refuses becomes a dead letter after some attempts. The later events of its aggregate become letters
//! that wait behind it, and those of other aggregates are delivered. Letters are written together with the position that passes
//! them, so none is lost, and none is delivered before the one that it waits for.

use std::{collections::HashSet, sync::Arc};

use super::{
    connection::Each,
    delivery::{Delivery, messages},
    message::Message,
    relay::Relay,
    trouble::Trouble,
};
use crate::{
    feed::{Entry, Row},
    store::{
        Letter, LetterPlace, Letters,
        planted::{self, Bug},
    },
    telemetry::metrics,
};

/// After so many refusals an event is a dead letter.
const ATTEMPTS: i32 = 3;
/// The most letters that are delivered at once.
const LETTERS_AT_ONCE: u64 = 500;
/// The most letters of a sink. With more of them it is paused.
const MOST_LETTERS: u64 = 10_000;

impl Relay {
    /// Delivers rows, and makes letters of what was refused too often and of what waits.
    pub(super) async fn send_each(
        &self,
        each: &mut Each,
        delivery: &mut Delivery,
        rows: &[Arc<Row>],
    ) -> Result<(), Trouble> {
        let epoch = Arc::clone(&delivery.epoch);
        let messages = messages(rows, Some(&epoch));
        let last = rows.last().map_or(delivery.position, |row| row.position);
        if planted::has(Bug::PositionBeforeConfirmation) {
            delivery.advance(last);
        }
        let sent = to_send(delivery, &messages);
        let outcome = each.deliver(&sent).await;
        metrics::sink(|sink| sink.published(&self.address.name, outcome.confirmed.len()));
        if outcome.confirmed.len() == messages.len() {
            // As it is almost always. Nothing waits, since what waits is not sent.
            delivery.advance(last);
            return outcome.trouble.map_or(Ok(()), Err);
        }
        delivery.confirmed.extend(outcome.confirmed.iter().map(|index| place(&sent[*index])));
        let mut refused = Vec::with_capacity(outcome.refused.len());
        for (index, why) in outcome.refused {
            let attempts = delivery.refusals.entry(place(&sent[index])).or_default();
            *attempts += 1;
            refused.push((place(&sent[index]), *attempts, why));
        }
        let room = MOST_LETTERS.saturating_sub(delivery.waiting.values().sum());
        let Passed { position, letters, is_full } = pass(delivery, &messages, &refused, room);
        if letters.is_empty() {
            delivery.advance(position);
        } else {
            self.keep(delivery, position, letters).await?;
        }
        if let Some(trouble) = outcome.trouble {
            return Err(trouble);
        }
        if is_full {
            return Err(Trouble::Broker(format!(
                "{MOST_LETTERS} events wait behind dead letters: redrive or drop the dead letters"
            )));
        }
        match refused.into_iter().find(|((of, _), ..)| *of > delivery.position) {
            Some((_, _, why)) => Err(Trouble::Broker(why)),
            None => Ok(()),
        }
    }

    /// Writes letters together with the position that passes them.
    async fn keep(&self, delivery: &mut Delivery, position: i64, added: Vec<Letter>) -> Result<(), Trouble> {
        let letters = Letters { added, ..Letters::default() };
        self.write_letters(delivery, position, &letters).await?;
        delivery.advance(position);
        for letter in letters.added {
            if let Some(why) = letter.refused {
                tracing::error!(
                    sink = self.address.name,
                    aggregate = letter.aggregate,
                    why,
                    "an event is a dead letter"
                );
                metrics::sink(|sink| sink.dead(&self.address.name));
            }
            *delivery.waiting.entry(letter.aggregate).or_default() += 1;
        }
        metrics::sink(|sink| sink.kept(&self.address.name, delivery.waiting.values().sum()));
        Ok(())
    }

    /// Writes changes of letters with a position. If it is not known whether they are written, everything is read anew.
    async fn write_letters(&self, delivery: &mut Delivery, position: i64, letters: &Letters) -> Result<(), Trouble> {
        // It stays so if this is dropped in the middle.
        delivery.is_uncertain = true;
        let written = self.write_with(delivery, position, false, letters).await;
        if !written.map_err(|error| Trouble::database(&error))? {
            return Err(Trouble::Broker("another instance delivers events now".to_owned()));
        }
        delivery.is_uncertain = false;
        Ok(())
    }

    /// Delivers letters that an operator lets be sent again, and what waits behind letters that are gone.
    pub(super) async fn send_letters(&self, each: &mut Each, delivery: &mut Delivery) -> Result<(), Trouble> {
        let name = &self.address.name;
        let letters =
            self.store.letters_to_send(name, LETTERS_AT_ONCE).await.map_err(|error| Trouble::database(&error))?;
        let entries: Result<Vec<_>, _> = letters.iter().map(|letter| Entry::decode(&letter.event)).collect();
        let entries = entries.map_err(|error| Trouble::database(&error))?;
        let epoch = Some(&*delivery.epoch);
        let message = |(letter, entry): (&Letter, _)| {
            let (position, index) = letter.place;
            Message { position, index: usize::try_from(index).unwrap_or_default(), epoch, entry }
        };
        let messages: Vec<_> = letters.iter().zip(&entries).map(message).collect();
        let outcome = each.deliver(&messages).await;
        let changes = Letters {
            delivered: outcome.confirmed.iter().map(|index| place(&messages[*index])).collect(),
            refused: outcome.refused.into_iter().map(|(index, why)| (place(&messages[index]), why)).collect(),
            ..Letters::default()
        };
        metrics::sink(|sink| sink.published(name, changes.delivered.len()));
        if !changes.delivered.is_empty() || !changes.refused.is_empty() {
            self.write_letters(delivery, delivery.position, &changes).await?;
        }
        self.count_letters(delivery).await.map_err(|error| Trouble::database(&error))?;
        outcome.trouble.map_or(Ok(()), Err)
    }
}

/// The messages that are sent now. Those of aggregates with a refusal come when all others are confirmed: a refusal may cost
/// the others their confirmations, because a broker closes the connection for it.
fn to_send<'a>(delivery: &Delivery, messages: &[Message<'a>]) -> Vec<Message<'a>> {
    let is_open = |message: &&Message<'_>| {
        !delivery.waiting.contains_key(message.aggregate()) && !delivery.confirmed.contains(&place(message))
    };
    let open: Vec<_> = messages.iter().filter(is_open).copied().collect();
    let is_refused = |message: &&Message<'_>| delivery.refusals.contains_key(&place(message));
    let refused: HashSet<_> = open.iter().filter(is_refused).map(Message::aggregate).collect();
    let others: Vec<_> = open.iter().copied().filter(|message| !refused.contains(message.aggregate())).collect();
    if others.is_empty() { open } else { others }
}

fn place(message: &Message<'_>) -> LetterPlace {
    (message.position, i32::try_from(message.index).unwrap_or(i32::MAX))
}

/// What is passed of messages.
#[derive(Debug, Default)]
struct Passed {
    /// Everything up to this position is delivered or will be a letter.
    position: i64,
    letters: Vec<Letter>,
    /// Whether there is no room for the letters of the next row.
    is_full: bool,
}

fn pass(delivery: &Delivery, messages: &[Message<'_>], refused: &[(LetterPlace, i32, String)], room: u64) -> Passed {
    let is_waiting = |message: &Message<'_>| delivery.waiting.contains_key(message.aggregate());
    let is_confirmed = |message: &Message<'_>| delivery.confirmed.contains(&place(message));
    pass_messages(delivery.position, messages, refused, room, is_waiting, is_confirmed)
}

fn pass_messages(
    position: i64,
    messages: &[Message<'_>],
    refused: &[(LetterPlace, i32, String)],
    room: u64,
    is_waiting: impl Fn(&Message<'_>) -> bool,
    is_confirmed: impl Fn(&Message<'_>) -> bool,
) -> Passed {
    let mut blocked: HashSet<&str> = HashSet::new();
    let mut passed = Passed { position, ..Passed::default() };
    let mut of_row = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let dead = refused.iter().find(|(of, attempts, _)| *of == place(message) && *attempts >= ATTEMPTS);
        if dead.is_some() || is_waiting(message) || blocked.contains(message.aggregate()) {
            blocked.insert(message.aggregate());
            of_row.push(Letter {
                place: place(message),
                aggregate: message.aggregate().to_owned(),
                event: message.data(),
                refused: dead.map(|(_, _, why)| why.clone()),
                attempts: dead.map_or(0, |(_, attempts, _)| *attempts),
            });
        } else if !is_confirmed(message) {
            break;
        }
        if messages.get(index + 1).is_none_or(|next| next.position != message.position) {
            if (passed.letters.len() + of_row.len()) as u64 > room {
                passed.is_full = true;
                break;
            }
            passed.position = message.position;
            passed.letters.append(&mut of_row);
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of these aggregates.
    fn entries(aggregates: &[&str]) -> Vec<Entry> {
        // The field aggregate_id, a text of this length.
        let event = |of: &&str| [&[7 << 3 | 2, of.len() as u8][..], of.as_bytes()].concat();
        aggregates.iter().map(|aggregate| Entry::decode(&event(aggregate)).unwrap()).collect()
    }

    /// Messages of one event each.
    fn messages(entries: &[Entry]) -> Vec<Message<'_>> {
        let message = |(at, entry)| Message { position: at as i64 + 1, index: 0, epoch: None, entry };
        entries.iter().enumerate().map(message).collect()
    }

    #[test]
    fn a_sink_with_too_many_letters_takes_no_more() {
        let entries = entries(&["a", "b", "a", "b", "a"]);
        let messages = messages(&entries);
        let pass = |room| pass_messages(0, &messages, &[], room, |message| message.aggregate() == "a", |_| true);
        let passed = pass(2);
        // What comes before the third letter is passed.
        assert_eq!((passed.position, passed.letters.len(), passed.is_full), (4, 2, true));
        assert_eq!((pass(3).position, pass(3).is_full), (5, false));
    }

    #[test]
    fn nothing_is_passed_that_is_neither_confirmed_nor_a_letter() {
        let entries = entries(&["a", "b", "c", "b"]);
        let messages = messages(&entries);
        let refused = [((2, 0), ATTEMPTS, "too large".to_owned())];
        let passed = pass_messages(0, &messages, &refused, 9, |_| false, |message| message.aggregate() == "a");
        assert_eq!((passed.position, passed.letters.len()), (2, 1));
        let passed = pass_messages(0, &messages, &refused, 9, |_| false, |message| message.aggregate() != "b");
        let kept: Vec<_> = passed.letters.iter().map(|letter| (letter.place, letter.refused.is_some())).collect();
        assert_eq!((passed.position, kept), (4, vec![((2, 0), true), ((4, 0), false)]));
    }
}
