//! What operators look at and repair: dead letters of sinks.

use super::{App, Error, Kind, Origin, PageRequest};
use crate::{
    domain::violations::Violations,
    feed::Entry,
    store::{LetterChoice, LetterPlace, StoredLetter},
};

const LIST: &str = "dead letters";

/// Which dead letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// The one with this id.
    One(String),
    /// All of this sink.
    OfSink(String),
}

/// An event that was not delivered to a sink.
#[derive(Debug)]
pub struct DeadLetter {
    /// What is stored of it.
    pub stored: StoredLetter,
    /// The event.
    pub entry: Entry,
}

impl DeadLetter {
    /// Identifies the letter, as in `nats:17-0`.
    #[must_use]
    pub fn id(&self) -> String {
        let (position, index) = self.stored.letter.place;
        format!("{}:{position}-{index}", self.stored.sink)
    }
}

impl App {
    /// A page of letters, of all sinks or of one, and the token of the next page.
    ///
    /// # Errors
    /// The page size is negative, the token is not of this list, or the store fails.
    pub async fn dead_letters(
        &self,
        _origin: &Origin,
        (sink, dead_only): (String, bool),
        page: &PageRequest,
    ) -> Result<(Vec<DeadLetter>, String), Error> {
        let limit = page.limit()?;
        let filter = format!("{dead_only} {sink}");
        let cursor = self.0.pages.cursor(LIST, &filter, &page.token)?;
        let after = cursor.and_then(|cursor| place(std::str::from_utf8(&cursor).ok()?));
        let of_sink = (!sink.is_empty()).then_some(sink.as_str());
        let mut stored = self.0.store.letters(of_sink, dead_only, after.as_ref(), limit as u64 + 1).await?;
        let more = stored.len() > limit;
        stored.truncate(limit);
        let mut letters = Vec::with_capacity(stored.len());
        for stored in stored {
            letters.push(DeadLetter { entry: Entry::decode(&stored.letter.event)?, stored });
        }
        let next = match letters.last() {
            Some(last) if more => self.0.pages.token(LIST, &filter, last.id().as_bytes()),
            _ => String::new(),
        };
        Ok((letters, next))
    }

    /// Lets dead letters be sent again. Returns how many.
    ///
    /// # Errors
    /// There is no such letter, or the store fails.
    pub async fn redrive_dead_letters(&self, _origin: &Origin, letters: DeadLetters) -> Result<u64, Error> {
        let app = self.clone();
        self.detached(async move {
            let (sink, choice) = chosen(&letters)?;
            found(&letters, app.0.store.redrive_letters(&sink, &choice).await?)
        })
        .await
    }

    /// Gives dead letters up. Returns how many.
    ///
    /// # Errors
    /// There is no such letter, or the store fails.
    pub async fn drop_dead_letters(&self, _origin: &Origin, letters: DeadLetters) -> Result<u64, Error> {
        let app = self.clone();
        self.detached(async move {
            let (sink, choice) = chosen(&letters)?;
            found(&letters, app.0.store.drop_letters(&sink, &choice).await?)
        })
        .await
    }
}

fn chosen(letters: &DeadLetters) -> Result<(String, LetterChoice), Error> {
    match letters {
        DeadLetters::OfSink(sink) => Ok((sink.clone(), LetterChoice::All)),
        DeadLetters::One(id) => {
            let why = "must be the id of a dead letter, as in nats:17-0";
            let (sink, place) = place(id).ok_or_else(|| Violations::one("dead_letter_id", why))?;
            Ok((sink, LetterChoice::One(place)))
        }
    }
}

/// One that is asked for by its id must be there.
fn found(letters: &DeadLetters, count: u64) -> Result<u64, Error> {
    match letters {
        DeadLetters::One(id) if count == 0 => Err(Error::NotFound { kind: Kind::DeadLetter, id: id.clone() }),
        _ => Ok(count),
    }
}

fn place(id: &str) -> Option<(String, LetterPlace)> {
    let (sink, place) = id.split_once(':')?;
    let (position, index) = place.split_once('-')?;
    Some((sink.to_owned(), (position.parse().ok()?, index.parse().ok()?)))
}
