//! `boxoffice.v1.Reservations`

use tonic::{Extensions, Request, Response, Status};

use super::{
    convert::{self, finish},
    layers::RequestContext,
    requests,
    services::{Service, answered},
    status,
};
use crate::{
    app::{Origin, RequestKey},
    domain::violations::Violations,
    pb::boxoffice::v1::{self as pb, reservations_server::Reservations},
};

#[tonic::async_trait]
impl Reservations for Service {
    async fn reserve_seats(
        &self,
        request: Request<pb::ReserveSeatsRequest>,
    ) -> Result<Response<pb::ReserveSeatsResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "ReserveSeats", &message));
            let wanted = violations.take("", convert::reserve(&message));
            let (key, wanted) = finish(violations, key.zip(wanted))?;
            self.app.reserve(wanted, origin(key, &context)).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let shown = &answer.value.shown;
        let reservation =
            Some(if message.validate_only { convert::validated(shown) } else { convert::reservation(shown) });
        Ok(answered(&answer, pb::ReserveSeatsResponse { reservation, revision: answer.value.revision }))
    }

    async fn confirm_reservation(
        &self,
        request: Request<pb::ConfirmReservationRequest>,
    ) -> Result<Response<pb::ConfirmReservationResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "ConfirmReservation", &message));
            let named = violations.take("", convert::named(&message.reservation_id, &message.customer_id));
            let tender = violations.take("", convert::tender(message.tender));
            let ((key, named), tender) = finish(violations, key.zip(named).zip(tender))?;
            self.app.confirm(named, tender, origin(key, &context)).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let reservation = Some(convert::reservation(&answer.value.shown));
        Ok(answered(&answer, pb::ConfirmReservationResponse { reservation, revision: answer.value.revision }))
    }

    async fn cancel_reservation(
        &self,
        request: Request<pb::CancelReservationRequest>,
    ) -> Result<Response<pb::CancelReservationResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "CancelReservation", &message));
            let named = violations.take("", convert::named(&message.reservation_id, &message.customer_id));
            let (key, named) = finish(violations, key.zip(named))?;
            self.app.cancel(named, origin(key, &context)).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let reservation = Some(convert::reservation(&answer.value.shown));
        Ok(answered(&answer, pb::CancelReservationResponse { reservation, revision: answer.value.revision }))
    }

    async fn extend_reservation(
        &self,
        request: Request<pb::ExtendReservationRequest>,
    ) -> Result<Response<pb::ExtendReservationResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "ExtendReservation", &message));
            let named = violations.take("", convert::named(&message.reservation_id, &message.customer_id));
            let (key, named) = finish(violations, key.zip(named))?;
            self.app.extend(named, origin(key, &context)).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let reservation = Some(convert::reservation(&answer.value.shown));
        Ok(answered(&answer, pb::ExtendReservationResponse { reservation, revision: answer.value.revision }))
    }

    async fn get_reservation(
        &self,
        request: Request<pb::GetReservationRequest>,
    ) -> Result<Response<pb::GetReservationResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let named = convert::named(&message.reservation_id, &message.customer_id)?;
            self.app.reservation(&named).await
        };
        let shown = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(pb::GetReservationResponse { reservation: Some(convert::reservation(&shown)) }))
    }

    async fn list_reservations(
        &self,
        request: Request<pb::ListReservationsRequest>,
    ) -> Result<Response<pb::ListReservationsResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let filter = violations.take("", convert::reservation_filter(&message));
            let page = convert::page(&mut violations, message.page_size, message.page_token);
            let filter = finish(violations, filter)?;
            self.app.reservations(&filter, &page).await
        };
        let page = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(pb::ListReservationsResponse {
            reservations: page.reservations.iter().map(convert::reservation).collect(),
            next_page_token: page.next,
        }))
    }
}

/// What goes with a change, as far as the request tells.
pub(super) fn origin(key: Option<RequestKey>, context: &Extensions) -> Origin {
    Origin { key, trace_id: context.get::<RequestContext>().map(|context| context.trace_id.0) }
}
