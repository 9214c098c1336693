//! `boxoffice.v1.Showtimes`

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{
    convert,
    handler::{ChangeRequest, changes},
    layers::StreamGuard,
    ready::Ready,
    seat_maps,
    services::{Service, Watching},
};
use crate::pb::boxoffice::v1::{self as pb, showtimes_server::Showtimes};

changes! {
    "CreateShowtime": pb::CreateShowtimeRequest,
    "CancelShowtime": pb::CancelShowtimeRequest,
}

#[tonic::async_trait]
impl Showtimes for Service {
    async fn create_showtime(
        &self,
        request: Request<pb::CreateShowtimeRequest>,
    ) -> Result<Response<pb::CreateShowtimeResponse>, Status> {
        self.change(
            request,
            |message| convert::new_showtime(&message, self.app.clock().now()),
            |app, origin, new| async move { app.create_showtime(&origin, new).await },
            |showtime| pb::CreateShowtimeResponse { showtime: Some(convert::showtime(&showtime)) },
        )
        .await
    }

    async fn get_showtime(&self, request: Request<pb::GetShowtimeRequest>) -> Result<Response<Ready>, Status> {
        self.read(
            request,
            |message| convert::showtime_at_least(&message.showtime_id, message.at_least_revision),
            |app, origin, (id, at_least)| async move { app.showtime(&origin, id, at_least).await },
            |showtime| convert::encoded_showtime(&showtime).into(),
        )
        .await
    }

    async fn list_showtimes(&self, request: Request<pb::ListShowtimesRequest>) -> Result<Response<Ready>, Status> {
        self.read(
            request,
            convert::list_showtimes,
            |app, origin, (filter, page)| async move { app.showtimes(&origin, &filter, &page).await },
            |page| page.encoded(convert::encoded_page).into(),
        )
        .await
    }

    async fn cancel_showtime(
        &self,
        request: Request<pb::CancelShowtimeRequest>,
    ) -> Result<Response<pb::CancelShowtimeResponse>, Status> {
        self.change(
            request,
            |message| convert::cancel_showtime(&message),
            |app, origin, (id, force, expected)| async move { app.cancel_showtime(&origin, id, force, expected).await },
            |showtime| pb::CancelShowtimeResponse { showtime: Some(convert::showtime(&showtime)) },
        )
        .await
    }

    async fn get_seat_map(&self, request: Request<pb::GetSeatMapRequest>) -> Result<Response<Ready>, Status> {
        let include_seats = request.get_ref().include_seats;
        self.read(
            request,
            |message| convert::showtime_at_least(&message.showtime_id, message.at_least_revision),
            |app, origin, (id, at_least)| async move { app.seat_map(&origin, id, at_least).await },
            |snapshot| seat_maps::response(&snapshot, include_seats),
        )
        .await
    }

    type WatchSeatMapStream = Pin<Box<dyn Stream<Item = Result<Ready, Status>> + Send>>;

    async fn watch_seat_map(
        &self,
        request: Request<pb::WatchSeatMapRequest>,
    ) -> Result<Response<Self::WatchSeatMapStream>, Status> {
        let (watch, context) = self
            .call(request, convert::watch_seat_map, |app, origin, (id, from)| async move {
                let from = from.as_ref().map(|(revision, epoch): &(i64, String)| (*revision, epoch.as_str()));
                app.watch_seat_map(&origin, id, from).await
            })
            .await?;
        let Watching { heartbeat, shutdown } = self.watching.clone();
        let guard = StreamGuard::new(watch.permit());
        let stream: Self::WatchSeatMapStream = Box::pin(seat_maps::stream(watch, heartbeat, shutdown, context));
        let mut response = Response::new(stream);
        response.extensions_mut().insert(guard);
        Ok(response)
    }
}
