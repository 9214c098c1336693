//! Auditoriums. They never change after their creation.

use uuid::Uuid;

use super::{Answer, App, Error, Kind, Origin, PageRequest};
use crate::{
    domain::{
        auditorium::{Auditorium, NewAuditorium},
        ids::AuditoriumId,
    },
    store::AuditoriumCreated,
};

/// A page of auditoriums, without layouts.
pub struct AuditoriumPage {
    /// The auditoriums, ordered by cinema, name and id.
    pub auditoriums: Vec<Auditorium>,
    /// The token of the next page. It is empty on the last one.
    pub next: String,
}

const LIST: &str = "auditoriums";

impl App {
    /// Creates an auditorium.
    ///
    /// # Errors
    /// The request id belongs to another request, or the store fails.
    pub async fn create_auditorium(&self, origin: &Origin, new: NewAuditorium) -> Result<Answer<Auditorium>, Error> {
        let (app, key) = (self.clone(), origin.key.clone());
        self.detached(async move {
            let (id, now) = (AuditoriumId(app.0.clock.new_id()), app.0.clock.now());
            match app.0.store.create_auditorium(id, &new, key.as_ref(), now).await? {
                AuditoriumCreated::Created(value) => Ok(Answer { value, repeated: false }),
                AuditoriumCreated::Repeated(value) => Ok(Answer { value, repeated: true }),
                AuditoriumCreated::RequestReused => Err(Error::RequestReused),
            }
        })
        .await
    }

    /// One auditorium, with its layout.
    ///
    /// # Errors
    /// There is no such auditorium, or the store fails.
    pub async fn auditorium(&self, _origin: &Origin, id: AuditoriumId) -> Result<Auditorium, Error> {
        let missing = || Error::NotFound { kind: Kind::Auditorium, id: id.to_string() };
        self.0.store.auditorium(id).await?.ok_or_else(missing)
    }

    /// A page of the auditoriums of `cinema`, or of all if it is empty.
    ///
    /// # Errors
    /// The page size is negative, the token is not of this list and cinema, or the store fails.
    pub async fn auditoriums(
        &self,
        _origin: &Origin,
        cinema: &str,
        page: &PageRequest,
    ) -> Result<AuditoriumPage, Error> {
        let limit = page.limit()?;
        let cursor = self.0.pages.cursor(LIST, cinema, &page.token)?;
        let after = cursor.and_then(|cursor| Uuid::from_slice(&cursor).ok()).map(AuditoriumId);
        let cinema_only = (!cinema.is_empty()).then_some(cinema);
        let mut auditoriums = self.0.store.auditoriums(cinema_only, after, limit as u64 + 1).await?;
        let cursor = |last: &Auditorium| *last.auditorium_id.0.as_bytes();
        let next = self.0.pages.cut((LIST, cinema), &mut auditoriums, limit, cursor);
        Ok(AuditoriumPage { auditoriums, next })
    }
}
