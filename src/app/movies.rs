//! Movies: the provider's, with their provenance.

use std::sync::Arc;

use super::{App, Error, Origin, PageRequest};
use crate::domain::movie::{Movie, MovieId, Sourced};

/// A page of movies.
pub struct MoviePage {
    /// All that were found, with where they come from,
    pub found: Sourced<Arc<Vec<Movie>>>,
    /// and which of them are on this page.
    pub range: std::ops::Range<usize>,
    /// Empty on the last page.
    pub next: String,
}

const LIST: &str = "movies";

impl App {
    /// One movie.
    ///
    /// # Errors
    /// There is none, or nobody can say.
    pub async fn movie(&self, _origin: &Origin, id: &MovieId) -> Result<Sourced<Arc<Movie>>, Error> {
        self.0.movies.movie(id).await.map_err(|failure| Error::movie(id.as_str(), &failure))
    }

    /// A page of the movies whose titles contain the text.
    ///
    /// # Errors
    /// The page is asked for wrongly, or the provider cannot be asked.
    pub async fn search_movies(&self, _origin: &Origin, text: &str, page: &PageRequest) -> Result<MoviePage, Error> {
        let limit = page.limit()?;
        let place = self.0.pages.place(LIST, text, &page.token)?;
        let start = place.and_then(|place| Some(u32::from_be_bytes(place.try_into().ok()?))).unwrap_or(0) as usize;
        let found = self.0.movies.search(text).await.map_err(|failure| Error::movie(text, &failure))?;
        let end = (start + limit).min(found.value.len());
        let next = if end < found.value.len() {
            self.0.pages.token(LIST, text, &(end as u32).to_be_bytes())
        } else {
            String::new()
        };
        Ok(MoviePage { range: start.min(end)..end, found, next })
    }
}
