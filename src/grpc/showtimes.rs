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
use crate::{
    app::BlockChange,
    pb::boxoffice::v1::{self as pb, showtimes_server::Showtimes},
};

changes! {
    "CreateShowtime": pb::CreateShowtimeRequest,
    "CancelShowtime": pb::CancelShowtimeRequest,
    "BlockSeats": pb::BlockSeatsRequest,
    "UnblockSeats": pb::UnblockSeatsRequest,
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
        let include_sales = request.get_ref().include_sales;
        self.read(
            request,
            |message| convert::showtime_at_least(&message.showtime_id, message.at_least_revision),
            |app, origin, (id, at_least)| async move {
                let showtime = app.showtime(&origin, id, at_least).await?;
                // The query builder makes this future large.
                let sales = if include_sales { Some(Box::pin(app.showtime_sales(&origin, id)).await?) } else { None };
                Ok((showtime, sales))
            },
            |(showtime, sales)| convert::encoded_showtime(&showtime, sales.as_ref()).into(),
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

    async fn block_seats(
        &self,
        request: Request<pb::BlockSeatsRequest>,
    ) -> Result<Response<pb::BlockSeatsResponse>, Status> {
        self.change(
            request,
            convert::block_seats,
            |app, origin, (id, seats, blockage)| async move { app.block_seats(&origin, id, seats, blockage).await },
            |BlockChange { seats, plan, revision }| {
                let seats = convert::seats(&plan.seat_index, seats);
                pb::BlockSeatsResponse { revision, seats }
            },
        )
        .await
    }

    async fn unblock_seats(
        &self,
        request: Request<pb::UnblockSeatsRequest>,
    ) -> Result<Response<pb::UnblockSeatsResponse>, Status> {
        self.change(
            request,
            |message| convert::unblock_seats(&message),
            |app, origin, (id, seats)| async move { app.unblock_seats(&origin, id, seats).await },
            |BlockChange { seats, plan, revision }| {
                let seats = convert::seats(&plan.seat_index, seats);
                pb::UnblockSeatsResponse { revision, seats }
            },
        )
        .await
    }

    async fn list_seat_blocks(
        &self,
        request: Request<pb::ListSeatBlocksRequest>,
    ) -> Result<Response<pb::ListSeatBlocksResponse>, Status> {
        self.read(
            request,
            |message| convert::showtime_id(&message.showtime_id),
            |app, origin, id| async move { Box::pin(app.blocked_seats(&origin, id)).await },
            |(plan, blocked)| convert::blocked_seats(&plan.seat_index, &blocked),
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
