//! `boxoffice.v1.Showtimes`

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status, transport::server::TcpConnectInfo};

use super::{
    convert::{self, finish},
    layers::StreamGuard,
    ready::Ready,
    requests,
    reservations::origin,
    seat_maps,
    services::{Service, Watching, answered},
    status,
};
use crate::{
    domain::violations::Violations,
    pb::boxoffice::v1::{self as pb, showtimes_server::Showtimes},
};

#[tonic::async_trait]
impl Showtimes for Service {
    async fn create_showtime(
        &self,
        request: Request<pb::CreateShowtimeRequest>,
    ) -> Result<Response<pb::CreateShowtimeResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "CreateShowtime", &message));
            let new = violations.take("", convert::new_showtime(&message, self.app.clock().now()));
            let (key, new) = finish(violations, key.zip(new))?;
            self.app.create_showtime(new, key).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let showtime = Some(convert::showtime(&answer.value));
        Ok(answered(&answer, pb::CreateShowtimeResponse { showtime }))
    }

    async fn get_showtime(
        &self,
        request: Request<pb::GetShowtimeRequest>,
    ) -> Result<Response<pb::GetShowtimeResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let id = convert::showtime_id(&message.showtime_id, &mut violations);
            convert::revision("at_least_revision", message.at_least_revision, &mut violations);
            self.app.showtime(finish(violations, id)?, message.at_least_revision).await
        };
        let showtime = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(pb::GetShowtimeResponse { showtime: Some(convert::showtime(&showtime)) }))
    }

    async fn list_showtimes(
        &self,
        request: Request<pb::ListShowtimesRequest>,
    ) -> Result<Response<pb::ListShowtimesResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let filter = convert::filter(&message, &mut violations);
            let page = convert::page(&mut violations, message.page_size, message.page_token);
            let filter = finish(violations, filter)?;
            self.app.showtimes(&filter, &page).await
        };
        let page = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(pb::ListShowtimesResponse {
            showtimes: page.showtimes.iter().map(convert::showtime).collect(),
            next_page_token: page.next,
        }))
    }

    async fn cancel_showtime(
        &self,
        request: Request<pb::CancelShowtimeRequest>,
    ) -> Result<Response<pb::CancelShowtimeResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "CancelShowtime", &message));
            let id = convert::showtime_id(&message.showtime_id, &mut violations);
            let (key, id) = finish(violations, key.zip(id))?;
            self.app.cancel_showtime(id, message.force, origin(key, &context)).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let showtime = Some(convert::showtime(&answer.value));
        Ok(answered(&answer, pb::CancelShowtimeResponse { showtime }))
    }

    async fn get_seat_map(&self, request: Request<pb::GetSeatMapRequest>) -> Result<Response<Ready>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let id = convert::showtime_id(&message.showtime_id, &mut violations);
            convert::revision("at_least_revision", message.at_least_revision, &mut violations);
            self.app.seat_map(finish(violations, id)?, message.at_least_revision).await
        };
        let snapshot = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(seat_maps::answer(&snapshot, message.include_seats)))
    }

    type WatchSeatMapStream = Pin<Box<dyn Stream<Item = Result<Ready, Status>> + Send>>;

    async fn watch_seat_map(
        &self,
        request: Request<pb::WatchSeatMapRequest>,
    ) -> Result<Response<Self::WatchSeatMapStream>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let id = convert::showtime_id(&message.showtime_id, &mut violations);
            convert::revision("from_revision", message.from_revision, &mut violations);
            if message.epoch.chars().count() > 64 {
                violations.add("epoch", "must have at most 64 characters");
            }
            let from = (message.from_revision > 0).then_some((message.from_revision, &*message.epoch));
            let caller = context.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
            self.app.watch_seat_map(finish(violations, id)?, from, caller.map(|caller| caller.ip())).await
        };
        let watch = asked.await.map_err(|error| status::of(&error, &context))?;
        let Watching { heartbeat, ending } = self.watching.clone();
        let guard = StreamGuard::new(watch.seat());
        let stream: Self::WatchSeatMapStream = Box::pin(seat_maps::stream(watch, heartbeat, ending, context));
        let mut response = Response::new(stream);
        response.extensions_mut().insert(guard);
        Ok(response)
    }
}
