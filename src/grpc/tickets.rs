//! `boxoffice.v1.Tickets`

use std::pin::Pin;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{
    convert,
    services::{Service, Watching},
};
use crate::{
    app::DoorWatch,
    pb::boxoffice::v1::{self as pb, tickets_server::Tickets},
};

#[tonic::async_trait]
impl Tickets for Service {
    async fn get_ticket(
        &self,
        request: Request<pb::GetTicketRequest>,
    ) -> Result<Response<pb::GetTicketResponse>, Status> {
        self.read(
            request,
            |message| convert::ticket_ref(&message.ticket_id, &message.customer_id),
            |app, origin, (id, customer)| async move { app.ticket(&origin, id, customer.as_ref()).await },
            |view| pb::GetTicketResponse { ticket: Some(convert::ticket(&view)) },
        )
        .await
    }

    async fn get_ticket_by_number(
        &self,
        request: Request<pb::GetTicketByNumberRequest>,
    ) -> Result<Response<pb::GetTicketByNumberResponse>, Status> {
        self.read(
            request,
            |message| convert::ticket_number(&message),
            |app, origin, number| async move { app.ticket_by_number(&origin, &number).await },
            |view| pb::GetTicketByNumberResponse { ticket: Some(convert::ticket(&view)) },
        )
        .await
    }

    async fn list_tickets(
        &self,
        request: Request<pb::ListTicketsRequest>,
    ) -> Result<Response<pb::ListTicketsResponse>, Status> {
        self.read(
            request,
            convert::list_tickets,
            |app, origin, (named, filter, page)| async move { app.tickets(&origin, named, filter, &page).await },
            |page| pb::ListTicketsResponse {
                tickets: page.tickets.iter().map(convert::ticket).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }

    async fn get_ticket_code(
        &self,
        request: Request<pb::GetTicketCodeRequest>,
    ) -> Result<Response<pb::GetTicketCodeResponse>, Status> {
        self.read(
            request,
            |message| convert::ticket_code(&message),
            |app, origin, ((id, customer), format)| async move {
                app.ticket_code(&origin, id, customer.as_ref(), format).await
            },
            |drawn| pb::GetTicketCodeResponse { data: drawn.data, content_type: drawn.content_type.to_owned() },
        )
        .await
    }

    async fn get_ticket_page(
        &self,
        request: Request<pb::GetTicketPageRequest>,
    ) -> Result<Response<pb::GetTicketPageResponse>, Status> {
        self.read(
            request,
            |message| convert::ticket_page(&message),
            |app, origin, (which, customer)| async move { app.ticket_page(&origin, &which, customer).await },
            |html| pb::GetTicketPageResponse { html },
        )
        .await
    }

    async fn validate_ticket(
        &self,
        request: Request<pb::ValidateTicketRequest>,
    ) -> Result<Response<pb::ValidateTicketResponse>, Status> {
        self.read(
            request,
            convert::validate_ticket,
            |app, origin, (shown, door, _device)| async move { app.validate_ticket(&origin, &shown, door).await },
            |validated| convert::validated_ticket(&validated),
        )
        .await
    }

    async fn use_ticket(
        &self,
        request: Request<pb::UseTicketRequest>,
    ) -> Result<Response<pb::UseTicketResponse>, Status> {
        self.read(
            request,
            convert::use_ticket,
            |app, origin, ((shown, door, device), nonce, count)| async move {
                app.use_ticket(&origin, shown, door, (device, nonce), count).await
            },
            |used| convert::used_tickets(&used),
        )
        .await
    }

    async fn get_door_list(
        &self,
        request: Request<pb::GetDoorListRequest>,
    ) -> Result<Response<pb::GetDoorListResponse>, Status> {
        self.read(
            request,
            |message| convert::door(&message.showtime_id),
            |app, origin, showtime_id| async move { app.door_list(&origin, showtime_id).await },
            |list| pb::GetDoorListResponse { list: Some(convert::door_list(&list)) },
        )
        .await
    }

    type WatchDoorStream = Pin<Box<dyn Stream<Item = Result<pb::WatchDoorResponse, Status>> + Send>>;

    async fn watch_door(
        &self,
        request: Request<pb::WatchDoorRequest>,
    ) -> Result<Response<Self::WatchDoorStream>, Status> {
        let (watch, _) = self
            .call(
                request,
                |message| convert::door(&message.showtime_id),
                |app, origin, showtime_id| async move { app.watch_door(&origin, showtime_id).await },
            )
            .await?;
        Ok(Response::new(Box::pin(watched(watch, self.watching.clone()))))
    }

    async fn upload_scans(
        &self,
        request: Request<pb::UploadScansRequest>,
    ) -> Result<Response<pb::UploadScansResponse>, Status> {
        self.read(
            request,
            convert::upload_scans,
            |app, origin, (device, scans)| async move { app.upload_scans(&origin, device, scans).await },
            |upload| convert::upload(&upload),
        )
        .await
    }

    async fn list_signing_keys(
        &self,
        request: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        self.read(
            request,
            |_| Ok(()),
            |app, origin, ()| async move { Ok(app.signing_keys(&origin)) },
            |keys| pb::ListSigningKeysResponse { keys: keys.iter().map(convert::signing_key).collect() },
        )
        .await
    }
}

/// The messages to a door, until the showtime is over or the server shuts down.
fn watched(watch: DoorWatch, watching: Watching) -> impl Stream<Item = Result<pb::WatchDoorResponse, Status>> + Send {
    stream::unfold((watch, watching), |(mut watch, watching)| async move {
        let next = tokio::select! {
            biased;
            () = watching.shutdown.cancelled() => None,
            next = watch.next(watching.heartbeat) => next,
        };
        Some((Ok(convert::door_message(&next?)), (watch, watching)))
    })
}
