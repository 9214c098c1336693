//! `boxoffice.v1.Movies`

use tonic::{Request, Response, Status};

use super::{
    convert::{self, finish},
    services::Service,
    status,
};
use crate::{
    domain::{movie::MovieId, violations::Violations},
    pb::boxoffice::v1::{self as pb, movies_server::Movies},
};

#[tonic::async_trait]
impl Movies for Service {
    async fn get_movie(&self, request: Request<pb::GetMovieRequest>) -> Result<Response<pb::GetMovieResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let id = violations.take("movie_id", MovieId::parse(&message.movie_id));
            self.app.movie(&finish(violations, id)?).await
        };
        let found = asked.await.map_err(|error| status::of(&error, &context))?;
        let movie = convert::movie(&found.value, found.source, found.fetch_time);
        Ok(Response::new(pb::GetMovieResponse { movie: Some(movie) }))
    }

    async fn search_movies(
        &self,
        request: Request<pb::SearchMoviesRequest>,
    ) -> Result<Response<pb::SearchMoviesResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            if message.text.chars().count() > 100 {
                violations.add("text", "must have at most 100 characters");
            }
            let page = convert::page(&mut violations, message.page_size, message.page_token);
            let page = finish(violations, Some(page))?;
            self.app.search_movies(&message.text, &page).await
        };
        let page = asked.await.map_err(|error| status::of(&error, &context))?;
        let on_page = page.found.value[page.range].iter();
        Ok(Response::new(pb::SearchMoviesResponse {
            movies: on_page.map(|movie| convert::movie(movie, page.found.source, page.found.fetch_time)).collect(),
            next_page_token: page.next,
        }))
    }
}
