//! `boxoffice.v1.Reservations`

use tonic::{Request, Response, Status};

use super::{
    convert,
    handler::{ChangeRequest, changes},
    services::Service,
};
use crate::{
    app::{Answer, ReservationChange},
    pb::boxoffice::v1::{self as pb, reservations_server::Reservations},
};

changes! {
    "ReserveSeats": pb::ReserveSeatsRequest,
    "ConfirmReservation": pb::ConfirmReservationRequest,
    "CancelReservation": pb::CancelReservationRequest,
    "ExtendReservation": pb::ExtendReservationRequest,
    "ReleaseSeats": pb::ReleaseSeatsRequest,
    "ExchangeSeats": pb::ExchangeSeatsRequest,
}

#[tonic::async_trait]
impl Reservations for Service {
    async fn reserve_seats(
        &self,
        request: Request<pb::ReserveSeatsRequest>,
    ) -> Result<Response<pb::ReserveSeatsResponse>, Status> {
        let write = |ReservationChange { view, revision, validate_only }| {
            let reservation = if validate_only { convert::validated(&view) } else { convert::reservation(&view) };
            pb::ReserveSeatsResponse { reservation: Some(reservation), revision }
        };
        self.change(
            request,
            |message| convert::reserve(&message),
            |app, origin, wanted| async move { app.reserve(&origin, wanted).await },
            write,
        )
        .await
    }

    async fn confirm_reservation(
        &self,
        request: Request<pb::ConfirmReservationRequest>,
    ) -> Result<Response<pb::ConfirmReservationResponse>, Status> {
        self.change(
            request,
            convert::confirm,
            |app, origin, (reservation, payment)| async move {
                let late = payment.late;
                let Answer { value, repeated } = app.confirm(&origin, reservation, payment).await?;
                Ok(Answer { value: (value, late), repeated })
            },
            |(change, late)| {
                let verdict = convert::verdict(&change.view.reservation, late).into();
                let (reservation, revision) = written(&change);
                pb::ConfirmReservationResponse { reservation, revision, verdict }
            },
        )
        .await
    }

    async fn cancel_reservation(
        &self,
        request: Request<pb::CancelReservationRequest>,
    ) -> Result<Response<pb::CancelReservationResponse>, Status> {
        self.change(
            request,
            |message| convert::reservation_ref(&message.reservation_id, &message.customer_id),
            |app, origin, reservation| async move { app.cancel(&origin, reservation).await },
            |change| {
                let (reservation, revision) = written(&change);
                pb::CancelReservationResponse { reservation, revision }
            },
        )
        .await
    }

    async fn extend_reservation(
        &self,
        request: Request<pb::ExtendReservationRequest>,
    ) -> Result<Response<pb::ExtendReservationResponse>, Status> {
        self.change(
            request,
            |message| convert::reservation_ref(&message.reservation_id, &message.customer_id),
            |app, origin, reservation| async move { app.extend(&origin, reservation).await },
            |change| {
                let (reservation, revision) = written(&change);
                pb::ExtendReservationResponse { reservation, revision }
            },
        )
        .await
    }

    async fn release_seats(
        &self,
        request: Request<pb::ReleaseSeatsRequest>,
    ) -> Result<Response<pb::ReleaseSeatsResponse>, Status> {
        self.change(
            request,
            convert::release_seats,
            |app, origin, (reservation, release)| async move { app.release_seats(&origin, reservation, release).await },
            |change| {
                let (reservation, revision) = written(&change);
                pb::ReleaseSeatsResponse { reservation, revision }
            },
        )
        .await
    }

    async fn exchange_seats(
        &self,
        request: Request<pb::ExchangeSeatsRequest>,
    ) -> Result<Response<pb::ExchangeSeatsResponse>, Status> {
        self.change(
            request,
            |message| convert::exchange_seats(&message),
            |app, origin, (reservation, seats)| async move { app.exchange_seats(&origin, reservation, seats).await },
            |change| {
                let (reservation, revision) = written(&change);
                pb::ExchangeSeatsResponse { reservation, revision }
            },
        )
        .await
    }

    async fn get_reservation(
        &self,
        request: Request<pb::GetReservationRequest>,
    ) -> Result<Response<pb::GetReservationResponse>, Status> {
        self.read(
            request,
            |message| convert::reservation_ref(&message.reservation_id, &message.customer_id),
            |app, origin, reservation| async move { app.reservation(&origin, &reservation).await },
            |view| pb::GetReservationResponse { reservation: Some(convert::reservation(&view)) },
        )
        .await
    }

    async fn get_rules(&self, request: Request<pb::GetRulesRequest>) -> Result<Response<pb::GetRulesResponse>, Status> {
        self.read(
            request,
            |_| Ok(()),
            |app, origin, ()| async move { Ok(app.rules(&origin)) },
            |rules| pb::GetRulesResponse { rules: Some(convert::rules(rules)) },
        )
        .await
    }

    async fn list_reservations(
        &self,
        request: Request<pb::ListReservationsRequest>,
    ) -> Result<Response<pb::ListReservationsResponse>, Status> {
        self.read(
            request,
            convert::list_reservations,
            |app, origin, (filter, page)| async move { app.reservations(&origin, &filter, &page).await },
            |page| pb::ListReservationsResponse {
                reservations: page.reservations.iter().map(convert::reservation).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }
}

/// The two fields that every answer to a change of a reservation has.
fn written(change: &ReservationChange) -> (Option<pb::Reservation>, i64) {
    (Some(convert::reservation(&change.view)), change.revision)
}
