//! Movies and their provenance.

use chrono::{DateTime, Utc};

use super::values::timestamp;
use crate::{
    domain::movie::{Movie, Source},
    pb::boxoffice::v1 as pb,
};

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
