//! Delivery to a broker that confirms or refuses each message.
//!
//! An event that the broker refuses becomes a dead letter after some attempts. The later events of its aggregate become letters
//! that wait behind it, and those of other aggregates are delivered. Letters are written together with the position that passes
//! them, so none is lost, and none is delivered before the one that it waits for.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use super::{
    connection::Each,
    delivery::{AT_ONCE, Delivery, messages},
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
/// The most letters of a sink. With more of them it is paused.
const MOST_LETTERS: u64 = 10_000;

impl Relay {
    /// Delivers rows, and makes letters of what was refused too often and of what waits.
    pub(super) async fn send_each(
        &self,
        each: &mut Each,
        delivery: &mut Delivery,
        rows: VecDeque<Arc<Row>>,
    ) -> Result<(), Trouble> {
        let (mut messages, last) = messages(rows);
        if planted::has(Bug::PositionBeforeConfirmation) {
            delivery.advance(last.unwrap_or(delivery.position));
        }
        for message in &mut messages {
            message.epoch = Some(Arc::clone(&delivery.epoch));
        }
        let sent: Vec<&Message> = messages
            .iter()
            .filter(|message| {
                !delivery.waiting.contains_key(&message.aggregate) && !delivery.confirmed.contains(&place(message))
            })
            .collect();
        let outcome = each.deliver(&sent).await;
        let (mut refused, mut published) = (Vec::new(), 0);
        for (index, verdict) in outcome.verdicts {
            let message = sent[index];
            match verdict {
                Ok(()) => {
                    delivery.confirmed.insert(place(message));
                    published += 1;
                }
                Err(why) => {
                    let attempts = delivery.refusals.entry(place(message)).or_default();
                    *attempts += 1;
                    refused.push((place(message), *attempts, why));
                }
            }
        }
        metrics::sink(|sink| sink.published(&self.address.name, published));
        let (position, letters) = pass(delivery, &messages, &refused);
        if letters.is_empty() {
            delivery.advance(position);
        } else {
            self.keep(delivery, position, letters).await?;
        }
        if let Some(trouble) = outcome.trouble {
            return Err(trouble);
        }
        match refused.into_iter().find(|((of, _), ..)| *of > delivery.position) {
            Some((_, _, why)) => Err(Trouble::Broker(why)),
            None => Ok(()),
        }
    }

    /// Writes letters together with the position that passes them.
    async fn keep(&self, delivery: &mut Delivery, position: i64, added: Vec<Letter>) -> Result<(), Trouble> {
        check_number(delivery.waiting.values().sum::<u64>() + added.len() as u64)?;
        let before = delivery.position;
        delivery.position = position;
        let letters = Letters { added, ..Letters::default() };
        let written = self.write_with(delivery, false, &letters).await;
        delivery.position = before;
        if !written.map_err(|error| Trouble::database(&error))? {
            return Err(Trouble::Broker("another instance delivers events now".to_owned()));
        }
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

    /// Delivers letters that an operator lets be sent again, and what waits behind letters that are gone.
    pub(super) async fn send_letters(&self, each: &mut Each, delivery: &mut Delivery) -> Result<(), Trouble> {
        let name = &self.address.name;
        let letters =
            self.store.letters_to_send(name, AT_ONCE as u64).await.map_err(|error| Trouble::database(&error))?;
        let mut messages = Vec::with_capacity(letters.len());
        for letter in letters {
            let (position, index) = letter.place;
            let entry = Entry::decode(&letter.event).map_err(|error| Trouble::database(&error))?;
            let mut message = Message::new(position, usize::try_from(index).unwrap_or_default(), &entry);
            message.epoch = Some(Arc::clone(&delivery.epoch));
            messages.push(message);
        }
        let outcome = each.deliver(&messages.iter().collect::<Vec<_>>()).await;
        let mut changes = Letters::default();
        for (index, verdict) in outcome.verdicts {
            match verdict {
                Ok(()) => changes.delivered.push(place(&messages[index])),
                Err(why) => changes.refused.push((place(&messages[index]), why)),
            }
        }
        metrics::sink(|sink| sink.published(name, changes.delivered.len()));
        if !changes.delivered.is_empty() || !changes.refused.is_empty() {
            let written = self.write_with(delivery, false, &changes).await;
            if !written.map_err(|error| Trouble::database(&error))? {
                return Err(Trouble::Broker("another instance delivers events now".to_owned()));
            }
        }
        self.count_letters(delivery).await.map_err(|error| Trouble::database(&error))?;
        outcome.trouble.map_or(Ok(()), Err)
    }
}

/// Fails if a sink would have so many letters.
fn check_number(letters: u64) -> Result<(), Trouble> {
    if letters <= MOST_LETTERS {
        return Ok(());
    }
    Err(Trouble::Broker(format!("{MOST_LETTERS} events wait behind dead letters: redrive or drop the dead letters")))
}

fn place(message: &Message) -> LetterPlace {
    (message.position, i32::try_from(message.index).unwrap_or(i32::MAX))
}

/// The position up to which everything is delivered or will be a letter, and these letters.
fn pass(delivery: &Delivery, messages: &[Message], refused: &[(LetterPlace, i32, String)]) -> (i64, Vec<Letter>) {
    let mut blocked: HashSet<&str> = HashSet::new();
    let (mut passed, mut letters, mut of_row) = (delivery.position, Vec::new(), Vec::new());
    for (index, message) in messages.iter().enumerate() {
        let dead = refused.iter().find(|(of, attempts, _)| *of == place(message) && *attempts >= ATTEMPTS);
        let waits = delivery.waiting.contains_key(&message.aggregate) || blocked.contains(message.aggregate.as_str());
        if dead.is_some() || waits {
            blocked.insert(&message.aggregate);
            of_row.push(Letter {
                place: place(message),
                aggregate: message.aggregate.clone(),
                event: message.data.clone(),
                refused: dead.map(|(_, _, why)| why.clone()),
                attempts: dead.map_or(0, |(_, attempts, _)| *attempts),
            });
        } else if !delivery.confirmed.contains(&place(message)) {
            break;
        }
        if messages.get(index + 1).is_none_or(|next| next.position != message.position) {
            passed = message.position;
            letters.append(&mut of_row);
        }
    }
    (passed, letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_with_too_many_letters_takes_no_more() {
        assert_eq!(check_number(MOST_LETTERS), Ok(()));
        let refused = check_number(MOST_LETTERS + 1).unwrap_err();
        assert!(refused.to_string().contains("redrive or drop"), "{refused}");
    }
}
