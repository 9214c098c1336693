//! Movies of the provider, with their source and the time of their fetch.

use std::sync::Arc;

use super::{App, Error, Origin, PageRequest};
use crate::domain::movie::{Movie, MovieId, Sourced};

/// A page of movies.
pub struct MoviePage {
    /// All movies that were found, and their source.
    pub found: Sourced<Arc<Vec<Movie>>>,
    /// The part of them that is on this page.
    pub range: std::ops::Range<usize>,
    /// The token of the next page. It is empty on the last one.
    pub next: String,
}

const LIST: &str = "movies";

impl App {
    /// One movie.
    ///
    /// # Errors
    /// There is no such movie, or the provider is unavailable.
    pub async fn movie(&self, _origin: &Origin, id: &MovieId) -> Result<Sourced<Arc<Movie>>, Error> {
        self.0.movies.movie(id).await.map_err(|failure| Error::movie(id.as_str(), &failure))
    }

    /// A page of the movies whose titles contain the text.
    ///
    /// # Errors
    /// The page size is negative, the token is not of this list and text, or the provider is unavailable.
    pub async fn search_movies(&self, _origin: &Origin, text: &str, page: &PageRequest) -> Result<MoviePage, Error> {
        let limit = page.limit()?;
        let cursor = self.0.pages.cursor(LIST, text, &page.token)?;
        let start = cursor.and_then(|cursor| Some(u32::from_be_bytes(cursor.try_into().ok()?))).unwrap_or(0) as usize;
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
