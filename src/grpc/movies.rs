//! `boxoffice.v1.Movies`

use tonic::{Request, Response, Status};

use super::{convert, services::Service};
use crate::pb::boxoffice::v1::{self as pb, movies_server::Movies};

#[tonic::async_trait]
impl Movies for Service {
    async fn get_movie(&self, request: Request<pb::GetMovieRequest>) -> Result<Response<pb::GetMovieResponse>, Status> {
        self.read(
            request,
            |message| convert::movie_id(&message.movie_id),
            |app, origin, id| async move { app.movie(&origin, &id).await },
            |found| {
                let movie = convert::movie(&found.value, found.source, found.fetch_time);
                pb::GetMovieResponse { movie: Some(movie) }
            },
        )
        .await
    }

    async fn search_movies(
        &self,
        request: Request<pb::SearchMoviesRequest>,
    ) -> Result<Response<pb::SearchMoviesResponse>, Status> {
        self.read(
            request,
            convert::search_movies,
            |app, origin, (text, page)| async move { app.search_movies(&origin, &text, &page).await },
            |page| {
                let on_page = page.found.value[page.range].iter();
                let movie = |movie| convert::movie(movie, page.found.source, page.found.fetch_time);
                pb::SearchMoviesResponse { movies: on_page.map(movie).collect(), next_page_token: page.next }
            },
        )
        .await
    }
}
