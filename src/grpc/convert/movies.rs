//! Movies and their provenance.

use chrono::{DateTime, Utc};

use super::{
    common::{at_most, finish, page},
    values::timestamp,
};
use crate::{
    app::PageRequest,
    domain::{
        movie::{Movie, MovieId, Source},
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

pub(crate) fn movie_id(text: &str) -> Result<MovieId, Violations> {
    let mut violations = Violations::new();
    let id = violations.take("movie_id", MovieId::parse(text));
    finish(violations, id)
}

pub(crate) fn search_movies(request: pb::SearchMoviesRequest) -> Result<(String, PageRequest), Violations> {
    let mut violations = Violations::new();
    at_most(&mut violations, "text", &request.text, 100);
    let page = page(&mut violations, request.page_size, request.page_token);
    finish(violations, Some((request.text, page)))
}

pub(crate) fn movie(movie: &Movie, source: Source, fetch_time: DateTime<Utc>) -> pb::Movie {
    let source = match source {
        Source::Live => pb::MovieSource::Live,
        Source::Fresh => pb::MovieSource::Fresh,
        Source::Stale => pb::MovieSource::Stale,
    };
    pb::Movie {
        movie_id: movie.movie_id.to_string(),
        title: movie.title.clone(),
        full_title: movie.full_title.clone(),
        year: movie.year,
        image_uri: movie.image_uri.clone(),
        crew: movie.crew.clone(),
        rating: movie.rating,
        rating_count: movie.rating_count,
        rank: movie.rank,
        source: source.into(),
        fetch_time: Some(timestamp(fetch_time)),
    }
}
